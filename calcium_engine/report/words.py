"""How the report writes numbers, counts and lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr


def number(value: float) -> str:
    """Return a number as a reader writes it.

    >>> number(12345.0), number(0.04166), number(3.2e-7), number(float("nan"))
    ('12,345', '0.0417', '3.2e-07', 'unknown')
    """
    if not np.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def several(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    >>> several(1, "neuron"), several(0, "neuron"), several(2, "is", "are")
    ('1 neuron', '0 neurons', '2 are')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listing(ids: Sequence[Any] | np.ndarray, most: int = 30) -> str:
    """Return ids as a list that stays short.

    >>> listing([1, 2, 3], most=2)
    '1, 2 and 1 more'
    """
    shown = ", ".join(str(one) for one in ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most:,} more"


def has(recording: xr.Dataset, *names: str) -> bool:
    """Return whether the recording holds all of these variables."""
    return all(name in recording.variables for name in names)


def spread(values: np.ndarray, unit: str, scale: float = 1.0) -> str:
    """Return the median of values and the range of the middle 90 %."""
    values = values[np.isfinite(values)] * scale
    if not values.size:
        return "unknown"
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{number(middle)} {unit} (90 % lie between {number(low)} and {number(high)})"
