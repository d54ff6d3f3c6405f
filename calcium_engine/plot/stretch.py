"""Which neurons and which seconds of a recording a figure shows, where it cannot show them all."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import event_rows, span
from calcium_engine.plot.sample import some_of
from calcium_engine.schema import TRACES, CalciumError, epoch_bounds, latest_trace, var

STRETCH = 120.0  # seconds: long enough for several transients, short enough to see the shape of each


def representatives(recording: xr.Dataset, number: int) -> np.ndarray:
    """Pick neurons from the most active to the median one of those that have events; without events, by how far traces spread."""
    if "event_neuron" in recording.variables and recording.sizes.get("event", 0):
        merit = np.bincount(event_rows(recording), minlength=recording.sizes["neuron"]).astype(float)
    else:
        array = var(latest_trace(recording, TRACES)).check(recording)
        looked_at = some_of(np.arange(recording.sizes["neuron"]), array)
        values = (array if len(looked_at) == len(array) else array.isel(neuron=looked_at)).values
        merit = np.zeros(len(array))
        merit[looked_at] = np.where(np.isfinite(values), values, 0.0).std(axis=1)
        merit /= max(float(merit.max(initial=0.0)), 1e-12)
    candidates = np.flatnonzero(merit > 0)
    if candidates.size == 0:
        candidates = np.arange(recording.sizes["neuron"])
    order = candidates[np.argsort(-merit[candidates], kind="stable")]
    chosen = np.linspace(0.03, 0.5, min(number, len(order))) * (len(order) - 1)
    return order[np.unique(np.round(chosen).astype(int))] if len(order) > 2 * number else order[:number]


def stretch(recording: xr.Dataset, rows: np.ndarray, start: float | None, duration: float | None) -> tuple[float, float]:
    """Return the first and last second to enlarge: by default where these neurons have the most events."""
    first, last = span(recording)
    length = min(STRETCH, last - first) if duration is None else float(duration)
    if not (np.isfinite(length) and length > 0):
        raise CalciumError(f"duration is {length} s, but must be a positive number of seconds")
    if start is not None:
        if not first <= start < last:
            raise CalciumError(f"start is {start:g} s, outside the recording ({first:g} to {last:g} s)")
        return float(start), float(start) + length
    begin = first
    if "event_onset" in recording.variables:
        onset = np.sort(recording["event_onset"].values[np.isin(event_rows(recording), rows)])
        if onset.size:
            until = np.searchsorted(onset, onset + 0.9 * length)
            begin = float(onset[np.argmax(until - np.arange(onset.size))]) - 0.05 * length
    begin = float(np.clip(begin, first, max(first, last - length)))
    return begin, begin + length


def frames_within(recording: xr.Dataset, window: tuple[float, float]) -> tuple[slice, np.ndarray, np.ndarray]:
    """Return the frames of a stretch, their times, and the bounds of the epochs among them."""
    time = recording["time"].values
    begin, end = np.searchsorted(time, window[0]), max(np.searchsorted(time, window[1]), np.searchsorted(time, window[0]) + 1)
    bounds = np.unique(np.clip(epoch_bounds(recording), begin, end)) - begin
    return slice(int(begin), int(end)), time[begin:end], bounds


def over(unit: float, line: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return line[0] / unit, line[1]
