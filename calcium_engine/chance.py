"""Ensemble events of independent neurons: who takes part in an event of so many, by chance."""

from __future__ import annotations

import numpy as np

STEPS = 60  # of halving, after which the size is met to rounding
TRIES = 1000  # rounds of drawing, in each of which some one in ten events comes out at its size


def chance_to_take_part(propensity: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Chance that each neuron takes part in an event of so many (size × neuron), where neurons are independent.

    Of neurons that are active with odds o, those that are when s are in all have the odds λ·o, with λ such that the expected
    number is s (Hájek 1964, Ann Math Stat 35:1491). Where activity is rare, odds are as propensities.

    Args:
        propensity: neuron, share of the population's activity.
        sizes: neurons in the event; those beyond all that are ever active are taken for all.

    >>> chance_to_take_part(np.array([0.5, 0.25, 0.25]), np.array([1.0])).round(3)
    array([[0.438, 0.281, 0.281]])
    """
    able = propensity > 0
    sizes = np.asarray(sizes, np.float64)[:, None]
    low, high = np.full(sizes.shape, -700.0), np.full(sizes.shape, 700.0)
    with np.errstate(divide="ignore", over="ignore"):
        odds = np.log(propensity)
        for _ in range(STEPS):
            middle = (low + high) / 2
            few = (1.0 / (1.0 + np.exp(-(odds + middle)))).sum(axis=1, keepdims=True) < sizes
            low, high = np.where(few, middle, low), np.where(few, high, middle)
        chance = 1.0 / (1.0 + np.exp(-(odds + (low + high) / 2)))
    return np.where(sizes >= able.sum(), able.astype(np.float64), chance)


def random_events(sizes: np.ndarray, propensity: np.ndarray, n_events: int, rng: np.random.Generator) -> np.ndarray:
    """Events (event × neuron) of the given sizes (resampled) as independent neurons have them: drawn until the size is right."""
    wanted = np.minimum(rng.choice(sizes, n_events), np.count_nonzero(propensity))
    known, of = np.unique(wanted, return_inverse=True)
    chance = chance_to_take_part(propensity, known)
    events = np.zeros((n_events, len(propensity)), bool)
    left = np.arange(n_events)
    for _ in range(TRIES):
        if not len(left):
            break
        drawn = rng.random((len(left), len(propensity))) < chance[of[left]]
        right = drawn.sum(axis=1) == wanted[left]
        events[left[right]] = drawn[right]
        left = left[~right]
    return events
