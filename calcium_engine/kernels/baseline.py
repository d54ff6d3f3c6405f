"""The slow level of the samples outside transients."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

ROUNDS = 3  # of masking and smoothing; a fourth changes next to nothing


@kernel
def _pool(traces, width, out):
    for i in prange(traces.shape[0]):
        for b in range(out.shape[1]):
            total = 0.0
            count = 0
            for t in range(b * width, min((b + 1) * width, traces.shape[1])):
                if not np.isnan(traces[i, t]):
                    total += traces[i, t]
                    count += 1
            out[i, b] = total / count if count > 0 else np.nan


def pool(traces: np.ndarray, width: int) -> np.ndarray:
    """Mean of the valid samples of each `width` frames in turn; NaN where there are none. The last pool may be shorter.

    >>> pool(np.array([[1.0, 3.0, np.nan, 7.0, 9.0]]), 2)
    array([[2., 7., 9.]])
    """
    out = np.empty((len(traces), -(-traces.shape[1] // width)), traces.dtype)
    _pool(traces, width, out)
    return out


@inline
def _mirror(values, reach):
    """Continue the middle of an array into the `reach` entries at each end by its mirror image, however far out."""
    n = values.shape[0] - 2 * reach
    for d in range(reach):
        k = d % (2 * n)
        values[reach - 1 - d] = values[reach + (k if k < n else 2 * n - 1 - k)]
        values[reach + n + d] = values[reach + n - 1 - (k if k < n else 2 * n - 1 - k)]


@inline
def _spread(pools, width, out):
    """Draw straight lines between the centres of the pools, level beyond the first and the last; leave frames beside a NaN."""
    n = out.shape[0]
    n_pools = pools.shape[0]
    for b in range(n_pools + 1):
        left = pools[max(b - 1, 0)]
        step = (pools[min(b, n_pools - 1)] - left) / width
        if np.isnan(step):
            continue
        centre = (b - 0.5) * width - 0.5
        for t in range(max(b * width - width // 2, 0), min((b + 1) * width - width // 2, n)):
            out[t] = left + step * (t - centre)


@inline
def _box(trace, width, sums, counts, out):
    """Mean of the valid samples of the `width` frames round each frame, fewer at the ends; NaN where there are none."""
    n = trace.shape[0]
    before = width // 2
    sums[0] = 0.0
    counts[0] = 0
    for t in range(n):
        valid = not np.isnan(trace[t])
        sums[t + 1] = sums[t] + (trace[t] if valid else 0.0)
        counts[t + 1] = counts[t] + valid
    for t in range(n):
        first, stop = max(t - before, 0), min(t - before + width, n)
        count = counts[stop] - counts[first]
        out[t] = (sums[stop] - sums[first]) / count if count > 0 else np.nan


@inline
def _weighted(values, weights, out):
    """Sum the values round each entry by symmetric weights; entries inside, since that loop runs many at a time."""
    reach = weights.shape[0] // 2
    out[:] = 0.0
    for d in range(reach + 1):
        weight = weights[reach + d] if d > 0 else 0.5 * weights[reach]
        left, right = values[reach - d :], values[reach + d :]
        for b in range(out.shape[0]):
            out[b] += weight * (left[b] + right[b])


@inline
def _sum_outside(values, masked, width, weights, sums, out):
    """Gaussian-weighted sum of the values that are not masked, at each pool of `width` frames."""
    reach = weights.shape[0] // 2
    for b in range(out.shape[0]):
        total = 0.0
        for t in range(b * width, min((b + 1) * width, values.shape[0])):
            if not masked[t]:
                total += values[t]
        sums[reach + b] = total
    _mirror(sums, reach)
    _weighted(sums, weights, out)


@inline
def _count_outside(masked, width, weights, sums, out):
    """Gaussian-weighted number of the frames that are not masked, at each pool of `width` frames."""
    reach = weights.shape[0] // 2
    for b in range(out.shape[0]):
        count = 0
        for t in range(b * width, min((b + 1) * width, masked.shape[0])):
            count += not masked[t]
        sums[reach + b] = count
    _mirror(sums, reach)
    _weighted(sums, weights, out)


@inline
def _divide(level, weight, full):
    """Turn weighted sums into means; NaN where next to none of the weight is left."""
    for b in range(level.shape[0]):
        level[b] = level[b] / weight[b] if weight[b] > 0.01 * full else np.nan


@kernel
def _masked_baseline(traces, start, start_width, height, box, before, after, sigma, out, coverage):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        trace = traces[i]
        # samples are pooled by σ/6 ahead of the Gaussian: that widens it by one part in 900, and costs 36 times less
        width = max(1, int(sigma / 6.0))
        reach = int(3.0 * sigma / width) + 1
        n_pools = (n + width - 1) // width
        weights = np.empty(2 * reach + 1)
        for d in range(2 * reach + 1):
            weights[d] = np.exp(-0.5 * ((d - reach) * width / sigma) ** 2)
        full = weights.sum() * width
        sums, pools, weight = np.empty(n_pools + 2 * reach), np.empty(n_pools), np.empty(n_pools)
        masked = np.empty(n, np.bool_)
        smooth, level = np.empty(n), np.empty(n)
        _box(trace, box, np.empty(n + 1), np.empty(n + 1, np.int32), smooth)
        level[:] = np.nan
        _spread(start[i], start_width, level)
        for _ in range(ROUNDS):
            for t in range(n):
                masked[t] = np.isnan(trace[t])
            until = 0
            for t in range(n):
                if smooth[t] > level[t] + height[i]:
                    for k in range(max(until, t - before), min(t + after + 1, n)):
                        masked[k] = True
                    until = max(until, t + after + 1)
            _count_outside(masked, width, weights, sums, weight)
            _sum_outside(trace, masked, width, weights, sums, pools)
            _divide(pools, weight, full)
            _spread(pools, width, level)  # where next to nothing is left, the round before has the word
        for t in range(n):
            smooth[t] = trace[t] - level[t]
        # the Gaussian flattens what it follows; the same mean of what it left puts most of that back
        _sum_outside(smooth, masked, width, weights, sums, pools)
        _divide(pools, weight, full)
        smooth[:] = 0.0
        _spread(pools, width, smooth)
        for t in range(n):
            out[i, t] = level[t] + smooth[t]
        for b in range(n_pools):
            weight[b] /= full
        _spread(weight, width, coverage[i])


def masked_baseline(
    traces: np.ndarray,
    start: np.ndarray,
    height: np.ndarray,
    *,
    start_width: int,
    box: int,
    before: int,
    after: int,
    sigma: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Slow level of each trace by the samples outside transients.

    Three times: mask the frames at which the mean over `box` frames lies over `level + height`, and those near them, and let the
    level be the Gaussian-weighted mean of what is left. At last the mean of what the level leaves of those samples is added
    (Tukey's twicing), so that slow waves are followed to their tops.

    Args:
        traces: neuron × frame; NaN is masked.
        start: neuron × pool, the first guess of the level, one value for each `start_width` frames.
        height: neuron, how far over the level transients begin.
        start_width: frames.
        box: frames.
        before: frames masked ahead of those over the threshold, for the rise.
        after: frames masked behind them, for the decay.
        sigma: standard deviation of the Gaussian, frames.

    Returns:
        The level, and the share of the Gaussian's weight that was left to see it by; both like `traces`. Where next to nothing
        was left, the level is that of the round before.
    """
    out = np.empty_like(traces)
    coverage = np.empty_like(traces)
    _masked_baseline(traces, start, start_width, height, box, before, after, float(sigma), out, coverage)
    return out, coverage


@kernel
def _hand_over(level, other, coverage, enough):
    for i in prange(level.shape[0]):
        for t in range(level.shape[1]):
            trust = min(max(2.0 * coverage[i, t] / enough - 1.0, 0.0), 1.0)
            if np.isnan(level[i, t]):
                level[i, t] = other[i, t]
            elif trust < 1.0 and not np.isnan(other[i, t]):
                level[i, t] = trust * level[i, t] + (1.0 - trust) * other[i, t]


def hand_over(level: np.ndarray, other: np.ndarray, coverage: np.ndarray, enough: float) -> np.ndarray:
    """Let one level turn into another as the first one's coverage falls from enough to half of that, without a step.

    >>> hand_over(np.zeros((1, 4)), np.ones((1, 4)), np.array([[0.3, 0.2, 0.15, 0.1]]), 0.2)
    array([[0. , 0. , 0.5, 1. ]])
    """
    out = level.copy()
    _hand_over(out, other, coverage, float(enough))
    return out
