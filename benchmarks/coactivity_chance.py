"""What is called coactive where nothing is: independent neurons, bins of unequal width, rates that change together."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from bursty import bursty_recording
from coactivity_bars import Bar
from coactivity_laws import quantile
from common import SAMPLING_RATE, table
from scipy import stats
from workers import in_workers

import calcium_engine as ce
from calcium_engine.ensemble_events import RULES

NULLS = ("circular", "local", "epochs")
LEVEL, RARELY = 0.99, 0.001  # of intervals; how rarely a bar that rests on their number may be missed by chance
NOMINAL = 0.01  # of the percentile rule
BASE = {"n_ensembles": 6, "ensemble_size": 25, "reliability": 0.7, "ensemble_rate": 1.0}
MODULATED = "±90 % over 120 s"
CONDITIONS: dict[str, dict[str, Any]] = {
    "steady": {"n_ensembles": 0},
    MODULATED: {"n_ensembles": 0, "modulation": 0.9},
    "±50 % over 120 s": {"n_ensembles": 0, "modulation": 0.5},
    "±20 % over 120 s": {"n_ensembles": 0, "modulation": 0.2},
    "±90 % over 30 s": {"n_ensembles": 0, "modulation": 0.9, "modulation_period": 30.0},
    "6 ensembles of 25, reliability .7, 1/min": BASE,
    "of 10": {**BASE, "ensemble_size": 10},
    "of 60": {**BASE, "ensemble_size": 60},
    "reliability .3": {**BASE, "reliability": 0.3},
    "reliability 1": {**BASE, "reliability": 1.0},
    ".2/min": {**BASE, "ensemble_rate": 0.2},
    "2.5/min": {**BASE, "ensemble_rate": 2.5},
    "planted, ±90 % over 120 s": {**BASE, "modulation": 0.9},
}


def judge_independent(seeds: range, shuffled: int) -> tuple[dict[str, Any], list[Bar]]:
    """Share of significant bins and of recordings with any, by null and rule; the family-wise rule with shuffles in a few."""
    print(f"{len(seeds)} recordings of independent neurons …", file=sys.stderr, flush=True)
    found = in_workers(_independent, seeds, [k < shuffled for k in range(len(seeds))])
    rows, bars = [], []
    for case in found[0]:
        these = np.array([one[case] for one in found if case in one])
        n_bins, bins, alphas = these.T
        low, high = stats.binom.interval(LEVEL, n_bins, alphas)
        inside, anything = int(((bins >= low) & (bins <= high)).sum()), int((bins > 0).sum())
        rows.append(
            [case, len(these), 100 * bins.sum() / n_bins.sum(), 100 * alphas.mean(), inside, int((bins < low).sum()), anything]
        )
        if "percentile" in case:
            bars.append(
                Bar("calibration", f"{case}: inside the interval", inside, np.inf, stats.binom.ppf(RARELY, len(these), LEVEL))
            )
        else:
            most = float(stats.binom.ppf(LEVEL, len(these), RULES["fdr"][1]))
            bars.append(Bar("calibration", f"{case}: recordings with a significant bin", anything, most))
    print(f"\nindependent bursty neurons: significant bins, the binomial {100 * LEVEL:g} % interval of the attained alpha")
    table(["null, rule", "recordings", "% of bins", "attained alpha, %", "inside", "under", "recordings with any"], rows)
    return {"rows": rows}, bars


def _independent(seed: int, with_shuffles: bool) -> dict[str, tuple[int, int, float]]:
    counted, found = ce.compute_coactivity(bursty_recording(seed, n_epochs=3)), {}
    for null in NULLS:
        for rule in RULES:
            found[f"{null}, {rule}"] = _judged(counted, null=null, significance=rule)
        if with_shuffles:
            how = {"significance": "fwer", "monte_carlo": 1000, "seed": seed}
            found[f"{null}, fwer, 1000 shuffles"] = _judged(counted, null=null, **how)
    return found


def _judged(counted: xr.Dataset, **how: Any) -> tuple[int, int, float]:
    """Number of bins, of significant ones, and the attained alpha."""
    coactive = ce.find_ensemble_events(counted, **how)["is_coactive"]
    return coactive.size, int(coactive.sum()), float(coactive.attrs["attained_alpha"])


def judge_widths(seeds: range, shuffles: int) -> tuple[dict[str, Any], list[Bar]]:
    """A17: false positives by the width of the bin, with one threshold for all as peers have, and with a law for each width."""
    print("bins of unequal width …", file=sys.stderr, flush=True)
    found = in_workers(_by_width, seeds, [shuffles] * len(seeds))
    rows, bars = [], []
    for width in found[0]:
        counts = {how: sum(one[width][how] for one in found) for how in found[0][width]}
        n = counts.pop("bins")
        for how, k in counts.items():
            interval = stats.binomtest(k, n).proportion_ci(0.95, "exact")
            rows.append([f"{width} frames, {how}", n, *(100 * share for share in (k / n, interval.low, interval.high))])
            if how != "one threshold":
                bars.append(Bar("A17", f"{width} frames, {how}: share of significant bins", k / n, NOMINAL))
    print(f"\nA17: bins of 500 ms between exact edges at {SAMPLING_RATE:g} Hz, {len(seeds)} recordings: % called, 95 % interval")
    table(["", "bins", "%", "from", "to"], rows)
    return {"rows": rows}, bars


def _by_width(seed: int, shuffles: int) -> dict[int, dict[str, int]]:
    counted = ce.compute_coactivity(bursty_recording(seed), bin=0.5, binning="edges")
    widths, counts = counted["bin_frames"].values, counted["coactivity"].values
    pooled = _pooled_threshold(counted, shuffles, seed)
    ours = {
        null: ce.find_ensemble_events(counted, null=null, significance="percentile")["is_coactive"].values for null in NULLS[:2]
    }
    return {
        int(width): {
            "bins": int((widths == width).sum()),
            "one threshold": int((counts > pooled)[widths == width].sum()),
            **{f"{null} null": int(called[widths == width].sum()) for null, called in ours.items()},
        }
        for width in np.unique(widths)
    }


def _pooled_threshold(counted: xr.Dataset, shuffles: int, seed: int) -> int:
    """The 99th percentile of the counts in all bins of all shuffles, as a plain script has it: shifts by frames, then bins."""
    rng, n_frames, n_bins = np.random.default_rng(seed), counted.sizes["frame"], counted.sizes["bin"]
    frame = np.rint(counted["event_onset"].values * float(counted["sampling_rate"])).astype(int)
    rows, bin_of = counted["event_neuron"].values, np.repeat(np.arange(n_bins), counted["bin_frames"].values)
    total = np.zeros(counted.sizes["neuron"] + 1, np.int64)
    for _ in range(shuffles):
        shifted = (frame + rng.integers(n_frames, size=counted.sizes["neuron"])[rows]) % n_frames
        active = np.zeros((counted.sizes["neuron"], n_bins), bool)
        inside = shifted < len(bin_of)
        active[rows[inside], bin_of[shifted[inside]]] = True
        total += np.bincount(active.sum(axis=0), minlength=len(total))
    return quantile(total / total.sum(), 1 - NOMINAL)


def judge_modulated(seeds: range, names: Iterable[str]) -> tuple[dict[str, Any], list[Bar]]:
    """A18: what both nulls find where rates change together, and how often the warning comes where it should and should not."""
    names = list(names)
    print(f"{len(names)} kinds of simulated recordings, {len(seeds)} of each …", file=sys.stderr, flush=True)
    jobs = [(name, seed) for name in names for seed in seeds]
    found = in_workers(_simulated, *zip(*jobs, strict=True))
    rows, bars = [], []
    for name in names:
        these = [one for (job, _), one in zip(jobs, found, strict=True) if job == name]
        share, local, wide, narrow = (
            np.array([one[null, rule][0] for one in these]) for rule in ("percentile", "fdr") for null in NULLS[:2]
        )
        share, local = 100 * share / these[0]["bins"], 100 * local / these[0]["bins"]
        warned = [sum(one["circular", rule][1] for one in these) for rule in ("percentile", "fdr")]
        means = [f"{one.mean():.3g} ({one.max():.3g})" for one in (share, local, wide, narrow)]
        rows.append([name, *means, *(f"{n} of {len(these)}" for n in warned)])
        if name == MODULATED:
            bars.append(Bar("A18", "local null, percentile: % of bins, mean of recordings", local.mean(), 100 * NOMINAL))
            bars.append(Bar("A18", "local null, fdr: discoveries, mean of recordings", narrow.mean(), 1.0))
            bars.append(Bar("A18", "local null, fdr: discoveries, worst recording", narrow.max(), 1.0))
    print(
        "\nA18: simulated fluorescence, calibrated steps; mean (largest) of recordings; how many were warned that nulls disagree"
    )
    header = [f"{null}, {what}" for what in ("% of bins", "discoveries") for null in NULLS[:2]]
    table(["", *header, "warned, percentile", "warned, fdr"], rows)
    return {"rows": rows}, bars


def _simulated(name: str, seed: int) -> dict[Any, Any]:
    """Significant bins of both nulls, and whether they are said to disagree."""
    recording = ce.compute_dff(ce.estimate_baseline(ce.simulate_recording(seed=seed, **CONDITIONS[name])))
    recording = ce.detect_events(ce.estimate_noise(ce.subtract_background(recording)))
    counted, found = ce.compute_coactivity(recording), {}
    for null in NULLS[:2]:
        for rule in ("percentile", "fdr"):
            coactive = ce.find_ensemble_events(counted, null=null, significance=rule)["is_coactive"]
            found[null, rule] = int(coactive.sum()), bool(coactive.attrs["nulls_disagree"])
    return {"bins": counted.sizes["bin"], **found}
