"""How an ensemble is known in every figure: by its number and its colour, and hollow where it is unstable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.artifacts import runs
from calcium_engine.plot._canvas import PALE, colour_of
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNSTABLE = 0.5  # split-half stability under which an ensemble is called unstable


def numbers(recording: xr.Dataset) -> np.ndarray:
    """Return the ensembles' numbers, in the order of their rows."""
    if "ensemble" in recording.coords:
        return np.asarray(recording["ensemble"].values)
    return np.arange(1, recording.sizes["ensemble"] + 1)


def unstable(recording: xr.Dataset) -> np.ndarray:
    """Return which ensembles are unstable; none where stability was not measured."""
    if "ensemble_stability" not in recording.variables:
        return np.zeros(recording.sizes.get("ensemble", 0), bool)
    return np.asarray(var("ensemble_stability").check(recording).values < UNSTABLE)


def names(recording: xr.Dataset) -> list[str]:
    """Return what ensembles are called beside their rows.

    >>> names(xr.Dataset({"ensemble_stability": ("ensemble", [0.9, 0.2])}))
    ['1', 'unstable 2']
    """
    return [f"{'unstable ' * bool(one)}{number}" for number, one in zip(numbers(recording), unstable(recording), strict=True)]


def room(recording: xr.Dataset) -> float:
    """Return the width that the names of ensembles and their axis' label take at the left of a figure, inches."""
    return 1.2 if unstable(recording).any() else 0.75


def hollow_of(recording: xr.Dataset) -> set[int]:
    """Return the numbers of the ensembles to draw hollow."""
    return {int(one) for one in numbers(recording)[unstable(recording)]} if "ensemble" in recording.dims else set()


def spans_of(inside: np.ndarray) -> list[tuple[float, float]]:
    """Return the edges of the runs of a mask, as cells lie around whole numbers.

    >>> spans_of(np.array([True, True, False, True]))
    [(-0.5, 1.5), (2.5, 3.5)]
    """
    return [(start - 0.5, stop - 0.5) for start, stop in runs(inside)]


def draw_bars(
    axes: Axes,
    spans: Sequence[tuple[float, float]],
    across: tuple[float, float],
    colours: str | Sequence[str],
    hollow: bool | Sequence[bool] = False,
    *,
    upright: bool = False,
    **how: Any,
) -> None:
    """Draw bars from start to stop along x (upright: along y), each as wide as `across`; hollow ones are outlines."""
    from matplotlib.collections import PolyCollection

    if not len(spans):
        return
    low, high = across
    corners = [[(start, low), (stop, low), (stop, high), (start, high)] for start, stop in spans]
    edges = [colours] * len(spans) if isinstance(colours, str) else list(colours)
    empty = [hollow] * len(spans) if isinstance(hollow, bool) else list(hollow)
    faces = ["white" if open_ else colour for colour, open_ in zip(edges, empty, strict=True)]
    widths = [0.9 if open_ else 0.0 for open_ in empty]
    shapes = [[(y, x) for x, y in one] for one in corners] if upright else corners
    bars = PolyCollection(shapes, facecolors=faces, edgecolors=edges, linewidths=widths, **how)
    axes.add_collection(bars, autolim=False)


def draw_strip(axes: Axes, labels: np.ndarray, upright: bool, hollow: set[int]) -> None:
    """Colour each row or column of a matrix by its ensemble, and number the ensembles that have room."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]])
    spans = [(start - 0.5, stop - 0.5) for start, stop in pairwise(edges.tolist())]
    owners = [int(labels[start]) for start in edges[:-1]]
    colours = [colour_of(one) if one > 0 else PALE for one in owners]
    draw_bars(axes, spans, (0.0, 1.0), colours, [one in hollow for one in owners], upright=upright)
    for ensemble, count in zip(*np.unique(labels[labels > 0], return_counts=True), strict=True):
        if count > 0.03 * len(labels):
            middle = float(np.median(np.flatnonzero(labels == ensemble)))
            x, y = (0.5, middle) if upright else (middle, 0.5)
            fill, ink = (colour_of(ensemble), "white")[:: -1 if int(ensemble) in hollow else 1]
            under = {"facecolor": fill, "edgecolor": "none", "pad": 0.6}  # readable where the ensemble is in pieces, too
            how: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": "small",
                "fontweight": "bold",
                "color": ink,
                "bbox": under,
            }
            axes.text(x, y, str(ensemble), **how)
    limits = (-0.5, len(labels) - 0.5)
    axes.set_ylim(limits[::-1] if upright else (0, 1))
    axes.set_xlim((0, 1) if upright else limits)
    axes.set_axis_off()
