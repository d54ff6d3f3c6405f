"""Non-negative deconvolution of traces whose transients jump up and decay exponentially."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

FADED = 1e-100  # of its size; calcium that has decayed to that counts as 0, before arithmetic becomes slow on subnormal numbers


@inline
def _load(trace, penalty, powers, y):
    """Copy a trace, lowered by what the penalty on jumps here and at the next frame is worth; return its first valid frame."""
    first = after = trace.size
    if penalty == 0.0:
        for t in range(trace.size):
            y[t] = trace[t]
        first = 0
        while first < trace.size and np.isnan(y[first]):
            first += 1
        return first
    for t in range(trace.size - 1, -1, -1):
        y[t] = trace[t]
        if not np.isnan(y[t]):
            # a jump is c[t] minus what the valid frame before has decayed to: each c adds to its own and takes from the next
            y[t] -= penalty * (1.0 - powers[after - t]) if after < trace.size else penalty
            first = after = t
    if first < trace.size:
        y[first] += penalty
    return first


@inline
def _pool_neighbours(first, decay, convex, powers, y, weight, start):
    """Pool each frame with the one before where it lies below what that one decays to: such two are one pool in the end, too.

    Half of all frames do in noise, and no branch could be predicted: there is none, but for missing frames. `y` is read one frame
    after another, and overwritten from its beginning by the pools' sums. Returns the number of pools.
    """
    n = y.size
    pool = 0
    total, square = y[first], 1.0
    never = 0.0 if convex else np.inf
    bar = max(total, 0.0) * decay - never
    y[0], weight[0], start[0], start[1] = total, square, first, first + 1
    for t in range(first + 1, n):
        value = y[t]
        fresh = value >= bar
        pool += fresh
        decayed = powers[t - start[pool]]
        if np.isnan(value):
            bar *= decay
            value = decayed = 0.0
        else:
            bar = max(value, 0.0) * decay - never
        total = value if fresh else total + value * decayed
        square = 1.0 if fresh else square + decayed * decayed
        y[pool] = total
        weight[pool] = square
        start[pool + 1] = t + 1  # where the next pool starts if the next frame is its first
    return pool + 1


@inline
def _pool_violators(count, least, powers, total, weight, start):
    """Merge pools until each starts by `least` or more above what the one before has decayed to; return how many are left.

    Pools are kept as sums, whose quotient total / weight is the calcium at their start, so that nothing is divided on the way. A
    pool below 0 is a pool at 0.
    """
    top = 0
    last, square, begin = total[0], weight[0], start[0]
    for pool in range(1, count):
        other, other_square, other_begin = total[pool], weight[pool], start[pool]
        decayed = powers[other_begin - begin]
        if other * square >= other_square * (max(last, 0.0) * decayed + least * square):
            total[top], weight[top], start[top] = last, square, begin
            top += 1
            last, square, begin = other, other_square, other_begin
            continue
        last += other * decayed
        square += other_square * decayed * decayed
        while top > 0:
            decayed = powers[begin - start[top - 1]]
            if last * weight[top - 1] >= square * (max(total[top - 1], 0.0) * decayed + least * weight[top - 1]):
                break
            top -= 1
            last = total[top] + last * decayed
            square = weight[top] + square * decayed * decayed
            begin = start[top]
    total[top], weight[top], start[top] = last, square, begin
    return top + 1


@kernel
def _nonnegative_deconvolution(traces, decay, powers, penalty, least, out):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        total = np.empty(n)
        weight = np.empty(n)
        start = np.empty(n + 1, np.int64)
        first = _load(traces[i], penalty[i], powers, total)
        for t in range(n):
            out[i, t] = np.nan if np.isnan(traces[i, t]) else 0.0
        if first < n:
            count = _pool_neighbours(first, decay, least[i] == 0.0, powers, total, weight, start)
            count = _pool_violators(count, least[i], powers, total, weight, start)
            before = max(total[0] / weight[0], 0.0)
            for pool in range(1, count):
                calcium = max(total[pool] / weight[pool], 0.0)
                out[i, start[pool]] = max(calcium - before * powers[start[pool] - start[pool - 1]], 0.0)
                before = calcium


def per_row(value, rows, what):
    """Return a number of each row, given as one or as a vector; raise where it is negative or not finite."""
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (rows,)) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{what} must be 0 or a positive number, or one for each of the {rows} rows, but is {value}")
    return np.ascontiguousarray(np.broadcast_to(values, (rows,)))


def powers_of(decay, n):
    powers = decay ** np.arange(n, dtype=np.float64)
    powers[powers < FADED] = 0.0
    return powers


def nonnegative_deconvolution(
    traces: np.ndarray,
    decay: float,
    *,
    penalty: float | np.ndarray = 0.0,
    minimum_spike: float | np.ndarray = 0.0,
) -> np.ndarray:
    """Activity s ≥ 0 whose calcium c[t] = decay · c[t−1] + s[t] comes closest to each trace in the sum of squares.

    The exact minimum of ½ Σ (c[t] − trace[t])² + penalty · Σ s[t], by pooling adjacent violators (Friedrich, Zhou & Paninski
    2017, PLoS Comput Biol 13:e1005423), in one pass, in float64 whatever the traces' type. What calcium is there at the first
    frame is nobody's activity: it is free to be anything from 0, has no penalty, and s[0] is 0.

    A missing frame has no weight and no activity (NaN); calcium decays through it, and what rose meanwhile counts at the first
    valid frame after it. Where a trace begins with missing frames, its first valid frame is the first. Nothing is filled in.

    Args:
        traces: neuron × frame, resting level 0; NaN where a frame is missing.
        decay: factor from one frame to the next, exp(−1 / (τ · sampling rate)), from 0 to 1.
        penalty: on the sum of s, in units of the traces; one number, or one a neuron. Default 0: it makes amplitudes smaller, and
            agreement with recorded spikes no better (Pachitariu et al. 2018, J Neurosci 38:7976).
        minimum_spike: a jump smaller than this, in units of the traces, is not allowed: its pool is merged with the one before,
            from left to right, by the rule of Friedrich et al. That problem is not convex, and the rule greedy: its answer is
            not the global optimum in general. One number, or one a neuron; default 0: no such bound.

    Returns:
        s, in the traces' shape, type and units.

    Raises:
        ValueError: decay is not from 0 to 1, or the penalty or the minimum is negative or of another length than the traces.

    >>> nonnegative_deconvolution(np.array([[0.0, 1.0, 0.5, 0.25]]), 0.5)
    array([[0., 1., 0., 0.]])
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}, but must be a factor from 0 to 1")
    rows, n = traces.shape
    traces = np.ascontiguousarray(traces)
    out = np.empty_like(traces)
    each = per_row(penalty, rows, "penalty"), per_row(minimum_spike, rows, "minimum_spike")
    _nonnegative_deconvolution(traces, float(decay), powers_of(decay, n + 1), *each, out)
    return out
