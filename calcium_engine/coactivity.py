"""Coactivity: how many neurons start an event together, what chance would give, and the bins in which it is more."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.blocks import frames_of
from calcium_engine.events import event_frames, event_rows
from calcium_engine.kernels import poisson_binomial_pmf, poisson_binomial_sf, shifted_coactivity
from calcium_engine.schema import EVENT_FLAGS, Attr, CalciumError, epoch_bounds, fresh, record, sampling_rate, var, warn

DEFAULT_ALPHA = {"fdr": 0.05, "percentile": 0.01}


def bin_starts(recording: xr.Dataset, width: int) -> np.ndarray:
    """First frame of each bin of `width` frames; bins begin anew with each epoch, and what is left over at its end is in none."""
    bounds = epoch_bounds(recording)
    return np.concatenate([np.arange(start, stop - width + 1, width) for start, stop in pairwise(bounds)]).astype(np.int64)


def event_bins(recording: xr.Dataset, width: int) -> np.ndarray:
    """Bin of each event's onset; -1 in the frames left over at the end of an epoch."""
    starts = bin_starts(recording, width)
    bin_of_frame = np.full(recording.sizes["frame"], -1, np.int64)
    for k in range(width):
        bin_of_frame[starts + k] = np.arange(len(starts))
    return np.asarray(bin_of_frame[event_frames(recording)])


def active_bins(recording: xr.Dataset, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Neuron (row) and bin of every event onset, each pair once, ordered by neuron and bin.

    An event under way when its epoch begins, or when a gap ends, has no onset to count: all such events would coincide.
    """
    under_way = (var("event_flags").check(recording).values & EVENT_FLAGS["onset_unseen"]) > 0
    rows, bins = event_rows(recording), event_bins(recording, width)
    n_bins = max(1, len(bin_starts(recording, width)))
    return np.divmod(np.unique((rows * n_bins + bins)[(bins >= 0) & ~under_way]), n_bins)


def compute_coactivity(recording: xr.Dataset, *, bin: float = 0.5) -> xr.Dataset:  # noqa: A002  (the field's word for it)
    """Count the neurons that start an event in each time bin; a neuron counts once a bin, at its onset.

    Args:
        recording: with events.
        bin: s. A bin is a whole number of frames, the nearest to this, and at least one.

    Returns:
        The recording with `coactivity` (bin) and the coord `bin_time` (the bin's centre, s); the width in effect is the attribute
        `bin_width_s`. Bins begin anew with each epoch; the frames left over at its end are in none.

    Raises:
        MissingVariableError: there are no events yet.
        CalciumError: the bin is not positive, or longer than every epoch.

    Warns:
        The width in effect differs from `bin` by over 10 %.
    """
    recording = fresh(recording, "compute_coactivity")
    rate = sampling_rate(recording)
    var("event_onset").check(recording)
    if not (np.isfinite(bin) and bin > 0):
        raise CalciumError(f"the bin is {bin} s, but must be a positive number of seconds; 0.5 is usual")
    width = frames_of(bin, recording)
    effective = width / rate
    starts = bin_starts(recording, width)
    if len(starts) == 0:
        raise CalciumError(f"a bin of {bin:g} s ({width} frames) is longer than the recording; give a shorter bin")
    _, bins = active_bins(recording, width)
    if abs(effective - bin) > 0.1 * bin:
        warn(
            f"bins of {bin:g} s are {bin * rate:.3g} frames at {rate:g} Hz: whole bins of {width} frame{'s' * (width > 1)} "
            f"({effective:.3g} s) are used; bin={effective:.3g} asks for just that"
        )
    time = recording["time"].values
    parameters: dict[str, Attr | None] = {"bin_s": float(bin), "bin_width_s": effective, "bin_frames": width}
    counts = np.bincount(bins, minlength=len(starts)).astype(np.int32)
    centre = xr.DataArray(
        (time[starts] + time[starts + width - 1]) / 2, dims="bin", attrs={"units": "s", "long_name": "centre of the bin"}
    )
    result = recording.assign(coactivity=var("coactivity").wrap(counts, **parameters))
    return record(result.assign_coords(bin=np.arange(len(starts)), bin_time=centre), "compute_coactivity", **parameters)


def bin_frames(recording: xr.Dataset) -> int:
    """Return the frames of a bin, once the coactivity is known to be that of this recording's bins."""
    coactivity = var("coactivity").check(recording)
    width = int(coactivity.attrs.get("bin_frames", 0))
    if width == 0 or len(coactivity) != len(bin_starts(recording, width)):
        raise CalciumError("the coactivity is not that of this recording, as after a selection; run compute_coactivity() again")
    return width


def _null(counts: np.ndarray, bins: np.ndarray, n_bins: int, shuffles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Law of the coactivity in a bin under circular shifts, and the p-value of each count: exact, or pooled over shuffles.

    `counts` is the number of active bins of each neuron, and `bins` those bins, one neuron after the other.
    """
    if shuffles == 0:
        chance = counts / n_bins
        return poisson_binomial_pmf(chance), poisson_binomial_sf(chance)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    histogram = shifted_coactivity(bins, offsets, n_bins, shuffles, seed).sum(axis=0, dtype=np.int64)
    at_least = np.cumsum(histogram[::-1])[::-1]
    return histogram / histogram.sum(), (1 + at_least) / (1 + histogram.sum())


def _threshold(counts: np.ndarray, law: np.ndarray, pvalues: np.ndarray, significance: str, alpha: float) -> int:
    """Return the smallest significant count. The law is the same in every bin, so that each rule comes down to one."""
    if significance == "percentile":
        percentile = int(np.searchsorted(np.cumsum(law), 1.0 - alpha))
        return percentile + 1
    # Benjamini & Hochberg 1995: the p-value of a count of c must not exceed alpha times the share of bins that have c or more;
    # where no bin has, what a single one would have needed
    at_least = np.cumsum(np.bincount(counts, minlength=len(law))[::-1])[::-1]
    passes = pvalues <= alpha * np.maximum(at_least, 1) / len(counts)
    return int(np.argmax(np.append(passes, True)))


def find_ensemble_events(
    recording: xr.Dataset,
    *,
    significance: Literal["fdr", "percentile"] = "fdr",
    alpha: float | None = None,
    shuffles: int = 0,
    seed: int = 0,
    min_neurons: int = 3,
) -> xr.Dataset:
    """Find the bins in which more neurons are coactive than chance explains, and the ensemble events that they make up.

    The null: every neuron's active bins are shifted round the recording by a uniform shift of its own, which keeps its rate and
    its bursts, and breaks its timing with the others. Neuron i, active in k_i of B bins, is then active in any given bin with
    probability k_i / B, independently of the others, so that the count follows the Poisson-binomial law, the same in every bin.

    Args:
        recording: with events and `coactivity`.
        significance: "fdr" (default): Benjamini-Hochberg over bins; "percentile": counts above the (1 - alpha) percentile of the
            null, whatever the number of bins.
        alpha: default 0.05 for "fdr", 0.01 (the 99th percentile) for "percentile".
        shuffles: 0 (default) takes the exact law; a number pools that many sampled shuffles, as is the field's habit (1000).
        seed: of the shuffles.
        min_neurons: ensemble events with fewer are dropped; two neurons make no ensemble.

    Returns:
        The recording with `coactivity_expected`, `coactivity_pvalue`, `is_coactive` (bin), `coactivity_null` (count) and one
        `ensemble_event` for each stretch of touching significant bins, described by its peak bin: time, start, duration, size,
        p-value and `participation` (ensemble_event × neuron). Attributes of `is_coactive`: `threshold`, the smallest significant
        count; `attained_alpha`, its chance under this null (sampled, with shuffles); `expected_false_bins`; `n_tests`.

    Raises:
        MissingVariableError: there is no coactivity yet.
        CalciumError: the rule is unknown, alpha is not between 0 and 1, or shuffles or seed are negative.
    """
    recording = fresh(recording, "find_ensemble_events")
    if significance not in DEFAULT_ALPHA:
        raise CalciumError(f"unknown significance {significance!r}; choose one of {', '.join(DEFAULT_ALPHA)}")
    alpha = DEFAULT_ALPHA[significance] if alpha is None else alpha
    if not 0.0 < alpha < 1.0:
        raise CalciumError(f"alpha is {alpha}, but must be between 0 and 1")
    if shuffles < 0 or not 0 <= seed < 2**63:
        raise CalciumError(f"shuffles and seed must not be negative, nor the seed over 2^63, but they are {shuffles} and {seed}")
    width = bin_frames(recording)
    counts = recording["coactivity"].values
    rows, bins = active_bins(recording, width)
    law, pvalues = _null(np.bincount(rows, minlength=recording.sizes["neuron"]), bins, len(counts), shuffles, seed)
    threshold = _threshold(counts, law, pvalues, significance, alpha)
    attained = float(law[threshold:][::-1].sum())
    parameters: dict[str, Attr | None] = {
        "null": "circular",
        "significance": significance,
        "alpha": alpha,
        "shuffles": shuffles,
        "seed": seed if shuffles else None,
        "threshold": threshold,
        "attained_alpha": attained,
        "n_tests": len(counts),
        "expected_false_bins": attained * len(counts),
        "min_neurons": min_neurons,
    }
    significant = counts >= threshold
    chance = float(np.arange(len(law)) @ law)
    result = recording.assign(
        coactivity_expected=var("coactivity_expected").wrap(np.full(len(counts), chance)),
        coactivity_pvalue=var("coactivity_pvalue").wrap(pvalues[counts]),
        is_coactive=var("is_coactive").wrap(significant, **parameters),
        coactivity_null=var("coactivity_null").wrap(law, shuffles=shuffles),
    )
    result = result.assign_coords(count=np.arange(len(law)))
    peaks, stretches = _stretches(bin_starts(recording, width), width, counts, significant, min_neurons)
    result = result.assign(_ensemble_events(recording, width, rows, bins, peaks, stretches))
    result = result.assign(
        ensemble_event_size=var("ensemble_event_size").wrap(counts[peaks]),
        ensemble_event_pvalue=var("ensemble_event_pvalue").wrap(pvalues[counts[peaks]]),
    )
    result = result.assign_coords(ensemble_event=np.arange(1, result.sizes["ensemble_event"] + 1))
    return record(result, "find_ensemble_events", **parameters)


def _stretches(
    starts: np.ndarray, width: int, counts: np.ndarray, significant: np.ndarray, min_neurons: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Join touching significant bins; the peak bin (the first of equals) stands for each stretch."""
    hits = np.flatnonzero(significant)
    touching = np.diff(hits) == 1
    if len(hits):
        touching &= np.diff(starts[hits]) == width  # not across an epoch's edge
    stretches = [s for s in np.split(hits, np.flatnonzero(~touching) + 1) if len(s)]
    peaks = np.array([s[np.argmax(counts[s])] for s in stretches], np.int64)
    kept = counts[peaks] >= min_neurons
    return peaks[kept], [s for s, keep in zip(stretches, kept, strict=True) if keep]


def _ensemble_events(
    recording: xr.Dataset, width: int, rows: np.ndarray, bins: np.ndarray, peaks: np.ndarray, stretches: list[np.ndarray]
) -> dict[str, xr.DataArray]:
    """Who takes part in each ensemble event, and when it is."""
    starts = bin_starts(recording, width)
    participation = np.zeros((len(peaks), recording.sizes["neuron"]), bool)
    event_of_bin = np.full(len(starts), -1)
    event_of_bin[peaks] = np.arange(len(peaks))
    inside = event_of_bin[bins] >= 0
    participation[event_of_bin[bins[inside]], rows[inside]] = True
    time, effective = recording["time"].values, width / sampling_rate(recording)
    table = {
        "ensemble_event_time": (time[starts[peaks]] + time[starts[peaks] + width - 1]) / 2,
        "ensemble_event_start": np.array([time[starts[s[0]]] for s in stretches]),
        "ensemble_event_duration": np.array([len(s) * effective for s in stretches]),
        "participation": participation,
    }
    return {name: var(name).wrap(values) for name, values in table.items()}
