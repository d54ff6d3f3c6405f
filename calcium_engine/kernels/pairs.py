"""Pairs of neurons: how often they are active together, and how often they would be at every shift of one against the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calcium_engine.kernels.bitslices import _pair_overlaps
from calcium_engine.kernels.shifts import pack_twice

# Measured: so many differences between single events take about as long as a word of 64 shifts for each event of the other neuron
DIFFERENCES_PER_WORD = 0.2


class PairOverlaps(NamedTuple):
    """Neuron × neuron; the diagonal is 0, and 1 for the p-value."""

    overlap: np.ndarray  # bins in which both are active
    pvalue: np.ndarray  # share of shifts with at least this overlap
    jaccard_expected: np.ndarray  # mean Jaccard similarity over all shifts
    jaccard_deviation: np.ndarray  # and its standard deviation


def pair_overlaps(bins: np.ndarray, offsets: np.ndarray, n_bins: int) -> PairOverlaps:
    """How many bins each pair of neurons shares, and the exact law of that under circular shifts.

    Two neurons that are shifted independently round the recording come to lie in one of `n_bins` relative shifts, all equally
    likely. Every one of them is looked at: by the differences between all their events where these are few, else by adding up the
    other neuron's bits as shifted by each event, 64 shifts at a time. Both give the same whole numbers.

    Args:
        bins: active bins of all neurons, one neuron after the other, ascending, each bin once per neuron.
        offsets: neuron i's bins are `bins[offsets[i]:offsets[i + 1]]`.
        n_bins: bins of the recording, below 2**31.

    Returns:
        Overlap, its p-value (at least 1 / n_bins, since the shift as recorded is one of them), mean and standard deviation of the
        Jaccard similarity over all shifts (0 for neurons without activity).

    >>> pair_overlaps(np.array([0, 4, 0, 4]), np.array([0, 2, 4]), 10).pvalue
    array([[1. , 0.1],
           [0.1, 1. ]])
    """
    offsets = np.asarray(offsets, np.int64)
    n = len(offsets) - 1
    words, stride = pack_twice(bins, offsets, n_bins)
    overlap = np.zeros((n, n), np.int32)
    pvalue, mean, deviation = np.ones((n, n)), np.zeros((n, n)), np.zeros((n, n))
    dense_over = np.int64(DIFFERENCES_PER_WORD * -(-n_bins // 64))
    _pair_overlaps(words, stride, np.asarray(bins, np.int64), offsets, n_bins, dense_over, overlap, pvalue, mean, deviation)
    return PairOverlaps(overlap, pvalue, mean, deviation)
