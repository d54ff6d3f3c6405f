"""The average transient: what an isolated event looks like, and whether it is what the indicator makes of an action potential."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.events import event_epochs
from calcium_engine.indicators import Indicator
from calcium_engine.plot._canvas import BLUE, PALE, VERMILLION, event_rows, own_events, panels, say, styled
from calcium_engine.plot.expected import expected_transient, indicator_of
from calcium_engine.plot.naming import meaning, shown_in
from calcium_engine.plot.sample import some_of
from calcium_engine.schema import DFF_TRACES, EVENT_FLAGS, epoch_bounds, latest_trace, sampling_rate, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE = 2.0  # s, and less for fast indicators: as much as two decay constants
TAUS = 4.0  # decay constants after which a transient is over
TAU = 1.25  # s, where the indicator is not known
NOT_ISOLATED = ("compound", "edge", "onset_unseen")
MOST = 4000  # events: enough for smooth curves, few enough for any recording
POINTS = 150
NEURONS_AT_ONCE = 64
# From small to large amplitudes, each darker than the one before, so that they can be told apart without colours.
GROUP_COLOURS = ("#7FBCE6", "#3D8FC9", "#135A91", "#06243D")


@styled
def plot_transient(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the average transient of isolated events, aligned at their onsets, against what the indicator lets expect.

    Left, every event is taken from its base and divided by its own amplitude: the median must start at 0 and come near 1; the
    band holds the middle half of the events. The dashed line is one action potential of the indicator as frames of this length
    sample it. What lies over it decays more slowly: several action potentials, a smoothed trace, or another indicator. Right,
    medians of the traces as they are, by amplitude: where they start over or under 0, F0 is off.

    Args:
        recording: a recording with events (`detect_events`) and the trace on which they were sought; where that is read from a
            store, the events of 64 neurons are drawn.
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: in shares of the amplitude, and by amplitude.

    Raises:
        MissingVariableError: no events were sought yet, or the recording holds no ΔF/F.
    """
    recording = own_events(recording)
    var("event_onset").check(recording)
    sought = str(recording["event_onset"].attrs.get("trace"))
    array = var(sought if sought in recording.variables else latest_trace(recording, DFF_TRACES[:2])).check(recording)
    indicator = indicator_of(recording)
    tau = indicator.tau if indicator else TAU
    before, after = min(BEFORE, 2.0 * tau), TAUS * tau
    seconds = np.linspace(-before, after, POINTS)
    alone = isolated(recording, before + after, after)
    own = event_rows(recording)[alone]
    usable = alone[np.isin(own, some_of(np.unique(own), array))]
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(len(usable), MOST)).astype(int))] if len(usable) else usable
    scaled, raw = panels(axes, [["scaled", "raw"]], (10.5, 3.9), gaps=(0.85, 0.6), margins=(0.75, 0.2, 0.55, 0.4))
    values = _around(recording, array, chosen, seconds)
    _draw_scaled(scaled, recording, values, chosen, seconds)
    if indicator and len(chosen):
        _draw_expected(scaled, indicator, sampling_rate(recording), seconds)
    some = f" ({len(chosen):,} drawn)" if len(chosen) < len(alone) else ""
    scaled.set_title(f"{len(alone):,} isolated of {recording.sizes['event']:,} events{some}")
    _draw_groups(raw, recording, shown_in(array)[0] * values, chosen, seconds)
    raw.set_title("the same events, median trace by amplitude")
    raw.set_ylabel(f"{meaning(array)} ({shown_in(array)[1]})")
    for panel in (scaled, raw):
        panel.axvline(0, color=PALE, lw=0.8, zorder=0)
        panel.axhline(0, color=PALE, lw=0.8, zorder=0)
        panel.set(xlim=(-before, after), xlabel="time from onset (s)")
        if panel.get_legend_handles_labels()[1]:
            panel.legend(frameon=False, loc="upper right", handlelength=1.6, borderaxespad=0.1)
    return np.array([scaled, raw], dtype=object)


def isolated(recording: xr.Dataset, before: float, after: float) -> np.ndarray:
    """Return the events before and after whose onset no other event of their neuron begins for so many seconds."""
    onset, rows = var("event_onset").check(recording).values, event_rows(recording)
    order = np.lexsort((onset, rows))
    apart = np.where(np.diff(rows[order]) == 0, np.diff(onset[order]), np.inf)
    alone = np.zeros(len(onset), dtype=bool)
    alone[order] = (np.append(np.inf, apart) >= before)[: len(onset)] & (np.append(apart, np.inf) >= after)[: len(onset)]
    if "event_flags" in recording.variables:
        flags = recording["event_flags"].values.astype(np.int64)
        alone &= flags & sum(EVENT_FLAGS[name] for name in NOT_ISOLATED) == 0
    return np.flatnonzero(alone)


def _around(recording: xr.Dataset, array: xr.DataArray, chosen: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the trace around each event, event × second, read between frames; NaN beyond its epoch."""
    time, bounds = recording["time"].values, epoch_bounds(recording)
    rows, epoch = event_rows(recording)[chosen], event_epochs(recording)[chosen]
    when = recording["event_onset"].values[chosen][:, None] + seconds
    outside = (when < time[bounds[epoch]][:, None]) | (when > time[bounds[epoch + 1] - 1][:, None])
    place = np.interp(when, time, np.arange(len(time)))
    left = np.minimum(place.astype(np.int64), max(len(time) - 2, 0))
    right = np.minimum(left + 1, len(time) - 1)
    out = np.full(when.shape, np.nan)
    used = np.unique(rows)
    for first in range(0, len(used), NEURONS_AT_ONCE):
        some = used[first : first + NEURONS_AT_ONCE]
        traces = array.isel(neuron=some).values
        own = np.flatnonzero(np.isin(rows, some))
        of = np.searchsorted(some, rows[own])[:, None]
        share = place[own] - left[own]
        out[own] = (1 - share) * traces[of, left[own]] + share * traces[of, right[own]]
    return np.where(outside, np.nan, out)


def _quantiles(values: np.ndarray, shares: list[float]) -> np.ndarray:
    """Return quantiles over events, share × second; NaN where no event has a valid sample."""
    out = np.full((len(shares), values.shape[1]), np.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        out[:, known] = np.nanquantile(values[:, known], shares, axis=0)
    return out


def _draw_scaled(axes: Axes, recording: xr.Dataset, values: np.ndarray, chosen: np.ndarray, seconds: np.ndarray) -> None:
    """Draw the median of the events in units of their own amplitude, and the band of the middle half."""
    axes.set_ylabel("share of the event's amplitude")
    amplitude = var("event_amplitude").check(recording).values[chosen]
    if "event_peak_dff" in recording.variables:
        base = var("event_peak_dff").check(recording).values[chosen] - amplitude
    else:  # an older recording: the level before the onset
        base = _quantiles(values[:, seconds < -0.25].T, [0.5])[0]
    usable = amplitude > 0
    shares = (values[usable] - base[usable, None]) / amplitude[usable, None]
    low, middle, high = _quantiles(shares, [0.25, 0.5, 0.75])
    if not np.isfinite(middle).any():
        say(axes, "no isolated events" if not len(chosen) else "no valid samples around isolated events")
        return
    axes.fill_between(seconds, low, high, color=BLUE, alpha=0.2, lw=0, label="middle half of the events")
    axes.plot(seconds, middle, color=BLUE, lw=1.6, label="median of the events")
    axes.axhline(1, color=PALE, lw=0.8, zorder=0)
    spread = float(np.nanmax(high) - np.nanmin(low))
    axes.set_ylim(float(np.nanmin(low)) - 0.05 * spread, float(np.nanmax(high)) + 0.25 * spread)


def _draw_expected(axes: Axes, indicator: Indicator, rate: float, seconds: np.ndarray) -> None:
    shape = expected_transient(indicator, rate, seconds)
    axes.plot(seconds, shape, "--", color=VERMILLION, lw=1.4, label=f"one action potential of {indicator.name}, sampled alike")


def _draw_groups(axes: Axes, recording: xr.Dataset, values: np.ndarray, chosen: np.ndarray, seconds: np.ndarray) -> None:
    """Draw the median trace of each fourth of the events, from the smallest to the largest."""
    amplitude = var("event_amplitude").check(recording)
    scale, unit = shown_in(amplitude)
    order = np.argsort(amplitude.values[chosen], kind="stable")
    groups = int(np.clip(len(order) // 4, 1, len(GROUP_COLOURS)))
    edges = np.linspace(0, len(order), groups + 1).astype(int)
    for (first, last), colour in zip(pairwise(edges), GROUP_COLOURS[-groups:], strict=True):
        own = order[first:last]
        (middle,) = _quantiles(values[own], [0.5])
        if np.isfinite(middle).any():
            low, high = scale * amplitude.values[chosen][own[[0, -1]]]
            axes.plot(seconds, middle, color=colour, lw=1.5, label=f"{_short(low)} to {_short(high)} {unit} (n = {len(own):,})")
    if not axes.get_legend_handles_labels()[1]:
        say(axes, "no isolated events")
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # room for the legend


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
