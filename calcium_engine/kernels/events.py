"""Peaks that clear a threshold, and the shape of the transient around each.

Events are ragged: neuron i's are entries `offsets[i]:offsets[i + 1]` of flat columns, in order of time. Times are frames
here, with fractions. No search crosses an epoch's edge or a NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end
COMPOUND, CENSORED, EDGE, UNSEEN = 1, 4, 8, 16
COLUMNS = ("onset", "peak", "offset", "amplitude", "peak_value", "fwhm", "rise", "decay", "area", "climb")
RISE = (0.8, 0.5, 0.2)
FADED = 230.0  # decay constants, after which nothing is left (1e-100)
ROOM = 2**21  # peaks; for so many rows at a time that it pays to share them among threads
FALL = (0.5, float(np.exp(-1.0)), 0.2)


def ragged(find: Callable[..., None], shape: tuple[int, int], *dtypes: type) -> tuple[np.ndarray, ...]:
    """Collect what each row has a number of, a few rows at a time, each with room for as many as it has frames.

    `find(rows, counts, *room)` is called with a slice of rows, and fills the counts and as many entries of each row of the rooms,
    of which there is one a dtype. Returns offsets (rows + 1), and for each dtype a flat array.
    """
    n, n_frames = shape
    rows = max(1, min(n, ROOM // max(n_frames, 1)))
    counts = np.zeros(n, np.int64)
    room: list[np.ndarray] = [np.empty((rows, n_frames), dtype) for dtype in dtypes]
    found: list[list[np.ndarray]] = [[np.empty(0, dtype)] for dtype in dtypes]
    for first in range(0, n, rows):
        here = slice(first, first + rows)
        find(here, counts[here], *room)
        for column, parts in zip(room, found, strict=True):
            parts += [row[:count].copy() for row, count in zip(column, counts[here], strict=False)]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), *(np.concatenate(parts) for parts in found)


@inline
def _next_over(x, high, t, stop):
    """First frame from t on that is over `high`, or `stop`; eight at a time, since most frames are not."""
    while t + 8 <= stop:
        over = False
        for j in range(8):
            over |= x[U(t + j)] > high
        if over:
            break
        t += 8
    while t < stop and not x[U(t)] > high:
        t += 1
    return t


@inline
def _row_peaks(x, high, low, separation, shortest, bounds, out):
    """Walk each run over `low` that comes over `high`; a summit over `high` counts once the trace has fallen `separation` below.

    Most frames are neither: they are passed by one comparison each.
    """
    count = 0
    for epoch in range(bounds.shape[0] - 1):
        free = bounds[epoch]
        stop = bounds[epoch + 1]
        t = _next_over(x, high, free, stop)
        while t < stop:
            while t > free and x[U(t - 1)] > low:
                t -= 1
            begin = t
            before = count
            top = bottom = t
            rising = True
            while t < stop and x[U(t)] > low:
                here = x[U(t)]
                if rising:
                    if here > x[U(top)]:
                        top = t
                    elif here < x[U(top)] - separation:
                        if x[U(top)] > high:
                            out[U(count)] = top
                            count += 1
                        bottom = t
                        rising = False
                elif here < x[U(bottom)]:
                    bottom = t
                elif here > x[U(bottom)] + separation:
                    top = t
                    rising = True
                t += 1
            if rising and x[U(top)] > high:
                out[U(count)] = top
                count += 1
            if t - begin < shortest:
                count = before
            free = t
            t = _next_over(x, high, t, stop)
    return count


@kernel
def _find_peaks(traces, high, low, separation, shortest, bounds, counts, peaks):
    for i in prange(traces.shape[0]):
        counts[i] = _row_peaks(traces[i], high[i], low[i], separation[i], shortest, bounds, peaks[i])


def find_peaks(
    traces: np.ndarray, high: np.ndarray, low: np.ndarray, separation: np.ndarray, shortest: int, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of each trace above its threshold, stacked ones apart.

    A run is a stretch over `low`; in it, a peak is a maximum over `high` that is parted from the next by a valley at least
    `separation` below both of them. A run of fewer than `shortest` frames counts for nothing.

    Args:
        traces: neuron × frame; NaN ends a run.
        high: neuron, the level that a peak exceeds.
        low: neuron, the level that ends a run; `high` where that is lower.
        separation: neuron, the least depth of a valley between two peaks of a run.
        shortest: frames.
        bounds: the first frame of each epoch, then the number of frames.

    Returns:
        Offsets (neuron + 1) and the flat frames of the peaks: neuron i's are `peaks[offsets[i]:offsets[i + 1]]`.
    """
    traces = np.ascontiguousarray(traces)
    levels = [np.ascontiguousarray(level, np.float64) for level in (high, np.minimum(low, high), separation)]
    bounds = np.asarray(bounds, np.int64)

    def find(rows: slice, counts: np.ndarray, room: np.ndarray) -> None:
        _find_peaks(traces[rows], *(level[rows] for level in levels), int(shortest), bounds, counts, room)

    offsets, peaks = ragged(find, traces.shape, np.int32)
    return offsets, peaks.astype(np.int64)


@inline
def _summit(x, frame):
    """Time of the maximum of the parabola through a peak and its neighbours."""
    bend = x[frame - 1] - 2.0 * x[frame] + x[frame + 1]
    if not bend < 0.0:
        return float(frame)
    return frame + min(max(0.5 * (x[frame - 1] - x[frame + 1]) / bend, -0.5), 0.5)


@inline
def _lowest(x, start, stop):
    """First frame at which the trace is lowest; the last one where all are missing."""
    a = b = c = d = x.dtype.type(np.inf)
    for t in range(start, stop - 3, 4):  # four minima, so that none waits for the one before
        a = x[U(t)] if x[U(t)] < a else a
        b = x[U(t + 1)] if x[U(t + 1)] < b else b
        c = x[U(t + 2)] if x[U(t + 2)] < c else c
        d = x[U(t + 3)] if x[U(t + 3)] < d else d
    for t in range(max(stop - 3, start), stop):
        a = x[U(t)] if x[U(t)] < a else a
    lowest = min(min(a, b), min(c, d))
    for t in range(start, stop - 1):
        if x[U(t)] == lowest:
            return t
    return max(stop - 1, start)


@inline
def _rise(x, rest, left, valley, powers, peak, start, amplitude, times):
    """Last times before the peak at which the trace is under 0.8, 0.5 and 0.2 of the amplitude over the base, between frames.

    Times that do not come back to `start` stay -1. Returns the first frame that was looked at: later than `start` where the trace
    is missing before it.
    """
    above = amplitude
    share = 0
    level = RISE[0] * amplitude
    for t in range(peak - 1, start - 1, -1):
        here = x[U(t)] - rest - left * powers[U(t - valley)]
        if np.isnan(here):
            return t + 1
        while here < level:
            times[share] = t + (level - here) / (above - here)
            share += 1
            if share == 3:
                return start
            level = RISE[share] * amplitude
        above = here
    return start


@inline
def _fall(x, rest, left, valley, powers, peak, stop, amplitude, times):
    """First times after the peak at which the trace is under 0.5, 1/e and 0.2 of the amplitude over the base; as `_rise`."""
    above = amplitude
    share = 0
    level = FALL[0] * amplitude
    for t in range(peak + 1, stop + 1):
        here = x[U(t)] - rest - left * powers[U(t - valley)]
        if np.isnan(here):
            return t - 1
        while here < level:
            times[share] = t - (level - here) / (above - here)
            share += 1
            if share == 3:
                return stop
            level = FALL[share] * amplitude
        above = here
    return stop


@inline
def _measure(x, rest, tau, powers, peak, valley, start, stop, lone, row, rise, fall):
    """Fill one event's row of COLUMNS and return its flags; it lies within frames start..stop, both included.

    `valley` -1: no event before it in its epoch; `lone`: none after it, so that `stop` is the epoch's last frame.
    """
    flags = 0
    # what the transient before left at the valley decays on under this one
    left = x[valley] - rest if valley >= 0 and x[valley] > rest else 0.0
    origin = valley if valley >= 0 else start
    amplitude = x[peak] - rest - left * powers[peak - origin]
    row[3] = amplitude
    row[4] = x[peak]
    row[9] = x[peak] - x[valley] if valley >= 0 else amplitude
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
        if last < stop or lone:
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
    at_edge = peak == start or (lone and peak == stop)
    time = min(max(float(peak) if at_edge else _summit(x, peak), onset), offset)
    area = 0.0
    for t in range(int(np.ceil(onset)), int(np.floor(offset)) + 1):
        area += x[U(t)] - rest - left * powers[U(t - origin)]
    row[0] = onset
    row[1] = time
    row[2] = offset
    row[5] = after - before
    row[6] = rise[0] - onset if rise[0] >= 0.0 and rise[2] >= 0.0 else np.nan
    row[7] = fall[1] - time if fall[1] >= 0.0 else np.nan
    row[8] = area
    return flags


@kernel
def _measure_events(traces, rest, tau, powers, bounds, offsets, peaks, table, flags):
    for i in prange(traces.shape[0]):
        x = traces[i]
        rise, fall = np.empty(3), np.empty(3)
        last = offsets[i + 1]
        epoch = 0
        valley = -1  # between this event and the one before it in its epoch; -1: there was none
        for k in range(offsets[i], last):
            while bounds[epoch + 1] <= peaks[k]:
                epoch += 1
                valley = -1
            start = valley if valley >= 0 else bounds[epoch]
            stop = bounds[epoch + 1] - 1
            lone = k + 1 == last or peaks[k + 1] > stop
            following = -1 if lone else _lowest(x, peaks[k], peaks[k + 1])
            stop = stop if lone else following
            flags[k] = _measure(x, rest[i], tau, powers, peaks[k], valley, start, stop, lone, table[k], rise, fall)
            valley = following


def measure_events(
    traces: np.ndarray, rest: np.ndarray, tau: float, bounds: np.ndarray, offsets: np.ndarray, peaks: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Onset, peak, offset, amplitude, widths and area of the transient at each summit.

    The base under an event is its neuron's resting level, plus what the transient before it left at the valley between them,
    decaying with `tau`; amplitude is the height of the peak over that base. Onset
    and offset lie where the trace last before and first after the peak crosses base + 0.2 · amplitude, the half width at 0.5
    (interpolated between frames), or at the valleys to the neighbouring events. A width that a neighbour or an edge cuts off is
    continued by the decay, and flagged.

    Args:
        traces: neuron × frame, the trace to measure.
        rest: neuron, resting level.
        tau: frames, decay of a transient.
        bounds: the first frame of each epoch, then the number of frames.
        offsets: of each neuron's peaks, as from `find_peaks`.
        peaks: frames of the summits, as from `find_summits`.

    Returns:
        One array per name of COLUMNS, times in frames (NaN widths where the amplitude is not positive), and the flags
        (compound 1, fwhm_censored 4, edge 8, onset_unseen 16).
    """
    table = np.full((len(peaks), len(COLUMNS)), np.nan)
    flags = np.zeros(len(peaks), np.int64)
    traces, levels = np.ascontiguousarray(traces), np.ascontiguousarray(rest, np.float64)
    bounds = np.asarray(bounds, np.int64)
    powers = np.zeros(traces.shape[1] + 1)
    seen = int(min(FADED * tau, traces.shape[1])) + 1
    powers[:seen] = np.exp(-np.arange(seen) / tau)
    _measure_events(traces, levels, float(tau), powers, bounds, offsets, peaks, table, flags)
    return {name: table[:, column].copy() for column, name in enumerate(COLUMNS)}, flags
