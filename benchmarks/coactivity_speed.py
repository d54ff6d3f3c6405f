"""Coactivity, its null and pairs of neurons beside NumPy, in turns in one process: called by `speed.py --coactivity`.

Neurons are active in 2.5 % of bins on average, as in a real recording (zf1 of CILVA, bins of 0.46 s), and in 5.3 %, as in a
livelier one. No peer has an exact null.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cleaning_speed import in_turns
from common import Stages, table

SHUFFLES = 1000
SIZES = ((324, 7500), (2000, 10000))
DENSITIES = (0.025, 0.053)
LAWS = {324: 2e-3, 2000: 60e-3, 100_000: 10.0}  # neurons, seconds allowed
ROLLED = 20  # shuffles of the np.roll loop, scaled to all
PAIRED = 60  # neurons whose pairs NumPy looks at, scaled to all
Sparse = tuple[np.ndarray, np.ndarray, int]  # bins, offsets, number of bins


def draw(n_neurons: int, n_bins: int, density: float, seed: int = 0) -> Sparse:
    """Active bins of neurons whose rates are lognormal, as rates are."""
    rng = np.random.default_rng(seed)
    rates = rng.lognormal(0.0, 0.8, n_neurons)
    raster = rng.random((n_neurons, n_bins)) < np.minimum(density * rates / rates.mean(), 0.5)[:, None]
    rows, bins = np.nonzero(raster)
    return bins, np.searchsorted(rows, np.arange(n_neurons + 1)), n_bins


def bincount_shuffles(activity: Sparse, shuffles: int = SHUFFLES) -> np.ndarray:
    """Pooled counts of circular shuffles: sparse events, two lengths of bins, folded."""
    bins, offsets, n_bins = activity
    per_neuron = np.diff(offsets)
    pooled = np.zeros(len(per_neuron) + 1, np.int64)
    for shift in np.random.default_rng(0).integers(0, n_bins, size=(shuffles, len(per_neuron))):
        twice = np.bincount(bins + np.repeat(shift, per_neuron), minlength=2 * n_bins)
        pooled += np.bincount(twice[:n_bins] + twice[n_bins:], minlength=len(pooled))
    return pooled


def roll_shuffles(activity: Sparse, shuffles: int = ROLLED) -> np.ndarray:
    """The same by rolling each row of a dense raster."""
    bins, offsets, n_bins = activity
    raster = np.zeros((len(offsets) - 1, n_bins), np.uint8)
    raster[np.repeat(np.arange(len(raster)), np.diff(offsets)), bins] = 1
    rng, pooled = np.random.default_rng(0), np.zeros(len(raster) + 1, np.int64)
    for _ in range(shuffles):
        total = np.zeros(n_bins, np.int64)
        for row, shift in zip(raster, rng.integers(0, n_bins, len(raster)), strict=True):
            total += np.roll(row, shift)
        pooled += np.bincount(total, minlength=len(pooled))
    return pooled


def fft_pairs(activity: Sparse, neurons: int = PAIRED) -> np.ndarray:
    """Share of shifts with at least the observed overlap, pair by pair, by Fourier transform of each row."""
    bins, offsets, n_bins = activity
    raster = np.zeros((neurons, n_bins))
    for i in range(neurons):
        raster[i, bins[offsets[i] : offsets[i + 1]]] = 1
    spectra, out = np.fft.rfft(raster), np.ones((neurons, neurons))
    for i in range(neurons):
        for j in range(i):
            overlap = np.rint(np.fft.irfft(np.conj(spectra[i]) * spectra[j], n_bins))
            out[i, j] = np.mean(overlap >= overlap[0])
    return out


def _timed(run: Callable[[], Any], repeats: int) -> float:
    spent = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        run()
        if turn:
            spent.append(time.perf_counter() - start)
    return float(np.median(spent))


def _shuffles(repeats: int, add: Callable[..., None]) -> None:
    from calcium_engine.kernels import shifted_coactivity

    for n_neurons, n_bins in SIZES:
        for density in DENSITIES:
            activity = draw(n_neurons, n_bins, density)
            what = f"{SHUFFLES} circular shifts, {n_neurons} × {n_bins}, {density:.1%} active"
            ours = lambda activity=activity: shifted_coactivity(*activity, SHUFFLES, 0)  # noqa: E731
            pooled = ours().sum(axis=0), bincount_shuffles(activity, 100)
            means = [counts @ np.arange(len(counts)) / counts.sum() for counts in pooled]
            if not np.isclose(*means):
                raise SystemExit(f"the two count something else: {means}")
            few = max(1, repeats // 2) if n_neurons > 1000 else repeats
            add(what, "NumPy bincount", *in_turns(ours, lambda activity=activity: bincount_shuffles(activity), few), 15.0)
            rolled = _timed(lambda activity=activity: roll_shuffles(activity), 1) * SHUFFLES / ROLLED
            add(what, f"np.roll loop (scaled from {ROLLED})", _timed(ours, repeats), rolled, None)


def _pairs(repeats: int, add: Callable[..., None]) -> None:
    from calcium_engine.kernels import pair_overlaps

    n_neurons, n_bins = SIZES[0]
    for density in DENSITIES:
        activity = draw(n_neurons, n_bins, density)
        scale = n_neurons * (n_neurons - 1) / (PAIRED * (PAIRED - 1))
        ours, theirs = in_turns(lambda a=activity: pair_overlaps(*a), lambda a=activity: fft_pairs(a), repeats)
        what = f"every shift of every pair, {n_neurons} × {n_bins}, {density:.1%} active"
        add(what, f"NumPy FFT per pair (scaled from {PAIRED} neurons)", ours, theirs * scale, 10.0)


def _laws(repeats: int) -> dict[str, float]:
    """Seconds that exact laws take."""
    from calcium_engine.kernels import local_laws, poisson_binomial_pmf, poisson_binomial_sf

    rng, spent = np.random.default_rng(0), {}
    for n, allowed in LAWS.items():
        chance = np.minimum(0.025 * rng.lognormal(0.0, 0.8, n), 1.0)
        spent[f"exact null, {n:,} neurons (allowed {allowed:g})"] = _timed(
            lambda chance=chance: (poisson_binomial_pmf(chance), poisson_binomial_sf(chance)), repeats
        )
    for n_neurons, n_bins in SIZES:
        bins, offsets, _ = draw(n_neurons, n_bins, DENSITIES[0])
        centres, counts = np.arange(n_bins), round(4 * DENSITIES[0] * n_neurons + 60)
        spent[f"local null, a law for each bin, {n_neurons} × {n_bins}"] = _timed(
            lambda b=bins, o=offsets, c=centres, k=counts: local_laws(b, o, c, 24, k), repeats
        )
    return spent


def measure(repeats: int) -> dict[str, Any]:
    """Measure and print."""
    stages = Stages()
    _shuffles(repeats, stages.add)
    _pairs(repeats, stages.add)
    result: dict[str, Any] = {"time": stages.show()}
    result["laws_s"] = _laws(repeats)
    print()
    table(["", "ms"], [[name, 1000 * seconds] for name, seconds in result["laws_s"].items()])
    return result
