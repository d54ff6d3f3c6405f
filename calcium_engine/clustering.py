"""Hierarchical clustering of ensemble events by the neurons that they share, and the rules that say where to cut the tree."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from calcium_engine.chance import random_events
from calcium_engine.kernels import jaccard_similarity
from calcium_engine.spectra import DIGITS, gram, largest_eigenvalue, shifted

LINKAGES = ("average", "complete", "single", "ward", "weighted")
NULL_EVENTS = 1000  # random events behind the null cut: half a million pairs, of which 500 lie below the 0.1th percentile
NULL_SHARE = 0.001
MOST_CLUSTERS = 50  # that rules which compare numbers of clusters try
REFERENCES = 20  # sets of random events behind the gap
SHUFFLES = 100  # behind the largest eigenvalue by chance
SHUFFLES_PERCENTILE = 95.0
NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Events:
    """What a rule may look at: who takes part (event × neuron), and the tree of the events."""

    participation: np.ndarray
    propensity: np.ndarray  # neuron, share of the population's activity
    tree: np.ndarray
    linkage: str
    variance: float
    seed: int

    @functools.cached_property
    def distance(self) -> np.ndarray:
        """Distances of all pairs of events, condensed."""
        return distances(self.participation)


@dataclass(frozen=True)
class Cut:
    """At which distance a tree is cut, and the evidence: what speaks for each place where it could be, and the same by chance."""

    distance: float
    value: np.ndarray = field(default_factory=lambda: NOTHING)
    score: np.ndarray = field(default_factory=lambda: NOTHING)
    reference: np.ndarray = field(default_factory=lambda: NOTHING)


def distances(participation: np.ndarray) -> np.ndarray:
    """Jaccard distance of every pair of events, condensed."""
    distance = jaccard_similarity(participation, condensed=True)
    np.subtract(1.0, distance, out=distance)
    return distance


def make_tree(distance: np.ndarray, linkage: str) -> np.ndarray:
    """Return the linkage matrix (SciPy's form) of condensed distances; empty for fewer than two events."""
    if not len(distance):
        return np.zeros((0, 4))
    import fastcluster  # SciPy's trees in half the time (Müllner 2013)

    return np.asarray(fastcluster.linkage(distance, linkage))


def labels_at(tree: np.ndarray, distance: float) -> np.ndarray:
    """Return the cluster of each event, from 1, where the tree is cut at a distance."""
    if not len(tree):
        return np.zeros(0, np.int64)
    from scipy.cluster.hierarchy import fcluster

    return np.asarray(fcluster(tree, distance, "distance"))


def distance_for(tree: np.ndarray, n_clusters: int) -> float:
    """Find a distance between the merges that leave `n_clusters`: half way."""
    heights = tree[:, 2]
    n_clusters = min(max(n_clusters, 1), len(heights) + 1)
    below = heights[len(heights) - n_clusters] if n_clusters <= len(heights) else 0.0
    above = heights[len(heights) + 1 - n_clusters] if n_clusters > 1 else heights[-1] + 1.0
    return float((below + above) / 2)


def explained_variance(participation: np.ndarray) -> np.ndarray:
    """Share of the participation's variance along each principal component, largest first."""
    if len(participation) < 2:
        return np.zeros(0)
    values = np.maximum(np.linalg.eigvalsh(gram(participation))[::-1], 0.0)
    total = values.sum()
    return np.asarray(np.round(values / total, DIGITS)) if total > 0 else np.zeros(0)


def _random_distances(events: Events, n_events: int, rng: np.random.Generator) -> np.ndarray:
    """Distances of random events of the same sizes; neurons are put in the order of their activity, whatever theirs is."""
    return distances(random_events(events.participation.sum(axis=1), np.sort(events.propensity), n_events, rng))


def _null(events: Events) -> Cut:
    """Below the cut lie 0.1 % of the pairs of random events of the same sizes."""
    random = _random_distances(events, NULL_EVENTS, np.random.default_rng(events.seed))
    grid = np.round(np.linspace(0.0, 1.0, 101), 2)
    score, reference = (np.searchsorted(np.sort(one), grid, side="right") / len(one) for one in (events.distance, random))
    return Cut(float(np.percentile(random, 100 * NULL_SHARE)), grid, score, reference)


def _pca_variance(events: Events) -> Cut:
    """Take as many clusters as principal components are needed to explain a share of the variance."""
    total = np.cumsum(explained_variance(events.participation))
    n_clusters = int(np.searchsorted(total, events.variance)) + 1
    number = np.arange(1, len(total) + 1)
    return Cut(distance_for(events.tree, n_clusters), number, total, np.full(len(total), events.variance))


def _pca_shift(events: Events) -> Cut:
    """Take one cluster more than principal components stand out from those of neurons shifted against each other."""
    explained = explained_variance(events.participation)
    by_neuron = events.participation.T.astype(np.float64)
    total = max(float(np.trace(gram(by_neuron.T))), 1e-300)
    largest = [largest_eigenvalue(gram(one.T)) / total for one in shifted(by_neuron, SHUFFLES, events.seed)]
    level = float(np.round(np.percentile(largest, SHUFFLES_PERCENTILE), DIGITS))
    n_clusters = int(np.count_nonzero(explained > level)) + 1
    number = np.arange(1, len(explained) + 1)
    return Cut(distance_for(events.tree, n_clusters), number, explained, np.full(len(explained), level))


def _most(events: Events) -> int:
    """Return the largest number of clusters worth trying."""
    return min(len(events.participation) - 1, MOST_CLUSTERS)


def _square(distance: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import squareform

    return np.asarray(squareform(distance, checks=False))


def _labels_for(tree: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return clusters, from 0; fewer than asked for where merges are tied."""
    return np.unique(labels_at(tree, distance_for(tree, n_clusters)), return_inverse=True)[1]


def _sums(tree: np.ndarray, distance: np.ndarray, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For 1 ... `most` clusters, their sizes and the sums of distances of each to each (of pairs within one, twice)."""
    finest = _labels_for(tree, most)
    member = np.eye(finest.max() + 1)[finest]
    sums = member.T @ (_square(distance) @ member)
    sizes, found = member.sum(axis=0), []
    first = np.unique(finest, return_index=True)[1]
    for n_clusters in range(1, most + 1):
        group = _labels_for(tree, n_clusters)[first]
        join = np.eye(group.max() + 1)[group]
        found.append((join.T @ sizes, join.T @ sums @ join))
    return found


def _silhouette(events: Events) -> Cut:
    """Take the number of clusters, from 2, whose events lie nearest to their own and farthest from the next (Rousseeuw 1987)."""
    from sklearn.metrics import silhouette_score

    square, number = _square(events.distance), np.arange(2, _most(events) + 1)
    score = np.full(len(number), np.nan)
    for i, n_clusters in enumerate(number):
        labels = _labels_for(events.tree, int(n_clusters))
        if 2 <= labels.max() + 1 < len(labels):
            score[i] = silhouette_score(square, labels, metric="precomputed")
    return _best(events, number, score)


def _contrast(events: Events) -> Cut:
    """Take the number of clusters with the most contrast of similarity within and between (Beggs & Plenz 2004, J Neurosci)."""
    number, score = np.arange(2, _most(events) + 1), []
    n = len(events.participation)
    for sizes, sums in _sums(events.tree, events.distance, _most(events))[1:]:
        pairs = np.outer(sizes, sizes) - np.diag(sizes)
        within, total = np.diag(pairs).sum(), n * (n - 1)
        if within in (0.0, total):
            score.append(np.nan)
            continue
        inside = 1.0 - np.trace(sums) / within
        outside = 1.0 - (sums.sum() - np.trace(sums)) / (total - within)
        score.append(float((inside - outside) / (inside + outside)) if inside + outside > 0 else np.nan)
    return _best(events, number, np.array(score))


def _best(events: Events, number: np.ndarray, score: np.ndarray) -> Cut:
    """Cut where the score is largest; nowhere where there is none."""
    score = np.round(score, DIGITS)
    if not np.isfinite(score).any():
        return Cut(0.0)
    return Cut(distance_for(events.tree, int(number[np.nanargmax(score)])), number, score, np.full(len(number), np.nan))


def _dispersion(tree: np.ndarray, distance: np.ndarray, most: int) -> np.ndarray:
    """Log of the mean distance within clusters, weighted by their sizes, for 1 ... `most` clusters."""
    within = [(np.diag(sums) / (2 * sizes)).sum() for sizes, sums in _sums(tree, distance, most)]
    return np.log(np.maximum(within, 1e-12))


def _gap(events: Events) -> Cut:
    """Take the fewest clusters that part the events better than random ones, as far as can be told (Tibshirani et al. 2001)."""
    most = _most(events)
    rng = np.random.default_rng(events.seed)
    score, references = _dispersion(events.tree, events.distance, most), []
    for _ in range(REFERENCES):
        random = _random_distances(events, len(events.participation), rng)
        references.append(_dispersion(make_tree(random, events.linkage), random, most))
    mean = np.mean(references, axis=0)
    gap, error = mean - score, np.std(references, axis=0) * np.sqrt(1 + 1 / REFERENCES)
    enough = np.flatnonzero(np.round(gap[:-1] - gap[1:] + error[1:], DIGITS) >= 0)
    n_clusters = int(enough[0]) + 1 if len(enough) else most
    return Cut(distance_for(events.tree, n_clusters), np.arange(1, most + 1), score, mean)


CUTS: dict[str, Callable[[Events], Cut]] = {
    "null": _null,
    "pca_variance": _pca_variance,
    "pca_shift": _pca_shift,
    "silhouette": _silhouette,
    "gap": _gap,
    "contrast": _contrast,
}


def make_cut(events: Events, rule: str | float) -> Cut:
    """Apply a rule by name, or a number: of clusters, or a distance below 1."""
    if len(events.participation) < 2:
        return Cut(0.0)
    if isinstance(rule, str):
        return CUTS[rule](events)
    return Cut(float(rule) if rule < 1 else distance_for(events.tree, int(rule)))
