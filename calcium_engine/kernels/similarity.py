"""Similarity of sets."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _ones(word):
    """Count the set bits of a 64-bit word (the compiler turns this into one instruction)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def _jaccard(words, sizes, out):
    for i in prange(words.shape[0]):
        for j in range(words.shape[0]):
            common = np.uint64(0)
            for k in range(words.shape[1]):
                common += _ones(words[i, k] & words[j, k])
            union = sizes[i] + sizes[j] - np.int64(common)
            out[i, j] = common / union if union > 0 else 0.0


def jaccard_similarity(participation: np.ndarray, *, condensed=False, dtype=np.float64) -> np.ndarray:
    """Jaccard similarity |A ∩ B| / |A ∪ B| of every pair of rows of a boolean array, as a square float64 array.

    Two empty rows have nothing in common: their similarity is 0, not 1, and so is an empty row's with itself.

    >>> jaccard_similarity(np.array([[True, True, False], [True, False, True]]))
    array([[1.        , 0.33333333],
           [0.33333333, 1.        ]])
    """
    rows = np.ascontiguousarray(participation, dtype=np.bool_)
    packed = np.packbits(rows, axis=1)
    words = np.zeros((rows.shape[0], -(-packed.shape[1] // 8) * 8), np.uint8)
    words[:, : packed.shape[1]] = packed
    out = np.empty((rows.shape[0], rows.shape[0]))
    _jaccard(words.view(np.uint64), rows.sum(axis=1, dtype=np.int64), out)
    return (out[np.triu_indices(len(out), 1)] if condensed else out).astype(dtype)
