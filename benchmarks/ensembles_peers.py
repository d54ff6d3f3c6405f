"""Rules by which others find ensembles, written down plainly in NumPy and SciPy, without a line of calcium_engine.

Each takes activity (neuron × step, such as deconvolved traces) and returns who is a member (ensemble × neuron, bool).

- `pca_clusters`: bins over the 99th percentile of 1000 circular shuffles, Jaccard similarity, average linkage, as many clusters
  as principal components explain 80 % of the variance (the classical recipe of this project).
- `ward_contrast`: the same bins and similarity, Ward linkage, as many clusters as give the most contrast of similarity within
  and between them (Beggs & Plenz 2004, J Neurosci 24:5216; Pérez-Ortega et al. 2021, eLife 10:e64449).
- `marchenko_pastur`: independent components, as many as eigenvalues of the correlation matrix are over the Marchenko-Pastur edge
  (Lopes-dos-Santos et al. 2013, J Neurosci Methods 220:149).

The first two take a neuron for a member that is active in half of a cluster's bins; clusters of fewer than 5 bins or 3 members
are none.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

ACTIVE = 3.0  # SD over the mean of the neuron, from which on it is active in a step
SHUFFLES, PERCENTILE = 1000, 99.0
VARIANCE = 0.8
LEAST_BINS, LEAST_MEMBERS, LEAST_SHARE = 5, 3, 0.5
MOST_CLUSTERS = 50
WEIGHT = 2.0  # SD over the mean weight, from which on a neuron is a member
TURNS, STILL = 500, 1e-5


def binary(activity: np.ndarray) -> np.ndarray:
    """Steps in which each neuron is active."""
    return activity > (activity.mean(axis=1) + ACTIVE * activity.std(axis=1))[:, None]


def significant(active: np.ndarray, seed: int) -> np.ndarray:
    """Steps with more active neurons than the 99th percentile of circular shuffles."""
    n_neurons, n_steps = active.shape
    neuron, step = np.nonzero(active)
    rng, pooled = np.random.default_rng(seed), np.zeros(n_neurons + 1, dtype=np.int64)
    for _ in range(SHUFFLES):
        shifted = (step + rng.integers(n_steps, size=n_neurons)[neuron]) % n_steps
        pooled += np.bincount(np.bincount(shifted, minlength=n_steps), minlength=n_neurons + 1)
    threshold = np.searchsorted(np.cumsum(pooled), PERCENTILE / 100 * pooled.sum())
    count = active.sum(axis=0)
    return np.flatnonzero((count > threshold) & (count >= LEAST_MEMBERS))


def members_of(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Neurons that are active in half of a cluster's bins (bin × neuron); clusters of few bins or members are left out."""
    found = np.zeros((0, vectors.shape[1]), dtype=bool)
    for label in np.unique(labels):
        own = vectors[labels == label]
        core = own.mean(axis=0) >= LEAST_SHARE
        if len(own) >= LEAST_BINS and core.sum() >= LEAST_MEMBERS:
            found = np.vstack([found, core])
    return found


def pca_clusters(activity: np.ndarray, seed: int = 0) -> np.ndarray:
    """As many clusters as principal components of the bins explain 80 % of their variance."""
    active = binary(activity)
    vectors = active[:, significant(active, seed)].T
    if len(vectors) < LEAST_BINS:
        return np.zeros((0, len(activity)), dtype=bool)
    variance = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    n_components = int(np.searchsorted(np.cumsum(variance), VARIANCE * variance.sum())) + 1
    labels = fcluster(linkage(pdist(vectors, "jaccard"), "average"), n_components, "maxclust")
    return members_of(vectors, labels)


def contrast(similarity: np.ndarray, labels: np.ndarray) -> float:
    """(within - between) / (within + between), of the mean similarities of pairs in one cluster and in two."""
    pair = np.triu_indices(len(labels), 1)
    same = labels[pair[0]] == labels[pair[1]]
    if same.all() or not same.any():
        return -1.0
    within, between = similarity[pair][same].mean(), similarity[pair][~same].mean()
    return float((within - between) / (within + between))


def ward_contrast(activity: np.ndarray, seed: int = 0) -> np.ndarray:
    """As many Ward clusters as give the most contrast."""
    active = binary(activity)
    vectors = active[:, significant(active, seed)].T
    if len(vectors) < LEAST_BINS:
        return np.zeros((0, len(activity)), dtype=bool)
    distance = pdist(vectors, "jaccard")
    similarity, tree = 1 - squareform(distance), linkage(distance, "ward")
    tried = [fcluster(tree, k, "maxclust") for k in range(2, min(MOST_CLUSTERS, len(vectors) - 1) + 1)]
    return members_of(vectors, max(tried, key=lambda labels: contrast(similarity, labels)))


def marchenko_pastur(activity: np.ndarray, seed: int = 0) -> np.ndarray:
    """Independent components of z-scored activity; members weigh over the mean and 2 SD, heaviest weight positive."""
    moving = activity.std(axis=1) > 0
    z = activity[moving].astype(np.float64)
    z = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    n_neurons, n_steps = z.shape
    values, vectors = np.linalg.eigh(z @ z.T / n_steps)
    over = values > (1 + np.sqrt(n_neurons / n_steps)) ** 2
    found = np.zeros((int(over.sum()), len(activity)), dtype=bool)
    if not over.any():
        return found
    white = (vectors[:, over] / np.sqrt(values[over])).T @ z
    weights = fast_ica(white, np.random.default_rng(seed)) @ vectors[:, over].T
    heaviest = np.take_along_axis(weights, np.abs(weights).argmax(axis=1)[:, None], axis=1)
    weights *= np.sign(heaviest)
    found[:, moving] = weights > (weights.mean(axis=1) + WEIGHT * weights.std(axis=1))[:, None]
    return found


def fast_ica(white: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn white signals (component × step) into independent ones: the fixed point of tanh, all at once (Hyvärinen 1999)."""

    def orthogonal(turn: np.ndarray) -> np.ndarray:
        left, _, right = np.linalg.svd(turn)
        return left @ right

    turn = orthogonal(rng.standard_normal((len(white), len(white))))
    for _ in range(TURNS):
        bent = np.tanh(turn @ white)
        new = orthogonal(bent @ white.T / white.shape[1] - (1 - bent**2).mean(axis=1)[:, None] * turn)
        moved = np.abs(np.abs((new * turn).sum(axis=1)) - 1).max()
        turn = new
        if moved < STILL:
            break
    return turn
