"""Pulses of the non-negative deconvolution that the noise cannot explain: where calcium rises by more than chance.

Non-negative deconvolution puts a small pulse into every third frame of pure noise, and spreads a transient over several. What a
pulse is worth is told by the sum of squares that would be added if it were not there, the evidence of all frames until the
next: pulses are taken out, the least worth first, until each that is left is worth more than the threshold. That is backward
elimination from the exact solution, towards the one with the fewest pulses (Jewell & Witten 2018, Ann Appl Stat 12:2457, pose
that problem).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

LEAST_EVIDENCE = 0.7  # of the threshold: where all that comes decays to less than this, there is no pulse


@inline
def _pool(x, first, last, powers, value, weight, start):
    """Pool adjacent violators of calcium that decays; a missing frame has no weight. Returns the number of pools."""
    top = -1
    for t in range(first, last):
        if np.isnan(x[t]):
            continue
        top += 1
        value[top] = x[t]
        weight[top] = 1.0
        start[top] = t
        while top > 0:
            decayed = powers[start[top] - start[top - 1]]
            if value[top] >= value[top - 1] * decayed:
                break
            total = weight[top - 1] + weight[top] * decayed * decayed
            value[top - 1] = (weight[top - 1] * value[top - 1] + weight[top] * value[top] * decayed) / total
            weight[top - 1] = total
            top -= 1
    return top + 1


@inline
def _worth(a, b, powers, value, weight, start):
    """Squares that are added when pool b is taken for the decay of pool a; where calcium is at rest before, that is known."""
    if value[a] <= 0.0:
        return value[b] * value[b] * weight[b] if value[b] > 0.0 else -1.0
    decayed = powers[start[b] - start[a]]
    jump = value[b] - decayed * value[a]
    return jump * jump * weight[a] * weight[b] / (weight[a] + decayed * decayed * weight[b]) if jump > 0.0 else -1.0


@inline
def _eliminate(count, least, powers, value, weight, start, worth):
    """Take out pulses worth under `least`, each while it is worth no more than its neighbours; returns the number of pools.

    Pools are pushed on a stack (over the first ones of the same arrays); a pulse is judged once the next one is known. Where
    calcium is at rest it stays there: what is too small to be a pulse does not move the level of rest.
    """
    top = 0
    worth[0] = np.inf
    for pool in range(1, count + 1):
        if pool < count:
            top += 1
            value[top], weight[top], start[top] = value[pool], weight[pool], start[pool]
            worth[top] = _worth(top - 1, top, powers, value, weight, start)
            k = top - 1
        else:
            k = top
        lowest = k
        while k >= 1 and k >= lowest:
            after = worth[k + 1] if k < top else np.inf
            if not (worth[k] < least and worth[k] <= worth[k - 1] and worth[k] <= after):
                k -= 1
                continue
            at_rest = value[k - 1] <= 0.0
            if not at_rest:
                decayed = powers[start[k] - start[k - 1]]
                total = weight[k - 1] + weight[k] * decayed * decayed
                value[k - 1] = (weight[k - 1] * value[k - 1] + weight[k] * value[k] * decayed) / total
                weight[k - 1] = total
            for j in range(k, top):
                value[j], weight[j], start[j], worth[j] = value[j + 1], weight[j + 1], start[j + 1], worth[j + 1]
            top -= 1
            if k - 1 >= 1 and not at_rest:
                worth[k - 1] = _worth(k - 2, k - 1, powers, value, weight, start)
            if k <= top:
                worth[k] = _worth(k - 1, k, powers, value, weight, start)
            # the pulses on either side may now be the least of their own neighbourhood
            lowest = min(lowest, max(k - 2, 1))
            k = min(k + 1, top - 1 if pool < count else top)
    return top + 1


@inline
def _mean(x, first, last):
    """Mean of the valid frames from first up to last, and how many there are."""
    total = 0.0
    count = 0
    for t in range(first, last):
        if not np.isnan(x[t]):
            total += x[t]
            count += 1
    return total / max(count, 1), count


@inline
def _climbs(x, first, t, top, last, sigma, least):
    """Whether the mean of the frames from top up to last lies over that of the frames from first up to t, by at least so much."""
    before, n_before = _mean(x, first, t)
    after, n_after = _mean(x, top, last)
    if n_before == 0 or n_after == 0:
        return True
    return after - before > max(sigma * np.sqrt(1.0 / n_before + 1.0 / n_after), least)


@inline
def _evidence(x, first, last, decay, least, roots, out):
    """Whether what decays from each frame on to the end is `least` or more, as the root of the squares that it explains."""
    total = 0.0
    for t in range(last - 1, first - 1, -1):
        here = x[t]
        total = decay * total + (0.0 if np.isnan(here) else here)
        out[t] = total >= least * roots[last - t]


@inline
def _stretch_pulses(x, first, last, sigma, high, climb, share, reach, around, powers, work, frames, sizes, count):
    """Write the pulses of one stretch behind the `count` that are there already; returns how many there are then."""
    value, weight, worth, start = work
    pools = _pool(x, first, last, powers, value, weight, start)
    pools = _eliminate(pools, high * high, powers, value, weight, start, worth)
    latest = first - reach - 1
    for pool in range(1, pools):
        t = start[pool]
        following = start[pool + 1] if pool + 1 < pools else last
        top = min(t + reach - 1, following - 1)
        until = min(top + around, following)
        if not _climbs(x, max(t - around, start[pool - 1]), t, top, until, climb * sigma, share * value[pool]):
            continue
        z = np.sqrt(worth[pool]) / sigma
        if t - latest <= reach:  # what rises on is one pulse
            sizes[count - 1] = max(sizes[count - 1], z)
        else:
            frames[count] = t
            sizes[count] = z
            count += 1
        latest = t
    return count


@kernel
def _find_pulses(traces, noise, high, climb, share, reach, around, decay, powers, roots, bounds, counts, frames, sizes):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        work = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
        here = np.empty(n, np.bool_)
        lasting = int(2.0 / (1.0 - decay))  # frames after which 2 % of a pulse's evidence is left
        for epoch in range(bounds.shape[0] - 1):
            first, last = bounds[epoch], bounds[epoch + 1]
            _evidence(traces[i], first, last, decay, LEAST_EVIDENCE * high[i], roots, here)
            t = free = first
            while t < last:
                if not here[t]:
                    t += 1
                    continue
                start, stop = max(t - around - 1, free), min(t + lasting, last)
                while t < stop:
                    if here[t]:
                        stop = min(t + lasting, last)
                    t += 1
                counts[i] = _stretch_pulses(
                    traces[i],
                    start,
                    stop,
                    noise[i],
                    high[i],
                    climb,
                    share,
                    reach,
                    around,
                    powers,
                    work,
                    frames[i],
                    sizes[i],
                    counts[i],
                )
                free = stop


def find_pulses(
    traces: np.ndarray,
    noise: np.ndarray,
    decay: float,
    high: np.ndarray,
    bounds: np.ndarray,
    *,
    climb: float = 0.0,
    share: float = 0.0,
    reach: int = 1,
    around: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onsets of the pulses of each trace's non-negative deconvolution that are worth more than `high`.

    Args:
        traces: neuron × frame, resting level 0; missing frames have no weight.
        noise: neuron, σ of white noise in a frame.
        decay: factor of calcium from one frame to the next.
        high: neuron, in units of the trace; the root of the squares that a pulse explains must exceed it.
        bounds: the first frame of each epoch, then the number of frames.
        climb: σ of their difference by which the mean of the frames after a pulse must lie over that of the frames before. A
            tail that falls more slowly than `decay` has pulses, but does not climb.
        share: of the calcium after a pulse that the pulse itself must be: no model fits a large transient to the last percent.
        reach: frames that a transient takes to its peak; pulses no further apart are one.
        around: frames on either side in which the climb is looked at, up to the neighbouring pulses.

    Returns:
        Offsets (neuron + 1), the flat frames of the onsets, and what each is worth, in σ.
    """
    n, n_frames = traces.shape
    counts = np.zeros(n, np.int64)
    # as many as the row could hold; callers pass blocks of rows, so that this stays small
    frames = np.empty((n, n_frames), np.int32)
    sizes = np.empty((n, n_frames), np.float32)
    powers = decay ** np.arange(n_frames + 1)
    roots = np.sqrt((1.0 - powers**2) / (1.0 - decay**2))  # of the squares of a pulse of size 1, by the frames that it lasts
    sigma, high = (np.ascontiguousarray(level, np.float64) for level in (noise, high))
    bounds = np.asarray(bounds, np.int64)
    how = float(climb), float(share), int(reach), int(around)
    _find_pulses(traces, sigma, high, *how, float(decay), powers, roots, bounds, counts, frames, sizes)
    found = np.arange(n_frames) < counts[:, None]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, frames[found].astype(np.int64), sizes[found].astype(np.float64)
