"""When each ensemble is active, bin by bin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import GREY, breaks, colour_of, few_ticks, panels, say, styled, thinned, whole_time_axis
from calcium_engine.plot.coactivity import bin_width
from calcium_engine.plot.identity import names, numbers, room, unstable
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 30


@styled
def plot_activation(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw the activation of each ensemble over time, the bins in which it is activated in colour, and how often it is.

    Each row goes from 0 to 1, the share of the core that is active in the bin; of independent components, to the row's largest.
    Dots of unstable ensembles are hollow.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    activation = var("ensemble_activation").check(recording).values
    activated = var("is_activated").check(recording).values
    n_ensembles, n_bins = activation.shape
    size = (9.5, float(np.clip(0.42 * n_ensembles, 1.2, 6.5)) + 1.0)
    (panel,) = panels(axes, [["activation"]], size, margins=(room(recording), 0.85, 0.55, 0.4))
    unit = whole_time_axis(panel, recording)
    panel.set(ylabel="ensemble", ylim=(n_ensembles - 0.42 if n_ensembles else 1, -0.62))
    by_components = var("ensemble_event_label").check(recording).attrs.get("method") == "ica"
    what = "of independent components, each row to its largest" if by_components else "share of the core active in each bin"
    panel.set_title(f"activation: {what}")
    if not n_ensembles or not n_bins:
        panel.set_yticks([])
        say(panel, "no bins" if n_ensembles else "no ensembles")
        return panel
    time = recording["bin_time"].values
    height = _heights(activation, by_components)
    bounds = breaks(time, bin_width(recording))
    for row, (ensemble, empty) in enumerate(zip(numbers(recording), unstable(recording), strict=True)):
        t, y = thinned(time / unit, height[row], bounds)
        base = row + 0.4
        panel.axhline(base, color=GREY, lw=0.4)
        panel.plot(t, base - 0.85 * y, color=GREY, lw=0.5, rasterized=True)
        _draw_activated(panel, time[activated[row]] / unit, base, height[row][activated[row]], colour_of(ensemble), bool(empty))
    shown = few_ticks(n_ensembles, MOST_NAMES)
    panel.set_yticks(shown, [names(recording)[row] for row in shown])
    count = var("ensemble_activation_count").check(recording).values
    place = panel.get_yaxis_transform()
    panel.text(1.01, 1.01, "activations", transform=panel.transAxes, va="bottom", fontsize="small")
    for row in shown:
        panel.text(1.01, row, f"{int(count[row]):,}", transform=place, va="center", color=colour_of(numbers(recording)[row]))
    return panel


def _heights(activation: np.ndarray, by_components: bool) -> np.ndarray:
    """Return activation as a share of its row's height, from 0 to 1; that of components by its largest."""
    known = np.nan_to_num(activation)
    top = np.maximum(known.max(axis=1, keepdims=True), 1e-12) if by_components else 1.0
    return np.asarray(np.clip(activation / top, 0.0, 1.0))


def _draw_activated(axes: Axes, time: np.ndarray, base: float, height: np.ndarray, colour: str, hollow: bool) -> None:
    from matplotlib.collections import LineCollection

    top = base - 0.85 * height
    stems = [[(t, base), (t, y)] for t, y in zip(time, top, strict=True)]
    axes.add_collection(LineCollection(stems, colors=colour, linewidths=0.8, rasterized=True), autolim=False)
    axes.plot(time, top, "o", color=colour, ms=3, mew=0.8, mfc="white" if hollow else colour, ls="none", rasterized=True)
