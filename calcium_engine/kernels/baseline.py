"""The slow baseline of the samples outside transients."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _mirror(values, reach):
    """Continue the middle of an array into the `reach` entries at each end by its mirror image, however far out."""
    n = values.shape[0] - 2 * reach
    for d in range(reach):
        k = d % (2 * n)
        values[reach - 1 - d] = values[reach + (k if k < n else 2 * n - 1 - k)]
        values[reach + n + d] = values[reach + n - 1 - (k if k < n else 2 * n - 1 - k)]


@inline
def _smooth_outside(trace, masked, sigma, previous, out, coverage):
    """Gaussian-weighted mean of the samples that are not masked, and their share of the weight; edges reflected.

    Samples are pooled into bins of σ/8 first: that widens the Gaussian by one part in 1500, and costs 64 times less.
    """
    n = trace.shape[0]
    width = max(1, int(sigma / 8.0))
    n_bins = (n + width - 1) // width
    reach = int(4.0 * sigma / width) + 1
    sums = np.zeros(n_bins + 2 * reach)
    counts = np.zeros(n_bins + 2 * reach)
    for b in range(n_bins):
        total = 0.0
        count = 0
        for t in range(b * width, min((b + 1) * width, n)):
            if not masked[t]:
                total += trace[t]
                count += 1
        sums[reach + b] = total
        counts[reach + b] = count
    _mirror(sums, reach)
    _mirror(counts, reach)
    weights = np.empty(2 * reach + 1)
    for d in range(2 * reach + 1):
        weights[d] = np.exp(-0.5 * ((d - reach) * width / sigma) ** 2)
    full = weights.sum() * width
    level = np.zeros(n_bins)
    weight = np.zeros(n_bins)
    for d in range(2 * reach + 1):  # bins inside: that loop has no order to keep, and so runs many at a time
        for b in range(n_bins):
            level[b] += weights[d] * sums[b + d]
            weight[b] += weights[d] * counts[b + d]
    for b in range(n_bins):
        level[b] = level[b] / weight[b] if weight[b] > 0.01 * full else np.nan
        weight[b] /= full
    for b in range(n_bins + 1):  # straight lines from the centre of each bin to the next; level beyond the first and the last
        left = level[max(b - 1, 0)]
        step = (level[min(b, n_bins - 1)] - left) / width
        share = weight[max(b - 1, 0)]
        share_step = (weight[min(b, n_bins - 1)] - share) / width
        centre = (b - 0.5) * width - 0.5
        seen = not np.isnan(step)
        for t in range(max(b * width - width // 2, 0), min((b + 1) * width - width // 2, n)):
            out[t] = left + step * (t - centre) if seen else previous[t]
            coverage[t] = share + share_step * (t - centre)


@kernel
def _masked_baseline(traces, start, noise, threshold, dilation, sigma, out, coverage):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        trace = traces[i]
        height = threshold * noise[i]
        masked = np.empty(n, np.bool_)
        level = np.empty(n)
        current = np.empty(n)
        for t in range(n):
            current[t] = start[i, t]
        for _ in range(3):
            for t in range(n):
                masked[t] = np.isnan(trace[t])
            until = 0
            for t in range(n):
                if trace[t] > current[t] + height:
                    for k in range(max(until, t - dilation), min(t + dilation + 1, n)):
                        masked[k] = True
                    until = t + dilation + 1
            _smooth_outside(trace, masked, sigma, current, level, coverage[i])
            level, current = current, level
        for t in range(n):
            out[i, t] = current[t]


def masked_baseline(
    traces: np.ndarray,
    start: np.ndarray,
    noise: np.ndarray,
    *,
    threshold: float,
    dilation: int,
    sigma: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Slow level of each trace by the samples outside transients.

    Three times: mask the samples over `level + threshold · noise`, widen the mask by `dilation` frames, and let the level be the
    Gaussian-weighted mean (standard deviation `sigma` frames) of what is left.

    Args:
        traces: neuron × frame; NaN is masked.
        start: neuron × frame, the first guess of the level.
        noise: neuron, σ of each trace.
        threshold: in units of `noise`.
        dilation: frames.
        sigma: frames.

    Returns:
        The level, and the share of the Gaussian's weight that was left to see it by; both like `traces`. Where next to nothing
        was left, the level is that of the round before.
    """
    out = np.empty_like(traces)
    coverage = np.empty_like(traces)
    _masked_baseline(traces, start, noise, float(threshold), int(dilation), float(sigma), out, coverage)
    return out, coverage
