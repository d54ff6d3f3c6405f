"""What a recording could have shown: ensembles of growing reliability, planted into its own activity."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.coactivity import Activity, activity_of, compute_coactivity
from calcium_engine.ensemble_events import ensemble_events_alone
from calcium_engine.ensembles import cores_of
from calcium_engine.schema import Attr, CalciumError, fresh, plain, record, recorded_calls, var

RELIABILITIES = np.round(np.arange(0.1, 1.01, 0.1), 1)
FOUND = 0.5  # Jaccard similarity to the planted members, from which an ensemble is found
ENOUGH = 0.8  # power that is called enough
APART = 3  # bins, at least, from one planted event to the next


def ensemble_power(recording: xr.Dataset, *, size: int = 20, n_events: int = 20, runs: int = 10, seed: int = 0) -> xr.Dataset:
    """Tell which ensembles this recording could have shown: plant them, and see how often they are found.

    Every neuron's activity is shifted round the recording, which leaves its rate and its bursts and no ensembles. Members, drawn
    at random, are then active together a number of times, each with some reliability, and the recording's own steps
    (`compute_coactivity`, `find_ensemble_events`, `find_ensembles` by Jaccard similarity, with the arguments in its history) look
    for them. The same planted events grow with the reliability, and the least at which they are found is sought by halving.

    Args:
        recording: in which ensembles were sought.
        size: neurons of the planted ensemble; at most half of the recording's are taken.
        n_events: times that it is active; at most as many as fit with three bins between them.
        runs: ensembles that are planted; they share no random numbers.
        seed: of shifts, members, times and who takes part.

    Returns:
        The recording with `ensemble_power` (planted_reliability, 0.1 to 1): the share of planted ensembles that are found, which
        is that a core shares half the neurons with them (Jaccard similarity). Its attributes are `planted_size`,
        `planted_events`, `runs`, and `least_reliability`, from which on the power is at least 0.8, where there is one.

    Raises:
        MissingVariableError: ensembles were not sought yet.
        CalciumError: numbers out of range.
    """
    recording = fresh(recording, "ensemble_power")
    var("ensemble_event_label").check(recording)
    numbers = {"size": plain(size), "n_events": plain(n_events), "runs": plain(runs), "seed": plain(seed)}
    check_arguments(ensemble_power, numbers)
    if size < 3 or n_events < 1 or runs < 1 or not 0 <= seed < 2**63:
        raise CalciumError(f"size must be 3 or more, n_events and runs 1 or more, and seed not negative, but they are {numbers}")
    activity = activity_of(recording)
    size = max(1, min(size, recording.sizes["neuron"] // 2))
    n_events = max(1, min(n_events, len(activity.bins.first) // (2 * APART)))
    calls = dict(recorded_calls(recording))
    least = [_least(recording, activity, calls, size, n_events, np.random.default_rng([seed, run])) for run in range(runs)]
    power = (np.array(least)[None, :] <= np.arange(len(RELIABILITIES))[:, None]).mean(axis=1)
    summary: dict[str, Attr] = {"planted_size": size, "planted_events": n_events, "runs": runs}
    enough = np.flatnonzero(power >= ENOUGH)
    if len(enough):
        summary["least_reliability"] = float(RELIABILITIES[enough[0]])
    result = recording.assign(ensemble_power=var("ensemble_power").wrap(power, **summary))
    return record(result.assign_coords(planted_reliability=RELIABILITIES), "ensemble_power", **numbers)


def _least(
    recording: xr.Dataset,
    activity: Activity,
    calls: dict[str, dict[str, Attr]],
    size: int,
    n_events: int,
    rng: np.random.Generator,
) -> int:
    """Return the place in RELIABILITIES from which on one planted ensemble is found; their number where it is at none."""
    n_places = int(activity.bins.rings[-1])
    shift = rng.integers(n_places, size=recording.sizes["neuron"])
    rows, places = activity.rows, (activity.places + shift[activity.rows]) % n_places
    members = rng.choice(recording.sizes["neuron"], size, replace=False)
    gap = APART * int(activity.bins.place_widths.max())
    when = np.sort(rng.integers(max(1, n_places - gap * n_events), size=n_events)) + gap * np.arange(n_events)
    draws = rng.random((n_events, size))
    low, high = 0, len(RELIABILITIES)
    while low < high:
        middle = (low + high) // 2
        event, member = np.nonzero(draws < RELIABILITIES[middle])
        planted = _recording(recording, activity, np.concatenate([rows, members[member]]), np.concatenate([places, when[event]]))
        cores = _cores(planted, calls)
        common = cores[:, members].sum(axis=1)
        found = (common / (size + cores.sum(axis=1) - common)).max(initial=0.0) >= FOUND
        low, high = (low, middle) if found else (middle + 1, high)
    return low


def _recording(recording: xr.Dataset, activity: Activity, rows: np.ndarray, places: np.ndarray) -> xr.Dataset:
    """Return a recording of nothing but events: onsets in these rows and places."""
    bins = activity.bins
    frame_of_place = bins.first if bins.by_bin else np.flatnonzero(bins.place_of_frame >= 0)
    kept = recording[["artifact"] if "artifact" in recording.variables else []]
    kept = kept.assign_coords({name: coord for name, coord in recording.coords.items() if set(coord.dims) <= {"neuron", "frame"}})
    events = {
        "event_neuron": recording["neuron"].values[rows],
        "event_onset": recording["time"].values[frame_of_place[places]],
        "event_flags": np.zeros(len(rows), np.int64),
    }
    return kept.assign({name: var(name).wrap(values) for name, values in events.items()})


def _cores(planted: xr.Dataset, calls: dict[str, dict[str, Attr]]) -> np.ndarray:
    """Look for ensembles as it was done in the recording."""
    binning: dict[str, Any] = calls.get("compute_coactivity", {}) | {"source": "onset"}
    significance: dict[str, Any] = calls.get("find_ensemble_events", {})
    clustering: dict[str, Any] = calls.get("find_ensembles", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said of the recording itself
        made = ensemble_events_alone(compute_coactivity(planted, **binning), **significance)
    return cores_of(made, **{name: value for name, value in clustering.items() if name not in ("method", "compare")})
