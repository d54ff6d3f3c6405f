"""Surrogates: activity whose timing across neurons is broken at random, and how often each count comes up in it.

Every random number is a pure function of (seed, shuffle, key of the train, draw): no count depends on threads, blocks or order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel, threads

# How a train of active places on a ring is drawn anew; the numbers are those of `_draw`.
SURROGATES = {"circular": 0, "permutation": 1, "isi": 2, "train_dither": 3, "event_dither": 4, "reflected": 5}


@inline
def _mixed(key):
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood 2014): neighbouring keys give unrelated values."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@inline
def _key(seed, shuffle, train):
    """Start the stream of random numbers of one train in one shuffle."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    return _mixed(_mixed(_mixed(np.uint64(seed) + golden) ^ (np.uint64(shuffle) + golden)) ^ (train + golden))


@inline
def _uniform(key, draw, n):
    """Return the draw-th whole number from 0 to n - 1 of a stream; the first is the key itself."""
    value = key if draw == 0 else _mixed(key + np.uint64(draw) * np.uint64(0x9E3779B97F4A7C15))
    return np.int64(((value >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@kernel
def _draw_shifts(seed, first, keys, n_shifts, out):
    for row in prange(out.shape[0]):
        for i in range(out.shape[1]):
            out[row, i] = _uniform(_key(seed, first + row, keys[i]), 0, n_shifts)


def draw_shifts(seed: int, first: int, shuffles: int, keys: np.ndarray, n_shifts: int) -> np.ndarray:
    """Uniform shifts from 0 to n_shifts - 1, shuffle × train, of `shuffles` shuffles from `first` on."""
    out = np.empty((shuffles, len(keys)), np.int64)
    _draw_shifts(np.uint64(seed), first, keys, n_shifts, out)
    return out


@inline
def _permute(key, own, n_places, pool, out):
    """Put as many active places anywhere on the ring, no two on one while there are places left.

    `pool` holds all places, and does so again afterwards.
    """
    n = min(own.shape[0], n_places)
    for k in range(n, own.shape[0]):
        out[k] = _uniform(key, k, n_places)
    for k in range(n):
        other = k + _uniform(key, k, n_places - k)
        pool[k], pool[other] = pool[other], pool[k]
        out[k] = pool[k]
    for k in range(n - 1, -1, -1):
        other = k + _uniform(key, k, n_places - k)
        pool[k], pool[other] = pool[other], pool[k]


@inline
def _shuffle_intervals(key, own, n_places, out):
    """Put the intervals between active places, the one round the ring's end among them, into another order, from any place on."""
    n = own.shape[0]
    for k in range(n):
        out[k] = own[k + 1] - own[k] if k + 1 < n else own[0] + n_places - own[k]
    for k in range(n - 1, 0, -1):
        other = _uniform(key, k, k + 1)
        out[k], out[other] = out[other], out[k]
    place = _uniform(key, 0, n_places)
    for k in range(n):
        interval = out[k]
        out[k] = place
        place += interval
        place = place - n_places if place >= n_places else place


@inline
def _draw(how, key, own, n_places, least, reach, pool, out):
    """Write a train's active places on its ring as one surrogate has them; a place off the ring is none."""
    reach = min(reach, (n_places - 1) // 2)
    if how == 1:
        _permute(key, own, n_places, pool, out)
    elif how == 2:
        _shuffle_intervals(key, own, n_places, out)
    elif how == 4:
        for k in range(own.shape[0]):
            out[k] = (own[k] + _uniform(key, k, 2 * reach + 1) - reach) % n_places
    elif how == 5:
        shift = _uniform(key, 0, 2 * reach + 1) - reach
        for k in range(own.shape[0]):
            out[k] = own[k] + shift
    else:
        if how == 3:
            shift = _uniform(key, 0, 2 * reach + 1) - reach
        else:
            shift = least + _uniform(key, 0, n_places - max(2 * least - 1, 0))
        for k in range(own.shape[0]):
            out[k] = (own[k] + shift) % n_places


@inline
def _count(shuffle, how, seed, trains, bins, settings, counts, marks, pool, drawn):
    """Count the coactive neurons in every bin of one shuffle."""
    places, offsets, starts, sizes, keys = trains
    first_bin, last_bin = bins
    least, reach, once = settings
    counts[:], marks[:] = 0, -1
    for train in range(offsets.shape[0] - 1):
        own = places[offsets[train] : offsets[train + 1]]
        n = own.shape[0]
        if n == 0:
            continue
        _draw(how, _key(seed, shuffle, keys[train]), own, sizes[train], least, reach, pool, drawn)
        for k in range(n):
            if drawn[k] < 0 or drawn[k] >= sizes[train]:
                continue
            place = starts[train] + drawn[k]
            for b in range(first_bin[place], last_bin[place] + 1):
                if once and marks[b] == train:
                    continue
                marks[b] = train
                counts[b] += 1


@kernel
def _histograms(n_shuffles, how, seed, trains, bins, group, settings, longest, out):
    n_blocks, n_counts = out.shape[0], out.shape[2]
    for block in prange(n_blocks):
        counts, marks = np.empty(group.shape[0], np.int64), np.empty(group.shape[0], np.int64)
        pool, drawn = np.arange(longest), np.empty(longest, np.int64)
        for shuffle in range(block, n_shuffles, n_blocks):
            _count(shuffle, how, seed, trains, bins, settings, counts, marks, pool, drawn)
            for b in range(group.shape[0]):
                out[block, group[b], min(counts[b], n_counts - 1)] += 1


@kernel
def _rarest(how, seed, trains, bins, group, settings, longest, tails, out):
    for shuffle in prange(out.shape[0]):
        counts, marks = np.empty(group.shape[0], np.int64), np.empty(group.shape[0], np.int64)
        pool, drawn = np.arange(longest), np.empty(longest, np.int64)
        _count(shuffle, how, seed, trains, bins, settings, counts, marks, pool, drawn)
        least = 1.0
        for b in range(group.shape[0]):
            least = min(least, tails[group[b], min(counts[b], tails.shape[1] - 1)])
        out[shuffle] = least


@dataclass(frozen=True)
class Trains:
    """Active places of every neuron on every ring, and the bins that hold each place: what surrogates are drawn from.

    Places of train i are `places[offsets[i]:offsets[i + 1]]`, ascending, counted from the start of its ring, which has `sizes[i]`
    of them and begins at place `starts[i]` of the recording. Trains with one key are drawn alike. Place x of the recording lies
    in bins `first_bin[x]` to `last_bin[x]` (none where the last comes before the first); bin b follows law `group[b]`.
    """

    places: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray
    first_bin: np.ndarray
    last_bin: np.ndarray
    group: np.ndarray
    once: bool  # a train counts once a bin, however many of its places are in it

    def _arguments(self, how: str, seed: int, least: int, reach: int) -> tuple[object, ...]:
        trains = (self.places, self.offsets, self.starts, self.sizes, self.keys)
        longest = int(max(self.sizes.max(initial=1), np.diff(self.offsets).max(initial=1)))
        bins, settings = (self.first_bin, self.last_bin), (least, reach, self.once)
        return SURROGATES[how], np.uint64(seed), trains, bins, self.group, settings, longest

    def histograms(self, how: str, shuffles: int, seed: int, n_counts: int, *, least: int = 0, reach: int = 0) -> np.ndarray:
        """Law × count: in how many bins, of all shuffles together, that many were coactive; the last count stands for 'or more'.

        Args:
            how: one of `SURROGATES`. "reflected" shifts by up to `reach`; places off the ring, where its reflections at the ends
                belong, may be among the train's, and those that the shift brings onto it count.
            shuffles: number of shuffles.
            seed: a non-negative integer.
            n_counts: entries of a law.
            least: least shift, in places, of "circular".
            reach: largest displacement, in places, of "train_dither", "event_dither" and "reflected"; at most half a ring.
        """
        out = np.zeros((threads(), int(self.group.max(initial=0)) + 1, n_counts), np.int64)
        _histograms(shuffles, *self._arguments(how, seed, least, reach), out)
        return np.asarray(out.sum(axis=0))

    def rarest(self, how: str, shuffles: int, seed: int, tails: np.ndarray, *, least: int = 0, reach: int = 0) -> np.ndarray:
        """Return the smallest chance, among all bins of each shuffle, of so large a count; `tails` is law × count."""
        out = np.empty(shuffles)
        _rarest(*self._arguments(how, seed, least, reach), tails, out)
        return out
