"""How many of the planted ensembles and their events were found."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.membership import best_match, overlap
from calcium_engine.schema import CalciumError, var
from calcium_engine.score.truth import match, planted, rows_of, share_of

_ENSEMBLE_WINDOW = (-1.0, 1.0)  # from a planted ensemble event to the found one: two bins of 500 ms either way, s
_FINDABLE = 3  # a planted ensemble event in which fewer neurons fired is not one by anybody's definition


def score_ensembles(found: xr.Dataset, truth: xr.Dataset | None = None) -> dict[str, float]:
    """Score ensemble events and ensembles against the planted ones.

    A found ensemble event is right within 1 s of a planted one, whichever ensembles they belong to; each finds at most one, the
    nearest pair first. Recall counts only planted events in which at least 3 neurons fired; precision counts all. An ensemble is
    its core neurons, and Best Match compares them with the planted members (Mölter et al. 2018, BMC Biol 16:143): 1 is perfect,
    finding nothing 0. Whether events of one planted ensemble got one label, and others another, is the adjusted Rand index of
    the labels (Hubert & Arabie 1985, J Classif 2:193) over the found events that are right; the unassigned count as a group.

    Args:
        found: a recording with ensembles.
        truth: a recording of the same neurons (by their ids, in any order) and the same clock in which ensembles were planted.
            Default: `found` itself, which was simulated.

    Returns:
        `ensemble_events_planted` (of at least 3 neurons) and `ensemble_events` (counts), `ensemble_event_precision`,
        `ensemble_event_recall`, `ensemble_event_f1`, `event_label_rand` (1 is perfect, 0 chance), `ensembles_planted` and
        `ensembles` (counts), `best_match`, and `core_f1`, the mean over planted ensembles of the F1 of the core that matches
        best. A score that has nothing to rest on is NaN.

    Raises:
        MissingVariableError: there is no `is_core` (see `find_ensembles`) or no planted truth.
        CalciumError: `truth` holds other neurons than `found`.
    """
    cores = var("is_core").check(found).values
    truth = found if truth is None else _same_neurons(found, truth)
    known = planted(truth, "true_ensemble_time")
    findable = planted(truth, "true_participation").sum(axis=1) >= _FINDABLE
    times = var("ensemble_event_time").check(found).values
    hit, partner = match(known, np.zeros(len(known)), times, np.zeros(len(times)), _ENSEMBLE_WINDOW)
    right = partner >= 0
    precision, recall = share_of(right.sum(), len(times)), share_of((hit[findable] >= 0).sum(), findable.sum())
    members = planted(truth, "true_member")
    labels = var("ensemble_event_label").check(found).values[right]
    return {
        "ensemble_events_planted": float(findable.sum()),
        "ensemble_events": float(len(times)),
        "ensemble_event_precision": precision,
        "ensemble_event_recall": recall,
        "ensemble_event_f1": _harmonic(precision, recall),
        "event_label_rand": _adjusted_rand(planted(truth, "true_ensemble_label")[partner[right]], labels),
        "ensembles_planted": float(len(members)),
        "ensembles": float(len(cores)),
        "best_match": best_match(members, cores),
        "core_f1": _core_f1(members, cores),
    }


def _same_neurons(found: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Return the truth with its neurons in the order of `found`."""
    if not isinstance(truth, xr.Dataset) or "neuron" not in truth.indexes:
        raise CalciumError("truth is no recording, so there is no telling its neurons; give what simulate_recording() returned")
    rows = rows_of(truth, found["neuron"].values)
    if (rows < 0).any() or len(rows) != truth.sizes["neuron"]:
        unknown = found["neuron"].values[rows < 0].tolist()
        raise CalciumError(
            f"truth and found hold {truth.sizes['neuron']} and {len(rows)} neurons, of which {len(rows) - len(unknown)} have the "
            f"same id{f' (not {unknown[0]!r}, for one)' if unknown else ''}; give both the same neurons, as with "
            "truth.sel(neuron=found.neuron)"
        )
    return truth.isel(neuron=rows)


def _core_f1(members: np.ndarray, cores: np.ndarray) -> float:
    """Mean over planted ensembles of the F1 of the best core: F1 = 2J / (1 + J) of the Jaccard similarity J."""
    if not len(members):
        return float("nan")
    if not len(cores):
        return 0.0
    nearest = overlap(members, cores).max(axis=1)
    return float(np.mean(2 * nearest / (1 + nearest)))


def _adjusted_rand(planted: np.ndarray, found: np.ndarray) -> float:
    """Compare two labellings of the same events: the share of pairs on which they agree, scaled so that chance is 0 and all is 1.

    NaN where chance cannot but agree: under two events, one label in both, or all labels different in both.
    """
    (_, one), (_, other) = (np.unique(labels, return_inverse=True) for labels in (planted, found))
    table = np.zeros((one.max(initial=-1) + 1, other.max(initial=-1) + 1))
    np.add.at(table, (one, other), 1)
    together, first, second, pairs = (
        (count * (count - 1) / 2).sum() for count in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    expected = first * (second / max(pairs, 1))
    return share_of(together - expected, (first + second) / 2 - expected)


def _harmonic(precision: float, recall: float) -> float:
    """F1; 0 where one of the two is 0, even if the other has nothing to rest on."""
    if precision == 0 or recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)
