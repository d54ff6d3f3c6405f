"""What coactivity chance gives: the law of the count in every bin when neurons are active independently of each other.

Places, rings and reach are counted in bins or in frames (`coactivity.Bins`). A bin of w places that begins at place s finds a
neuron active where one of the neuron's windows begins at s: a window begins at each place from which w places on hold activity.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from calcium_engine.coactivity import Activity, distinct, joined
from calcium_engine.kernels import local_laws, poisson_binomial_law
from calcium_engine.schema import CalciumError, sampling_rate

LAWS = 256  # worked on at a time: there may be one for each bin
RARE = 1e-20  # counts beyond the largest observed whose chance is less in every bin are not told apart


@dataclass(frozen=True)
class Scheme:
    """How chance activity is made of the recorded one.

    `null`: every neuron's activity is shifted round the recording ("circular"), round each epoch ("epochs"), or by up to `reach`
    places, the ends of epochs reflected ("local"). `surrogate`: what happens on a ring instead of a circular shift. `least`: the
    least circular shift, in places. `groups`: the key of each neuron; neurons with one key are shifted together.
    """

    null: str
    surrogate: str
    least: int
    reach: int
    keys: np.ndarray

    @property
    def grouped(self) -> bool:
        """Whether some neurons are shifted together."""
        return len(np.unique(self.keys)) < len(self.keys)

    @property
    def uniform(self) -> bool:
        """Whether every place of a ring is as likely as any other, so that all bins of one width follow one law."""
        return self.null != "local" and self.least == 0 and self.surrogate in ("circular", "permutation", "isi")

    def has_exact_law(self, activity: Activity) -> bool:
        """Whether the law of the count in a bin is known in closed form."""
        if self.surrogate == "event_dither":
            return False
        return (activity.once and not self.grouped) or (self.uniform and self.surrogate == "circular")


def make_scheme(
    recording: xr.Dataset,
    activity: Activity,
    *,
    null: str = "circular",
    surrogate: str = "circular",
    min_shift: float = 0.0,
    reach: float = 10.0,
    shift_together: str | None = None,
) -> Scheme:
    """Turn seconds into places, and neuron ids, or what is shifted together, into keys of random numbers."""
    bins = activity.bins
    per_place = (int(bins.width[0]) if bins.by_bin else 1) / sampling_rate(recording)
    least = max(1, round(min_shift / per_place)) if min_shift else 0
    edges = bins.rings
    smallest = int(np.diff(edges)[np.diff(edges) > 0].min()) if null == "epochs" else int(edges[-1])
    if 4 * least > smallest:
        raise CalciumError(
            f"a least shift of {min_shift:g} s leaves too little of {smallest * per_place:g} s to shift to: the recorded timing "
            "would be compared with few others; give at most a quarter"
        )
    places = max(1, round(min(reach / per_place, edges[-1])))
    if shift_together is None:
        return Scheme(null, surrogate, least, places, _keys(recording["neuron"].values))
    if shift_together not in recording.coords or recording[shift_together].dims != ("neuron",):
        known = [str(name) for name, coord in recording.coords.items() if coord.dims == ("neuron",)]
        raise CalciumError(f"shift_together={shift_together!r} is no coordinate of neurons; there are {', '.join(known)}")
    names = recording[shift_together]
    if names.isnull().any():
        raise CalciumError(f"shift_together={shift_together!r} is missing for some neurons; give each a value")
    return Scheme(null, surrogate, least, places, _keys(names.values))


def _keys(names: np.ndarray) -> np.ndarray:
    """Return a number for each name, wherever it stands: a whole number itself, the beginning of a digest of anything else."""
    if names.dtype.kind in "iub":
        return names.astype(np.int64).view(np.uint64)
    digests = {name: hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in set(names.tolist())}
    return np.array([int.from_bytes(digests[name], "little") for name in names.tolist()], np.uint64)


@dataclass(frozen=True)
class Null:
    """The law of the count in each bin: bins of one group share a law. `tails` and `pvalues` are group × count.

    `tails` are the chances of at least 0, 1, ... coactive neurons, the last of so many or more; `pvalues` what a bin with that
    count is given: the same where the law is exact, one more than the number of shuffled bins over one more than their number
    where it is sampled, so that none is 0.
    """

    group: np.ndarray
    tails: np.ndarray
    pvalues: np.ndarray
    exact: bool

    @property
    def expected(self) -> np.ndarray:
        """Mean count in each bin."""
        return np.asarray(self.tails[:, 1:].sum(axis=1)[self.group])

    @functools.cached_property
    def law(self) -> np.ndarray:
        """Share of bins with each count, all bins together."""
        weights = np.bincount(self.group, minlength=len(self.tails)) / max(1, len(self.group))
        total = np.zeros(self.tails.shape[1])
        for first in range(0, len(self.tails), LAWS):
            tails = self.tails[first : first + LAWS]
            laws = tails - np.concatenate([tails[:, 1:], np.zeros((len(tails), 1))], axis=1)
            total += weights[first : first + LAWS] @ np.maximum(laws, 0.0)
        return total

    @property
    def pooled(self) -> Null:
        """One law for all bins: that of all of them together."""
        tails = np.minimum(np.cumsum(self.law[::-1])[::-1], 1.0)[None]
        return Null(np.zeros_like(self.group), tails, tails, self.exact)

    def chance_to_reach(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the chance of each bin to reach its threshold; 0 where there is none."""
        there = np.isfinite(thresholds)
        return np.where(there, self.pvalues_of(np.where(there, thresholds, 0).astype(np.int64)), 0.0)

    def pvalues_of(self, counts: np.ndarray) -> np.ndarray:
        """Return the p-value of each bin's count."""
        return np.asarray(self.pvalues[self.group, np.minimum(counts, self.tails.shape[1] - 1)])

    def thresholds(self, critical: float) -> np.ndarray:
        """Return the smallest count of each bin with at most this p-value; NaN where no count has."""
        passes = self.pvalues <= critical
        return np.asarray(np.where(passes.any(axis=1), np.argmax(passes, axis=1), np.nan)[self.group])


def rings_of(activity: Activity, scheme: Scheme) -> list[tuple[int, int]]:
    """First place, and the one after the last, of each ring."""
    edges = activity.bins.rings
    if scheme.null == "circular":
        return [(0, int(edges[-1]))]
    return [(int(start), int(stop)) for start, stop in pairwise(edges) if stop > start]


def on_ring(
    activity: Activity, ring: tuple[int, int], order: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield row and place, counted from the ring's start, of activity on a ring, of some rows at a time (`Activity.pieces`)."""
    for rows, places in activity.pieces(order):
        inside = (places >= ring[0]) & (places < ring[1])
        yield rows[inside], places[inside] - ring[0]


def classes(activity: Activity, rings: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], int, np.ndarray]]:
    """Yield ring, width in places, and the bins on that ring of that width."""
    begins, widths = activity.bins.places, activity.bins.place_widths
    for ring in rings:
        for width in np.unique(widths):
            own = np.flatnonzero((begins >= ring[0]) & (begins < ring[1]) & (widths == width))
            if len(own):
                yield ring, int(width), own


def reflected(rows: np.ndarray, places: np.ndarray, size: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Add what lies within `reach` of an end again on the other side of it."""
    low, high = places < reach, places >= size - reach
    return (
        np.concatenate([rows, rows[low], rows[high]]),
        np.concatenate([places, -1 - places[low], 2 * size - 1 - places[high]]),
    )


def _wrapped(rows: np.ndarray, begins: np.ndarray, size: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Add what lies within `reach` of an end of a ring again beyond the other one; ordered."""
    low, high = begins < reach, begins >= size - reach
    rows = np.concatenate([rows, rows[low], rows[high]])
    begins = np.concatenate([begins, begins[low] + size, begins[high] - size])
    order = np.lexsort((begins, rows))
    return rows[order], begins[order]


def _windows(rows: np.ndarray, places: np.ndarray, width: int, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Row and beginning of every window of `width` places that holds activity, each once, ordered; round a ring of `size`."""
    begins = (places[:, None] - np.arange(width)).ravel()
    if size is not None:
        begins %= size
    lowest = int(begins.min(initial=0))
    span = int(begins.max(initial=0)) - lowest + 1
    rows, begins = np.divmod(distinct(np.repeat(rows, width) * span + begins - lowest), span)
    return rows, begins + lowest


def _enough_counts(mean: float, observed: int, most: int) -> int:
    """Return how many entries tell apart all counts up to the largest observed and all that are not RARE (Chernoff's bound)."""
    scaled = max(mean / most, 1e-9)
    counts = np.arange(int(scaled) + 1, 2 + int(4 * scaled + 60))  # the bound is one of large counts
    bound = counts - scaled + counts * np.log(scaled / counts)
    rare = int(counts[np.argmax(bound < np.log(RARE))]) * most
    return max(rare, observed + 1) + 1


@dataclass(frozen=True)
class _Part:
    """The bins of one ring and width, what lets their law be worked out, and their largest mean count."""

    bins: np.ndarray
    laws: Callable[[int], np.ndarray]
    mean: float


def exact_null(activity: Activity, scheme: Scheme, observed: int) -> Null:
    """Return the exact law of every bin, with entries for at least the largest count observed."""
    make = _uniform_part if scheme.uniform else _placed_part
    parts = [make(activity, scheme, *one) for one in classes(activity, rings_of(activity, scheme))]
    most = 1 if activity.once and not scheme.grouped else max(1, _largest_step(activity, scheme))
    n_counts = _enough_counts(max(part.mean for part in parts), observed, most)
    group, laws, used = np.zeros(len(activity.bins.first), np.int64), [], 0
    for part in parts:
        laws.append(part.laws(n_counts))
        group[part.bins] = used + (np.arange(len(part.bins)) if len(laws[-1]) > 1 else 0)
        used += len(laws[-1])
    tails = _tails(laws[0] if len(laws) == 1 else np.concatenate(laws))
    return Null(group, tails, tails, exact=True)


def _tails(laws: np.ndarray) -> np.ndarray:
    """Turn each law into the chance of at least so many, in its place."""
    for first in range(0, len(laws), LAWS):
        some = laws[first : first + LAWS]
        some[:] = np.minimum(np.cumsum(some[:, ::-1], axis=1)[:, ::-1], 1.0)
    return laws


def _largest_step(activity: Activity, scheme: Scheme) -> int:
    """Return the most that one key can add to a bin's count."""
    rows, bins = joined(activity.in_bins())
    _, unit = np.unique(scheme.keys, return_inverse=True)
    per = np.unique(unit[rows] * max(1, len(activity.bins.first)) + bins, return_counts=True)[1]
    return int(per.max(initial=1))


def _uniform_part(activity: Activity, scheme: Scheme, ring: tuple[int, int], width: int, bins: np.ndarray) -> _Part:
    """All bins of one width on a ring follow one law: a neuron is active with the share of the ring that its windows hold."""
    size, n_neurons = ring[1] - ring[0], len(activity.offsets) - 1
    if not activity.once or scheme.grouped:
        laws = _unit_laws(activity, scheme, ring, width)
        return _Part(bins, lambda n: _convolved(laws, n)[None], float(sum(np.arange(len(law)) @ law for law in laws)))
    active = np.zeros(n_neurons, np.int64)
    for rows, places in on_ring(activity, ring):
        own = rows if scheme.surrogate == "permutation" else _windows(rows, places, width, size)[0]
        active += np.bincount(own, minlength=n_neurons)
    chance = _permuted(active, width, size) if scheme.surrogate == "permutation" else active / size
    chance = np.sort(chance)  # whatever the order of neurons, not a bit of the law depends on it
    return _Part(bins, lambda n: poisson_binomial_law(chance, n)[None], float(chance.sum()))


def _permuted(active: np.ndarray, width: int, size: int) -> np.ndarray:
    """Chance that one of the active places, put anywhere, no two on one, lies among `width` of `size` (hypergeometric)."""
    step = np.arange(width)
    return np.asarray(1.0 - np.prod(np.maximum(size - active[:, None] - step, 0) / (size - step), axis=1))


def _unit_laws(activity: Activity, scheme: Scheme, ring: tuple[int, int], width: int) -> list[np.ndarray]:
    """Law of what each neuron, or group shifted together, adds to a bin: how often each number stands round the ring."""
    (rows, places), size = joined(on_ring(activity, ring)), ring[1] - ring[0]
    if activity.once:
        rows, begins = _windows(rows, places, width, size)
    else:
        rows, begins = np.repeat(rows, width), ((places[:, None] - np.arange(width)) % size).ravel()
    _, unit = np.unique(scheme.keys, return_inverse=True)
    order = np.argsort(unit[rows], kind="stable")
    edges = np.searchsorted(unit[rows][order], np.arange(int(unit.max(initial=-1)) + 2))
    held = [np.bincount(begins[order[first:last]], minlength=size) for first, last in pairwise(edges) if last > first]
    return [np.bincount(counts) / size for counts in held]


def _convolved(laws: list[np.ndarray], n_counts: int) -> np.ndarray:
    """Law of a sum; the last entry stands for 'or more'."""
    total = np.zeros(n_counts)
    total[0] = 1.0
    for law in laws:
        longer = np.convolve(total, law)
        total = longer[:n_counts].copy()
        total[-1] += longer[n_counts:].sum()
    return total


def _placed_part(activity: Activity, scheme: Scheme, ring: tuple[int, int], width: int, bins: np.ndarray) -> _Part:
    """Every bin has a law of its own: a neuron's chance is the share of places near the bin, or away from it, that it holds."""
    size, least = ring[1] - ring[0], scheme.least
    away = least > 0
    reach = least - 1 if away else min(scheme.reach, (size - 1) // 2)
    n_neurons = len(activity.offsets) - 1
    many, totals, found = np.zeros(n_neurons, np.int64), np.zeros(n_neurons, np.int64), [np.zeros(0, np.int64)]
    for rows, places in on_ring(activity, ring, np.argsort(scheme.keys, kind="stable")):  # an order of their own, as above
        if scheme.null == "local":
            rows, begins = _windows(*reflected(rows, places, size, min(reach + width, size)), width, None)
        else:
            rows, begins = _wrapped(*_windows(rows, places, width, size), size, reach)
        many += np.bincount(rows, minlength=n_neurons)
        totals += np.bincount(rows[(begins >= 0) & (begins < size)], minlength=n_neurons)
        found.append(begins)
    begins, offsets = np.concatenate(found), np.concatenate([[0], np.cumsum(many)])
    del found
    centres = activity.bins.places[bins] - ring[0]
    outside = size - 2 * least + 1 if away else 0
    if away:
        mean = float(totals.sum() / outside)
    else:
        running = np.searchsorted(np.sort(begins), [centres + reach + 1, centres - reach])
        mean = float((running[0] - running[1]).max(initial=0) / (2 * reach + 1))
    return _Part(bins, lambda n: local_laws(begins, offsets, centres, reach, n, totals=totals, outside=outside), mean)
