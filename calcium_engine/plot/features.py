"""How the population's events spread: how often they come, how large they are, how long they last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.events import event_epochs
from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    VERMILLION,
    event_rows,
    log_axis,
    own_events,
    panels,
    say,
    span,
    styled,
    whole_numbers,
    whole_time_axis,
)
from calcium_engine.plot.expected import expected_measures, indicator_of
from calcium_engine.plot.naming import label, shown_in
from calcium_engine.plot.sample import some_of
from calcium_engine.schema import TRACES, sampling_rate, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_features(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the population's event rate over the recording, and how rates, intervals, amplitudes and durations spread.

    Blue lines are medians. Dashed lines are what the indicator lets expect of one action potential: the 20-80 % rise and the FWHM
    as frames of this length sample them, and the decay constant. The FWHM that one event should not exceed is dotted.

    Args:
        recording: a recording with features (`compute_features`).
        axes: seven Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        seven Axes: rate over time, rates of neurons, intervals, amplitudes, rise times, FWHM, decay times.

    Raises:
        MissingVariableError: no features were computed yet.
    """
    rate = var("event_rate").check(recording)
    recording = own_events(recording)
    onset = var("event_onset").check(recording).values
    mosaic = [["time"] * 3, ["rate", "interval", "amplitude"], ["rise", "fwhm", "decay"]]
    made = panels(axes, mosaic, (10.5, 6.9), gaps=(0.6, 0.8), heights=(0.9, 1, 1))
    _rate_over_time(made[0], recording, onset)
    _histogram(made[1], rate.values, "min⁻¹", log=False, nothing="no rates")
    made[1].set(xlabel=label(rate), ylabel="neurons")
    _histogram(made[2], intervals_of(recording), "s", nothing="no intervals")
    made[2].set(xlabel="inter-event interval (s)", ylabel="intervals")
    amplitude = var("event_amplitude").check(recording)
    scale, unit = shown_in(amplitude)
    _histogram(made[3], scale * amplitude.values, unit)
    made[3].set(xlabel=f"event amplitude ({unit}{' ΔF/F' if unit == '%' else ''})", ylabel="events")
    indicator = indicator_of(recording)
    expected = expected_measures(indicator, sampling_rate(recording)) if indicator and onset.size else {}
    names = {"rise": "event rise time (s)", "fwhm": "event FWHM (s)", "decay": "event decay time to 1/e (s)"}
    for panel, (name, said) in zip(made[4:], names.items(), strict=True):
        held = f"event_{name}" in recording.variables
        values = var(f"event_{name}").check(recording).values if held else np.zeros(0)
        _histogram(panel, values, "s", nothing="no events" if held else f"no event_{name} in this recording")
        panel.set(xlabel=said, ylabel="events")
        if indicator and np.isfinite(values).any():
            limit = indicator.longest_fwhm if name == "fwhm" else None
            _expect(panel, expected.get(name), limit, indicator.name)
    return np.array(made, dtype=object)


def _expect(axes: Axes, value: float | None, limit: float | None, indicator: str) -> None:
    """Mark what one action potential should measure, and what one event should not exceed."""
    if value is not None:
        axes.axvline(value, color=VERMILLION, lw=1.3, ls="--", label=f"{indicator}, 1 AP: {value:.2g} s")
    if limit is not None:
        axes.axvline(limit, color=INK, lw=1.2, ls=":", label=f"longest of {indicator}: {limit:g} s")
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
    axes.legend(framealpha=0.9, edgecolor="none", loc="upper right", borderaxespad=0.1, handlelength=1.6)


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
    axes.set(ylabel="events per neuron\n(min⁻¹)", title=f"event rate over the recording, in steps of {edges[1] - edges[0]:.3g} s")
    if not onset.size:
        say(axes, "no events")


def _valid_neurons(recording: xr.Dataset) -> np.ndarray:
    """Return how many neurons have a valid sample in each frame; of traces that are read from a store, by some of them."""
    for name in TRACES:
        if name in recording.variables:
            array = var(name).check(recording)
            rows = some_of(np.arange(len(array)), array)
            watched = (array if len(rows) == len(array) else array.isel(neuron=rows)).notnull().sum("neuron").values
            return np.asarray(watched, dtype=float) * (len(array) / max(1, len(rows)))
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


def intervals_of(recording: xr.Dataset) -> np.ndarray:
    """Return the times between successive onsets of the same neuron, s, within epochs."""
    onset = var("event_onset").check(recording).values
    rows = event_rows(recording)
    order = np.lexsort((onset, rows))
    rows, onset = rows[order], onset[order]
    epoch = event_epochs(recording)[order]
    same = (np.diff(rows) == 0) & (np.diff(epoch) == 0)
    return np.asarray(np.diff(onset)[same])
