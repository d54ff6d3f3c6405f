"""Exact laws of coactivity against sampled ones, and whether sampled ones rest on threads or on the order of neurons."""

from __future__ import annotations

import math
import sys
from typing import Any

import numba
import numpy as np
import xarray as xr
from bursty import bursty_recording
from coactivity_bars import Bar
from common import table

import calcium_engine as ce

# How bins are made, and how chance activity is
LAWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "epochs": ({}, {"null": "epochs"}),
    "local": ({}, {"null": "local"}),
    "least shift 20 s": ({}, {"min_shift": 20.0}),
    "least shift 20 s, epochs": ({}, {"min_shift": 20.0, "null": "epochs"}),
    "edges": ({"binning": "edges"}, {}),
    "edges, epochs": ({"binning": "edges"}, {"null": "epochs"}),
    "edges, local": ({"binning": "edges"}, {"null": "local"}),
    "sliding": ({"binning": "sliding"}, {}),
    "sliding, local": ({"binning": "sliding"}, {"null": "local"}),
    "permutation": ({}, {"surrogate": "permutation"}),
    "edges, permutation": ({"binning": "edges"}, {"surrogate": "permutation"}),
    "intervals": ({}, {"surrogate": "isi"}),
    "edges, intervals": ({"binning": "edges"}, {"surrogate": "isi"}),
    "train dither": ({}, {"surrogate": "train_dither"}),
    "pairs together": ({}, {"shift_together": "pair"}),
    "active": ({"source": "active"}, {}),
    "events": ({"count": "events"}, {}),
    "events, edges": ({"count": "events", "binning": "edges"}, {}),
    "events, pairs together": ({"count": "events"}, {"shift_together": "pair"}),
}
# Where each bin has a law of its own, which is sampled by as many shuffles and not by all bins of all shuffles
OWN_LAW = ("local", "least shift", "train dither")
MOST_VARIATION, AT = 2e-4, 100_000  # total variation, at so many shuffles; it falls with their square root
SPREAD = (0.8, 1.25)  # of the mean square of errors over their standard error, which is 1 where bins are sampled from their law
ALPHAS = (0.01, 0.001)
THREADED = {name: LAWS[name] for name in ("epochs", "local", "least shift 20 s", "edges", "permutation", "intervals")}
THREADED |= {
    "circular": ({}, {}),
    "train dither": LAWS["train dither"],
    "event dither": ({}, {"surrogate": "event_dither"}),
    "pairs together": LAWS["pairs together"],
    "circular, fwer": ({}, {"significance": "fwer"}),
    "local, fwer": ({}, {"null": "local", "significance": "fwer"}),
}


def judge_circular(seeds: range, shuffles: int) -> tuple[dict[str, Any], list[Bar]]:
    """Circular shifts of whole bins: the bar A15; and shuffles made with nothing but NumPy beside them."""
    rows, bars = [], []
    for seed in seeds:
        print(f"exact and sampled law, seed {seed} …", file=sys.stderr, flush=True)
        counted = ce.compute_coactivity(bursty_recording(seed))
        sampled = {
            alpha: ce.find_ensemble_events(counted, significance="percentile", alpha=alpha, monte_carlo=shuffles, seed=seed)
            for alpha in ALPHAS
        }
        exact = sampled[ALPHAS[0]]["coactivity_null"].values
        plain = plain_law(counted, shuffles // 10, seed, len(exact))
        how = [one["is_coactive"].attrs for one in sampled.values()]
        thresholds = [(int(one["threshold"]), int(one["exact_threshold"])) for one in how]
        theirs = [1 + quantile(plain, 1 - alpha) for alpha in ALPHAS]
        variation, apart = float(how[0]["total_variation"]), 0.5 * float(np.abs(plain - exact).sum())
        rows.append([seed, variation, *(f"{ours} / {law}" for ours, law in thresholds), apart, *theirs])
        # those by NumPy are shown only: so few shuffles err by a percent, and a tail may be nearer to alpha than that
        same = all(ours == law for ours, law in thresholds)
        bars.append(Bar("A15", f"seed {seed}: total variation, {shuffles} shuffles", variation, scaled(shuffles)))
        bars.append(Bar("A15", f"seed {seed}: thresholds that differ", float(not same), 0.0))
        bars.append(
            Bar("A15", f"seed {seed}: total variation, {shuffles // 10} shuffles by NumPy", apart, scaled(shuffles // 10))
        )
    print(f"\nA15: circular shifts, exact law against {shuffles} shuffles, and {shuffles // 10} by NumPy alone")
    header = ["seed", "total variation", *(f"threshold at {alpha:g}, sampled / exact" for alpha in ALPHAS)]
    table([*header, "by NumPy", *(f"threshold at {alpha:g}" for alpha in ALPHAS)], rows)
    curve = {"exact": exact.tolist(), "sampled": sampled[ALPHAS[0]]["coactivity_null_sampled"].values.tolist()}
    return {"header": header, "rows": rows, "shuffles": shuffles, **curve}, bars


def scaled(shuffles: int) -> float:
    """Most total variation at so many shuffles."""
    return MOST_VARIATION * math.sqrt(AT / shuffles)


def plain_law(counted: xr.Dataset, shuffles: int, seed: int, n_counts: int) -> np.ndarray:
    """The law as a plain script would sample it, from a raster of bins."""
    rng, n_bins = np.random.default_rng(seed), counted.sizes["bin"]
    frame = np.rint(counted["event_onset"].values * float(counted["sampling_rate"])).astype(int)
    width = counted.sizes["frame"] // n_bins
    raster = np.zeros((counted.sizes["neuron"], n_bins), bool)
    raster[counted["event_neuron"].values, np.minimum(frame // width, n_bins - 1)] = True
    rows, bins = np.nonzero(raster)
    total = np.zeros(n_counts, np.int64)
    for _ in range(shuffles):
        shifted = (bins + rng.integers(n_bins, size=len(raster))[rows]) % n_bins
        total += np.bincount(np.bincount(shifted, minlength=n_bins), minlength=n_counts)[:n_counts]
    return total / total.sum()


def quantile(law: np.ndarray, level: float) -> int:
    """Smallest count that at least this share of bins does not exceed."""
    return int(np.searchsorted(np.cumsum(law), level))


def judge_laws(seeds: range, shuffles: int) -> tuple[dict[str, Any], list[Bar]]:
    """All other laws that are known in closed form."""
    rows, bars = [], []
    for name, (binned, chance) in LAWS.items():
        found = [_law(seed, binned, chance, shuffles) for seed in seeds]
        own = any(word in name for word in OWN_LAW)
        variation, another, spread = (float(f([one[k] for one in found])) for k, f in enumerate((max, max, np.mean)))
        rows.append([name, variation, 100 * another, spread if own else "-"])
        bars.append(Bar("A15", f"{name}: total variation, {shuffles} shuffles", variation, scaled(shuffles)))
        if own:
            bars.append(
                Bar("A15", f"{name}: errors of bins over their standard error, mean square", spread, SPREAD[1], SPREAD[0])
            )
        else:
            bars.append(Bar("A15", f"{name}: share of bins with another threshold", another, 0.0))
    print(f"\nother laws, {shuffles} shuffles, seeds {seeds[0]} to {seeds[-1]}: total variation and threshold of the worst seed")
    table(["", "total variation", "bins with another threshold, %", "errors over standard error, mean square"], rows)
    return {"shuffles": shuffles, "rows": rows}, bars


def _law(seed: int, binned: dict[str, Any], chance: dict[str, Any], shuffles: int) -> tuple[float, float, float]:
    """Total variation, share of bins with another threshold, mean square of the p-values' errors over their standard error."""
    counted = ce.compute_coactivity(bursty_recording(seed, n_epochs=3), **binned)
    exact = ce.find_ensemble_events(counted, significance="percentile", **chance)
    sampled = ce.find_ensemble_events(counted, significance="percentile", monte_carlo=shuffles, seed=seed, **chance)
    how = sampled["is_coactive"].attrs
    true, found = (one["coactivity_pvalue"].values for one in (exact, sampled))
    told = (true > 0.02) & (true < 0.98)
    # a sampled p-value is (1 + #) / (1 + shuffles)
    errors = (found * (1 + shuffles) - 1 - shuffles * true) / np.sqrt(
        shuffles * true * (1 - true), where=told, out=np.ones_like(true)
    )
    return how["total_variation"], how["bins_with_another_threshold"] / how["n_tests"], float(np.mean(errors[told] ** 2))


def judge_threads(seed: int, shuffles: int) -> tuple[dict[str, Any], list[Bar]]:
    """A25: one thread, all threads, and the neurons in another order."""
    recording = bursty_recording(seed, n_neurons=100, n_frames=6000, n_epochs=2)
    shuffled = recording.isel(neuron=np.random.default_rng(seed).permutation(recording.sizes["neuron"]))
    most, rows, bars = numba.get_num_threads(), [], []
    for name, (binned, chance) in THREADED.items():
        how = {"significance": "percentile", **chance, "monte_carlo": shuffles, "seed": seed}
        alone = _bits(recording, 1, binned, how)
        same = [_bits(one, most, binned, how) == alone for one in (recording, shuffled)]
        rows.append([name, *("the same" if one else "DIFFERENT" for one in same)])
        bars.append(Bar("A25", f"{name}: results that differ by threads or order", float(not all(same)), 0.0))
    print(f"\nA25: {shuffles} shuffles on one thread, beside")
    table(["", f"{most} threads", "neurons in another order"], rows)
    return {"threads": most, "rows": rows}, bars


def _bits(recording: xr.Dataset, threads: int, binned: dict[str, Any], how: dict[str, Any]) -> list[bytes]:
    """All that shuffles say of the bins, as it lies in memory."""
    numba.set_num_threads(threads)
    result = ce.find_ensemble_events(ce.compute_coactivity(recording, **binned), **how)
    names = ("coactivity_null_sampled", "coactivity_pvalue", "coactivity_threshold", "is_coactive")
    return [result[name].values.tobytes() for name in names]
