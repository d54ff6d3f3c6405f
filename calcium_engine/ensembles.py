"""Ensembles: groups of neurons that come back together, found by clustering the ensemble events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.coactivity import activity_of
from calcium_engine.kernels import jaccard_similarity
from calcium_engine.schema import CalciumError, fresh, record, sampling_rate, var

LINKAGES = ("average", "complete", "single", "ward", "weighted")
CUTS = ("null", "pca_variance")
NULL_EVENTS = 1000  # random events behind the null cut: half a million pairs, of which 500 lie below the 0.1th percentile
NULL_PERCENTILE = 0.1
CORE_ALPHA = 0.01
CORE_SHARE = 0.3
CORE_LEAST = 3  # two neurons make no ensemble
MERGE_OVERLAP = 2 / 3
HALVES = 10


@dataclass(frozen=True)
class Clustering:
    """What one clustering needs to know besides the events: used on all of them, and on halves."""

    linkage: str
    distance: float
    min_events: int
    propensity: np.ndarray  # neuron, share of the population's activity
    alpha: float  # below which a neuron's participation makes it a core neuron


def _tree(similarity: np.ndarray, linkage: str) -> np.ndarray:
    """SciPy's linkage matrix of the Jaccard distances; empty for fewer than two events."""
    if len(similarity) < 2:
        return np.zeros((0, 4))
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    distance = 1.0 - similarity
    np.fill_diagonal(distance, 0.0)
    return np.asarray(hierarchy.linkage(squareform(distance, checks=False), linkage))


def _explained_variance(participation: np.ndarray) -> np.ndarray:
    """Share of the participation's variance along each principal component, largest first.

    Counted in whole numbers up to the eigenvalues, and those rounded, so that no bit depends on the number of threads.
    """
    rows = participation.astype(np.float64)
    n_events, n_neurons = rows.shape
    if n_events < 2:
        return np.zeros(0)
    if n_events <= n_neurons:
        centred = rows - rows.mean(axis=0)
        gram = centred @ centred.T
    else:
        gram = rows.T @ rows - np.outer(rows.sum(axis=0), rows.sum(axis=0)) / n_events
    values = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    total = values.sum()
    return np.asarray(np.round(values / total, 9)) if total > 0 else np.zeros(0)


def random_events(sizes: np.ndarray, propensity: np.ndarray, n_events: int, rng: np.random.Generator) -> np.ndarray:
    """Events of the given sizes (resampled) whose neurons are drawn without replacement, in proportion to their activity."""
    with np.errstate(divide="ignore"):
        keys = np.log(propensity) + rng.gumbel(size=(n_events, len(propensity)))
    order = np.argsort(-keys, axis=1, kind="stable")
    wanted = np.minimum(rng.choice(sizes, n_events), np.count_nonzero(propensity))
    events = np.zeros((n_events, len(propensity)), bool)
    np.put_along_axis(events, order, np.arange(len(propensity)) < wanted[:, None], axis=1)
    return events


def _null_distance(participation: np.ndarray, propensity: np.ndarray, seed: int) -> float:
    """Find the Jaccard distance below which only 0.1 % of pairs of random events of the same sizes lie."""
    random = random_events(participation.sum(axis=1), propensity, NULL_EVENTS, np.random.default_rng(seed))
    pairs = np.triu_indices(NULL_EVENTS, 1)
    return float(np.percentile(1.0 - jaccard_similarity(random)[pairs], NULL_PERCENTILE))


def _distance_for(tree: np.ndarray, n_clusters: int) -> float:
    """Find a distance between the merges that leave `n_clusters`: half way."""
    heights = tree[:, 2]
    n_clusters = min(max(n_clusters, 1), len(heights) + 1)
    below = heights[len(heights) - n_clusters] if n_clusters <= len(heights) else 0.0
    above = heights[len(heights) + 1 - n_clusters] if n_clusters > 1 else heights[-1] + 1.0
    return float((below + above) / 2)


def _core(participation: np.ndarray, members: np.ndarray, how: Clustering) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each neuron's share of an ensemble's events, the chance of so large a one, and whether that makes it a core neuron.

    By chance a neuron takes part in an event of s neurons with probability s times its share of the population's activity. (Its
    share of all ensemble events would be no chance level: where one ensemble makes up most of them, its own core would fail.)
    """
    from scipy.special import bdtrc

    own = participation[members]
    n = len(own)
    hits = own.sum(axis=0)
    chance = np.minimum(own.sum(axis=1).mean() * how.propensity, 1.0)
    pvalue = np.where(hits > 0, bdtrc(np.maximum(hits - 1, 0), n, chance), 1.0)
    share = hits / n
    return share, pvalue, (pvalue < how.alpha) & (share >= CORE_SHARE)


def _cluster(participation: np.ndarray, tree: np.ndarray, how: Clustering) -> np.ndarray:
    """Ensemble of each event, from 1 (the one with the most events); -1 for clusters of too few events or core neurons."""
    n_events = len(participation)
    labels = np.full(n_events, -1)
    if len(tree):
        from scipy.cluster.hierarchy import fcluster

        labels = fcluster(tree, how.distance, "distance")
    for label in np.unique(labels):
        if np.count_nonzero(labels == label) < how.min_events:
            labels[labels == label] = -1
    labels = _merge(participation, labels, how)
    kept = [k for k in np.unique(labels[labels > 0]) if _core(participation, labels == k, how)[2].sum() >= CORE_LEAST]
    kept.sort(key=lambda k: (-np.count_nonzero(labels == k), int(np.argmax(labels == k))))
    ranked = np.full(n_events, -1)
    for rank, label in enumerate(kept, start=1):
        ranked[labels == label] = rank
    return ranked


def _merge(participation: np.ndarray, labels: np.ndarray, how: Clustering) -> np.ndarray:
    """Join clusters whose cores share over two thirds of both, the most alike first."""
    labels = labels.copy()
    while True:
        names = [k for k in np.unique(labels) if k > 0]
        cores = np.array([_core(participation, labels == k, how)[2] for k in names], dtype=np.float64)
        if len(names) < 2:
            return labels
        size = np.maximum(cores.sum(axis=1), 1.0)
        overlap = (cores @ cores.T) / np.maximum(size[:, None], size[None, :])
        np.fill_diagonal(overlap, 0.0)
        first, second = np.unravel_index(np.argmax(overlap), overlap.shape)
        if overlap[first, second] <= MERGE_OVERLAP:
            return labels
        labels[labels == names[second]] = names[first]


def _cores(participation: np.ndarray, labels: np.ndarray, how: Clustering) -> np.ndarray:
    """Ensemble × neuron: core neurons."""
    n_ensembles = max(int(labels.max(initial=0)), 0)
    cores = [_core(participation, labels == k, how)[2] for k in range(1, n_ensembles + 1)]
    return np.array(cores, dtype=bool).reshape(n_ensembles, participation.shape[1])


def _overlap(cores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Jaccard similarity of each core with each of others."""
    common = cores.astype(np.float64) @ others.T.astype(np.float64)
    union = cores.sum(axis=1)[:, None] + others.sum(axis=1)[None, :] - common
    return np.asarray(common / np.maximum(union, 1.0))


def _stability(participation: np.ndarray, similarity: np.ndarray, cores: np.ndarray, how: Clustering, seed: int) -> np.ndarray:
    """Split-half stability: how alike an ensemble's counterparts are when two random halves of the events are clustered alone.

    The counterpart is the half's ensemble whose core is most like the ensemble's. Jaccard similarity of the two, averaged over
    HALVES splits; 0 where a half has none.
    """
    if not len(cores):
        return np.zeros(0)
    # half the events cannot pass a threshold that all of them just pass
    half = replace(how, min_events=max(2, how.min_events // 2), alpha=CORE_ALPHA)
    total = np.zeros(len(cores))
    for split in range(HALVES):
        order = np.random.default_rng([seed, split]).permutation(len(participation))
        counterparts = []
        for part in (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])):
            labels = _cluster(participation[part], _tree(similarity[np.ix_(part, part)], how.linkage), half)
            found = _cores(participation[part], labels, half)
            overlap = _overlap(cores, found)
            best = found[overlap.argmax(axis=1)] & (overlap.max(axis=1) > 0)[:, None] if len(found) else np.zeros_like(cores)
            counterparts.append(best)
        total += np.diag(_overlap(*counterparts))
    return np.asarray(total / HALVES)


def find_ensembles(
    recording: xr.Dataset,
    *,
    cut: Literal["null", "pca_variance"] | int | float = "null",
    linkage: Literal["average", "complete", "single", "ward", "weighted"] = "average",
    variance: float = 0.8,
    min_events: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """Group the ensemble events by the neurons that they share: which neurons make up each ensemble, and when it is active.

    Jaccard similarity of all pairs of ensemble events → hierarchical clustering → cut → ensembles, whose core neurons take part
    more often than chance explains.

    Args:
        recording: with ensemble events.
        cut: where the tree is cut. "null" (default): at the Jaccard distance below which only 0.1 % of pairs of random events of
            the same sizes lie, drawn in proportion to the neurons' activity; "pca_variance": into as many clusters as principal
            components of the participation are needed to explain `variance`; a whole number: so many clusters; a fraction
            between 0 and 1: at that distance.
        linkage: average (default), complete, single, ward or weighted.
        variance: of "pca_variance".
        min_events: a cluster of fewer is no ensemble, nor is one with under three core neurons; their
            events are left unassigned.
        seed: of the random events and of the halves.

    Returns:
        The recording with `similarity`, `linkage` (SciPy's form), `explained_variance` (component), `ensemble_event_label` (-1:
        unassigned) and, by `ensemble` (1 is the one with the most events): `membership` (share of its events in which a neuron
        takes part), `membership_pvalue`, `is_core` (p < 0.01 / neurons and membership of at least 0.3; a neuron may be in
        several), `ensemble_size`, `ensemble_event_count`, `ensemble_rate` and `ensemble_stability` (split halves; under 0.5 is
        unstable). Ensembles whose cores share over two thirds of both are one.

    Raises:
        MissingVariableError: there are no ensemble events yet.
        CalciumError: an unknown cut or linkage, or numbers out of range.
    """
    recording = fresh(recording, "find_ensembles")
    participation = var("participation").check(recording).values
    _check(cut, linkage, variance, min_events, seed)
    active = np.bincount(activity_of(recording).neurons_in_bins()[0], minlength=recording.sizes["neuron"])
    propensity = active / max(1, active.sum())
    similarity = jaccard_similarity(participation)
    tree = _tree(similarity, linkage)
    explained = _explained_variance(participation)
    distance = _cut_distance(cut, variance, participation, tree, explained, propensity, seed)
    how = Clustering(linkage, distance, min_events, propensity, CORE_ALPHA / max(1, recording.sizes["neuron"]))
    labels = _cluster(participation, tree, how)
    cores = _cores(participation, labels, how)
    parameters = {
        "cut": cut,
        "variance": variance if cut == "pca_variance" else None,
        "cut_distance": distance,
        "linkage": linkage,
        "min_events": min_events,
        "seed": seed,
    }
    table: dict[str, np.ndarray] = {
        "similarity": similarity,
        "linkage": tree,
        "explained_variance": explained,
        "ensemble_event_label": labels,
        "is_core": cores,
        "ensemble_size": cores.sum(axis=1),
        "ensemble_stability": _stability(participation, similarity, cores, how, seed),
    }
    table |= _describe(recording, participation, labels, len(cores), how)
    result = recording.assign({name: var(name).wrap(values) for name, values in table.items()})
    result["ensemble_event_label"].attrs.update(
        {key: value for key, value in parameters.items() if value is not None} | {"n_ensembles": len(cores)}
    )
    coords = {"ensemble": np.arange(1, len(cores) + 1), "ensemble_event_other": recording["ensemble_event"].values}
    return record(result.assign_coords(coords), "find_ensembles", **parameters)


def _check(cut: str | int | float, linkage: str, variance: float, min_events: int, seed: int) -> None:
    if linkage not in LINKAGES:
        raise CalciumError(f"unknown linkage {linkage!r}; choose one of {', '.join(LINKAGES)}")
    if isinstance(cut, str) and cut not in CUTS:
        raise CalciumError(f"unknown cut {cut!r}; choose one of {', '.join(CUTS)}, a number of clusters or a distance below 1")
    if not isinstance(cut, str) and not (np.isfinite(cut) and cut > 0 and (cut == int(cut) or cut < 1)):
        raise CalciumError(f"cut is {cut}, but must be a whole number of clusters, or a distance between 0 and 1")
    if not 0.0 < variance < 1.0:
        raise CalciumError(f"variance is {variance}, but must be between 0 and 1; 0.8 is usual")
    if min_events < 1 or not 0 <= seed < 2**63:
        raise CalciumError(f"min_events must be at least 1 and seed not negative, but they are {min_events} and {seed}")


def _cut_distance(
    cut: str | int | float,
    variance: float,
    participation: np.ndarray,
    tree: np.ndarray,
    explained: np.ndarray,
    propensity: np.ndarray,
    seed: int,
) -> float:
    """Find the distance at which the tree is cut, whatever the rule."""
    if len(tree) == 0:
        return 0.0
    if cut == "null":
        return _null_distance(participation, propensity, seed)
    if cut == "pca_variance":
        return _distance_for(tree, int(np.searchsorted(np.cumsum(explained), variance)) + 1)
    number = float(cut)
    return number if number < 1 else _distance_for(tree, int(number))


def _describe(
    recording: xr.Dataset, participation: np.ndarray, labels: np.ndarray, n_ensembles: int, how: Clustering
) -> dict[str, np.ndarray]:
    """Membership, its p-value, number and rate of events of each ensemble."""
    shape = (n_ensembles, participation.shape[1])
    rows = [_core(participation, labels == k, how) for k in range(1, n_ensembles + 1)]
    counts = np.array([np.count_nonzero(labels == k) for k in range(1, n_ensembles + 1)], np.int64)
    minutes = recording.sizes["frame"] / sampling_rate(recording) / 60.0
    return {
        "membership": np.array([row[0] for row in rows], dtype=np.float64).reshape(shape),
        "membership_pvalue": np.array([row[1] for row in rows], dtype=np.float64).reshape(shape),
        "ensemble_event_count": counts,
        "ensemble_rate": counts / minutes,
    }
