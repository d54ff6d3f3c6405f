"""The mode of rows and of windows, and what lies below it."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel
from calcium_engine.kernels.rolling import GAPS, bits_of, rows, trailing_zeros

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end
FEWEST_PAIRS = 10  # under that a correlation says nothing


@inline
def _insert(keys, order, count, gap, moves):
    """Bring each key down past the greater ones in steps of `gap`, by so many moves at most; return how many are left."""
    for r in range(gap, count):
        j = order[U(r)]
        at = r
        while at >= gap and keys[U(order[U(at - gap)])] > keys[U(j)] and moves > 0:
            order[U(at)] = order[U(at - gap)]
            at -= gap
            moves -= 1
        order[U(at)] = j
    return moves


@inline
def _sort(row, infinity, mask):
    """Order the frames of a row by value, NaN left out: by the upper 22 bits of the range, then mend, as in rolling.py."""
    n = row.shape[0]
    keys, spare, order = np.empty(n, row.dtype), np.empty(n, np.uint64), np.empty(n, np.int32)
    low, high = np.zeros(2048, np.int32), np.zeros(2048, np.int32)
    least, greatest = infinity, -infinity - 1
    for j in range(n):
        key = np.int64(row[U(j)])
        key ^= (key >> 63) & mask
        valid = (-infinity - 1 <= key) & (key <= infinity)
        keys[U(j)] = key if valid else mask
        least = min(least, key if valid else infinity)
        greatest = max(greatest, key if valid else -infinity - 1)
    shift = U(0)
    while U(greatest - least) >> shift >= U(2**22):
        shift += U(1)
    for j in range(n):
        if keys[U(j)] != mask:
            code = U(keys[U(j)] - least) >> shift
            low[code & U(2047)] += 1
            high[code >> U(11)] += 1
    count = below = 0
    for digit in range(2048):
        here = low[digit]
        low[digit] = count
        count += here
        here = high[digit]
        high[digit] = below
        below += here
    for j in range(n):
        if keys[U(j)] != mask:
            code = U(keys[U(j)] - least) >> shift
            at = U(low[code & U(2047)])
            low[code & U(2047)] = at + U(1)
            spare[at] = ((code >> U(11)) << U(32)) | U(j)
    for k in range(count):
        digit = spare[U(k)] >> U(32)
        at = U(high[digit])
        high[digit] = at + U(1)
        order[at] = spare[U(k)] & U(0xFFFFFFFF)
    if _insert(keys, order, count, 1, 4 * count) == 0:
        for gap in GAPS:
            _insert(keys, order, count, gap, count * count)
    return order, count


@inline
def _half_sample_mode(ordered, count):
    """Half-sample mode (Bickel & Frühwirth 2006): keep the densest half until it is three values or fewer; their mean."""
    start = 0
    while count > 3:
        half = (count + 1) // 2
        best, least = start, np.inf
        for k in range(start, start + count - half + 1):
            width = ordered[U(k + half - 1)] - ordered[U(k)]
            if width < least:
                best, least = k, width
        start, count = best, half
    total = 0.0
    for k in range(start, start + count):
        total += ordered[k]
    return total / count


@kernel
def _spread_below_mode(traces, patterns, infinity, mask, mode, spread):
    for i in prange(traces.shape[0]):
        order, count = _sort(patterns[i], infinity, mask)
        if count < 3:
            mode[i] = spread[i] = np.nan
            continue
        ordered = np.empty(count, np.float64)
        for r in range(count):
            ordered[U(r)] = traces[i, U(order[U(r)])]
        level = _half_sample_mode(ordered, count)
        power, below = 0.0, 0
        while below < count and ordered[below] < level:
            power += (ordered[below] - level) ** 2
            below += 1
        mode[i] = level
        spread[i] = np.sqrt(power / below) if below > 0 else 0.0


def spread_below_mode(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half-sample mode of each row (neuron × frame), and the root mean square distance from it of the values below it.

    Both float64, and NaN where a row has under three valid values.

    >>> spread_below_mode(np.array([[0.0, 9.0, -1.0, 0.0, np.nan, -3.0, 0.0]]))[1].round(3)
    array([2.236])
    """
    mode, spread = np.empty(len(traces)), np.empty(len(traces))
    traces = rows(traces)
    _spread_below_mode(traces, *bits_of(traces), mode, spread)
    return mode, spread


@inline
def _copies(frame, first, stop, n):
    """How often the frame is in the window from `first` up to `stop`: itself, and its mirror images beyond both ends."""
    itself = (stop - 1 - frame) // (2 * n) - (first - 1 - frame) // (2 * n)
    image = (stop + frame) // (2 * n) - (first + frame) // (2 * n)
    return itself + image


@kernel
def _window_mode(traces, patterns, infinity, mask, window, knots, out):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        order, valid = _sort(patterns[i], infinity, mask)
        ranks = np.full(n, -1, np.int32)
        for r in range(valid):
            ranks[order[r]] = r
        bits = np.zeros(n // 64 + 1, np.uint64)
        inside = np.empty(window, np.float64)
        entered = left = 0
        for k in range(knots.shape[0]):
            first = knots[k] - window // 2
            stop = first + window
            for t in range(entered, min(stop, n)):
                if ranks[t] >= 0:
                    bits[ranks[t] >> 6] |= U(1) << U(ranks[t] & 63)
            for t in range(left, max(first, 0)):
                if ranks[t] >= 0:
                    bits[ranks[t] >> 6] ^= U(1) << U(ranks[t] & 63)
            entered, left = min(stop, n), max(first, 0)
            count = 0
            for word in range(bits.shape[0]):
                rest = bits[word]
                while rest != 0:
                    frame = order[(U(word) << U(6)) + trailing_zeros(rest)]
                    rest &= rest - U(1)
                    copies = _copies(frame, first, stop, n) if first < 0 or stop > n else 1
                    for _ in range(copies):
                        inside[count] = traces[i, frame]
                        count += 1
            out[i, k] = _half_sample_mode(inside, count) if count > 0 else np.nan


def window_mode(traces: np.ndarray, window: int, step: int) -> np.ndarray:
    """Half-sample mode of the valid samples in the windows centred on frames 0, step, 2 · step … and on the last frame.

    Args:
        traces: neuron × frame, float32 or float64; NaN marks missing samples, which take no part.
        window: frames; `window // 2` of them lie before the centre. Edges are reflected, as often as the window needs.
        step: frames from centre to centre.

    Returns:
        neuron × knot, of the dtype of `traces`; NaN where a window holds no sample.

    Each row is ranked once; a window is a set of bits over ranks, which yields its samples in order.

    >>> window_mode(np.array([[5.0, 1.0, 1.0, 4.0, 9.0, 9.0]]), 4, 3)
    array([[1., 1., 9.]])
    """
    n = traces.shape[1]
    knots = np.append(np.arange(0, n - 1, step), n - 1)
    out = np.empty((len(traces), len(knots)), traces.dtype)
    traces = rows(traces)
    _window_mode(traces, *bits_of(traces), window, knots, out)
    return out


@kernel
def _correlation_below(traces, level, lag, correlation, counts):
    for i in prange(traces.shape[0]):
        count = 0
        origin = x = y = xx = yy = xy = 0.0
        for t in range(traces.shape[1] - lag):
            here, there = np.float64(traces[i, U(t)]), np.float64(traces[i, U(t + lag)])
            if here < level[i] and there < level[i]:
                if count == 0:
                    origin = here  # sums about a sample lose no digits to the level, and are exactly 0 for a constant
                here, there = here - origin, there - origin
                count += 1
                x += here
                y += there
                xx += here * here
                yy += there * there
                xy += here * there
        power = (count * xx - x * x) * (count * yy - y * y)
        known = count >= FEWEST_PAIRS and power > 0
        correlation[i] = min(max((count * xy - x * y) / np.sqrt(power), -1.0), 1.0) if known else np.nan
        counts[i] = count


def correlation_below(traces: np.ndarray, level: np.ndarray, lag: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the pairs of samples `lag` frames apart that both lie below the row's level, and how many pairs there are.

    Args:
        traces: neuron × frame; NaN is not below anything.
        level: of each row.
        lag: frames.

    Returns:
        Pearson's correlation (float64), NaN under ten pairs or where they do not vary; the number of pairs.

    >>> correlation, pairs = correlation_below(np.tile([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 9.0], (1, 3)), np.array([5.0]))
    >>> correlation.round(3), pairs
    (array([-1.]), array([15]))
    """
    correlation, counts = np.empty(len(traces)), np.empty(len(traces), np.int64)
    _correlation_below(rows(traces), np.asarray(level, np.float64), lag, correlation, counts)
    return correlation, counts
