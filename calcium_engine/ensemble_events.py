"""Ensemble events: stretches of time in which more neurons are active together than chance explains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.coactivity import Activity, activity_of
from calcium_engine.nulls import Null, Scheme, exact_null, make_scheme
from calcium_engine.schema import Attr, CalciumError, fresh, plain, record, sampling_rate, var, warn
from calcium_engine.shuffles import rarest, sampled_null
from calcium_engine.significance import RULES, Verdict, judge, qvalues
from calcium_engine.synchrony import measure_synchrony

PERCENTILE = 0.01  # chance of the bins by which nulls are compared
AGREEMENT = 2 / 3  # share of the bins found under one null that are found under the other, for the two to agree
FEW_BINS = 3  # so many more or fewer say nothing


def find_ensemble_events(
    recording: xr.Dataset,
    *,
    null: Literal["circular", "local", "epochs"] = "circular",
    significance: Literal["fdr", "percentile", "fwer"] = "fdr",
    alpha: float | None = None,
    monte_carlo: int = 0,
    surrogate: Literal["circular", "permutation", "isi", "train_dither", "event_dither"] = "circular",
    min_shift: float = 0.0,
    reach: float = 10.0,
    shift_together: str | None = None,
    seed: int = 0,
    min_neurons: int = 3,
) -> xr.Dataset:
    """Find the bins in which more neurons are active together than chance explains, and the ensemble events that they make up.

    By chance, every neuron is shifted round the recording by a uniform shift of its own, which keeps its rate and its bursts, and
    breaks its timing with the others. Neuron i, active in k_i of B bins, is then active in any given bin with probability k_i /
    B, independently of the others: the count follows the Poisson-binomial law, which is what infinitely many shuffles would give,
    and is worked out exactly. `docs/coactivity.md` derives it, and says when it is exact.

    Args:
        recording: with events and `coactivity`.
        null: what chance keeps. "circular" (default): each neuron's activity as it is, shifted round the whole recording;
            "epochs": shifted round each epoch, which keeps each epoch's rates; "local": shifted by up to `reach`, which keeps
            slow changes of rate, shared or not, and so takes no drift of arousal for synchrony. Ends are reflected.
        significance: "fdr" (default): Benjamini-Hochberg over bins: of the bins found, a share of alpha is false; "percentile":
            counts above the (1 - alpha) percentile of the null, however many bins there are; "fwer": any false bin at all in a
            share alpha of recordings: by Bonferroni, or by the most extreme bin of each shuffle where there are shuffles.
        alpha: default 0.05, for "percentile" 0.01 (the 99th percentile).
        monte_carlo: 0 (default) takes the exact law; a number samples so many shuffles instead, as is the field's habit (1000),
            and keeps the exact law beside them where there is one, so that each checks the other.
        surrogate: how chance activity is made. "circular" (default): shifts; "permutation": active bins put anywhere; "isi":
            intervals between events in another order; "train_dither": the neuron's events displaced together by up to `reach`;
            "event_dither": each by itself, for which there is no exact law here: give `monte_carlo`.
        min_shift: s; the least circular shift, so that bins are not compared with themselves or their neighbours; at most a
            quarter of the recording or epoch. 0 (default) allows all.
        reach: s, of the local null (also where the circular one is compared with it) and of dithers, to either side; at most half
            of the recording or epoch. 10 s is longer than a transient and shorter than most drifts.
        shift_together: a coordinate of `neuron`; neurons with the same value are shifted together, such as pieces of one cell.
        seed: of the shuffles. They are a function of seed, shuffle and neuron id, whatever the order of neurons or threads.
        min_neurons: ensemble events with fewer are dropped; two neurons make no ensemble.

    Returns:
        The recording with, for each bin, `coactivity_expected`, `coactivity_pvalue`, `coactivity_qvalue` (Benjamini-Hochberg),
        `coactivity_threshold` (smallest significant count; NaN: none) and `is_coactive`; `coactivity_null` (count): the law, all
        bins together; `coactivity_null_sampled`, with shuffles. One `ensemble_event` for each stretch of touching significant
        bins, described by its peak bin: time, start, duration, size, p-value and `participation` (ensemble_event × neuron).
        Attributes of `is_coactive`: every argument; `threshold` (the smallest of all bins); `attained_alpha`, the mean chance of
        a bin to be called significant; `expected_false_bins`; `n_tests`; `law` (exact or sampled); with shuffles and an exact
        law, `total_variation` between them; and whether the local and the circular null tell the same bins (`nulls_disagree`; in
        words, `comparison`), with `comparison_expected`, `comparison_pvalue`, `comparison_threshold` and `comparison_is_coactive`
        of the one that was not asked for. Of the population: `synchrony_divergence`, `synchrony_surplus` and `gregariousness`
        (neuron), as `calcium_engine.synchrony` defines them.

    Raises:
        MissingVariableError: there is no coactivity yet.
        CalciumError: an unknown choice, a number out of range, or choices that do not go together.

    Warns:
        The circular and the local null disagree; shuffles are too few for their rule.
    """
    recording = fresh(recording, "find_ensemble_events")
    given: dict[str, Attr | None] = {
        "null": null,
        "significance": significance,
        "alpha": alpha,
        "monte_carlo": monte_carlo,
        "surrogate": surrogate,
        "min_shift": min_shift,
        "reach": reach,
        "shift_together": shift_together,
        "seed": seed,
        "min_neurons": min_neurons,
    }
    return _find(recording, given, compare=True)


def ensemble_events_alone(recording: xr.Dataset, **arguments: Attr | None) -> xr.Dataset:
    """Find the ensemble events that `find_ensemble_events` does with these arguments, without trying the other null too."""
    given = {name: parameter.default for name, parameter in signature(find_ensemble_events).parameters.items()}
    del given["recording"]
    return _find(fresh(recording, "find_ensemble_events"), given | arguments, compare=False)


def _find(recording: xr.Dataset, given: dict[str, Any], *, compare: bool) -> xr.Dataset:
    """Test the counts, and label what comes of it."""
    _check(given)
    activity, counts = activity_of(recording), var("coactivity").check(recording).values
    scheme = make_scheme(
        recording, activity, **{name: given[name] for name in ("null", "surrogate", "min_shift", "reach", "shift_together")}
    )
    significance, shuffles, seed = given["significance"], given["monte_carlo"], given["seed"]
    rule = RULES[significance][1] if given["alpha"] is None else float(given["alpha"])
    tested = _test(activity, counts, scheme, significance, rule, shuffles, seed)
    compared = _compare(activity, counts, scheme, tested, significance, rule) if compare else _Compared({}, {})
    parameters: dict[str, Attr | None] = {
        **given,
        "alpha": rule,
        "min_shift": float(given["min_shift"]) if given["min_shift"] else None,
        "reach": float(given["reach"]),
        "seed": seed if shuffles else None,
    }
    table = tested.table | compared.table | measure_synchrony(activity, counts, tested.law, tested.verdict.significant)
    table |= _ensemble_events(recording, activity, counts, tested, given["min_neurons"])
    result = recording.assign({name: var(name).wrap(values) for name, values in table.items()})
    summary = parameters | tested.summary | compared.summary
    if "artifact" in recording.variables:
        summary["masked_share"] = recording["artifact"].attrs.get("masked_share")
    result["is_coactive"].attrs.update({key: plain(value) for key, value in summary.items() if value is not None})
    coords = {"count": np.arange(result.sizes["count"]), "ensemble_event": np.arange(1, result.sizes["ensemble_event"] + 1)}
    return record(result.assign_coords(coords), "find_ensemble_events", **parameters)


def _check(given: dict[str, Attr | None]) -> None:
    """Refuse what is no choice or out of range, and choices that do not go together."""
    optional = ("alpha", "shift_together")
    check_arguments(
        find_ensemble_events, {name: plain(value) for name, value in given.items() if value is not None or name not in optional}
    )
    null, surrogate, alpha = given["null"], given["surrogate"], given["alpha"]
    if alpha is not None and not 0.0 < float(alpha) < 1.0:
        raise CalciumError(f"alpha is {alpha}, but must be between 0 and 1")
    shuffles, seed = int(given["monte_carlo"] or 0), int(given["seed"] or 0)
    if shuffles < 0 or not 0 <= seed < 2**63:
        raise CalciumError(
            f"monte_carlo and seed must not be negative, nor the seed over 2^63, but they are {shuffles} and {seed}"
        )
    for name in ("min_shift", "reach"):
        if not (np.isfinite(float(given[name] or 0)) and float(given[name] or 0) >= (0.0 if name == "min_shift" else 1e-9)):
            raise CalciumError(f"{name} is {given[name]} s, but must be {'0 or more' if name == 'min_shift' else 'positive'}")
    if int(given["min_neurons"] or 0) < 1:
        raise CalciumError(f"min_neurons is {given['min_neurons']}, but must be at least 1; 3 is usual")
    if null == "local" and surrogate != "circular":
        raise CalciumError(
            f"the local null shifts each neuron by up to reach; surrogate={surrogate!r} goes with 'circular' or 'epochs'"
        )
    if given["min_shift"] and (null == "local" or surrogate != "circular"):
        raise CalciumError(
            "min_shift is the least of circular shifts: it goes with surrogate='circular' and null='circular' or 'epochs'"
        )


@dataclass(frozen=True)
class _Tested:
    """What one null says of the counts: the null that judges, the exact law where there is one, and the results by name."""

    null: Null
    law: Null
    verdict: Verdict
    table: dict[str, np.ndarray]
    summary: dict[str, Attr | None]


def _test(
    activity: Activity, counts: np.ndarray, scheme: Scheme, significance: str, alpha: float, shuffles: int, seed: int
) -> _Tested:
    observed = int(counts.max(initial=0))
    exact = exact_null(activity, scheme, observed) if scheme.has_exact_law(activity) else None
    null, by, sampled, least = exact, exact, None, None
    if shuffles:
        enough = exact or exact_null(activity, replace(scheme, null="circular", surrogate="circular", least=0), observed)
        null = by = sampled = sampled_null(activity, scheme, shuffles, seed, enough.tails.shape[1])
        if significance == "fwer":
            # what is most extreme in a shuffle: by the law of each bin where it is exact, else the largest count
            null, by = exact or sampled, exact or sampled.pooled
            least = rarest(activity, scheme, by, shuffles, seed)
    if null is None or by is None:
        what = "neurons shifted together" if scheme.grouped else "counted events"
        what = f"surrogate={scheme.surrogate!r}" if scheme.surrogate == "event_dither" else what
        raise CalciumError(f"there is no exact law of {what} under this null; give monte_carlo=1000 to sample it")
    verdict = judge(by, counts, significance, alpha, least)
    if exact is not None:  # thresholds that shuffles set are not to be judged by the same shuffles
        verdict = replace(verdict, attained=exact.chance_to_reach(verdict.thresholds))
    summary: dict[str, Attr | None] = {
        "law": "exact" if null.exact else "sampled",
        "threshold": _lowest(verdict.thresholds),
        "attained_alpha": float(verdict.attained.mean()),
        "n_tests": len(counts),
        "expected_false_bins": float(verdict.attained.sum()),
    }
    table = {
        "coactivity_expected": null.expected,
        "coactivity_pvalue": null.pvalues_of(counts),
        "coactivity_qvalue": qvalues(null, counts),
        "coactivity_threshold": verdict.thresholds,
        "is_coactive": verdict.significant,
        "coactivity_null": (exact or null).law,
    }
    if sampled is not None:
        table["coactivity_null_sampled"] = sampled.law
        if exact is not None:
            summary["total_variation"] = float(0.5 * np.abs(exact.law - sampled.law).sum())
        if exact is not None and significance != "fwer":
            by_law = judge(exact, counts, significance, alpha).thresholds
            summary["exact_threshold"] = _lowest(by_law)
            summary["bins_with_another_threshold"] = int((~np.isclose(by_law, verdict.thresholds, equal_nan=True)).sum())
        _warn_if_few(sampled, significance, alpha, shuffles, "monte_carlo=0 takes the exact law" if exact else "give more")
    return _Tested(null, exact or null, verdict, table, summary)


def _lowest(thresholds: np.ndarray) -> int | None:
    """Return the smallest threshold of all bins; None where no count is significant in any."""
    return int(np.nanmin(thresholds)) if np.isfinite(thresholds).any() else None


def _warn_if_few(sampled: Null, significance: str, alpha: float, shuffles: int, way: str) -> None:
    """Warn where the smallest p-value that so many shuffles can give is more than a single bin needs."""
    if significance == "fwer":
        floor, needed = 1.0 / (1 + shuffles), alpha
    else:
        floor = float(sampled.pvalues[:, -1].min())
        needed = alpha / len(sampled.group) if significance == "fdr" else alpha
    if floor > needed:
        warn(
            f"with {shuffles} shuffles no bin's p-value can be under {floor:.2g}, and {significance!r} asks a single bin for "
            f"{needed:.2g}: {way}"
        )


@dataclass(frozen=True)
class _Compared:
    """What the other null says: results by name, empty where it has no exact law."""

    table: dict[str, np.ndarray]
    summary: dict[str, Attr | None]


def _compare(
    activity: Activity,
    counts: np.ndarray,
    scheme: Scheme,
    tested: _Tested,
    significance: str,
    alpha: float,
) -> _Compared:
    """Judge by the local null too where the one asked for takes rates for constant, else by the circular one."""
    steady = scheme.null != "local" and "dither" not in scheme.surrogate
    other = replace(scheme, null="local" if steady else "circular", surrogate="circular", least=0)
    if not other.has_exact_law(activity) or not tested.law.exact:
        return _Compared({}, {})
    null = exact_null(activity, other, int(counts.max(initial=0)))
    verdict = judge(null, counts, significance, alpha)
    table = {
        "comparison_expected": null.expected,
        "comparison_pvalue": null.pvalues_of(counts),
        "comparison_threshold": verdict.thresholds,
        "comparison_is_coactive": verdict.significant,
    }
    # by one rule for all: how many pass a false-discovery rate depends on how many pass
    first, second = (
        judge(one, counts, "percentile", PERCENTILE) for one in ((tested.law, null) if steady else (null, tested.law))
    )
    found, kept = int(first.significant.sum()), int((first.significant & second.significant).sum())
    # bins that are there by chance are not those of the other null
    disagree = found - kept >= FEW_BINS + 2 * first.attained.sum() and kept < AGREEMENT * found
    names = (scheme.null if steady else "circular", "local" if steady or scheme.null == "local" else scheme.surrogate)
    sentence = (
        f"The {names[0]} and the {names[1]} null {'disagree' if disagree else 'agree'}: of {found} bins over the "
        f"{100 * (1 - PERCENTILE):g}th percentile of the first, {kept} are over that of the second"
    )
    sentence += (
        ". Rates that rise and fall together over tens of seconds (arousal, movement, bleaching) explain the rest as well as "
        "ensembles do; take null='local' where that can be."
        if disagree
        else "."
    )
    if disagree and steady:
        warn(sentence)
    summary: dict[str, Attr | None] = {
        "comparison_null": other.null,
        "comparison_bins": int(verdict.significant.sum()),
        "nulls_disagree": disagree,
        "comparison": sentence,
    }
    return _Compared(table, summary)


def _stretches(activity: Activity, counts: np.ndarray, significant: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Join touching significant bins of an epoch; the peak bin (the first of equals) stands for each stretch."""
    bins, hits = activity.bins, np.flatnonzero(significant)
    apart = (np.diff(hits) > 1) | (np.diff(bins.epoch[hits]) != 0)
    stretches = [s for s in np.split(hits, np.flatnonzero(apart) + 1) if len(s)]
    peaks = np.array([s[np.argmax(counts[s])] for s in stretches], np.int64)
    return peaks, stretches


def _ensemble_events(
    recording: xr.Dataset, activity: Activity, counts: np.ndarray, tested: _Tested, min_neurons: int
) -> dict[str, np.ndarray]:
    """Who takes part in each ensemble event, and when it is."""
    peaks, stretches = _stretches(activity, counts, tested.verdict.significant)
    participation = np.zeros((len(peaks), recording.sizes["neuron"]), bool)
    event_of_bin = np.full(len(counts), -1)
    event_of_bin[peaks] = np.arange(len(peaks))
    for rows, bins in activity.in_bins():
        inside = event_of_bin[bins] >= 0
        participation[event_of_bin[bins[inside]], rows[inside]] = True
    kept = participation.sum(axis=1) >= min_neurons
    peaks, participation = peaks[kept], participation[kept]
    first = np.array([s[0] for s, keep in zip(stretches, kept, strict=True) if keep], np.int64)
    last = np.array([s[-1] for s, keep in zip(stretches, kept, strict=True) if keep], np.int64)
    time, edges = recording["time"].values, activity.bins
    ends = edges.first + edges.width
    return {
        "ensemble_event_time": recording["bin_time"].values[peaks],
        "ensemble_event_start": time[edges.first[first]],
        "ensemble_event_duration": (ends[last] - edges.first[first]) / sampling_rate(recording),
        "ensemble_event_size": participation.sum(axis=1),
        "ensemble_event_pvalue": tested.null.pvalues_of(counts)[peaks],
        "participation": participation,
    }
