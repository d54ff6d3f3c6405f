"""Moments of whole rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import kernel


@kernel
def _row_moments(traces, out):
    for i in prange(traces.shape[0]):
        count = 0
        total = 0.0
        for t in range(traces.shape[1]):
            if not np.isnan(traces[i, t]):
                total += traces[i, t]
                count += 1
        out[i, 0] = count
        if count == 0:
            out[i, 1] = out[i, 2] = out[i, 3] = np.nan
            continue
        mean = total / count
        second = 0.0
        third = 0.0
        for t in range(traces.shape[1]):
            if not np.isnan(traces[i, t]):
                deviation = traces[i, t] - mean
                second += deviation * deviation
                third += deviation * deviation * deviation
        deviation = np.sqrt(second / count)
        out[i, 1] = mean
        out[i, 2] = deviation
        out[i, 3] = third / count / deviation**3 if deviation > 0.0 else np.nan


def row_moments(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean, standard deviation and skewness of each row's samples that are not NaN.

    >>> [float(moment[0]) for moment in row_moments(np.array([[1.0, 3.0, np.nan]]))]
    [2.0, 2.0, 1.0, 0.0]
    """
    out = np.empty((len(traces), 4))
    _row_moments(traces, out)
    return out[:, 0], out[:, 1], out[:, 2], out[:, 3]
