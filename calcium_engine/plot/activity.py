"""Events of the population: the raster, and the distributions of what was measured on each event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.events import event_epochs
from calcium_engine.indicators import get_indicator
from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    VERMILLION,
    event_rows,
    few_ticks,
    own_events,
    panels,
    positions,
    say,
    span,
    styled,
    text,
    whole_numbers,
    whole_time_axis,
)
from calcium_engine.plot.naming import label, shown_in
from calcium_engine.schema import TRACES, CalciumError, sampling_rate, var

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


def draw_marks(axes: Axes, times: np.ndarray, levels: np.ndarray, rows: int, colour: str) -> None:
    """Draw a short upright mark at each time and row, as high as a row."""
    points = axes.get_window_extent().height / axes.figure.dpi * 72 / max(rows, 1)
    height = float(np.clip(0.85 * points, 1.6, 12.0))
    axes.plot(times, levels, "|", color=colour, ms=height, mew=0.8 if rows < 100 else 0.6, ls="none", rasterized=True)


def neuron_axis(axes: Axes, ids: np.ndarray, what: str = "neuron id") -> None:
    """Give the upright axis one row a neuron, and name some of them."""
    ticks = few_ticks(len(ids), 20 if len(ids) <= 20 else 10)
    axes.set_yticks(ticks, [text(one) for one in ids[ticks]])
    axes.set_ylim(-0.7, len(ids) - 0.3)
    axes.set_ylabel(what)


@styled
def plot_features(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the population's event rate over the recording, and how rates, amplitudes, FWHM and inter-event intervals spread.

    Args:
        recording: a recording with features (`compute_features`).
        axes: five Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        five Axes: rate over time, rates of neurons, amplitudes, FWHM, intervals.

    Raises:
        MissingVariableError: no features were computed yet.
    """
    rate = var("event_rate").check(recording).values
    recording = own_events(recording)
    onset = var("event_onset").check(recording).values
    mosaic = [["time"] * 4, ["rate", "amplitude", "fwhm", "interval"]]
    made = panels(axes, mosaic, (10.5, 5.2), gaps=(0.55, 0.75), heights=(1, 1.1))
    over_time, rates, amplitudes, widths, intervals = made
    _rate_over_time(over_time, recording, onset)
    _histogram(rates, rate, "min⁻¹", log=False, nothing="no rates")
    rates.set(xlabel=label(recording["event_rate"]), ylabel="neurons")
    amplitude = var("event_amplitude").check(recording)
    scale, unit = shown_in(amplitude)
    _histogram(amplitudes, scale * amplitude.values, unit)
    amplitudes.set(xlabel=f"event amplitude ({unit}{' ΔF/F' if unit == '%' else ''})", ylabel="events")
    _histogram(widths, var("event_fwhm").check(recording).values, "s")
    widths.set_xlabel("event FWHM (s)")
    longest = _longest_fwhm(recording)
    if longest and onset.size:
        widths.axvline(longest[1], color=VERMILLION, lw=1.2, ls="--", label=f"longest of {longest[0]}")
        widths.set_ylim(top=1.2 * widths.get_ylim()[1])
        widths.legend(framealpha=0.9, edgecolor="none", loc="upper right", borderaxespad=0.1)
    _histogram(intervals, intervals_of(recording), "s", nothing="no intervals")
    intervals.set_xlabel("inter-event interval (s)")
    return np.array(made, dtype=object)


def _rate_over_time(axes: Axes, recording: xr.Dataset, onset: np.ndarray) -> None:
    """Events per neuron and minute of valid samples, in about a hundred stretches of time."""
    unit = whole_time_axis(axes, recording)
    first, last = span(recording)
    edges = np.linspace(first, last, int(np.clip((last - first) / 5, 5, 100)) + 1)
    time = recording["time"].values
    watched = np.histogram(time, edges, weights=_valid_neurons(recording))[0] / sampling_rate(recording) / 60
    counts = np.histogram(onset, edges)[0]
    # A stretch that was hardly watched has no rate.
    rate = np.where(watched > 0.1 * watched.max(initial=0.0), counts / np.maximum(watched, 1e-12), np.nan)
    axes.stairs(rate, edges / unit, color=INK, lw=0.9, baseline=None)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="events per neuron (min⁻¹)", title=f"event rate over the recording, in steps of {edges[1] - edges[0]:.3g} s")
    if not onset.size:
        say(axes, "no events")


def _valid_neurons(recording: xr.Dataset) -> np.ndarray:
    """Return how many neurons have a valid sample in each frame."""
    for name in TRACES:
        if name in recording.variables:
            return np.asarray(var(name).check(recording).notnull().sum("neuron").values, dtype=float)
    return np.full(recording.sizes["frame"], float(recording.sizes["neuron"]))


def _histogram(axes: Axes, values: np.ndarray, unit: str, *, log: bool = True, nothing: str = "no events") -> None:
    """Draw a distribution and its median; on a logarithmic axis, for what spreads over decades."""
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        say(axes, nothing)
        return
    low, high = float(values.min()), float(values.max())
    bins = int(np.clip(2 * np.sqrt(values.size), 8, 30))
    if log:
        edges = np.geomspace(low / 1.05, high * 1.05, bins + 1)
        log_axis(axes, "x", high / low)
    else:
        edges = np.linspace(min(0.0, low), high or 1.0, bins + 1)
    axes.hist(values, edges.tolist(), color=GREY)
    whole_numbers(axes.yaxis)
    middle = float(np.median(values))
    axes.axvline(middle, color=BLUE, lw=1.4)
    axes.set_title(f"median {middle:.3g} {unit}", color=BLUE)


def log_axis(axes: Axes, which: str, ratio: float) -> None:
    """Make an axis logarithmic, with plain numbers: decades only where there are many, else some between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(
        LogLocator(subs=(1.0,) if ratio > 60 else (1.0, 2.0, 5.0) if ratio > 8 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def intervals_of(recording: xr.Dataset) -> np.ndarray:
    """Return the times between successive onsets of the same neuron, s, within epochs."""
    onset = var("event_onset").check(recording).values
    rows = event_rows(recording)
    order = np.lexsort((onset, rows))
    rows, onset = rows[order], onset[order]
    epoch = event_epochs(recording)[order]
    same = (np.diff(rows) == 0) & (np.diff(epoch) == 0)
    return np.asarray(np.diff(onset)[same])


def _longest_fwhm(recording: xr.Dataset) -> tuple[str, float] | None:
    """Return the indicator's name and the widest event that it should show, where the indicator is known."""
    name = recording["event_fwhm"].attrs.get("indicator", recording.attrs.get("indicator"))
    try:
        indicator = get_indicator(str(name))
    except CalciumError:
        return None
    return indicator.name, indicator.longest_fwhm
