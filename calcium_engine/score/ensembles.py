"""How many of the planted ensembles and their events were found."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.schema import var
from calcium_engine.score.truth import match, planted, share_of

_ENSEMBLE_WINDOW = (-1.0, 1.0)  # from a planted ensemble event to the found one: two bins of 500 ms either way, s
_FINDABLE = 3  # a planted ensemble event in which fewer neurons fired is not one by anybody's definition


def score_ensembles(recording: xr.Dataset) -> dict[str, float]:
    """Score ensemble events and ensembles against the planted ones.

    A found ensemble event is right within 1 s of a planted one, whichever ensembles they belong to; each finds at most one, the
    nearest pair first. Recall counts only planted events in which at least 3 neurons fired; precision counts all. An ensemble is
    its core neurons, and Best Match compares them with the planted members (Mölter et al. 2018, BMC Biol 16:143): 1 is perfect,
    finding nothing 0.

    Args:
        recording: a simulated recording with ensembles.

    Returns:
        `ensemble_events_planted` (of at least 3 neurons) and `ensemble_events` (counts), `ensemble_event_precision`,
        `ensemble_event_recall`, `ensemble_event_f1`, `ensembles_planted` and `ensembles` (counts), `best_match`, and `core_f1`,
        the mean over planted ensembles of the F1 of the core that matches best.

    Raises:
        MissingVariableError: there is no `is_core` (see `find_ensembles`) or no planted truth.
    """
    known = planted(recording, "true_ensemble_time")
    findable = planted(recording, "true_participation").sum(axis=1) >= _FINDABLE
    times = var("ensemble_event_time").check(recording).values
    found, right = match(known, np.zeros(len(known)), times, np.zeros(len(times)), _ENSEMBLE_WINDOW)
    found, right = found >= 0, right >= 0
    precision, recall = share_of(right.sum(), len(times)), share_of(found[findable].sum(), findable.sum())
    members, cores = planted(recording, "true_member"), var("is_core").check(recording).values
    return {
        "ensemble_events_planted": float(findable.sum()),
        "ensemble_events": float(len(times)),
        "ensemble_event_precision": precision,
        "ensemble_event_recall": recall,
        "ensemble_event_f1": _harmonic(precision, recall),
        "ensembles_planted": float(len(members)),
        "ensembles": float(len(cores)),
        "best_match": best_match(members, cores),
        "core_f1": _core_f1(members, cores),
    }


def best_match(planted: np.ndarray, found: np.ndarray) -> float:
    """Compare two families of sets: 1 where each has its equal in the other, 0 where nothing is shared.

    1 - (sum over planted of the distance to the nearest found + the same the other way) / (number of both), in Jaccard distance
    (Mölter et al. 2018, BMC Biol 16:143).

    Args:
        planted: set × element, bool.
        found: set × element, bool.

    Returns:
        The score; NaN where both families are empty.

    >>> best_match(np.array([[1, 1, 0, 0]], dtype=bool), np.array([[1, 1, 1, 1]], dtype=bool))
    0.5
    """
    if not len(planted) or not len(found):
        return 0.0 if len(planted) or len(found) else float("nan")
    jaccard = _jaccard(planted, found)
    nearest = jaccard.max(axis=1).sum() + jaccard.max(axis=0).sum()
    return float(nearest / (len(planted) + len(found)))


def _jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jaccard similarity of every set in `a` with every set in `b`; empty sets are like nothing."""
    shared = a.astype(np.float64) @ b.astype(np.float64).T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :] - shared
    similarity: np.ndarray = shared / np.maximum(union, 1)
    return similarity


def _core_f1(members: np.ndarray, cores: np.ndarray) -> float:
    """Mean over planted ensembles of the F1 of the best core: F1 = 2J / (1 + J) of the Jaccard similarity J."""
    if not len(members):
        return float("nan")
    if not len(cores):
        return 0.0
    nearest = _jaccard(members, cores).max(axis=1)
    return float(np.mean(2 * nearest / (1 + nearest)))


def _harmonic(precision: float, recall: float) -> float:
    """F1; 0 where one of the two is 0, even if the other has nothing to rest on."""
    if precision == 0 or recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)
