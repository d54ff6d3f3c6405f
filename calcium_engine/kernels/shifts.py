"""Circular shifts: every neuron's active bins round the recording by a shift of its own, and what that leaves of coactivity."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import kernel
from calcium_engine.kernels.bitslices import _shifted_histograms, whole_words
from calcium_engine.kernels.surrogates import draw_shifts

DRAWN_AT_ONCE = 2**22  # shifts
# Measured: adding one row of 64 bins to bit planes takes about as long as counting so many single events
WORD_IN_EVENTS = 0.55


@kernel
def _sparse_histograms(bins, offsets, n_bins, shifts, out):
    U = np.uint64
    for shuffle in prange(shifts.shape[0]):
        counts = np.zeros(n_bins, np.int32)
        for i in range(shifts.shape[1]):
            shift = U(shifts[shuffle, i])
            own = bins[offsets[i] : offsets[i + 1]]
            wraps = U(np.searchsorted(own, n_bins - shifts[shuffle, i]))
            for k in range(wraps):
                counts[U(own[U(k)]) + shift] += np.int32(1)
            shift -= U(n_bins)  # modulo 2^64, and so does the sum come back
            for k in range(wraps, U(own.shape[0])):
                counts[U(own[U(k)]) + shift] += np.int32(1)
        for b in range(n_bins):
            out[shuffle, counts[b]] += 1


def shifted_coactivity(
    bins: np.ndarray, offsets: np.ndarray, n_bins: int, shuffles: int, seed: int, *, keys: np.ndarray | None = None
) -> np.ndarray:
    """How many bins hold how many coactive neurons, in each of many circular shuffles.

    In a shuffle every neuron's active bins are shifted round the recording by a uniform number of bins of its own. Shifts are a
    pure function of (seed, shuffle, neuron's key), so that counts do not depend on threads or order. Active bins are counted one
    by one where they are few, as bits of whole words where they are many; the counts are the same.

    Args:
        bins: active bins of all neurons, one neuron after the other, ascending, each bin once per neuron.
        offsets: neuron i's bins are `bins[offsets[i]:offsets[i + 1]]`.
        n_bins: bins of the recording, below 2**31.
        shuffles: number of shuffles.
        seed: a non-negative integer.
        keys: a whole number for each neuron, by which its shifts are drawn; by default its position. Neurons with the same key
            are shifted together.

    Returns:
        shuffle × count: the number of bins with that many coactive neurons, for counts from 0 to the largest that came up.
    """
    n_neurons, offsets = len(offsets) - 1, np.asarray(offsets, np.int64)
    keys = np.arange(n_neurons, dtype=np.uint64) if keys is None else np.asarray(keys).astype(np.uint64)
    dense = n_neurons > 0 and n_neurons * whole_words(n_bins) * WORD_IN_EVENTS < len(bins)
    words, stride = pack_twice(bins, offsets, n_bins) if dense else (np.zeros(0, np.uint64), 0)
    short = np.asarray(bins, np.int32)
    at_once = max(1, DRAWN_AT_ONCE // max(n_neurons, 1))
    found = []
    for first in range(0, shuffles, at_once):
        shifts = draw_shifts(seed, first, min(at_once, shuffles - first), keys, n_bins)
        part = np.zeros((len(shifts), n_neurons + 1), np.int32)
        if dense:
            _shifted_histograms(words, stride, n_bins, shifts, part)
        else:
            _sparse_histograms(short, offsets, n_bins, shifts, part)
        found.append(part[:, : 1 + int(np.flatnonzero(part.any(axis=0)).max(initial=0))])
    out = np.zeros((shuffles, max((part.shape[1] for part in found), default=1)), np.int32)
    for k, part in enumerate(found):
        out[k * at_once : k * at_once + len(part), : part.shape[1]] = part
    return out


@kernel
def _pack_twice(bins, offsets, n_bins, words):
    for i in prange(offsets.shape[0] - 1):
        for k in range(offsets[i], offsets[i + 1]):
            for place in (bins[k], bins[k] + n_bins):
                words[i, place >> 6] |= np.uint64(1) << np.uint64(place & 63)


def pack_twice(bins: np.ndarray, offsets: np.ndarray, n_bins: int) -> tuple[np.ndarray, int]:
    """Pack each neuron's active bins into bits, twice in a row, and a last row of nothing; return words, and words a row."""
    stride = -(-n_bins // 64) + whole_words(n_bins) + 2  # what is read from the last bit on ends within the row
    words = np.zeros((len(offsets), stride), np.uint64)
    _pack_twice(np.asarray(bins, np.int64), np.asarray(offsets, np.int64), n_bins, words)
    return words.reshape(-1), stride
