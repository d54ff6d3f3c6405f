"""How synchronous a population is, beyond what its rates give by chance."""

from __future__ import annotations

import numpy as np

from calcium_engine.coactivity import Activity
from calcium_engine.nulls import Null


def measure_synchrony(activity: Activity, counts: np.ndarray, null: Null, significant: np.ndarray) -> dict[str, np.ndarray]:
    """Return the measures of synchrony that rest on the law of the counts by chance.

    `synchrony_divergence`: Kullback-Leibler divergence of the observed counts from the law, bits a bin: 0 for independent neurons
    in a recording without end (in one of B bins about (counts that occur − 1) / (2 B ln 2)). `synchrony_surplus`: share of all
    activity that lies in significant bins above what chance puts there. `gregariousness` (neuron): by how many standard
    deviations the others are more active in a neuron's bins than they are by chance.
    """
    observed = np.bincount(counts, minlength=len(null.law))[: len(null.law)] / max(1, len(counts))
    seen = observed > 0
    law = np.maximum(null.law, np.finfo(float).tiny)
    surplus = (counts - null.expected)[significant].sum() / max(1, counts.sum())
    return {
        "synchrony_divergence": np.maximum((observed[seen] * np.log2(observed[seen] / law[seen])).sum(), 0.0),
        "synchrony_surplus": np.asarray(float(surplus)),
        "gregariousness": _gregariousness(activity),
    }


def _gregariousness(activity: Activity) -> np.ndarray:
    """Of each neuron; NaN for one that is never active, or alone."""
    n_neurons, n_bins = len(activity.offsets) - 1, len(activity.bins.first)
    active, together = np.zeros(n_neurons), np.zeros(n_bins)
    for rows, bins in activity.neurons_in_bins():
        active += np.bincount(rows, minlength=n_neurons)
        together += np.bincount(bins, minlength=n_bins)
    others = np.zeros(n_neurons)
    for rows, bins in activity.neurons_in_bins():
        others += np.bincount(rows, weights=together[bins] - 1, minlength=n_neurons)
    chance = active / n_bins
    expected = chance.sum() - chance
    spread = (chance * (1 - chance)).sum() - chance * (1 - chance)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = others / active
        return np.where((active > 0) & (spread > 0), (mean - expected) / np.sqrt(spread / active), np.nan)
