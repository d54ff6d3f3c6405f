"""Quantiles of whole rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _select(values, count, rank):
    """Put the value of 0-based `rank` among the first `count` in its place; none before it is larger (Hoare's quickselect)."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        a, b, c = values[low], values[middle], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]


@kernel
def _row_quantile(traces, quantile, out):
    for i in prange(traces.shape[0]):
        values = np.empty(traces.shape[1], traces.dtype)
        count = 0
        for t in range(traces.shape[1]):
            if not np.isnan(traces[i, t]):
                values[count] = traces[i, t]
                count += 1
        if count == 0:
            out[i] = np.nan
            continue
        position = quantile * (count - 1)
        rank = int(position)
        lower = float(_select(values, count, rank))
        upper = lower
        if rank + 1 < count:
            upper = float(values[rank + 1])
            for k in range(rank + 2, count):
                upper = min(upper, float(values[k]))
        out[i] = lower + (upper - lower) * (position - rank)


def row_quantile(traces: np.ndarray, quantile: float) -> np.ndarray:
    """Quantile of each row's samples that are not NaN, interpolated linearly between ranks; NaN for a row without any.

    >>> row_quantile(np.array([[3.0, 1.0, np.nan, 2.0]]), 0.5)
    array([2.])
    """
    out = np.empty(traces.shape[0])
    _row_quantile(traces, float(quantile), out)
    return out
