"""What is known of a recording, and how found times are paired with true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.schema import MissingVariableError, sampling_rate, var

GROUP_GAP = 0.3  # spikes no further apart than this are one group, s
RESAMPLES = 1000  # of the neurons, for intervals


def planted(recording: xr.Dataset, name: str) -> np.ndarray:
    """Return a planted variable, or say that only simulated recordings have one."""
    if isinstance(recording, xr.Dataset) and name not in recording.variables:
        raise MissingVariableError(
            f"the recording has no '{name}', so nothing is known to score against; use simulate_recording(), or give `truth`"
        )
    values: np.ndarray = var(name).check(recording).values
    return values


def rows_of(recording: xr.Dataset, ids: np.ndarray) -> np.ndarray:
    """Return the position of each neuron id in the recording, -1 for neurons that it no longer holds."""
    import pandas as pd

    rows: np.ndarray = recording.indexes["neuron"].get_indexer(pd.Index(ids))
    return rows


def spike_groups(found: xr.Dataset, truth: xr.Dataset, gap: float = GROUP_GAP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first spike (s), neuron's position and number of spikes of every group in the neurons and the time of `found`."""
    time, row = planted(truth, "true_spike_time"), rows_of(found, planted(truth, "true_spike_neuron"))
    half = 0.5 / sampling_rate(found)
    frames = found["time"].values
    inside = (row >= 0) & (time >= frames[0] - half) & (time < frames[-1] + half)
    time, row = time[inside], row[inside]
    order = np.lexsort((time, row))
    time, row = time[order], row[order]
    first = np.ones(len(time), dtype=bool)
    first[1:] = (np.diff(row) > 0) | (np.diff(time) > gap)
    starts = np.flatnonzero(first)
    return time[starts], row[starts], np.diff(np.append(starts, len(time)))


def match(
    truth: np.ndarray, truth_row: np.ndarray, found: np.ndarray, found_row: np.ndarray, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Pair true and found times of the same row one to one, the nearest first; return the partner of each, -1 without one."""
    true_partner, found_partner = np.full(len(truth), -1), np.full(len(found), -1)
    order = np.flatnonzero(np.isfinite(found))
    if not len(truth) or not len(order):
        return true_partner, found_partner
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
        if true_partner[i] < 0 and found_partner[j] < 0:
            true_partner[i], found_partner[j] = j, i
    return true_partner, found_partner


def share_of(part: Any, whole: Any) -> float:
    """Part over whole, NaN where there is no whole."""
    return float(part) / float(whole) if whole else float("nan")
