"""Peaks that clear a threshold, and the shape of the transient around each.

Events are ragged: neuron i's are entries `offsets[i]:offsets[i + 1]` of flat columns, in order of time. Times are frames
here, with fractions. No search crosses an epoch's edge or a NaN.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

COMPOUND, CENSORED, EDGE, UNSEEN = 1, 4, 8, 16
COLUMNS = ("onset", "peak", "offset", "amplitude", "peak_value", "fwhm", "rise", "decay", "area", "climb")


@inline
def _row_peaks(x, high, low, separation, shortest, bounds, fill, out):
    """Walk the runs over `low`; a summit over `high` counts once the trace has fallen `separation` below it, or the run ends."""
    count = 0
    for epoch in range(bounds.shape[0] - 1):
        t = bounds[epoch]
        stop = bounds[epoch + 1]
        while t < stop:
            if not x[t] > low:
                t += 1
                continue
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
def _base(x, valley, rest, tau, t):
    """Level under an event: rest, plus what the transient before it left at the valley, decaying; valley < 0: there was none."""
    if valley < 0:
        return rest
    return rest + max(x[valley] - rest, 0.0) * np.exp(-(t - valley) / tau)


@inline
def _left(x, valley, rest, tau, peak, start, share, amplitude):
    """Last time before the peak at which the trace is under base + share · amplitude, between frames; -1: not since `start`.

    Where the trace is missing before that, minus its first frame thereafter, less 2.
    """
    above = x[peak] - _base(x, valley, rest, tau, peak) - share * amplitude
    for t in range(peak - 1, start - 1, -1):
        here = x[t] - _base(x, valley, rest, tau, t) - share * amplitude
        if not here >= 0.0:
            return -(t + 3.0) if np.isnan(here) else t + here / (here - above)
        above = here
    return -1.0


@inline
def _right(x, valley, rest, tau, peak, stop, share, amplitude):
    """First time after the peak at which the trace is under base + share · amplitude, between frames; -1: not until `stop`.

    Where the trace is missing before that, minus the first missing frame, less 3.
    """
    above = x[peak] - _base(x, valley, rest, tau, peak) - share * amplitude
    for t in range(peak + 1, stop + 1):
        here = x[t] - _base(x, valley, rest, tau, t) - share * amplitude
        if not here >= 0.0:
            return -(t + 3.0) if np.isnan(here) else t - here / (here - above)
        above = here
    return -1.0


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
def _measure(x, rest, tau, peak, valley, start, stop, row):
    """Fill one event's row of COLUMNS and return its flags; it lies within frames start..stop, both included."""
    flags = 0
    amplitude = x[peak] - _base(x, valley, rest, tau, peak)
    row[3] = amplitude
    row[4] = x[peak]
    row[9] = x[peak] - max(x[valley], rest) if valley >= 0 else amplitude
    if not amplitude > 0.0:
        row[0] = row[1] = row[2] = peak
        return flags
    if valley >= 0 and x[valley] - rest > 0.2 * amplitude:
        flags |= COMPOUND
    onset = _left(x, valley, rest, tau, peak, start, 0.2, amplitude)
    offset = _right(x, valley, rest, tau, peak, stop, 0.2, amplitude)
    # where the trace is missing, the event is cut off as at an epoch's edge
    if onset < -1.0:
        start = int(-onset) - 2
        flags |= EDGE | UNSEEN
    if offset < -1.0:
        stop = int(-offset) - 4
        flags |= EDGE
    left = _left(x, valley, rest, tau, peak, start, 0.5, amplitude)
    right = _right(x, valley, rest, tau, peak, stop, 0.5, amplitude)
    steep = _left(x, valley, rest, tau, peak, start, 0.8, amplitude)
    decayed = _right(x, valley, rest, tau, peak, stop, np.exp(-1.0), amplitude)
    if left < 0.0:
        left = float(start)
        flags |= CENSORED
    if right < 0.0:
        # cut off: its own decay is continued to half height
        height = x[stop] - _base(x, valley, rest, tau, stop)
        right = stop + tau * np.log(max(height / (0.5 * amplitude), 1.0))
        flags |= CENSORED
    if onset < 0.0:
        if valley < 0:
            flags |= EDGE | UNSEEN
        onset = float(start)
    if offset < 0.0:
        offset = float(stop)
    time = min(max(_summit(x, peak), onset), offset)
    area = 0.0
    for t in range(int(np.ceil(onset)), int(np.floor(offset)) + 1):
        area += x[t] - _base(x, valley, rest, tau, t)
    row[0] = onset
    row[1] = time
    row[2] = offset
    row[5] = right - left
    row[6] = steep - onset if steep >= 0.0 else np.nan
    row[7] = decayed - time if decayed >= 0.0 else np.nan
    row[8] = area
    return flags


@kernel
def _measure_events(traces, rest, tau, reach, bounds, offsets, peaks, table, flags, frames):
    for i in prange(traces.shape[0]):
        x = traces[i]
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
                flags[k] = _measure(x, rest[i], tau, frames[k], valley, start, stop, table[k])
            else:
                stop = bounds[epoch + 1] - 1
                flags[k] = _measure(x, rest[i], tau, frames[k], valley, start, stop, table[k])
                if table[k, 2] >= stop:
                    flags[k] |= EDGE


def measure_events(
    traces: np.ndarray, rest: np.ndarray, tau: float, reach: int, bounds: np.ndarray, offsets: np.ndarray, peaks: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Onset, peak, offset, amplitude, widths and area of the transient at each detected peak.

    The base under an event is its neuron's resting level, plus what the transient before it left at the valley between them,
    decaying with `tau`; amplitude is the height of the peak over that base, `climb` the height over the valley (or rest). Onset
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
    _measure_events(traces, levels, float(tau), int(reach), bounds, offsets, peaks, table, flags, frames)
    return {name: table[:, column].copy() for column, name in enumerate(COLUMNS)}, flags
