"""The same law counted in shuffles: where there is no exact one, and as a check of it."""

from __future__ import annotations

import numpy as np

from calcium_engine.coactivity import Activity, joined
from calcium_engine.kernels import shifted_coactivity
from calcium_engine.kernels.surrogates import Trains
from calcium_engine.nulls import Null, Scheme, classes, on_ring, reflected, rings_of


def sampled_null(activity: Activity, scheme: Scheme, shuffles: int, seed: int, n_counts: int) -> Null:
    """Return the law of every bin as counted in shuffles; bins that share a law are pooled."""
    group = _groups(activity, scheme)
    if _simple(activity, scheme):
        found = shifted_coactivity(activity.places, activity.offsets, len(group), shuffles, seed, keys=scheme.keys).sum(
            axis=0, dtype=np.int64
        )
        histograms = np.zeros((1, n_counts), np.int64)
        histograms[0, : min(len(found), n_counts)] = found[:n_counts]
        histograms[0, -1] += found[n_counts:].sum()
    else:
        trains, how = _trains(activity, scheme, group)
        histograms = trains.histograms(how, shuffles, seed, n_counts, least=scheme.least, reach=scheme.reach)
    at_least = np.cumsum(histograms[:, ::-1], axis=1)[:, ::-1]
    total = np.maximum(at_least[:, :1], 1)
    return Null(group, at_least / total, (1 + at_least) / (1 + total), exact=False)


def rarest(activity: Activity, scheme: Scheme, null: Null, shuffles: int, seed: int) -> np.ndarray:
    """Return the smallest chance of a bin's count in each shuffle, by the laws of this null.

    They must not be laws that these very shuffles made of each bin by itself: the recording, which is not among them, would beat
    them by having one less.
    """
    trains, how = _trains(activity, scheme, null.group)
    return trains.rarest(how, shuffles, seed, null.pvalues, least=scheme.least, reach=scheme.reach)


def _simple(activity: Activity, scheme: Scheme) -> bool:
    """Whether shuffles are nothing but shifts of whole bins round the recording, for which there is a faster way."""
    plain = scheme.null == "circular" and scheme.surrogate == "circular" and scheme.least == 0
    return plain and activity.bins.by_bin and activity.once


def _groups(activity: Activity, scheme: Scheme) -> np.ndarray:
    """Group of each bin: bins of one ring and width where places are alike, else each bin by itself."""
    group = np.arange(len(activity.bins.first))
    if scheme.uniform:
        for k, (_, _, bins) in enumerate(classes(activity, rings_of(activity, scheme))):
            group[bins] = k
    return group


def _trains(activity: Activity, scheme: Scheme, group: np.ndarray) -> tuple[Trains, str]:
    """Return what surrogates are drawn from, and how."""
    rings, n_neurons = rings_of(activity, scheme), len(activity.offsets) - 1
    how = "reflected" if scheme.null == "local" else scheme.surrogate
    parts = []
    for start, stop in rings:
        rows, places = joined(on_ring(activity, (start, stop)))
        if how == "reflected":
            rows, places = reflected(rows, places, stop - start, min(scheme.reach, stop - start))
            order = np.lexsort((places, rows))
            rows, places = rows[order], places[order]
        parts.append((places, np.bincount(rows, minlength=n_neurons)))
    sizes = np.concatenate([np.full(n_neurons, stop - start) for start, stop in rings])
    # another stream of random numbers for each ring
    ring = np.repeat(np.arange(len(rings), dtype=np.uint64), n_neurons)
    keys = np.tile(scheme.keys, len(rings)) + ring * np.uint64(0x9E3779B97F4A7C15)
    first, last = activity.bins.of_places()
    trains = Trains(
        places=np.concatenate([places for places, _ in parts]),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([counts for _, counts in parts]))]),
        starts=np.repeat([start for start, _ in rings], n_neurons),
        sizes=sizes,
        keys=keys,
        first_bin=first,
        last_bin=last,
        group=group,
        once=activity.once,
    )
    return trains, how
