"""Wavelet ridge walking: transients as ridges of the continuous wavelet transform, their strength in units of the noise.

The wavelet of width a is Ricker's, the second derivative of a Gaussian of SD a, downwards: (1 - t²/a²) exp(-t²/2a²). It is real
and symmetric, so a maximum stands where the transient does; it has no mean and no slope, so neither a baseline's level nor its
drift along a line shows; and the maxima of a Gaussian's derivatives do not break off on the way from coarse to fine widths
(Yuille & Poggio 1986, IEEE Trans. Pattern Anal. Mach. Intell. 8:15), which is the way ridges are walked. A Gaussian bump of SD s
answers most at a = √5 s, 0.95 of its full width at half height: a ridge's width reads as the transient's. It then has 0.83 of
the strength that a filter of the bump's own shape would give.

The taps have mean 0 and energy 1, so white noise of SD σ gives coefficients of SD σ at every width, and a coefficient over σ
means the same in every trace. Nothing is divided by a trace's own range, or noise alone would have ridges as strong as any.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

REACH = 5  # widths on either side of the centre; the wavelet is 1e-4 of its height there
TAPS = 4  # taps a pass: fewer loads and stores of the sums
PIECE = 1024  # frames a pass: they stay in the first-level cache
ROWS = 64  # traces at a time, whose maps of ridges are held in memory
FRAME, MISSING, COUNT, WIDTH = 0, 1, 2, 3  # of a ridge: where it is, widths missed in a row, maxima so far, where it is strongest


@inline
def _reflect(x, start, stop, reach, out):
    """Write the stretch less its mean, with `reach` frames of its reflection on either side."""
    n = stop - start
    level = 0.0
    for t in range(start, stop):
        level += x[t] - x[start]
    level = x[start] + level / n  # counted from the first frame, so that nothing at all is left of a constant
    for t in range(n):
        out[reach + t] = x[start + t] - level
    for k in range(reach):
        out[reach - 1 - k] = out[reach + k]
        out[reach + n + k] = out[reach + n - 1 - k]


@inline
def _convolve(padded, centre, taps, n, out):
    """Coefficients of n frames; taps[k] is the wavelet k frames from its centre, the same on both sides."""
    for begin in range(0, n, PIECE):
        size = min(PIECE, n - begin)
        here = out[begin : begin + size]
        first = centre + begin
        middle = padded[first : first + size]
        for t in range(size):
            here[t] = taps[0] * middle[t]
        for k in range(1, taps.shape[0], TAPS):
            a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
            left = padded[first - k - 3 : first - k + size]
            right = padded[first + k : first + k + 3 + size]
            for t in range(size):
                near = a * (left[t + 3] + right[t]) + b * (left[t + 2] + right[t + 1])
                here[t] += near + (c * (left[t + 1] + right[t + 2]) + d * (left[t] + right[t + 3]))


@inline
def _maxima(c, n, at):
    """Frames of the positive local maxima, the first of equals; c[1] is frame 0, and -inf stands beyond either edge."""
    count = 0
    for t in range(n):
        at[count] = t
        count += (c[t + 1] > c[t]) & (c[t + 1] >= c[t + 2]) & (c[t + 1] > 0.0)
    return count


@inline
def _edge_gain(correlation, t, n):
    """SD of the coefficient of unit white noise at frame t of n, at least 1: a reflection repeats the noise near an edge.

    The reflected stretch recurs after 2n frames, so the variance is the sum of the wavelet's autocorrelation at every 2nm and
    2nm + 2t + 1. Where it is below 1, as in a stretch much shorter than the wavelet, there is nothing to make up for.
    """
    lags = correlation.shape[0]
    if lags < min(2 * t + 1, 2 * (n - t) - 1):
        return 1.0
    variance = 0.0
    reach = lags // (2 * n) + 1
    for m in range(-reach, reach + 1):
        lag = abs(2 * n * m)
        if lag < lags:
            variance += correlation[lag]
        lag = abs(2 * n * m + 2 * t + 1)
        if lag < lags:
            variance += correlation[lag]
    return np.sqrt(max(variance, 1.0))


@inline
def _link(ridges, waiting, at, count, c, near, place, owner, pending):
    """Which ridge walks to each maximum (owner; -1: none), nearest pairs first; returns how many ridges are left pending.

    `place` has -1 at every frame before and after.
    """
    n = place.shape[0]
    for k in range(count):
        place[at[k]] = k
        owner[k] = -1
    for r in range(waiting):
        pending[r] = r
    for distance in range(near + 1):
        kept = 0
        for p in range(waiting):
            r = pending[p]
            before = ridges[r, FRAME] - distance
            after = ridges[r, FRAME] + distance
            k = place[before] if before >= 0 else -1
            other = place[after] if after < n else -1
            if k < 0 or (other >= 0 and c[after + 1] > c[before + 1]):
                k = other
            if k < 0:
                pending[kept] = r
                kept += 1
            else:
                owner[k] = r
                place[at[k]] = -1
        waiting = kept
    for k in range(count):
        place[at[k]] = -1
    return waiting


@inline
def _end(ridge, best, shortest, least, strength, width):
    """Mark a ridge at its frame, if it is long and strong enough; of two that end at the same frame, the stronger stays."""
    if ridge[COUNT] >= shortest and best > least and best > strength[ridge[FRAME]]:
        strength[ridge[FRAME]] = best
        width[ridge[FRAME]] = ridge[WIDTH]


@inline
def _walk(x, start, stop, sigma, near, reach, taps, correlation, shortest, least, strength, width):
    """Walk the ridges of one stretch from the coarsest width to the finest."""
    n = stop - start
    widest = taps.shape[1] - 1
    padded = np.empty(n + 2 * widest, x.dtype)
    _reflect(x, start, stop, widest, padded)
    c = np.full(n + 2, -np.inf, x.dtype)
    place = np.full(n, -1, np.int32)
    at, owner, pending = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n + 2, np.int32)
    # maxima are at least two frames apart; those of this width and those of the last that found no partner
    ridges, grown = np.empty((n + 2, 4), np.int32), np.empty((n + 2, 4), np.int32)
    best, better = np.empty(n + 2, np.float64), np.empty(n + 2, np.float64)
    alive = 0
    for j in range(taps.shape[0] - 1, -1, -1):
        _convolve(padded, widest, taps[j, : reach[j] + 1], n, c[1 : n + 1])
        count = _maxima(c, n, at)
        waiting = _link(ridges, alive, at, count, c, near[j], place, owner, pending)
        lagged = correlation[j, : 2 * reach[j] + 1]
        for k in range(count):
            height = c[at[k] + 1] / (sigma * _edge_gain(lagged, at[k], n))
            r = owner[k]
            grown[k, FRAME] = at[k]
            grown[k, MISSING] = 0
            grown[k, COUNT] = 1 if r < 0 else ridges[r, COUNT] + 1
            highest = r < 0 or height > best[r]
            grown[k, WIDTH] = j if highest else ridges[r, WIDTH]
            better[k] = height if highest else best[r]
        alive = count
        for p in range(waiting):
            r = pending[p]
            if ridges[r, MISSING] == 1:
                _end(ridges[r], best[r], shortest, least, strength[start:stop], width[start:stop])
            else:
                grown[alive, FRAME] = ridges[r, FRAME]
                grown[alive, MISSING] = 1
                grown[alive, COUNT] = ridges[r, COUNT]
                grown[alive, WIDTH] = ridges[r, WIDTH]
                better[alive] = best[r]
                alive += 1
        ridges, grown, best, better = grown, ridges, better, best
    for r in range(alive):
        _end(ridges[r], best[r], shortest, least, strength[start:stop], width[start:stop])


@kernel
def _mark_ridges(traces, noise, near, reach, taps, correlation, bounds, shortest, least, strength, width):
    for i in prange(traces.shape[0]):
        x = traces[i]
        if not 0.0 < noise[i] < np.inf:
            continue
        for epoch in range(bounds.shape[0] - 1):
            start = bounds[epoch]
            for t in range(bounds[epoch], bounds[epoch + 1] + 1):
                if t < bounds[epoch + 1] and np.isfinite(x[t]):
                    continue
                if t > start:
                    _walk(x, start, t, noise[i], near, reach, taps, correlation, shortest, least, strength[i], width[i])
                start = t + 1


def _ricker(widths, dtype):
    """Of each width: the last tap, one half of the taps from the centre on, and their autocorrelation from lag 0 on."""
    reach = TAPS * np.ceil(REACH * widths / TAPS).astype(np.int64)
    taps = np.zeros((len(widths), reach[-1] + 1), dtype)
    correlation = np.zeros((len(widths), 2 * reach[-1] + 1))
    for j, (width, last) in enumerate(zip(widths, reach, strict=True)):
        square = (np.arange(-last, last + 1) / width) ** 2
        wavelet = (1.0 - square) * np.exp(-square / 2.0)
        wavelet -= wavelet.mean()
        wavelet /= np.sqrt(np.sum(wavelet**2))
        taps[j, : last + 1] = wavelet[last:]
        correlation[j, : 2 * last + 1] = np.correlate(wavelet, wavelet, "full")[2 * last :]
    return reach, taps, correlation


def wavelet_ridges(
    traces: np.ndarray, noise: np.ndarray, widths: np.ndarray, bounds: np.ndarray, *, shortest: int = 3, least: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Transients of each trace, as ridges of its wavelet coefficients across widths (Du, Kibbe & Lin 2006).

    The positive local maxima over time of each width are linked from the coarsest width to the finest. A ridge goes on to the
    nearest maximum of the next width at most that width (and at least one frame) away; pairs are formed nearest first, of equals
    first for a ridge that missed no width, then the earlier ridge, then the higher maximum. A ridge may miss one width at a
    time; a maximum that no ridge goes on to starts one. The strength of a ridge is its highest coefficient over σ, its width
    where that is, its peak the frame at the finest width it reaches.

    Each stretch of an epoch without NaN is by itself: it is reflected at its edges, where strengths are divided by the SD that
    white noise has through the reflection (up to √2 σ), and a maximum may stand at its first or last frame.

    Args:
        traces: neuron × frame, float32 or float64, in which the coefficients are computed; NaN or inf ends a stretch.
        noise: neuron, SD σ of white noise in a frame, in the traces' unit; a neuron whose σ is not positive has no ridges.
        widths: frames, ascending: SD of the Gaussian whose second derivative the wavelet is. Ten to twelve in equal ratios, 1.2
            to 1.3, let a ridge drift by less than a width from one to the next.
        bounds: the first frame of each epoch, then the number of frames.
        shortest: maxima that make a ridge. Widths in ratios near 1.26 share most of their noise, so this only drops what crosses
            the walk of others; 3 are a factor of 1.6 in width.
        least: σ, above which a ridge's strength is. White noise has about one ridge a minute over 3, seen in widths of 0.25 to
            2.5 s, and one in a hundred minutes over 4.3 (at 4.8 Hz) to 4.4 (at 30 Hz).

    Returns:
        Offsets (neuron + 1), then flat columns in which neuron i's ridges are entries `offsets[i]:offsets[i + 1]`, in order of
        time: frame of the peak (no frame twice: the strongest stays), strength in σ, and best width in frames.

    Raises:
        ValueError: if widths do not ascend from above 0, or if `least` is negative.

    Examples:
        >>> frames = np.arange(200)
        >>> trace = 5.0 * np.exp(-0.5 * ((frames - 80) / 3.0) ** 2)
        >>> widths = np.geomspace(1.2, 12.0, 11)
        >>> offsets, peaks, strength, width = wavelet_ridges(trace[None], np.ones(1), widths, np.array([0, 200]))
        >>> peaks.tolist(), strength.round(1).tolist(), width.round(1).tolist()
        ([80], [9.5], [6.0])

    References:
        Du, Kibbe & Lin 2006, Bioinformatics 22:2059.
    """
    widths = np.asarray(widths, np.float64)
    if widths.ndim != 1 or len(widths) == 0 or not (widths[0] > 0 and np.all(np.diff(widths) > 0)):
        raise ValueError(f"ridges are walked over widths that ascend from above 0, in frames; these are {widths.tolist()}")
    if not least >= 0:
        raise ValueError(f"a ridge is positive: `least` is 0 or more, in units of the noise; it is {least}")
    traces, bounds = np.ascontiguousarray(traces), np.asarray(bounds, np.int64)
    sigma = np.ascontiguousarray(noise, np.float64)
    wavelet = _ricker(widths, traces.dtype)
    near = np.maximum(widths.astype(np.int64), 1)
    counts, found = [], []
    for first in range(0, len(traces), ROWS):
        block = traces[first : first + ROWS]
        strength, index = np.zeros(block.shape), np.zeros(block.shape, np.int16)
        _mark_ridges(block, sigma[first : first + ROWS], near, *wavelet, bounds, int(shortest), float(least), strength, index)
        marked = strength > 0
        kept = np.flatnonzero(marked)
        counts.append(np.count_nonzero(marked, axis=1))
        found.append((kept % traces.shape[1], strength.ravel()[kept], widths[index.ravel()[kept]]))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([*counts, []]))]).astype(np.int64)
    empty = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    peaks, strengths, best = (np.concatenate(column) for column in zip(empty, *found, strict=True))
    return offsets, peaks, strengths, best
