"""The two methods that find ensembles: clusters of ensemble events, and independent components of activity."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from calcium_engine import components
from calcium_engine.clustering import Events, distances, labels_at, make_cut, make_tree
from calcium_engine.coactivity import Activity, activity_of
from calcium_engine.dynamics import core_activity, over_chance, stretches
from calcium_engine.membership import CORE_ALPHA, CORE_LEAST, Chance, divide, first_alike, members_of, overlap, settle
from calcium_engine.schema import Attr

HALVES = 10  # of the events
HALF_ALPHA = 0.01  # chance below which a neuron is in the core of a half: of that neuron, not of any
HALF_RECORDINGS = 5
BLOCKS = 20  # of the recording, half of which make a half
COMES_BACK = 2  # activations of a component, fewer of which are no ensemble
FEEBLE = 1 / 20  # of its strongest activation; weaker ones are not the ensemble's coming back


@dataclass(frozen=True)
class Search:
    """What both methods look at, and their choices."""

    recording: xr.Dataset
    participation: np.ndarray
    activity: Activity
    chance: np.ndarray  # neuron, share of bins in which it is active
    propensity: np.ndarray  # neuron, share of the population's activity outside ensemble events
    tree: np.ndarray  # of the ensemble events
    linkage: str
    cut: str | int | float
    variance: float
    min_events: int
    seed: int

    @functools.cached_property
    def core(self) -> Chance:
        """What makes a core neuron."""
        largest = int(self.participation.sum(axis=1).max(initial=0))
        return Chance(self.propensity, CORE_ALPHA / max(1, len(self.chance)), largest)


@dataclass(frozen=True)
class Found:
    """Ensembles: label of each ensemble event, cores (by neuron), activation (by bin), and what is the method's own."""

    labels: np.ndarray
    cores: np.ndarray
    activation: np.ndarray
    activated: np.ndarray
    stability: Callable[[], np.ndarray]
    table: dict[str, np.ndarray]
    summary: dict[str, Attr | None]


def make_search(
    recording: xr.Dataset, cut: str | int | float, linkage: str, variance: float, min_events: int, seed: int
) -> Search:
    """Look up what both methods look at."""
    participation, activity = recording["participation"].values, activity_of(recording)
    n_neurons, inside = recording.sizes["neuron"], _inside_events(recording)
    active, outside = np.zeros(n_neurons), np.zeros(n_neurons)
    for rows, bins in activity.neurons_in_bins():
        active += np.bincount(rows, minlength=n_neurons)
        outside += np.bincount(rows[~inside[bins]], minlength=n_neurons)
    chance = active / max(1, len(activity.bins.first))
    # an ensemble that makes up most of its neurons' activity would be no more than chance by the share of all activity; one more
    # each, so that those with little activity besides are not beyond chance wherever they take part
    outside += chance > 0
    propensity = outside / max(1, outside.sum())
    tree = make_tree(distances(participation), linkage)
    return Search(recording, participation, activity, chance, propensity, tree, linkage, cut, variance, min_events, seed)


def _inside_events(recording: xr.Dataset) -> np.ndarray:
    """Return which bins hold a moment of an ensemble event, or lie beside one that does."""
    time, start = recording["bin_time"].values, recording["ensemble_event_start"].values
    half = float(recording["coactivity"].attrs["bin_width_s"]) / 2
    first = np.searchsorted(time, start - half)
    last = np.searchsorted(time, start + recording["ensemble_event_duration"].values + half, side="right")
    edges = np.zeros(len(time) + 1, np.int64)
    np.add.at(edges, np.maximum(first - 1, 0), 1)
    np.add.at(edges, np.minimum(last + 1, len(time)), -1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def _ensembles_at(participation: np.ndarray, tree: np.ndarray, distance: float, search: Search, core: Chance) -> np.ndarray:
    """Ensemble of each event, from 1 (the one with the most events), -1: none."""
    if search.cut == "null":
        labels = divide(participation, tree, distance, search.min_events, core)
    else:
        labels = labels_at(tree, distance) if len(tree) else np.full(len(participation), -1)
    return settle(participation, labels, search.min_events, core)


def _halves(participation: np.ndarray, cores: np.ndarray, distance: float, search: Search) -> np.ndarray:
    """Split-half stability: how alike an ensemble's counterparts are when two random halves of the events are clustered apart.

    Both are cut at the distance at which all events were. The counterpart is the half's ensemble whose core is most like the
    ensemble's. Jaccard similarity of the two, averaged over HALVES splits; 0 where a half has none.
    """
    total = np.zeros(len(cores))
    if not len(cores):
        return total
    # half the events cannot pass a threshold that all of them just pass
    half = replace(search, min_events=max(2, search.min_events // 2))
    core = replace(search.core, alpha=HALF_ALPHA)
    for split in range(HALVES):
        order = np.random.default_rng([search.seed, split]).permutation(len(participation))
        found = []
        for part in (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])):
            own = participation[part]
            labels = _ensembles_at(own, make_tree(distances(own), search.linkage), distance, half, core)
            found.append(members_of(own, labels, max(0, int(labels.max(initial=0))), core).core)
        total += _agreement(cores, *found)
    return np.asarray(total / HALVES)


def _agreement(cores: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how alike the counterparts of each core are in two other families of cores."""
    nearest = []
    for family in (one, other):
        alike = overlap(cores, family) if len(family) else np.zeros((len(cores), 1))
        best = family[alike.argmax(axis=1)] if len(family) else np.zeros_like(cores)
        nearest.append(best & (alike.max(axis=1) > 0)[:, None])
    return np.asarray(np.diag(overlap(*nearest)))


def _by_jaccard(search: Search) -> Found:
    """Cluster the ensemble events by the neurons that they share."""
    participation = search.participation
    events = Events(participation, search.propensity, search.tree, search.linkage, search.variance, search.seed)
    cut = make_cut(events, search.cut)
    labels = _ensembles_at(participation, search.tree, cut.distance, search, search.core)
    n_ensembles = max(0, int(labels.max(initial=0)))
    cores = members_of(participation, labels, n_ensembles, search.core).core
    counts = core_activity(search.activity, cores)
    table = {"cut_value": cut.value, "cut_score": cut.score, "cut_reference": cut.reference}
    return Found(
        labels,
        cores,
        counts / np.maximum(cores.sum(axis=1, keepdims=True), 1),
        over_chance(counts, cores, search.chance),
        lambda: _halves(participation, cores, cut.distance, search),
        table,
        {"cut": search.cut, "cut_distance": cut.distance, "variance": search.variance if search.cut == "pca_variance" else None},
    )


def _by_ica(search: Search) -> Found:
    """Find directions in which neurons vary together more than shifted ones, and turn them until they are independent."""
    activity = components.binned_activity(search.recording, search.activity.bins)
    thinned = activity[:, components.apart(search.activity.bins)]
    spectrum = components.spectrum(thinned, search.seed)
    weights = components.rotate(spectrum.vectors, thinned, search.seed)
    strength, activated = components.activated(weights, activity, thinned, search.seed)
    strong = activated & (strength > FEEBLE * strength.max(axis=1, keepdims=True, initial=0.0))
    cores, many = components.members(weights), stretches(strong, search.activity.bins.epoch)
    order = [k for k in np.argsort(-many, kind="stable") if many[k] >= COMES_BACK and cores[k].sum() >= CORE_LEAST]
    order = [order[i] for i in first_alike(cores[order])]
    labels = _strongest(search, strength[order], activated[order])
    number = np.arange(1, len(spectrum.values) + 1)
    return Found(
        labels,
        cores[order],
        strength[order],
        activated[order],
        lambda: _half_components(thinned, cores[order], len(spectrum.vectors), search),
        {
            "ensemble_weight": weights[order],
            "cut_value": number,
            "cut_score": spectrum.values,
            "cut_reference": np.full(len(number), spectrum.level),
        },
        {"n_components": len(spectrum.vectors), "component_threshold": spectrum.level},
    )


def _strongest(search: Search, strength: np.ndarray, activated: np.ndarray) -> np.ndarray:
    """Label each ensemble event by the component that is most active in its peak bin, or beside it; -1 where none is."""
    labels = np.full(len(search.participation), -1)
    if not len(strength) or not len(labels):
        return labels
    peak = np.searchsorted(search.recording["bin_time"].values, search.recording["ensemble_event_time"].values)
    near = np.clip(peak[:, None] + np.arange(-1, 2), 0, strength.shape[1] - 1)
    seen = np.where(activated, strength, 0.0)[:, near].max(axis=2)
    return np.where(seen.max(axis=0) > 0, seen.argmax(axis=0) + 1, labels)


def _half_components(activity: np.ndarray, cores: np.ndarray, n_components: int, search: Search) -> np.ndarray:
    """Split-half stability: as that of clusters, of as many components in two halves of the recording, cut into blocks."""
    total = np.zeros(len(cores))
    if not len(cores):
        return total
    block = np.arange(activity.shape[1]) * BLOCKS // activity.shape[1]
    for split in range(HALF_RECORDINGS):
        first = np.isin(block, np.random.default_rng([search.seed, split]).permutation(BLOCKS)[: BLOCKS // 2])
        halves = [components.leading(activity[:, part], n_components, search.seed) for part in (first, ~first)]
        total += _agreement(cores, *(components.members(weights) for weights in halves))
    return np.asarray(total / HALF_RECORDINGS)


METHODS: dict[str, Callable[[Search], Found]] = {"jaccard": _by_jaccard, "ica": _by_ica}
