"""What a recording says of its coactivity: the bins, what chance gives in them, what is more than that, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.plot.coactivity import bin_width, threshold_range
from calcium_engine.report.words import has, number, several

_COUNTED = {
    ("neurons", "onset"): "a neuron counts once a bin, at the onset of an event",
    ("neurons", "peak"): "a neuron counts once a bin, at the peak of an event",
    ("neurons", "active"): "a neuron counts once a bin, from the onset of an event to its offset",
    ("neurons", "deconvolved"): "a neuron counts once a bin, in which its deconvolved activity is far over its mean",
    ("events", "onset"): "every event counts, at its onset",
    ("events", "peak"): "every event counts, at its peak",
}
_BINNED = {
    "frames": "whole frames",
    "edges": "exact edges, so that they hold unequal numbers of frames",
    "sliding": "from every frame on",
}
_RULES = {
    "fdr": "false-discovery rate of {alpha} over all bins",
    "percentile": "over the {percentile}th percentile of chance",
    "fwer": "any false bin at all with probability {alpha} at most",
}


def about_coactivity(recording: xr.Dataset) -> list[str]:
    """Say how long the bins are, what chance gives, the threshold, and how many bins lie above it."""
    if not has(recording, "coactivity"):
        return ["Coactivity was not computed."]
    counts, how = recording["coactivity"].values, recording["coactivity"].attrs
    if not counts.size:
        return ["No bins: the recording is shorter than one."]
    counted = _COUNTED[str(how.get("count", "neurons")), str(how.get("source", "onset"))]
    said = [
        f"{several(counts.size, 'bin')} of {1000 * bin_width(recording):.0f} ms ({_BINNED[str(how.get('binning', 'frames'))]}); "
        f"{counted}. The largest count is {int(counts.max())}."
    ]
    if not has(recording, "is_coactive"):
        return [*said, "Their significance was not tested."]
    said += _about_chance(recording) + _about_threshold(recording, counts) + _about_shuffles(recording)
    if comparison := recording["is_coactive"].attrs.get("comparison"):
        said.append(str(comparison))
    return said + _about_ensemble_events(recording, counts) + _about_synchrony(recording)


def warnings_of(recording: xr.Dataset) -> list[str]:
    """Say what asks for care before anything else."""
    rules = recording["is_coactive"].attrs if has(recording, "is_coactive") else {}
    return [str(rules["comparison"])] if rules.get("nulls_disagree") and rules.get("null") != "local" else []


def _about_chance(recording: xr.Dataset) -> list[str]:
    """Say what chance is here, and what it gives."""
    rules = recording["is_coactive"].attrs
    reach = f"{number(float(rules.get('reach', 0.0)))} s"
    where = {"circular": "round the recording", "epochs": "round its epoch", "local": f"by up to {reach}"}
    within = " in its epoch" if rules.get("null") == "epochs" else ""
    made = {
        "circular": f"every neuron's activity shifted {where.get(str(rules.get('null')), 'at random')} by a shift of its own",
        "permutation": f"every neuron's activity put anywhere{within}",
        "isi": f"every neuron's intervals between events in another order{within}",
        "train_dither": f"every neuron's events displaced together by up to {reach}",
        "event_dither": f"every event displaced by up to {reach}",
    }.get(str(rules.get("surrogate", "circular")), "activity at random")
    least = f", by {number(float(rules['min_shift']))} s at least" if "min_shift" in rules else ""
    together = f", neurons of one {rules['shift_together']} together" if "shift_together" in rules else ""
    shuffles = f"{int(rules.get('monte_carlo', 0)):,} shuffles"
    law = f"sampled in {shuffles}" if rules.get("law") == "sampled" else "worked out exactly"
    if rules.get("significance") == "fwer" and rules.get("monte_carlo"):
        law += f", the most extreme bin is that of {shuffles}"
    said = [f"Chance is {made}{least}{together}; its law is {law}." if "null" in rules else ""]
    if has(recording, "coactivity_expected"):
        expected = recording["coactivity_expected"].values
        range_ = f" (from {number(float(expected.min()))} to {number(float(expected.max()))})" if np.ptp(expected) > 1e-9 else ""
        said.append(f"Chance alone gives {number(float(expected.mean()))} in a bin on average{range_}.")
    return [line for line in said if line]


def _about_threshold(recording: xr.Dataset, counts: np.ndarray) -> list[str]:
    significant = int(recording["is_coactive"].values.sum())
    rules = recording["is_coactive"].attrs
    if "attained_alpha" not in rules:
        return [f"Of {several(counts.size, 'bin')}, {several(significant, 'is', 'are')} significant."]
    if threshold_range(recording) is None:
        return [f"No count can be significant in any bin{_rule(rules)}."]
    start = _threshold(recording)
    counted = "events" if recording["coactivity"].attrs.get("count") == "events" else "coactive neurons"
    attained = float(rules["attained_alpha"])
    expected = float(rules.get("expected_false_bins", attained * counts.size))
    said = [
        f"A bin is significant from {start} {counted} on{_rule(rules)}. By chance a bin gets there with probability "
        f"{number(attained)} (attained α), as {number(expected)} of {counts.size:,} bins are expected to; {significant:,} did."
    ]
    if rules.get("masked_share"):
        said.append(f"{number(100 * float(rules['masked_share']))} % of the frames are masked.")
    return said


def _threshold(recording: xr.Dataset) -> str:
    low, high = threshold_range(recording) or (0.0, 0.0)
    return number(low) if low == high else f"{number(low)} to {number(high)} (by bin)"


def _rule(rules: dict[str, Any]) -> str:
    if not {"significance", "alpha"} <= set(rules):
        return ""
    alpha = float(rules["alpha"])
    words = _RULES[str(rules["significance"])].format(alpha=number(alpha), percentile=number(100 * (1 - alpha)))
    return f" ({words}; {int(rules['n_tests']):,} tests)" if "n_tests" in rules else f" ({words})"


def _about_shuffles(recording: xr.Dataset) -> list[str]:
    """Say whether shuffles and the exact law, each a check of the other, agree."""
    rules = recording["is_coactive"].attrs
    if "total_variation" not in rules:
        return []
    differ, n_bins = int(rules.get("bins_with_another_threshold", 0)), recording.sizes["bin"]
    same = "; its threshold is the same" if not differ else f"; its threshold differs in {differ:,} of {n_bins:,} bins"
    apart = number(float(rules["total_variation"]))
    return [
        f"The exact law of the same null is {apart} away from the shuffles (total variation)"
        f"{same if 'exact_threshold' in rules else ''}."
    ]


def _about_ensemble_events(recording: xr.Dataset, counts: np.ndarray) -> list[str]:
    found = recording.sizes.get("ensemble_event", 0)
    if found:
        sizes = recording["ensemble_event_size"].values
        middle = f"{number(float(np.median(sizes)))} neurons take part in the median one, {int(sizes.max())} in the largest"
        return [f"{several(found, 'ensemble event')}: {middle}."]
    if recording["is_coactive"].values.any():
        return ["No ensemble events: in no stretch of significant bins did enough neurons take part."]
    return [
        f"No ensemble events: no bin had more coactive neurons than chance explains (the largest count is {int(counts.max())})."
    ]


def _about_synchrony(recording: xr.Dataset) -> list[str]:
    """Say how much of the activity is synchronous, and which neurons are most so."""
    if not has(recording, "synchrony_surplus", "synchrony_divergence", "gregariousness"):
        return []
    surplus, divergence = (float(recording[f"synchrony_{name}"]) for name in ("surplus", "divergence"))
    said = [
        f"{number(100 * surplus)} % of all activity lies in significant bins above what chance puts there; the counts diverge "
        f"from chance by {number(divergence)} bits a bin."
    ]
    z = recording["gregariousness"].values
    if np.isfinite(z).any():
        most = int(np.nanargmax(z))
        name = f", most of all neuron {recording['neuron'].values[most]}, by {number(float(z[most]))}" if z[most] > 3 else ""
        said.append(
            f"Of {several(int(np.isfinite(z).sum()), 'neuron')}, {int((z > 3).sum()):,} are active with others by over 3 "
            f"standard deviations more than neurons of constant rates would be (gregariousness){name}."
        )
    return said
