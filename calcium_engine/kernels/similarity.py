"""Similarity of sets."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import DTypeLike

from calcium_engine.kernels._jit import kernel, ones_of

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end
TILE = 64  # rows that one row is compared with at a time
# Rows that are compared with a tile before the next tile's turn. Few, and what they write lies in pages that the system has just
# cleared, which the caches still hold; many, and the rows of a mirrored tile are long. Measured, as is TILE.
STRIP, MIRRORED_STRIP = 64, 128
APART = 8  # numbers between the rows of a mirrored tile: a column of it must not fall on few lines of the cache


@kernel
def _jaccard(words, sizes, order, height, starts, mirror, out):
    """Compare each row with the tiles of rows from its own on; write what comes of it to its place, and mirrored.

    All in one: a function for one row and one tile would take about as long to be handed its arrays as to count.
    """
    n = starts.shape[0]
    for p in prange(order.shape[0]):
        common, block = np.empty(TILE, np.uint64), np.empty((height, TILE + APART), out.dtype)
        top = order[p] * height
        for tile in range(top // TILE, words.shape[0]):
            left = tile * TILE
            width = min(TILE, n - left)
            for i in range(top, min(top + height, left + TILE, n)):
                own, row, at = U(i) // U(TILE), U(i) % U(TILE), U(i - top if mirror else 0)
                for c in range(TILE):
                    common[U(c)] = U(0)
                for k in range(0, words.shape[1], 2):
                    one, two = words[own, U(k), row], words[own, U(k + 1), row]
                    for c in range(TILE):
                        common[U(c)] += ones_of(one & words[U(tile), U(k), U(c)]) + ones_of(two & words[U(tile), U(k + 1), U(c)])
                for c in range(TILE):
                    shared = np.int32(common[U(c)])
                    union = np.int32(sizes[own, row] + sizes[U(tile), U(c)] - shared)
                    # NumPy's division, which does not look for a divisor of 0 as Python's does: there is none
                    block[at, U(c)] = np.divide(out.dtype.type(shared), out.dtype.type(union))
                place = starts[i] + left
                for c in range(0 if mirror else max(i + 1 - left, 0), width):
                    out[U(place + c)] = block[at, U(c)]
            if mirror:
                for c in range(width):
                    place = starts[left + c] + top
                    for r in range(min(height, left - top)):
                        out[U(place + r)] = block[U(r), U(c)]


def _pack(participation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits of the rows as tile × word × row, and how many are set as tile × row: at least 1, so that a union is never empty."""
    rows = np.ascontiguousarray(participation, dtype=np.bool_)
    packed = np.packbits(rows, axis=1)
    n_tiles, n_words = -(-len(rows) // TILE), 2 * -(-packed.shape[1] // 16)
    padded = np.zeros((n_tiles * TILE, 8 * n_words), np.uint8)
    padded[: len(rows), : packed.shape[1]] = packed
    by_row = padded.view(np.uint64).reshape(n_tiles, TILE, n_words)
    spare = np.empty(by_row.size + 8, np.uint64)
    start = -spare.ctypes.data // 8 % 8  # at a line of the cache, so that no vector of words lies in two
    words = spare[start : start + by_row.size].reshape(n_tiles, n_words, TILE)
    words[:] = by_row.transpose(0, 2, 1)
    return words, np.maximum(np.bitwise_count(by_row).sum(axis=2, dtype=np.int32), 1)


def jaccard_similarity(participation: np.ndarray, *, condensed: bool = False, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Jaccard similarity |A ∩ B| / |A ∪ B| of every pair of rows of a boolean array.

    Two empty rows have nothing in common: their similarity is 0, not 1, and so is an empty row's with itself.

    Args:
        participation: row × column; whatever is not 0 is True.
        condensed: False (default) gives every pair twice, as a square; True once, in half the memory.
        dtype: float64 (default), or float32: the quotient of whole numbers, rounded once, as long as they are below 2**24.

    Returns:
        The square, symmetric to the bit; or, condensed, the pairs (0, 1), (0, 2) … (1, 2) … in the order of SciPy's `pdist`. (Its
        `linkage` takes distances: `numpy.subtract(1, similarity, out=similarity)`.) Beside it, three bits are held for each
        element of participation, and a byte where it is not boolean, row after row.

    Raises:
        ValueError: participation is not two-dimensional, or the dtype is another.

    >>> jaccard_similarity(np.array([[True, True, False], [True, False, True]]))
    array([[1.        , 0.33333333],
           [0.33333333, 1.        ]])
    """
    if np.ndim(participation) != 2:
        raise ValueError(f"participation must have two dimensions, one row for each set, but has {np.ndim(participation)}")
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, but is {np.dtype(dtype)}")
    words, sizes = _pack(participation)
    n, height = len(participation), STRIP if condensed else MIRRORED_STRIP
    strips = np.arange(-(-n // height))
    # long strips of the triangle and short ones in turns: each thread takes as many, one after the other
    order = np.stack([strips, strips[::-1]], axis=1).ravel()[: len(strips)]
    rows = np.arange(n)
    starts = rows * (2 * n - rows - 1) // 2 - rows - 1 if condensed else rows * n  # where (row, 0) would lie
    out = np.empty(n * (n - 1) // 2 if condensed else n * n, dtype)
    _jaccard(words, sizes, order, height, starts, not condensed, out)
    return out if condensed else out.reshape(n, n)
