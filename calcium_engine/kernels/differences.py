"""Differences from frame to frame."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import kernel


@kernel
def _absolute_differences(traces, order, out):
    for i in prange(out.shape[0]):
        for t in range(out.shape[1]):
            if order == 1:
                out[i, t] = abs(traces[i, t + 1] - traces[i, t])
            else:
                out[i, t] = abs(traces[i, t + 2] - 2 * traces[i, t + 1] + traces[i, t])


def absolute_differences(traces: np.ndarray, order: int) -> np.ndarray:
    """Absolute first or second differences of each row; a NaN makes those that it takes part in NaN.

    >>> absolute_differences(np.array([[1.0, 2.0, 5.0, 5.0]]), 2)
    array([[2., 3.]])
    """
    out = np.empty((traces.shape[0], max(traces.shape[1] - order, 0)), traces.dtype)
    _absolute_differences(traces, order, out)
    return out
