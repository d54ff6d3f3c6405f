"""Ensemble events of independent neurons: who takes part in an event of so many, by chance."""

from __future__ import annotations

import numpy as np

STEPS = 100  # of Newton's method, of which a few are taken
LONGEST_STEP = 3.0  # of the log of λ
ROUNDING = 1e-12
BLOCK = 2**16  # chances that are worked on at a time


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
    odds, wanted = propensity[able], np.minimum(np.asarray(sizes, np.float64), able.sum())[:, None]
    chance = np.zeros((len(wanted), len(propensity)))
    if not len(odds):
        return chance
    with np.errstate(divide="ignore"):
        scale = np.log(wanted / odds.sum())  # too little: what is taken from the likely has to come from the others
    blocks = _blocks(len(wanted), len(odds))
    for turn in range(STEPS):
        total, slope = (np.concatenate(sums) for sums in zip(*(_sums(odds, scale[block]) for block in blocks), strict=True))
        left = np.log(np.where(wanted > 0, wanted, 1.0) / np.where(wanted > 0, total, 1.0))
        if turn == STEPS - 1 or not ((np.abs(left) > ROUNDING) & (wanted < able.sum())).any():
            break
        step = np.clip(left / np.maximum(slope / np.maximum(total, 1e-300), 1e-9), -LONGEST_STEP, LONGEST_STEP)
        scale = np.where(wanted < able.sum(), scale + step, scale)
    for block in blocks:
        chance[block, able] = np.where(wanted[block] < able.sum(), _shares(odds, scale[block]), 1.0)
    return chance


def _blocks(n: int, width: int) -> list[slice]:
    """Cut n rows so that a few tables of a block's rows stay in the cache."""
    rows = max(1, BLOCK // max(1, width))
    return [slice(first, min(first + rows, n)) for first in range(0, n, rows)]


def _shares(odds: np.ndarray, scale: np.ndarray) -> np.ndarray:
    drawn = odds * np.exp(scale)
    return np.asarray(drawn / (1.0 + drawn))


def _sums(odds: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected number of neurons, and how fast it grows with the scale."""
    share = _shares(odds, scale)
    return share.sum(axis=1, keepdims=True), (share * (1.0 - share)).sum(axis=1, keepdims=True)


def random_events(sizes: np.ndarray, propensity: np.ndarray, n_events: int, rng: np.random.Generator) -> np.ndarray:
    """Events (event × neuron) of the given sizes (resampled) as independent neurons have them: drawn until the size is right."""
    wanted = np.minimum(rng.choice(sizes, n_events), np.count_nonzero(propensity))
    known, of = np.unique(wanted, return_inverse=True)
    chance = chance_to_take_part(propensity, known)
    events = np.zeros((n_events, len(propensity)), bool)
    left = np.arange(n_events)
    while len(left):  # some one in ten comes out at its size
        again = []
        for block in _blocks(len(left), len(propensity)):
            some = left[block]
            drawn = rng.random((len(some), len(propensity))) < chance[of[some]]
            right = np.count_nonzero(drawn, axis=1) == wanted[some]
            events[some[right]] = drawn[right]
            again.append(some[~right])
        left = np.concatenate(again)
    return events
