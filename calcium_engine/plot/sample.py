"""Some neurons in place of all, for figures and sentences about traces that are not in memory but read from a store."""

from __future__ import annotations

import numpy as np
import xarray as xr

MOST_READ = 64  # neurons: enough for medians and smooth curves, a few chunks of a store


def is_read(array: xr.DataArray) -> bool:
    """Return whether values are read or computed when they are used, not there already."""
    return not array._in_memory


def some_of(rows: np.ndarray, array: xr.DataArray, most: int = MOST_READ) -> np.ndarray:
    """Return the rows where the traces are in memory or few are asked for, else so many of them, evenly spread.

    >>> some_of(np.arange(3), xr.DataArray(np.zeros((3, 5)), dims=("neuron", "frame"))).tolist()
    [0, 1, 2]
    """
    if len(rows) <= most or not is_read(array):
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
