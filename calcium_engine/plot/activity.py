"""Events of the population: the raster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    INK,
    event_rows,
    few_ticks,
    own_events,
    panels,
    positions,
    say,
    styled,
    text,
    whole_time_axis,
)
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_raster(recording: xr.Dataset, neurons: Any = None, *, axes: Any = None) -> Axes:
    """Draw the raster: a mark at every event's onset, time × neuron id.

    Args:
        recording: a recording with events (`detect_events`).
        neurons: ids, from bottom to top; by default all of them.
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: no events were sought yet.
        CalciumError: unknown neuron id.
    """
    recording = own_events(recording)
    onset = var("event_onset").check(recording).values
    rows = positions(recording, neurons)
    size = (9.5, float(np.clip(0.22 * len(rows), 2.2, 5.2)) + 0.9)
    (panel,) = panels(axes, [["raster"]], size)
    level = np.full(recording.sizes["neuron"], -1)
    level[rows] = np.arange(len(rows))
    heights = level[event_rows(recording)]
    shown = heights >= 0
    unit = whole_time_axis(panel, recording)
    draw_marks(panel, onset[shown] / unit, heights[shown], len(rows), INK)
    neuron_axis(panel, recording["neuron"].values[rows])
    panel.set_title(f"event onsets ({int(shown.sum()):,} events of {len(rows):,} {'neuron' if len(rows) == 1 else 'neurons'})")
    if not shown.any():
        say(panel, "no events")
    return panel


def draw_marks(axes: Axes, times: np.ndarray, levels: np.ndarray, rows: int, colour: str, hollow: bool = False) -> None:
    """Draw a short upright mark at each time and row, as high as a row; hollow ones are open circles."""
    points = axes.get_window_extent().height / axes.figure.dpi * 72 / max(rows, 1)
    height, width = float(np.clip(0.85 * points, 1.6, 12.0)), 0.8 if rows < 100 else 0.6
    shape: dict[str, Any] = {"marker": "|", "ms": height, "mew": width}
    if hollow:
        shape = {"marker": "o", "ms": float(np.clip(height, 1.8, 4.5)), "mew": 0.8 if height > 3 else 0.45, "mfc": "white"}
    axes.plot(times, levels, color=colour, ls="none", rasterized=True, **shape)


def neuron_axis(axes: Axes, ids: np.ndarray, what: str = "neuron id") -> None:
    """Give the upright axis one row a neuron, and name some of them."""
    ticks = few_ticks(len(ids), 20 if len(ids) <= 20 else 10)
    axes.set_yticks(ticks, [text(one) for one in ids[ticks]])
    axes.set_ylim(-0.7, len(ids) - 0.3)
    axes.set_ylabel(what)
