"""What each argument of a simulation may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from calcium_engine.schema import CalciumError


def check_ranges(arguments: Mapping[str, Any], ranges: Mapping[str, tuple[float, float, bool]]) -> None:
    """Refuse numbers outside their (least, most, whole)."""
    for name, (least, most, whole) in ranges.items():
        value = arguments[name]
        kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds) or not (least <= value <= most and value < math.inf):
            bounds = f"of {least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
            raise CalciumError(f"{name} is {value!r}, but must be a {'whole ' if whole else ''}number {bounds}")
