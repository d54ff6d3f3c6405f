"""Coactivity over time, and its counts against what chance gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILLION,
    breaks,
    panels,
    say,
    styled,
    thinned,
    whole_numbers,
    whole_time_axis,
)
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_coactivity(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw how many neurons start an event in each bin, what chance expects, the threshold, and the bins above it.

    Args:
        recording: a recording with `coactivity` (`compute_coactivity`); the rest where `find_ensemble_events` was run.
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: coactivity was not computed yet.
    """
    coactivity = var("coactivity").check(recording)
    counts, time = coactivity.values, recording["bin_time"].values
    (panel,) = panels(axes, [["coactivity"]], (9.5, 3.4))
    unit = whole_time_axis(panel, recording)
    width = bin_width(recording)
    bounds = breaks(time, width)
    _line(panel, time / unit, counts, bounds, color="#555555", lw=0.5, rasterized=True)
    if "coactivity_expected" in recording.variables:
        expected = var("coactivity_expected").check(recording).values
        _line(
            panel,
            time / unit,
            expected,
            bounds,
            color=BLUE,
            lw=1.2,
            label=f"expected by chance ({np.nanmean(expected):.2g} on average)",
        )
    if "is_coactive" in recording.variables:
        _mark_significant(panel, recording, time / unit, counts)
    if len(panel.get_legend_handles_labels()[0]):
        panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, borderaxespad=0.1, columnspacing=1.2)
    panel.set_ylim(0, max(float(counts.max(initial=0)), threshold_of(recording) or 0.0, 1.0) * 1.08)
    panel.set_ylabel("coactive neurons (count)")
    whole_numbers(panel.yaxis)
    panel.set_title(f"coactivity, {1000 * width:.0f} ms bins", loc="left")
    if not counts.any():
        say(panel, "no coactive neurons" if counts.size else "no bins")
    return panel


def _line(axes: Axes, time: np.ndarray, values: np.ndarray, bounds: np.ndarray, **style: Any) -> None:
    if len(time):
        axes.plot(*thinned(time, values, bounds), **style)


def _mark_significant(axes: Axes, recording: xr.Dataset, time: np.ndarray, counts: np.ndarray) -> None:
    significant = var("is_coactive").check(recording).values
    threshold = threshold_of(recording)
    if threshold is not None:
        axes.axhline(threshold, color=VERMILLION, lw=1, ls="--", label=f"threshold ({threshold:g} neurons)")
    many = f"{int(significant.sum())} significant bin{'' if significant.sum() == 1 else 's'}"
    axes.plot(time[significant], counts[significant], "o", color=VERMILLION, ms=2.6, mew=0, ls="none", label=many)


@styled
def plot_null(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw the share of bins with each number of coactive neurons: observed against chance, on a logarithmic axis.

    Args:
        recording: a recording with ensemble events sought (`find_ensemble_events`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensemble events were not sought yet.
    """
    counts = var("coactivity").check(recording).values
    null = var("coactivity_null").check(recording)
    (panel,) = panels(axes, [["null"]], (6.0, 4.0), margins=(0.85, 0.7, 0.55, 0.35))
    n = max(counts.size, 1)
    at = null["count"].values if "count" in null.coords else np.arange(null.sizes["count"])
    observed = np.bincount(counts, minlength=1) if counts.size else np.zeros(1)
    seen = np.flatnonzero(observed)
    floor = 0.2 / n
    threshold = threshold_of(recording)
    chance = null.values > floor
    last = max([float(seen.max(initial=0)), float(at[chance].max(initial=0)), threshold or 0.0])
    if threshold is not None:
        panel.axvspan(threshold - 0.5, last + 1, color=VERMILLION, alpha=0.1, lw=0)
        panel.axvline(threshold - 0.5, color=VERMILLION, lw=1, ls="--", label=_threshold_label(recording, counts, threshold))
    panel.plot(at[chance], null.values[chance], color=BLUE, lw=1.6, label="chance (null)")
    panel.plot(seen, observed[seen] / n, "o", color=INK, ms=3.5, label="observed")
    panel.axhline(1 / n, color=PALE, lw=0.8, zorder=0)
    panel.text(1.01, 1 / n, "one bin", transform=panel.get_yaxis_transform(), color=GREY, va="center")
    panel.set(yscale="log", xlim=(-0.6, last + 1), ylim=(floor, 2.0))
    panel.set(xlabel="coactive neurons in a bin (count)", ylabel="share of bins", title="coactivity against chance")
    panel.legend(loc="upper right", framealpha=0.9, edgecolor="none")
    if not counts.any():
        say(panel, "no coactive neurons")
    return panel


def _threshold_label(recording: xr.Dataset, counts: np.ndarray, threshold: float) -> str:
    expected = recording["is_coactive"].attrs.get("expected_false_bins")
    by_chance = "" if expected is None else f", {float(expected):.2g} by chance"
    return f"{threshold:g} or more: {int((counts >= threshold).sum())} bins{by_chance}"


def threshold_of(recording: xr.Dataset) -> float | None:
    """Return the smallest significant count, where ensemble events were sought and a count can be significant at all."""
    if "is_coactive" not in recording.variables:
        return None
    threshold = recording["is_coactive"].attrs.get("threshold")
    usable = threshold is not None and 0 < float(threshold) <= recording.sizes["neuron"]
    return float(threshold) if usable and threshold is not None else None


def bin_width(recording: xr.Dataset) -> float:
    """Return the width of a bin as it came out in whole frames, s."""
    stored = recording["coactivity"].attrs.get("bin_width_s")
    if stored is not None:
        return float(stored)
    time = recording["bin_time"].values
    return float(np.median(np.diff(time))) if time.size > 1 else float("nan")
