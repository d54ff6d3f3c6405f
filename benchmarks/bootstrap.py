"""Measures with their uncertainty: what neurons add to each, pooled over seeds, and intervals from resampling the neurons."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from common import table

RESAMPLES = 1000
Bar = tuple[float, float]  # least and most


class Found(NamedTuple):
    """A measure's value, its 95 % interval, between what the middle 90 % of single neurons lie, and how many there are."""

    value: float
    low: float
    high: float
    neurons_low: float
    neurons_high: float
    neurons: int


@dataclass
class Measure:
    """One measure, by method and condition; the method that was added first is the default of calcium_engine.

    `statistic` makes the pooled value of what neurons add (arrays with a row a neuron); `bars` says what the default must reach
    under which condition.
    """

    name: str
    statistic: Callable[..., float]
    bars: Mapping[str, Bar] = field(default_factory=dict)
    digits: int = 2
    parts: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = field(default_factory=dict)

    def add(self, method: str, condition: str, *parts: np.ndarray) -> None:
        """Add the neurons of one recording."""
        self.parts.setdefault((method, condition), []).append(parts)

    def summary(self) -> dict[str, dict[str, Found]]:
        """Return what was found, by method and condition."""
        found: dict[str, dict[str, Found]] = {}
        for (method, condition), given in self.parts.items():
            pooled = [np.concatenate(part) for part in zip(*given, strict=True)]
            found.setdefault(method, {})[condition] = _judge(self.statistic, pooled)
        return found


def _judge(statistic: Callable[..., float], parts: list[np.ndarray]) -> Found:
    rng, n = np.random.default_rng(0), len(parts[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a neuron by itself may have nothing to show
        again = [statistic(*(part[rows] for part in parts)) for rows in rng.integers(n, size=(RESAMPLES, n))]
        single = [statistic(*(part[i : i + 1] for part in parts)) for i in range(n)]
        ends = (*np.nanpercentile(again, [2.5, 97.5]), *np.nanpercentile(single, [5, 95]))
    return Found(float(statistic(*parts)), *map(float, ends), n)


def within(bar: Bar) -> str:
    """A bar in words.

    >>> within((0.97, 1.03)), within((-1, 1)), within((4.9, math.inf)), within((0, 1.15))
    ('0.97 to 1.03', '-1 to 1', '≥ 4.9', '≤ 1.15')
    """
    least, most = bar
    if most == math.inf:
        return f"≥ {least:g}"
    return f"≤ {most:g}" if least == 0 else f"{least:g} to {most:g}"


def show(measure: Measure, found: Mapping[str, Mapping[str, Found]]) -> bool:
    """Print a measure's table, misses of a bar marked, and the verdicts on the default; return whether it meets all bars."""
    conditions = list(dict.fromkeys(condition for row in found.values() for condition in row))
    rows = [["bar", *(within(measure.bars[one]) if one in measure.bars else "-" for one in conditions)]] if measure.bars else []
    for method, row in found.items():
        rows.append([method, *(_cell(measure, row.get(one), measure.bars.get(one)) for one in conditions)])
    print(f"\n{measure.name} [95 % interval]{'; * misses the bar' if measure.bars else ''}")
    table(["", *conditions], rows)
    default = next(iter(found))
    met = True
    for condition, bar in measure.bars.items():
        passes = meets(found[default][condition].value, bar)
        met &= passes
        value = _cell(measure, found[default][condition])
        print(f"  {default}, {condition}: {value}, bar {within(bar)}: {'passes' if passes else 'FAILS'}")
    return met


def meets(value: float, bar: Bar) -> bool:
    """Whether the value itself lies within the bar, its ends included."""
    return bar[0] <= value <= bar[1]


def _cell(measure: Measure, found: Found | None, bar: Bar | None = None) -> str:
    if found is None:
        return ""
    value, low, high = (f"{number:.{measure.digits}f}" for number in found[:3])
    return f"{value}{'*' if bar is not None and not meets(found.value, bar) else ''} [{low}, {high}]"
