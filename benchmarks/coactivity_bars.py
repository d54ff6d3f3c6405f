"""What must be reached: one bar of many, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from common import shown, table


class Bar(NamedTuple):
    """A value that must lie between two others, its ends included."""

    name: str
    what: str
    value: float
    most: float
    least: float = -math.inf

    @property
    def met(self) -> bool:
        """Whether it does; what is no number does not."""
        return self.least <= self.value <= self.most

    @property
    def words(self) -> str:
        """The bar in words.

        >>> Bar("A1", "", 1.0, 2.0).words, Bar("A1", "", 1.0, 2.0, 1.0).words, Bar("A1", "", 1.0, math.inf, 3.0).words
        ('≤ 2', '1 to 2', '≥ 3')
        """
        if self.most == math.inf:
            return f"≥ {shown(self.least)}"
        return f"≤ {shown(self.most)}" if self.least == -math.inf else f"{shown(self.least)} to {shown(self.most)}"


def show(bars: Iterable[Bar]) -> bool:
    """Print how many of each bar's parts are met, and which are not; return whether all are."""
    bars = list(bars)
    names = sorted(dict.fromkeys(bar.name for bar in bars))
    print("\nbars")
    table(
        ["", "met", "of"],
        [[name, sum(b.met for b in bars if b.name == name), sum(b.name == name for b in bars)] for name in names],
    )
    missed = [bar for bar in bars if not bar.met]
    if missed:
        print("\nmissed")
        table(["", "", "value", "bar"], [[bar.name, bar.what, float(bar.value), bar.words] for bar in missed])
    return not missed
