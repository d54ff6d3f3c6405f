"""Peaks that clear a threshold, and the shape of the transient around each.

Events are ragged: neuron i's are entries `offsets[i]:offsets[i + 1]` of flat columns, in order of time. Times are frames
here, with fractions. No search crosses an epoch's edge or a NaN.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

COMPOUND, CENSORED, EDGE, UNSEEN = 1, 4, 8, 16
COLUMNS = ("onset", "peak", "offset", "amplitude", "peak_value", "fwhm", "rise", "decay", "area")
RISE = (0.8, 0.5, 0.2)
FALL = (0.5, float(np.exp(-1.0)), 0.2)


@inline
def _row_peaks(x, high, low, separation, shortest, bounds, fill, out):
    """Walk each run over `low` that comes over `high`; a summit over `high` counts once the trace has fallen `separation` below.

    Most frames are neither: they are passed by one comparison each.
    """
    count = 0
    for epoch in range(bounds.shape[0] - 1):
        t = bounds[epoch]
        stop = bounds[epoch + 1]
        free = t
        while t < stop:
            if not x[t] > high:
                t += 1
                continue
            while t > free and x[t - 1] > low:
                t -= 1
            begin = t
            before = count
            top = t
            bottom = t
            rising = True
            while t < stop and x[t] > low:
                if rising:
                    if x[t] > x[top]:
                        top = t
                    elif x[t] < x[top] - separation:
                        if x[top] > high:
                            if fill and count < out.shape[0]:
                                out[count] = top
                            count += 1
                        bottom = t
                        rising = False
                elif x[t] < x[bottom]:
                    bottom = t
                elif x[t] > x[bottom] + separation:
                    top = t
                    rising = True
                t += 1
            if rising and x[top] > high:
                if fill and count < out.shape[0]:  # a run that proves too short may hold more than there is room for
                    out[count] = top
                count += 1
            if t - begin < shortest:
                count = before
            free = t
    return count


@kernel
def _find_peaks(traces, high, low, separation, shortest, bounds, offsets, fill, counts, peaks):
    for i in prange(traces.shape[0]):
        out = peaks[offsets[i] : offsets[i + 1]]
        counts[i] = _row_peaks(traces[i], high[i], low[i], separation[i], shortest, bounds, fill, out)


def find_peaks(
    traces: np.ndarray, high: np.ndarray, low: np.ndarray, separation: np.ndarray, shortest: int, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of each trace above its threshold, stacked ones apart.

    A run is a stretch over `low`; in it, a peak is a maximum over `high` that is parted from the next by a valley at least
    `separation` below both of them. A run of fewer than `shortest` frames counts for nothing.

    Args:
        traces: neuron × frame; NaN ends a run.
        high: neuron, the level that a peak exceeds.
        low: neuron, the level that ends a run.
        separation: neuron, the least depth of a valley between two peaks of a run.
        shortest: frames.
        bounds: the first frame of each epoch, then the number of frames.

    Returns:
        Offsets (neuron + 1) and the flat frames of the peaks: neuron i's are `peaks[offsets[i]:offsets[i + 1]]`.
    """
    n = traces.shape[0]
    levels = [np.ascontiguousarray(level, np.float64) for level in (high, low, separation)]
    bounds = np.asarray(bounds, np.int64)
    counts = np.zeros(n, np.int64)
    _find_peaks(traces, *levels, int(shortest), bounds, np.zeros(n + 1, np.int64), False, counts, np.zeros(0, np.int64))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    peaks = np.zeros(offsets[-1], np.int64)
    _find_peaks(traces, *levels, int(shortest), bounds, offsets, True, counts, peaks)
    return offsets, peaks


@inline
def _summit(x, frame):
    """Time of the maximum of the parabola through a peak and its neighbours."""
    if frame == 0 or frame == x.shape[0] - 1:
        return float(frame)
    bend = x[frame - 1] - 2.0 * x[frame] + x[frame + 1]
    if not bend < 0.0:
        return float(frame)
    return frame + min(max(0.5 * (x[frame - 1] - x[frame + 1]) / bend, -0.5), 0.5)


@inline
def _lowest(x, start, stop):
    lowest = start
    for t in range(start + 1, stop):
        if x[t] < x[lowest] or np.isnan(x[lowest]):
            lowest = t
    return lowest


@inline
def _rise(x, rest, left, valley, powers, peak, start, amplitude, times):
    """Last times before the peak at which the trace is under 0.8, 0.5 and 0.2 of the amplitude over the base, between frames.

    Times that do not come back to `start` stay -1. Returns the first frame that was looked at: later than `start` where the trace
    is missing before it.
    """
    above = amplitude
    share = 0
    for t in range(peak - 1, start - 1, -1):
        here = x[t] - rest - left * powers[t - valley]
        if np.isnan(here):
            return t + 1
        while here < RISE[share] * amplitude:
            times[share] = t + (RISE[share] * amplitude - here) / (above - here)
            share += 1
            if share == 3:
                return start
        above = here
    return start


@inline
def _fall(x, rest, left, valley, powers, peak, stop, amplitude, times):
    """First times after the peak at which the trace is under 0.5, 1/e and 0.2 of the amplitude over the base; as `_rise`."""
    above = amplitude
    share = 0
    for t in range(peak + 1, stop + 1):
        here = x[t] - rest - left * powers[t - valley]
        if np.isnan(here):
            return t - 1
        while here < FALL[share] * amplitude:
            times[share] = t - (FALL[share] * amplitude - here) / (above - here)
            share += 1
            if share == 3:
                return stop
        above = here
    return stop


@inline
def _measure(x, rest, tau, powers, peak, valley, start, stop, row, rise, fall):
    """Fill one event's row of COLUMNS and return its flags; it lies within frames start..stop, both included."""
    flags = 0
    # what the transient before left at the valley decays on under this one
    left = max(x[valley] - rest, 0.0) if valley >= 0 else 0.0
    origin = valley if valley >= 0 else start
    amplitude = x[peak] - rest - left * powers[peak - origin]
    row[3] = amplitude
    row[4] = x[peak]
    if not amplitude > 0.0:
        row[0] = row[1] = row[2] = peak
        return flags
    if left > 0.2 * amplitude:
        flags |= COMPOUND
    rise[:] = -1.0
    fall[:] = -1.0
    first = _rise(x, rest, left, origin, powers, peak, start, amplitude, rise)
    last = _fall(x, rest, left, origin, powers, peak, stop, amplitude, fall)
    onset, offset = rise[2], fall[2]
    if onset < 0.0:
        # under way since an epoch's edge, a missing frame, or the event before
        if first > start or valley < 0:
            flags |= EDGE | UNSEEN
        onset = float(first)
    if offset < 0.0:
        if last < stop:
            flags |= EDGE
        offset = float(last)
    before, after = rise[1], fall[0]
    if before < 0.0:
        before = onset
        flags |= CENSORED
    if after < 0.0:
        # cut off: its own decay is continued to half height
        height = x[last] - rest - left * powers[last - origin]
        after = last + tau * np.log(max(height / (0.5 * amplitude), 1.0))
        flags |= CENSORED
    time = min(max(_summit(x, peak), onset), offset)
    area = 0.0
    for t in range(int(np.ceil(onset)), int(np.floor(offset)) + 1):
        area += x[t] - rest - left * powers[t - origin]
    row[0] = onset
    row[1] = time
    row[2] = offset
    row[5] = after - before
    row[6] = rise[0] - onset if rise[0] >= 0.0 and rise[2] >= 0.0 else np.nan
    row[7] = fall[1] - time if fall[1] >= 0.0 else np.nan
    row[8] = area
    return flags


@kernel
def _measure_events(traces, rest, tau, powers, reach, bounds, offsets, peaks, table, flags, frames):
    for i in prange(traces.shape[0]):
        x = traces[i]
        rise, fall = np.empty(3), np.empty(3)
        first, last = offsets[i], offsets[i + 1]
        epoch = 0
        previous = -1
        # the summit of the measured trace near each detection, and the valley before it (-1: no event before it in its epoch)
        valleys = np.empty(last - first, np.int64)
        for k in range(first, last):
            while bounds[epoch + 1] <= peaks[k]:
                epoch += 1
                previous = -1
            start = max(peaks[k] - reach, bounds[epoch], previous + 1)
            stop = min(peaks[k] + reach + 1, bounds[epoch + 1])
            if k + 1 < last:
                stop = min(stop, (peaks[k] + peaks[k + 1]) // 2 + 1)
            top = max(peaks[k], start)
            for t in range(start, stop):
                if x[t] > x[top] or np.isnan(x[top]):
                    top = t
            # a burst of spikes may rise for longer than one of them
            limit = min(peaks[k + 1] - reach, bounds[epoch + 1]) if k + 1 < last else bounds[epoch + 1]
            while top + 1 < limit and x[top + 1] > x[top]:
                top += 1
            valleys[k - first] = _lowest(x, previous, top) if previous >= 0 else -1
            frames[k] = top
            previous = top
        epoch = 0
        for k in range(first, last):
            while bounds[epoch + 1] <= frames[k]:
                epoch += 1
            valley = valleys[k - first]
            start = valley if valley >= 0 else bounds[epoch]
            if k + 1 < last and valleys[k + 1 - first] >= 0:
                stop = valleys[k + 1 - first]
                flags[k] = _measure(x, rest[i], tau, powers, frames[k], valley, start, stop, table[k], rise, fall)
            else:
                stop = bounds[epoch + 1] - 1
                flags[k] = _measure(x, rest[i], tau, powers, frames[k], valley, start, stop, table[k], rise, fall)
                if table[k, 2] >= stop:
                    flags[k] |= EDGE


def measure_events(
    traces: np.ndarray, rest: np.ndarray, tau: float, reach: int, bounds: np.ndarray, offsets: np.ndarray, peaks: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Onset, peak, offset, amplitude, widths and area of the transient at each detected peak.

    The base under an event is its neuron's resting level, plus what the transient before it left at the valley between them,
    decaying with `tau`; amplitude is the height of the peak over that base. Onset
    and offset lie where the trace last before and first after the peak crosses base + 0.2 · amplitude, the half width at 0.5
    (interpolated between frames), or at the valleys to the neighbouring events. A width that a neighbour or an edge cuts off is
    continued by the decay, and flagged.

    Args:
        traces: neuron × frame, the trace to measure.
        rest: neuron, resting level.
        tau: frames, decay of a transient.
        reach: frames; a detected peak moves to the highest sample at most so far away, never past its neighbours.
        bounds: the first frame of each epoch, then the number of frames.
        offsets: of each neuron's peaks, as from `find_peaks`.
        peaks: frames, as from `find_peaks`.

    Returns:
        One array per name of COLUMNS, times in frames (NaN widths where the amplitude is not positive), and the flags
        (compound 1, fwhm_censored 4, edge 8, onset_unseen 16).
    """
    table = np.full((len(peaks), len(COLUMNS)), np.nan)
    flags = np.zeros(len(peaks), np.int64)
    frames = np.zeros(len(peaks), np.int64)
    levels = np.ascontiguousarray(rest, np.float64)
    bounds = np.asarray(bounds, np.int64)
    powers = np.exp(-np.arange(traces.shape[1] + 1) / tau)
    _measure_events(traces, levels, float(tau), powers, int(reach), bounds, offsets, peaks, table, flags, frames)
    return {name: table[:, column].copy() for column, name in enumerate(COLUMNS)}, flags
