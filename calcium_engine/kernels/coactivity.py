"""Coactivity under circular shifts: sampled, and in closed form."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _mixed(key):
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood 2014): neighbouring keys give unrelated values."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@inline
def _shift(seed, shuffle, neuron, n_bins):
    """Uniform shift from 0 to n_bins - 1, a pure function of (seed, shuffle, neuron)."""
    key = _mixed(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    key = _mixed(key ^ (np.uint64(shuffle) + np.uint64(0x9E3779B97F4A7C15)))
    key = _mixed(key ^ (np.uint64(neuron) + np.uint64(0x9E3779B97F4A7C15)))
    return np.int64(((key >> np.uint64(32)) * np.uint64(n_bins)) >> np.uint64(32))


@kernel
def _shifted_coactivity(bins, offsets, n_bins, seed, histograms):
    for shuffle in prange(histograms.shape[0]):
        counts = np.zeros(n_bins, np.int32)
        for neuron in range(offsets.shape[0] - 1):
            if offsets[neuron] == offsets[neuron + 1]:
                continue
            shift = _shift(seed, shuffle, neuron, n_bins)
            for k in range(offsets[neuron], offsets[neuron + 1]):
                b = bins[k] + shift
                if b >= n_bins:
                    b -= n_bins
                counts[b] += 1
        for b in range(n_bins):
            histograms[shuffle, counts[b]] += 1


def shifted_coactivity(bins: np.ndarray, offsets: np.ndarray, n_bins: int, shuffles: int, seed: int) -> np.ndarray:
    """How many bins hold how many coactive neurons, in each of many circular shuffles.

    In a shuffle every neuron's active bins are shifted round the recording by a uniform number of bins of its own. Shifts are a
    pure function of (seed, shuffle, neuron), so that counts do not depend on threads or order.

    Args:
        bins: active bins of all neurons, one neuron after the other, each bin once per neuron.
        offsets: neuron i's bins are `bins[offsets[i]:offsets[i + 1]]`.
        n_bins: bins of the recording, below 2**32.
        shuffles: number of shuffles.
        seed: a non-negative integer.

    Returns:
        shuffle × count: the number of bins with that many coactive neurons, for counts 0 to the number of neurons.
    """
    histograms = np.zeros((shuffles, len(offsets)), np.int32)
    _shifted_coactivity(np.asarray(bins, np.int64), np.asarray(offsets, np.int64), int(n_bins), np.uint64(seed), histograms)
    return histograms


def poisson_binomial_pmf(probabilities: np.ndarray) -> np.ndarray:
    """Distribution of the number of successes among independent trials with unequal probabilities.

    It is the exact law of the coactivity in a bin under independent uniform circular shifts, where neuron i, active in k_i of B
    bins, is active in any given bin with probability k_i / B. All terms are positive, so that the far tail keeps its precision.

    Args:
        probabilities: trial, each from 0 to 1.

    Returns:
        Probability of 0, 1, ..., n successes.

    >>> poisson_binomial_pmf(np.array([0.5, 0.5]))
    array([0.25, 0.5 , 0.25])
    """
    law = np.zeros(len(probabilities) + 1)
    law[0] = 1.0
    for n, p in enumerate(probabilities[probabilities > 0], start=1):  # trials that never succeed change nothing
        law[1 : n + 1] = law[1 : n + 1] * (1.0 - p) + law[:n] * p
        law[0] *= 1.0 - p
    return law


def poisson_binomial_sf(probabilities: np.ndarray) -> np.ndarray:
    """Chance of at least 0, 1, ..., n successes: the law's tail, summed from its far end so that small terms are not lost.

    >>> poisson_binomial_sf(np.array([0.5, 0.5]))
    array([1.  , 0.75, 0.25])
    """
    return np.minimum(np.cumsum(poisson_binomial_pmf(probabilities)[::-1])[::-1], 1.0)
