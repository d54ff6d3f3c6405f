"""Wavelet shrinkage of traces: the stationary transform, which does not depend on the sampling grid, and the decimated one."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

SHRINKS = {"bayes": 0, "visu": 1, "sure": 2}
GRID = 128  # thresholds that "sure" tries
NEAR = 2.0  # σ; a smooth coefficient above it marks activity. At 2.5, 0.1 dB more noise goes, and a third of the peaks at ν = 6
EASE = 1.8  # over BayesShrink's threshold at the finest level: the garrote shrinks less than the soft rule that it is made for


@inline
def _load(trace, signal):
    """Copy a trace to the start of a buffer; tell whether all its samples are finite."""
    missing = 0
    for t in range(trace.shape[0]):
        signal[t] = trace[t]
        missing += not np.isfinite(trace[t])
    return missing == 0


@inline
def _mirror(t, n):
    """Frame of a trace of n frames that is seen at t in its mirror images, however far out."""
    t %= 2 * n
    return t if t < n else 2 * n - 1 - t


@inline
def _four(taps, k, x0, x1, x2, x3, out):
    """Sum four signals, each times its tap, into `out`; on top of what is there from the second group of taps on."""
    a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
    if k == 0:
        for t in range(out.shape[0]):
            out[t] = a * x0[t] + b * x1[t] + c * x2[t] + d * x3[t]
    else:
        for t in range(out.shape[0]):
            out[t] += a * x0[t] + b * x1[t] + c * x2[t] + d * x3[t]


@inline
def _correlate(signal, taps, step, out):
    """Correlate a signal with taps that are `step` apart, four taps at a time."""
    for k in range(0, taps.shape[0], 4):
        x = signal[k * step :]
        _four(taps, k, x, x[step:], x[2 * step :], x[3 * step :], out)


@inline
def _correlate_parts(even, odd, taps, out):
    """Correlate a signal, parted into its even and odd samples, with taps at every other sample."""
    for k in range(0, taps.shape[0], 4):
        h = k // 2
        _four(taps, k, even[h:], odd[h:], even[h + 1 :], odd[h + 1 :], out)


@inline
def _join(smooth, detail, taps, reach, step, out):
    """Convolve both halves with their taps, `step` apart, two of each at a time; the first lies `reach` steps ahead."""
    for k in range(0, taps.shape[0], 4):
        at = (reach - k // 2) * step
        _four(taps, k, smooth[at:], smooth[at - step :], detail[at:], detail[at - step :], out)


@inline
def _power(values, near):
    """Sum the squares of all values and of those near activity, in many lanes: a single sum would wait for each addition."""
    width = 256
    lanes, near_lanes = np.zeros(width), np.zeros(width)
    n = values.shape[0]
    for start in range(0, n, width):
        part, here = values[start : start + width], near[start : start + width]
        for j in range(part.shape[0]):
            square = np.float64(part[j]) ** 2
            lanes[j] += square
            near_lanes[j] += square * here[j]
    total, near_total = 0.0, 0.0
    for j in range(width):
        total += lanes[j]
        near_total += near_lanes[j]
    return total, near_total


@inline
def _sure(detail, noise, largest):
    """Threshold of least unbiased risk n σ² − 2 σ² #(|d| ≤ T) + Σ min(d², T²), by a histogram of |d| over the grid's steps."""
    bins = np.zeros((GRID + 1, 2))  # number and sum of squares of the |d| over the threshold before, up to this one
    step = largest / (GRID - 1)
    per_step = 1.0 / step
    for t in range(detail.shape[0]):
        size = np.float64(abs(detail[t]))
        at = np.uint32(np.ceil(size * per_step)) if size <= largest else np.uint32(GRID)
        bins[at, 0] += 1.0
        bins[at, 1] += size * size
    least = np.inf
    best = 0.0
    below = 0.0
    power = 0.0
    for k in range(GRID):
        below += bins[k, 0]
        power += bins[k, 1]
        risk = power + (detail.shape[0] - below) * (k * step) ** 2 - 2.0 * noise**2 * below
        if risk < least:
            least = risk
            best = k * step
    return best


@inline
def _bayes(power, count, noise):
    """BayesShrink's threshold of `count` coefficients, given the sum of their squares."""
    excess = power / max(count, 1) - noise**2
    return noise**2 / np.sqrt(excess) if excess > 0.0 else np.inf


@inline
def _threshold(detail, quiet, noise, n, rule):
    """One threshold for a whole band of a trace of n frames."""
    if rule == 0:
        return _bayes(_power(detail, quiet)[0], detail.shape[0], noise)
    universal = noise * np.sqrt(2.0 * np.log(n))
    return _sure(detail, noise, universal) if rule == 2 and universal > 0.0 else universal


@inline
def _soften(detail, threshold):
    """Soft threshold: all coefficients shrink by it. It must be of their own precision, or they would be turned to another."""
    for t in range(detail.shape[0]):
        detail[t] -= min(max(detail[t], -threshold), threshold)


@inline
def _garrote(detail, near, apart, close):
    """Non-negative garrote d − T²/d, which leaves large coefficients as they are; T² apart from activity and close to it."""
    for t in range(detail.shape[0]):
        d = detail[t]
        square = close if near[t] == 1 else apart
        detail[t] = d - np.true_divide(square, d) if d * d > square else d - d


@inline
def _mark_activity(smooth, bar, step, near, edge):
    """Mark frames within step / 2 of one whose smooth coefficient is above a bar, and count them; mirror images at the edges."""
    n = smooth.shape[0]
    above, spare = np.zeros(n + step, np.uint8), np.zeros(n + step, np.uint8)
    centred = above[step // 2 :]
    for t in range(n):
        centred[t] = smooth[t] > bar
    width = 1
    while width < step:  # each mark comes to stand for twice as many frames
        ahead = above[width:]
        for t in range(ahead.shape[0]):
            spare[t] = above[t] | ahead[t]
        above, spare = spare, above
        width *= 2
    own = near[edge:]
    count = np.int64(0)
    for t in range(n):
        own[t] = above[t]
        count += above[t]
    for t in range(edge):
        near[t] = above[_mirror(t - edge, n)]
        near[edge + n + t] = above[_mirror(n + t, n)]
    return count


@inline
def _shrink_apart(detail, near, count, first, n, noise, step):
    """BayesShrink, near activity (`count` of the trace's n coefficients, which start at `first`) and apart from it."""
    total, near_total = _power(detail[first : first + n], near[first : first + n])
    apart = EASE * _bayes(total - near_total, n - count, noise)
    close = EASE * _bayes(near_total, count, noise)
    exact = detail.dtype.type
    _garrote(detail, near, exact(apart**2 / step), exact(close**2 / step))


@inline
def _stationary(trace, noise, filters, centres, levels, rule, out):
    """Shrink one row: split level by level, shrink each band, join them again."""
    n = trace.shape[0]
    taps = filters.shape[0] // 4
    low, high, both = filters[:taps], filters[taps : 2 * taps], filters[2 * taps :]
    reach = taps - 1  # of a filter, in steps
    edge = reach * (2**levels - 1)
    signal = np.empty(n + 2 * edge, trace.dtype)
    spare = np.empty(n + 2 * edge, trace.dtype)
    details = np.empty((levels, n + edge), trace.dtype)
    near = np.zeros(n + 2 * edge, np.uint8)  # activity
    if not _load(trace, signal[edge:]):
        for t in range(n):
            out[t] = np.nan
        return
    for t in range(edge):
        signal[t] = trace[_mirror(t - edge, n)]
        signal[edge + n + t] = trace[_mirror(n + t, n)]
    for level in range(levels):
        step = 2**level
        wide = reach * (2 * step - 1)  # what a coefficient sees beyond its first frame
        _correlate(signal, low, step, spare[: n + 2 * edge - wide])
        _correlate(signal[edge - wide :], high, step, details[level][: n + wide])
        signal, spare = spare, signal
    count = np.int64(0)
    if rule == 0:
        first = edge - centres[levels]
        count = _mark_activity(signal[first : first + n], NEAR * noise, 2**levels, near, edge)
    for level in range(levels - 1, -1, -1):
        step = 2**level
        wide = reach * (2 * step - 1)
        detail = details[level][: n + wide]
        first = wide - centres[level]
        if rule == 0:
            _shrink_apart(detail, near[edge - first :], count, first, n, noise, step)
        else:
            threshold = _threshold(detail[first : first + n], near, noise, n, rule)
            _soften(detail, detail.dtype.type(threshold))
        start = edge - reach * (step - 1)
        _join(signal[start - reach * step :], detail, both, reach, step, spare[start : edge + n] if level > 0 else out)
        signal, spare = spare, signal


@inline
def _part(signal, before, even, odd):
    """Part a signal into even and odd samples, `before` pairs of its mirror image ahead, and as many behind as fit."""
    n = signal.shape[0]
    inside = n // 2
    for t in range(inside):
        even[before + t] = signal[2 * t]
        odd[before + t] = signal[2 * t + 1]
    for t in range(even.shape[0]):
        if t < before or t >= before + inside:
            even[t] = signal[_mirror(2 * (t - before), n)]
            odd[t] = signal[_mirror(2 * (t - before) + 1, n)]


@inline
def _decimated(trace, noise, filters, width, levels, rule, out):
    """Do the same with every other coefficient: filters run on even and odd samples, so that they step by one."""
    n = trace.shape[0]
    taps = filters.shape[0] // 4
    half = taps // 2
    smooth = np.empty(n + 1, trace.dtype)
    even = np.empty(n // 2 + 2 * half, trace.dtype)
    odd = np.empty(n // 2 + 2 * half, trace.dtype)
    details = np.empty((levels, n // 2 + half + 1), trace.dtype)
    sizes = np.empty(levels + 1, np.int64)
    quiet = np.zeros(n, np.uint8)
    if not _load(trace, smooth):
        for t in range(n):
            out[t] = np.nan
        return
    sizes[0] = n
    for level in range(levels):
        sizes[level + 1] = count = (sizes[level] + width - 1) // 2
        detail = details[level][:count]
        _part(smooth[: sizes[level]], half - 1, even[: count + half - 1], odd)
        _correlate_parts(even, odd, filters[:taps], smooth[:count])
        _correlate_parts(even, odd, filters[taps : 2 * taps], detail)
        threshold = _threshold(detail, quiet, noise, n, rule)
        _soften(detail, detail.dtype.type(threshold))
    for level in range(levels - 1, -1, -1):
        size, count = sizes[level], sizes[level + 1]
        smooth[count] = details[level][count] = 0.0  # a tap of 0 may lie on them
        _join(smooth, details[level], filters[2 * taps : 3 * taps], half - 1, 1, even[: size - size // 2])
        _join(smooth, details[level], filters[3 * taps :], half - 1, 1, odd[: size // 2])
        for t in range(size // 2):
            smooth[2 * t] = even[t]
            smooth[2 * t + 1] = odd[t]
        if size % 2:
            smooth[size - 1] = even[size // 2]
    for t in range(n):
        out[t] = smooth[t]


@kernel
def _stationary_shrink(traces, noise, filters, centres, levels, rule, out):
    for i in prange(traces.shape[0]):
        _stationary(traces[i], noise[i], filters, centres, levels, rule, out[i])


@kernel
def _decimated_shrink(traces, noise, filters, width, levels, rule, out):
    for i in prange(traces.shape[0]):
        _decimated(traces[i], noise[i], filters, width, levels, rule, out[i])


def _in_pairs(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Put two taps of the low-pass filter beside two of the high-pass one: the groups that join a smooth half with its band."""
    return np.stack([low, high]).reshape(2, -1, 2).transpose(1, 0, 2).ravel()


def _centres(low: np.ndarray, high: np.ndarray, levels: int) -> np.ndarray:
    """Frame, counted from its first, at the centre of what each level's detail sees, and last of the smooth rest."""
    middle_low, middle_high = (float(np.arange(len(taps)) @ taps**2) for taps in (low, high))
    steps = 2 ** np.arange(levels + 1)
    centres = middle_low * (steps - 1) + middle_high * steps
    centres[levels] = middle_low * (steps[levels] - 1)
    return np.rint(centres).astype(np.int64)


def stationary_shrink(
    traces: np.ndarray, noise: np.ndarray, low: np.ndarray, high: np.ndarray, levels: int, *, shrink: str = "bayes"
) -> np.ndarray:
    """Denoise each trace by thresholds on its stationary wavelet coefficients.

    Args:
        traces: neuron × frame, continued by their mirror image; a NaN makes its row NaN.
        noise: neuron, σ of white noise in each trace: the filters have unit norm, so it is σ in every band.
        low: the orthonormal reconstruction low-pass filter (PyWavelets' `rec_lo`), of even length.
        high: the reconstruction high-pass filter (`rec_hi`).
        levels: how many.
        shrink: "bayes": BayesShrink's σ²/√max(var − σ², 0) (Chang, Yu & Vetterli 2000) of two classes of frames: near activity,
            within 2^levels / 2 frames of a smooth coefficient over 2 σ, and apart from it. It is lowered by √2 from each level to
            the next coarser one, and applied as a garrote d − T²/d (Gao 1998): transients keep more of their peaks than the
            noise costs that comes with them. "visu": soft, σ√(2 ln n) in all bands (Donoho & Johnstone 1994). "sure": soft, in
            each band the threshold of least unbiased risk (Donoho & Johnstone 1995) of 128 from 0 to that.

    Returns:
        An array like `traces`.

    Taps go four at a time, in registers, over contiguous samples of a row that is mirrored once: two to three times as fast as
    shrinkage by PyWavelets' decimated transform on as many threads. Tap by tap round a circle took ten times as long.
    """
    traces = np.ascontiguousarray(traces)
    out = np.empty_like(traces)
    centres = _centres(low, high, int(levels))
    low, high = (np.pad(taps, (0, -len(taps) % 4)).astype(traces.dtype) for taps in (low, high))
    # each of the two transforms that a level holds gives the whole signal
    filters = np.concatenate([low, high, _in_pairs(low, high) / 2])
    _stationary_shrink(traces, noise, filters, centres, int(levels), SHRINKS[shrink], out)
    return out


def decimated_shrink(
    traces: np.ndarray, noise: np.ndarray, low: np.ndarray, high: np.ndarray, levels: int, *, shrink: str = "bayes"
) -> np.ndarray:
    """Denoise each trace by soft thresholds on its decimated wavelet coefficients, as PyWavelets' `mode="symmetric"` has them.

    Args:
        traces: neuron × frame; a NaN makes its row NaN.
        noise: neuron, σ of white noise in each trace.
        low: the orthonormal reconstruction low-pass filter (PyWavelets' `rec_lo`), of even length.
        high: the reconstruction high-pass filter (`rec_hi`).
        levels: at most; fewer where a level would be shorter than the filter.
        shrink: "bayes": σ²/√max(var − σ², 0) of each band (Chang, Yu & Vetterli 2000); "visu" and "sure" as in
            `stationary_shrink`.

    Returns:
        An array like `traces`.
    """
    traces = np.ascontiguousarray(traces)
    out = np.empty_like(traces)
    width = len(low)
    levels = max(0, min(int(levels), (traces.shape[1] // (width - 1)).bit_length() - 1))
    low, high = (np.pad(taps, (-width % 4, 0)).astype(traces.dtype) for taps in (low, high))
    filters = np.concatenate([low, high, *(_in_pairs(low[phase::2], high[phase::2]) for phase in (0, 1))])
    _decimated_shrink(traces, noise, filters, width, levels, SHRINKS[shrink], out)
    return out
