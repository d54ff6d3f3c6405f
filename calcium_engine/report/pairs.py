"""What a recording says of its pairs of neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.report.words import has, number, several


def about_pairs(recording: xr.Dataset) -> list[str]:
    """Say how many pairs were tested and found, the strongest, and what so many bins can show at all; nothing if not run."""
    if not has(recording, "is_pair_significant", "pair_pvalue", "pair_z"):
        return []
    rules = recording["is_pair_significant"].attrs
    tested = np.triu(np.isfinite(recording["pair_pvalue"].values), 1)
    n = int(tested.sum())
    if not n:
        return ["No pairs of neurons were compared: fewer than two are ever active."]
    found = int(np.triu(recording["is_pair_significant"].values, 1).sum())
    rate = f" at a false-discovery rate of {number(float(rules['alpha']))}" if "alpha" in rules else ""
    said = [
        f"Of {several(n, 'pair')} of active neurons, {several(found, 'is', 'are')} active together in more bins than shifts of "
        f"one against the other explain{rate} ({number(100 * found / n)} %)."
    ]
    return [*said, *_about_strongest(recording, tested), *_about_floor(recording, tested, rules, found)]


def _about_strongest(recording: xr.Dataset, tested: np.ndarray) -> list[str]:
    z = np.where(tested & np.isfinite(recording["pair_z"].values), recording["pair_z"].values, -np.inf)
    i, j = np.unravel_index(np.argmax(z), z.shape)
    if not np.isfinite(z[i, j]):
        return []
    one, other = recording["neuron"].values[i], recording["neuron_other"].values[j]
    common = several(int(recording["pair_overlap"].values[i, j]), "common bin")
    adjusted = number(float(recording["pair_jaccard_adjusted"].values[i, j]))
    return [
        f"The strongest is that of neurons {one} and {other}: {common}, z {number(z[i, j])}, chance-adjusted Jaccard similarity "
        f"{adjusted}."
    ]


def _about_floor(recording: xr.Dataset, tested: np.ndarray, rules: dict[Any, Any], found: int) -> list[str]:
    """Say what p-value a pair can attain, and how many pairs must be significant together for any to be."""
    if not {"smallest_pvalue", "fewest_significant"} <= set(rules):
        return []
    smallest, fewest = float(rules["smallest_pvalue"]), int(rules["fewest_significant"])
    there = int((recording["pair_pvalue"].values[tested] < 1.5 * smallest).sum())
    line = f"No p-value can be under {number(smallest)}, one shift of all; {several(there, 'pair has', 'pairs have')} that."
    if fewest <= 1:
        return [line]
    few = " The few that stand out cannot show as significant, however strong." if there and not found else ""
    return [f"{line} Among so many tests, {fewest:,} pairs can be significant together, but no fewer.{few}"]
