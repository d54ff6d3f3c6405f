"""How much of what was planted in a simulated recording came back out of the analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from calcium_engine.schema import MissingVariableError, sampling_rate, var

_GROUP_GAP = 0.3  # spikes no further apart than this are one group, s
_EVENT_WINDOW = (-0.5, 0.75)  # from a group's first spike to the onset of the event that finds it, s
_ENSEMBLE_WINDOW = (-1.0, 1.0)  # from a planted ensemble event to the found one: two bins of 500 ms either way, s
_FINDABLE = 3  # a planted ensemble event in which fewer neurons fired is not one by anybody's definition


def score_recovery(recording: xr.Dataset) -> dict[str, float]:
    """Compare everything that was found with everything that was planted: `score_events` and `score_ensembles` together.

    Args:
        recording: a simulated recording that went through `analyze`.

    Returns:
        The scores of both by name; a score that has nothing to rest on is NaN.

    Raises:
        MissingVariableError: the recording was not simulated, or not analysed.
    """
    return score_events(recording) | score_ensembles(recording)


def score_events(recording: xr.Dataset) -> dict[str, float]:
    """Score events against groups of planted spikes.

    Spikes of a neuron with gaps of up to 0.3 s make a group. An event finds a group where its onset lies from 0.5 s before to
    0.75 s after the group's first spike; each finds at most one, the nearest pair first. All neurons are pooled.

    Args:
        recording: a simulated recording with events.

    Returns:
        `spike_groups` and `events` (counts), `event_precision`, `event_recall`, `event_f1`, and the recall of groups of one, of
        two or three, and of four or more spikes: `event_recall_1`, `event_recall_2_3`, `event_recall_4`.

    Raises:
        MissingVariableError: there is no `event_onset` (see `detect_events`) or no planted truth.
    """
    truth_time, truth_row, spikes = _spike_groups(recording)
    onset = var("event_onset").check(recording).values
    row = _rows(recording, var("event_neuron").check(recording).values)
    onset, row = onset[row >= 0], row[row >= 0]
    found, _ = _match(truth_time, truth_row, onset, row, _EVENT_WINDOW)
    precision, recall = _share(found.sum(), len(onset)), _share(found.sum(), len(found))
    few = (spikes == 2) | (spikes == 3)
    return {
        "spike_groups": float(len(found)),
        "events": float(len(onset)),
        "event_precision": precision,
        "event_recall": recall,
        "event_f1": _share(2 * found.sum(), len(onset) + len(found)),
        "event_recall_1": _share(found[spikes == 1].sum(), (spikes == 1).sum()),
        "event_recall_2_3": _share(found[few].sum(), few.sum()),
        "event_recall_4": _share(found[spikes >= 4].sum(), (spikes >= 4).sum()),
    }


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
    planted = _truth(recording, "true_ensemble_time")
    findable = _truth(recording, "true_participation").sum(axis=1) >= _FINDABLE
    times = var("ensemble_event_time").check(recording).values
    found, right = _match(planted, np.zeros(len(planted)), times, np.zeros(len(times)), _ENSEMBLE_WINDOW)
    precision, recall = _share(right.sum(), len(times)), _share(found[findable].sum(), findable.sum())
    members, cores = _truth(recording, "true_member"), var("is_core").check(recording).values
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


def describe_recovery(scores: Mapping[str, float]) -> str:
    """Put scores into a few plain sentences.

    Args:
        scores: what `score_recovery` returned.

    Returns:
        Lines of text without a line break at the end.
    """
    lines = [
        f"events: {scores['events']:.0f} found for {scores['spike_groups']:.0f} planted groups of spikes; "
        f"{_percent(scores['event_precision'])} of them are right (precision), "
        f"{_percent(scores['event_recall'])} of the groups are found (recall); F1 {_number(scores['event_f1'])}",
        f"recall by size: {_percent(scores['event_recall_1'])} of single spikes, "
        f"{_percent(scores['event_recall_2_3'])} of 2 or 3, {_percent(scores['event_recall_4'])} of 4 or more",
        f"ensemble events: {scores['ensemble_events']:.0f} found for {scores['ensemble_events_planted']:.0f} planted; "
        f"precision {_percent(scores['ensemble_event_precision'])}, recall {_percent(scores['ensemble_event_recall'])}",
        f"ensembles: {scores['ensembles']:.0f} found for {scores['ensembles_planted']:.0f} planted; "
        f"Best Match {_number(scores['best_match'])} (1 is perfect), core neurons' F1 {_number(scores['core_f1'])}",
    ]
    return "\n".join(lines)


def _truth(recording: xr.Dataset, name: str) -> np.ndarray:
    """Return a planted variable, or say that only simulated recordings have one."""
    if isinstance(recording, xr.Dataset) and name not in recording.variables:
        raise MissingVariableError(
            f"the recording has no '{name}', so nothing is known to score against; use simulate_recording()"
        )
    values: np.ndarray = var(name).check(recording).values
    return values


def _rows(recording: xr.Dataset, ids: np.ndarray) -> np.ndarray:
    """Return the position of each neuron id in the recording, -1 for neurons that it no longer holds."""
    rows: np.ndarray = recording.indexes["neuron"].get_indexer(pd.Index(ids))
    return rows


def _spike_groups(recording: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first spike (s), neuron's position and number of spikes of every group of the neurons and times at hand."""
    time, row = _truth(recording, "true_spike_time"), _rows(recording, _truth(recording, "true_spike_neuron"))
    half = 0.5 / sampling_rate(recording)
    frames = recording["time"].values
    inside = (row >= 0) & (time >= frames[0] - half) & (time < frames[-1] + half)
    time, row = time[inside], row[inside]
    order = np.lexsort((time, row))
    time, row = time[order], row[order]
    first = np.ones(len(time), dtype=bool)
    first[1:] = (np.diff(row) > 0) | (np.diff(time) > _GROUP_GAP)
    starts = np.flatnonzero(first)
    return time[starts], row[starts], np.diff(np.append(starts, len(time)))


def _match(
    truth: np.ndarray, truth_row: np.ndarray, found: np.ndarray, found_row: np.ndarray, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Pair true and found times of the same row one to one, the nearest first; return which of each have a partner."""
    true_hit, found_hit = np.zeros(len(truth), dtype=bool), np.zeros(len(found), dtype=bool)
    order = np.flatnonzero(np.isfinite(found))
    if not len(truth) or not len(order):
        return true_hit, found_hit
    # every row gets a stretch of one common axis, too far from the next row's for a window to reach
    least = min(truth.min(), found[order].min()) + window[0]
    stretch = max(truth.max(), found[order].max()) + window[1] - least + 1
    place, true_place = found_row * stretch + found - least, truth_row * stretch + truth - least
    order = order[np.argsort(place[order], kind="stable")]
    low = np.searchsorted(place[order], true_place + window[0], side="left")
    high = np.searchsorted(place[order], true_place + window[1], side="right")
    count = high - low
    one = np.repeat(np.arange(len(truth)), count)
    other = order[np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())]
    nearest = np.argsort(np.abs(found[other] - truth[one]), kind="stable")
    for i, j in zip(one[nearest].tolist(), other[nearest].tolist(), strict=True):
        if not true_hit[i] and not found_hit[j]:
            true_hit[i] = found_hit[j] = True
    return true_hit, found_hit


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


def _share(part: Any, whole: Any) -> float:
    """Part over whole, NaN where there is no whole."""
    return float(part) / float(whole) if whole else float("nan")


def _harmonic(precision: float, recall: float) -> float:
    """F1; 0 where one of the two is 0, even if the other has nothing to rest on."""
    if precision == 0 or recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _percent(share: float) -> str:
    return "none to judge" if np.isnan(share) else f"{100 * share:.0f} %"


def _number(score: float) -> str:
    return "none to judge" if np.isnan(score) else f"{score:.2f}"
