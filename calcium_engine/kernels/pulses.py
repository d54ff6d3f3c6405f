"""Pulses of the non-negative deconvolution that the noise cannot explain: where calcium rises by more than chance.

Non-negative deconvolution puts a small pulse into every third frame of pure noise, and spreads a transient over several. What a
pulse is worth is told by the sum of squares that would be added if it were not there, the evidence of all frames until the
next: pulses are taken out, the least worth first, until each that is left is worth more than the threshold. That is backward
elimination from the exact solution, towards the one with the fewest pulses (Jewell & Witten 2018, Ann Appl Stat 12:2457, pose
that problem).

Pools are kept as sums, whose quotient total / weight is the calcium at their start, so that little is divided on the way. Calcium
below 0 is calcium at rest (0); a pool at rest can only be the first of its stretch, since calcium that decays never gets there.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel
from calcium_engine.kernels.events import ragged
from calcium_engine.kernels.rolling import trailing_zeros

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end
LEAST_EVIDENCE = 0.7  # of the threshold: where all that comes decays to less than this, there is no pulse
TILE = 1024  # frames whose sums are handled at a time, so that they stay in the first cache
FADED = 1e-100  # of its size; calcium that has decayed to that counts as 0, before arithmetic becomes slow on subnormal numbers


@inline
def _sums(x, first, last, begin, stop, powers, here, spare, carried):
    """Add up what decays from each frame on to the end, for frames begin..stop from the end; into `here`, from its place 8 on.

    Sums over 1, 2, 4 and 8 frames, and then of every 8th: so no frame waits for the one before.
    """
    n = stop - begin
    for j in range(8):
        spare[j] = 0.0
    for j in range(1 if begin else 8, n + 8):
        value = x[U(last - 1 - begin + 8 - j)]
        spare[U(j)] = 0.0 if np.isnan(value) else value
    for j in range(2, n + 8):
        here[U(j)] = spare[U(j)] + powers[1] * spare[U(j - 1)]
    for j in range(4, n + 8):
        spare[U(j)] = here[U(j)] + powers[2] * here[U(j - 2)]
    for j in range(8, n + 8):
        here[U(j)] = spare[U(j)] + powers[4] * spare[U(j - 4)]
    for j in range(8):
        here[j] = carried[j] if begin else 0.0
    for j in range(8, n + 8):
        here[U(j)] += powers[8] * here[U(j - 8)]
    for j in range(8):
        carried[j] = here[n + j]


@inline
def _evidence(x, first, last, least, powers, roots, here, spare, carried, seen, edges):
    """Find where what decays from each frame on to the end is `least` or more, as the root of the squares that it explains.

    Writes, from the end of the stretch backwards, the frame after and the first frame of each run of such frames; returns how
    many numbers these are.
    """
    n = last - first
    for begin in range(0, n, TILE):
        stop = min(begin + TILE, n)
        _sums(x, first, last, begin, stop, powers, here, spare, carried)
        for t in range(begin, stop):
            seen[U(t)] = here[U(t - begin + 8)] >= least * roots[U(t + 1)]
    seen[n : n + 8] = False
    count = 0
    was = U(0)
    words = seen.view(np.uint64)  # of eight frames each, the first in the lowest byte
    for word in range((n + 8) // 8):
        changes = words[U(word)] ^ (words[U(word)] << U(8)) ^ was
        was = words[U(word)] >> U(56)
        while changes != U(0):
            edges[U(count)] = last - 8 * word - np.int64(trailing_zeros(changes) >> U(3))
            count += 1
            changes &= changes - U(1)
    return count


@inline
def _pool(x, first, last, decay, total, weight, start):
    """Pool each frame with the one before where it lies below what that one decays to: such two are one pool in the end, too.

    Half of all frames do in noise, and no branch could be predicted: there is none, not even around the sums, which a factor of 0
    begins anew. A missing frame has no weight. Returns the number of pools.
    """
    while first < last and np.isnan(x[first]):
        first += 1
    if first == last:
        return 0
    pool = 0
    sum_, square, decayed, begin = np.float64(x[first]), 1.0, 1.0, first
    bar = max(sum_, 0.0) * decay
    total[0], weight[0], start[0] = sum_, square, first
    for t in range(first + 1, last):
        value = np.float64(x[U(t)])
        valid = value == value
        fresh = value >= bar
        pool += fresh
        begin = t if fresh else begin
        bar = (max(value, 0.0) if valid else bar) * decay
        value = value if valid else 0.0
        keep = 0.0 if fresh else 1.0
        decayed = 1.0 if fresh else decayed * decay
        sum_ = sum_ * keep + value * decayed
        square = square * keep + decayed * decayed * valid
        total[U(pool)], weight[U(pool)], start[U(pool)] = sum_, square, begin
    return pool + 1


@inline
def _pool_violators(count, powers, total, weight, start):
    """Merge pools until each starts at no less than what the one before has decayed to; return how many are left."""
    top = 0
    last, square, begin = total[0], weight[0], start[0]
    for pool in range(1, count):
        other, other_square, other_begin = total[U(pool)], weight[U(pool)], start[U(pool)]
        decayed = powers[U(other_begin - begin)]
        if other * square >= other_square * max(last, 0.0) * decayed:
            total[U(top)], weight[U(top)], start[U(top)] = last, square, begin
            top += 1
            last, square, begin = other, other_square, other_begin
            continue
        last += other * decayed
        square += other_square * decayed * decayed
        while top > 0:
            decayed = powers[U(begin - start[U(top - 1)])]
            if last * weight[U(top - 1)] >= square * max(total[U(top - 1)], 0.0) * decayed:
                break
            top -= 1
            last = total[U(top)] + last * decayed
            square = weight[U(top)] + square * decayed * decayed
            begin = start[U(top)]
    total[U(top)], weight[U(top)], start[U(top)] = last, square, begin
    return top + 1


@inline
def _worth(before, square_before, total, square, decayed):
    """Squares that are added when a pool is taken for the decay of the one before; where that is at rest, nothing decays."""
    decayed = decayed if before > 0.0 else 0.0
    jump = total * square_before - before * square * decayed
    worth = jump * jump / (square_before * square * (square_before + decayed * decayed * square))
    return worth if jump > 0.0 else -1.0


@inline
def _eliminate(count, least, powers, total, weight, start, worth):
    """Take out pulses worth under `least`, each while it is worth no more than its neighbours; returns the number of pools.

    Pools are pushed on a stack (over the first ones of the same arrays); a pulse is judged once the next one is known. Where
    calcium is at rest it stays there: what is too small to be a pulse does not move the level of rest.
    """
    for b in range(1, count):
        a = U(b - 1)
        worth[U(b)] = _worth(total[a], weight[a], total[U(b)], weight[U(b)], powers[U(start[U(b)] - start[a])])
    top = 0
    worth[0] = np.inf
    for pool in range(1, count + 1):
        k = top
        unjudged = pool < count
        if unjudged:
            top += 1
            total[U(top)], weight[U(top)], start[U(top)] = total[U(pool)], weight[U(pool)], start[U(pool)]
            worth[U(top)] = worth[U(pool)]
        else:
            worth[U(top + 1)] = np.inf
        lowest = max(k, 1)
        while k >= lowest:
            here = worth[U(k)]
            if not ((here < least) & (here <= worth[U(k - 1)]) & (here <= worth[U(k + 1)])):
                k -= 1
                continue
            a, b = U(k - 1), U(k)
            at_rest = total[a] <= 0.0
            if not at_rest:
                decayed = powers[U(start[b] - start[a])]
                total[a] += total[b] * decayed
                weight[a] += weight[b] * decayed * decayed
            for j in range(k, top):
                to, of = U(j), U(j + 1)
                total[to], weight[to], start[to], worth[to] = total[of], weight[of], start[of], worth[of]
            worth[U(top)] = worth[U(top + 1)]
            top -= 1
            if k > 1 and not at_rest:
                c = U(k - 2)
                worth[a] = _worth(total[c], weight[c], total[a], weight[a], powers[U(start[a] - start[c])])
            if k <= top:
                worth[b] = _worth(total[a], weight[a], total[b], weight[b], powers[U(start[b] - start[a])])
            # the pulses on either side may now be the least of their own neighbourhood
            lowest = min(lowest, max(k - 2, 1))
            k = min(k + 1, top - unjudged)
    return top + 1


@inline
def _mean(x, first, last):
    """Mean of the valid frames from first up to last, and how many there are."""
    total = 0.0
    count = 0
    for t in range(first, last):
        value = np.float64(x[U(t)])
        valid = not np.isnan(value)
        total += value if valid else 0.0
        count += valid
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
def _stretch_pulses(x, first, last, sigma, high, climb, share, reach, around, powers, work, frames, sizes, count):
    """Write the pulses of one stretch behind the `count` that are there already; returns how many there are then."""
    total, weight, worth, start = work
    pools = _pool(x, first, last, powers[1], total, weight, start)
    if pools == 0:
        return count
    pools = _pool_violators(pools, powers, total, weight, start)
    pools = _eliminate(pools, high * high, powers, total, weight, start, worth)
    latest = first - reach - 1
    for pool in range(1, pools):
        t = start[U(pool)]
        following = start[U(pool + 1)] if pool + 1 < pools else last
        top = min(t + reach - 1, following - 1)
        until = min(top + around, following)
        least = share * total[U(pool)] / weight[U(pool)]
        if not _climbs(x, max(t - around, start[U(pool - 1)]), t, top, until, climb * sigma, least):
            continue
        size = np.sqrt(worth[U(pool)])
        if t - latest <= reach:  # what rises on is one pulse
            sizes[U(count - 1)] = max(sizes[U(count - 1)], size)
        else:
            frames[U(count)] = t
            sizes[U(count)] = size
            count += 1
        latest = t
    return count


@kernel
def _find_pulses(traces, noise, high, climb, share, reach, around, powers, roots, bounds, counts, frames, sizes):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        work = np.empty(n + 1), np.empty(n + 1), np.empty(n + 2), np.empty(n + 1, np.int64)
        edges = np.empty(n + 10, np.int64)
        buffers = np.empty(TILE + 8), np.empty(TILE + 8), np.empty(8), np.empty((n + 16) // 8 * 8, np.bool_), edges
        x, row_frames, row_sizes = traces[i], frames[i], sizes[i]
        lasting = int(2.0 / (1.0 - powers[1]))  # frames after which 2 % of a pulse's evidence is left
        count = 0
        for epoch in range(bounds.shape[0] - 1):
            first, last = bounds[epoch], bounds[epoch + 1]
            edge = _evidence(x, first, last, LEAST_EVIDENCE * high[i], powers, roots, *buffers) - 1
            free = first
            while edge > 0:
                start, stop = max(edges[edge] - around - 1, free), min(edges[edge - 1] - 1 + lasting, last)
                edge -= 2
                while edge > 0 and edges[edge] < stop:
                    stop = min(edges[edge - 1] - 1 + lasting, last)
                    edge -= 2
                count = _stretch_pulses(
                    x,
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
                    row_frames,
                    row_sizes,
                    count,
                )
                free = stop
        counts[i] = count


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
    traces, n_frames = np.ascontiguousarray(traces), traces.shape[1]
    sigma, high = (np.ascontiguousarray(level, np.float64) for level in (noise, high))
    bounds = np.asarray(bounds, np.int64)
    powers = np.zeros(max(n_frames, 8) + 1)
    seen = int(min(np.log(FADED) / np.log(decay), n_frames)) + 1
    powers[:seen] = decay ** np.arange(seen)
    roots = np.sqrt((1.0 - powers**2) / (1.0 - decay**2))  # of the squares of a pulse of size 1, by the frames that it lasts
    how = float(climb), float(share), int(reach), int(around), powers, roots, bounds

    def find(rows: slice, counts: np.ndarray, frames: np.ndarray, sizes: np.ndarray) -> None:
        _find_pulses(traces[rows], sigma[rows], high[rows], *how, counts, frames, sizes)

    offsets, frames, sizes = ragged(find, traces.shape, np.int32, np.float32)
    return offsets, frames.astype(np.int64), sizes / np.repeat(sigma, np.diff(offsets))
