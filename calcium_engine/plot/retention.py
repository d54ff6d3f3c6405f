"""What cleaning left of planted transients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import GREY, INK, PALE, panels, say, styled
from calcium_engine.plot.naming import meaning
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From narrow to wide, each darker than the one before, so that they can be told apart without colours.
WIDTH_COLOURS = ("#7FBCE6", "#3D8FC9", "#135A91", "#06243D")
MARKERS = "osD^"
KEPT = (0.97, 1.03)  # a transient within this band is as good as untouched


@styled
def plot_retention(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw how much of planted transients cleaning left: their amplitude above, their width below, stage by stage.

    A share of 100 % (grey line) is a transient that passed untouched; the grey band is 97 to 103 %.

    Args:
        recording: a recording whose cleaning was tested (`retention_test`).
        axes: Axes to draw on, two a stage, or a Figure or SubFigure; by default a new figure.

    Returns:
        array of Axes: amplitude and width × stage.

    Raises:
        MissingVariableError: the cleaning was not tested yet.
    """
    amplitude, fwhm = var("retention_amplitude").check(recording), var("retention_fwhm").check(recording)
    stages = recording["retention_stage"].values
    mosaic = [[f"{row} {stage}" for stage in stages] for row in ("amplitude", "fwhm")]
    size = (2.75 * len(stages) + 1.9, 5.2)
    grid = np.array(panels(axes, mosaic, size, margins=(0.75, 1.15, 0.55, 0.35), gaps=(0.25, 0.25)), dtype=object)
    grid = grid.reshape(2, len(stages))
    for row, shares in zip(grid, (amplitude, fwhm), strict=True):
        _draw(row, shares)
    for column, stage in enumerate(stages):
        in_hand = recording.get(str(stage))
        grid[0, column].set_title(var(str(stage)).long_name if in_hand is None else meaning(in_hand))
        grid[1, column].set_xlabel("planted amplitude (% ΔF/F)")
        grid[0, column].tick_params(labelbottom=False)
        if not recording["retention_count"].values.any():
            say(grid[0, column], "no transients planted")
        if "slow_attenuation" in recording.variables:
            _say_attenuation(grid[0, column], float(var("slow_attenuation").check(recording)[column]))
    grid[0, 0].set_ylabel("amplitude left (% of planted)")
    grid[1, 0].set_ylabel("FWHM left (% of planted)")
    handles, labels = grid[0, -1].get_legend_handles_labels()
    grid[0, -1].legend(handles, labels, title="planted\nFWHM", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return grid


def _draw(row: np.ndarray, shares: xr.DataArray) -> None:
    """Draw one measure of all stages, on one scale."""
    values = 100 * shares.values
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (100.0, 100.0)
    for column, panel in enumerate(row):
        panel.axhspan(100 * KEPT[0], 100 * KEPT[1], color=PALE, alpha=0.6, lw=0, zorder=0)
        panel.axhline(100, color=GREY, lw=0.8, zorder=1)
        for i, fwhm in enumerate(shares["planted_fwhm"].values):
            colour, marker = WIDTH_COLOURS[i % len(WIDTH_COLOURS)], MARKERS[i % len(MARKERS)]
            style = {"color": colour, "marker": marker, "ms": 4.5, "lw": 1.3, "mec": INK, "mew": 0.4}
            panel.plot(100 * shares["planted_amplitude"].values, values[column, i], label=f"{fwhm:g} s", **style)
        panel.set_xscale("log")
        at = 100 * shares["planted_amplitude"].values
        panel.set_xticks(at, [f"{one:g}" for one in at])
        panel.minorticks_off()
        panel.set_ylim(min(low - 5, 80), max(high + 5, 110))
        panel.tick_params(labelleft=column == 0)


def _say_attenuation(axes: Axes, decibels: float) -> None:
    if np.isfinite(decibels):
        text = f"60 s wave: {-decibels:.1f} dB".replace("-", "−")
        axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", color=INK, fontsize="small")
