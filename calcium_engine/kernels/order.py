"""Quantiles of whole rows."""

from __future__ import annotations

import numpy as np

from calcium_engine.kernels.gaps import has_gaps


def row_quantile(traces: np.ndarray, quantile: float) -> np.ndarray:
    """Quantile of each row's samples that are not NaN, interpolated linearly between ranks; NaN for a row without any.

    NumPy's partition puts NaN last, so that rows with the same number of valid samples share their ranks and are done together.
    It is faster than a compiled quickselect on two threads.

    >>> row_quantile(np.array([[3.0, 1.0, np.nan, 2.0]]), 0.5)
    array([2.])
    """
    n = traces.shape[1]
    valid = n - np.count_nonzero(np.isnan(traces), axis=1) if has_gaps(traces) else np.full(len(traces), n)
    out = np.full(len(traces), np.nan)
    for count in np.unique(valid[valid > 0]):
        rows = valid == count
        position = quantile * (count - 1)
        rank = int(position)
        ordered = np.partition(traces if rows.all() else traces[rows], rank, axis=1)
        lower = ordered[:, rank].astype(np.float64)
        upper = ordered[:, rank + 1 : count].min(axis=1) if rank + 1 < count else lower
        out[rows] = lower + (upper - lower) * (position - rank)
    return out
