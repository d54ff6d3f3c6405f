"""The mode of a row, and the spread of what lies below it."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _half_sample_mode(ordered):
    """Half-sample mode (Bickel & Frühwirth 2006): keep the densest half until it is three values or fewer; their mean."""
    start = 0
    count = ordered.shape[0]
    while count > 3:
        half = (count + 1) // 2
        best = start
        for k in range(start, start + count - half + 1):
            if ordered[k + half - 1] - ordered[k] < ordered[best + half - 1] - ordered[best]:
                best = k
        start = best
        count = half
    total = 0.0
    for k in range(start, start + count):
        total += ordered[k]
    return total / count


@kernel
def _spread_below_mode(ordered, out):
    for i in prange(ordered.shape[0]):
        count = 0
        while count < ordered.shape[1] and not np.isnan(ordered[i, count]):
            count += 1
        if count < 3:
            out[i] = np.nan
            continue
        mode = _half_sample_mode(ordered[i, :count])
        power = 0.0
        below = 0
        while below < count and ordered[i, below] < mode:
            power += (ordered[i, below] - mode) ** 2
            below += 1
        out[i] = np.sqrt(power / below) if below > 0 else 0.0


def spread_below_mode(ordered: np.ndarray) -> np.ndarray:
    """Root mean square distance from each row's mode of the values below it; rows are sorted, NaN last, NaN under 3 values.

    >>> spread_below_mode(np.array([[-3.0, -1.0, 0.0, 0.0, 0.0, 9.0]])).round(3)
    array([2.236])
    """
    out = np.empty(len(ordered))
    _spread_below_mode(ordered, out)
    return out
