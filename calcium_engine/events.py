"""Calcium events: where a trace rises for a transient, and the transient's shape. An event is not a spike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments, choose
from calcium_engine.blocks import gather, mark_rows
from calcium_engine.detectors import CRITERIA, DETECTORS, SD_RULE_LEAST_DFF, Levels, Search, levels_of, template_frames
from calcium_engine.indicators import get_indicator
from calcium_engine.kernels import find_summits, measure_events
from calcium_engine.schema import (
    DFF_TRACES,
    EVENT_FLAGS,
    CalciumError,
    dff_trace,
    epoch_bounds,
    fresh,
    plain,
    record,
    sampling_rate,
    var,
    warn,
)

FRAMES_OF_A_TRANSIENT = (3.5, 10.0)  # in its FWHM: up to the first it is measured as it is, from the second on denoised
FEW_FRAMES = 8
NOISE_REMOVED = 0.7  # of σ, by denoising
LEAST_CLIMB = 2.0  # σ of the measured trace by which an event rises over its base and from the valley before: shoulders do not
ROUNDING = 1e-6  # ΔF/F; what float32 leaves of a constant trace is no event

Traces = TypeVar("Traces", np.ndarray, xr.DataArray)
Found = tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]


def find_events(traces: np.ndarray, measured: np.ndarray, levels: Levels, search: Search) -> Found:
    """Detect and measure the events of a block of neurons: how many each has, their columns (frames), their flags."""
    bridged = search.bridge(measured)
    sought = bridged if traces is measured else search.bridge(traces)
    if levels.zero.any():
        sought = sought - levels.zero[:, None].astype(traces.dtype)
    offsets, peaks = DETECTORS[search.detector](sought, levels, search)
    rows = np.repeat(np.arange(len(traces)), np.diff(offsets))
    sigma = levels.noise * (1.0 - NOISE_REMOVED * search.denoised_share)
    while True:
        columns, flags = _measure(bridged, levels.rest, search, offsets, peaks)
        keep = columns["amplitude"] > (0.0 if search.detector == "sd" else search.least_dff)
        if search.detector != "sd":  # which is a rule to the letter
            keep &= ~(np.minimum(columns["climb"], columns["amplitude"]) < LEAST_CLIMB * sigma[rows])
        if keep.all():
            break
        # what is no event must not cut off its neighbours: they are measured again without it, and the next one may rise by
        # enough from the valley before both
        keep[1:] |= ~keep[:-1] & (rows[1:] == rows[:-1])
        peaks, rows = peaks[keep], rows[keep]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(traces)))])
    columns["z"] = columns["amplitude"] / np.where(levels.noise > ROUNDING, levels.noise, np.nan)[rows]
    flags[columns["fwhm"] > search.indicator.longest_fwhm * search.rate] |= EVENT_FLAGS["long"]
    return np.diff(offsets), columns, flags


def _measure(
    traces: np.ndarray, rest: np.ndarray, search: Search, offsets: np.ndarray, peaks: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measure the transients that were detected near these frames."""
    summits = peaks if search.detector == "sd" else find_summits(traces, search.reach, search.bounds, offsets, peaks)
    return measure_events(traces, rest, search.indicator.tau * search.rate, search.bounds, offsets, summits)


def detect_events(
    recording: xr.Dataset,
    *,
    detector: Literal["pulse", "template", "noise", "sd", "ridge"] = "pulse",
    indicator: str = "GCaMP6s",
    threshold: float | None = None,
    min_dff: float | None = None,
    false_positives_per_minute: float = 0.01,
    criterion: Literal["matched_filter", "clements_bekkers"] = "matched_filter",
    trace: str | None = None,
) -> xr.Dataset:
    """Find calcium events and measure each: onset, peak, offset, amplitude, FWHM, rise, decay, area.

    Args:
        recording: with ΔF/F (`dff`, `detrended` or `denoised`) and `noise`.
        detector: what is compared with the threshold. "pulse" (default): what each pulse of the non-negative deconvolution
            explains of the trace, as the root of its sum of squares; tails that are longer than the indicator's are told from
            events by climbing no further. "template": the size of the one transient that fits best, by matched filter. "noise":
            the trace, as means over half a rise, in runs that last until it is back at rest. "ridge": ridges of the wavelet
            transform (0.25 to 2.5 s). "sd": the trace again, but over mean + k · SD of the neuron, SD taken over the whole
            searched trace with its transients, and over `min_dff`; an event is a run of frames over both, and its stacked peaks,
            parted by valleys of one SD.
        indicator: whose rise and decay the detectors and the measurement assume.
        threshold: k, in units of what noise of σ gives. Default 5 for "sd"; for the others it follows from the false-positive
            budget.
        min_dff: ΔF/F that an event's amplitude must exceed besides ("sd": the trace at its peak). Default 0.10 for "sd", 0 for
            the others.
        false_positives_per_minute: how many events white noise of σ may give per neuron and minute: with 0.01, one of a hundred
            neurons has one in a minute. Not for "sd".
        criterion: of the template detector. "matched_filter" (default) knows σ; "clements_bekkers" compares the template's scale
            with its own standard error instead (Clements & Bekkers 1997, Biophys J 73:220).
        trace: what to search. Default: "sd" takes the most processed of `dff`, `detrended`, `denoised`; the others, which know
            the noise, `detrended` or `dff`.

    Returns:
        The recording with the event table (dim `event`, ordered by neuron and time) and `active` (neuron × frame, onset to
        offset). An event's base is its neuron's resting level, or the decaying tail of the transient before it; amplitude is the
        height of the peak over that base; onset and offset are where the trace crosses a fifth of it. Bits of `event_flags`:
        1 compound (starts on the tail of another), 2 long (FWHM over four decay constants, 5 s for GCaMP6s), 4 fwhm_censored
        (cut off by a neighbour or edge, and continued by the decay), 8 edge, 16 onset_unseen (under way when the recording, an
        epoch or the trace after a gap begins). The attribute `k` of each column is the threshold in use.

        Shapes are measured on the searched trace where a transient spans few frames, since denoising lowers and widens it there;
        on `denoised`, where it exists, if it spans many, since noise heightens and narrows it; in between on a weighted mean of
        both (attribute `denoised_share`). "sd" measures what it searches.

    Raises:
        MissingVariableError: there is no ΔF/F or no noise yet.
        CalciumError: the detector, criterion or indicator is unknown, or the threshold or budget is not positive.

    The number of events is not known beforehand: on a chunked recording this computes (all chunks at once, only events kept).
    """
    given = {"threshold": threshold, "min_dff": min_dff}
    check_arguments(detect_events, {name: plain(value) for name, value in given.items() if value is not None})
    check_arguments(detect_events, {"false_positives_per_minute": plain(false_positives_per_minute)})
    recording = fresh(recording, "detect_events")
    choose(DETECTORS, detector, "detector")
    choose(dict.fromkeys(CRITERIA), criterion, "criterion")
    if threshold is not None and not 0 < threshold < np.inf:
        raise CalciumError(f"threshold is {threshold}, but must be a positive number")
    if min_dff is not None and not 0 <= min_dff < np.inf:
        raise CalciumError(f"min_dff is {min_dff}, but must be 0 or a positive number (0.1 is 10 % ΔF/F)")
    if not 1e-4 <= false_positives_per_minute <= 60:
        raise CalciumError(f"false_positives_per_minute is {false_positives_per_minute}, but must be positive, from 0.0001 to 60")
    searched = dff_trace(recording, trace, DFF_TRACES if detector == "sd" else DFF_TRACES[:2])
    array, noise = var(searched).check(recording), var("noise").check(recording)
    least_dff = min_dff if min_dff is not None else SD_RULE_LEAST_DFF if detector == "sd" else 0.0
    if detector == "sd" and min_dff in (None, SD_RULE_LEAST_DFF) and array.attrs.get("units", "1") == "sigma":
        warn(
            f"the traces are in units of σ, and so is the second threshold of the sd rule: {least_dff:g} σ holds nothing back; "
            "give min_dff in σ (0 to have no second threshold)"
        )
    if criterion != CRITERIA[0] and detector != "template":
        warn(f"detector={detector!r} takes no criterion: {criterion!r} changes nothing")
    if false_positives_per_minute != 0.01 and (detector == "sd" or threshold is not None):
        why = "detector='sd'" if detector == "sd" else "a threshold of one's own"
        warn(f"{why} leaves no budget to keep: false_positives_per_minute={false_positives_per_minute:g} changes nothing")
    kinetics, rate = get_indicator(indicator), sampling_rate(recording)
    share = float(np.clip(np.interp(kinetics.fwhm * rate, FRAMES_OF_A_TRANSIENT, (0.0, 1.0)), 0.0, 1.0))
    share = 0.0 if detector == "sd" or "denoised" not in recording.variables else share
    measured = mixed(array, var("denoised").check(recording), share) if share else array
    parameters = {
        "detector": detector,
        "indicator": kinetics.name,
        "threshold": threshold,
        "min_dff": float(least_dff),
        "false_positives_per_minute": None if detector == "sd" else float(false_positives_per_minute),
        "criterion": criterion if detector == "template" else None,
        "trace": searched,
    }
    search = search_of(recording, {**parameters, "denoised_share": share})
    if search.criterion == "clements_bekkers" and threshold is None and template_frames(search) < FEW_FRAMES:
        warn(
            f"a template of {template_frames(search)} frames leaves Clements and Bekkers' criterion too little to tell a "
            "transient from noise: within the budget, next to nothing will pass; use criterion='matched_filter'"
        )
    k = search.k  # before the blocks ask for it all at once

    def run(traces: np.ndarray, shapes: np.ndarray, sigma: np.ndarray) -> Found:
        sigma = np.maximum(sigma.astype(np.float64), ROUNDING)
        return find_events(traces, shapes, levels_of(traces, shapes, sigma, search), search)

    parts = gather(run, array, measured, per_neuron=[noise])
    assembled = _assemble(recording, array, parts, rate, {**parameters, "k": k, "denoised_share": share})
    return record(assembled, "detect_events", **parameters)


def mixed(searched: Traces, denoised: Traces, share: float) -> Traces:
    """Return the trace in which events are measured: this share of the denoised one, the rest as it was searched."""
    return denoised if share == 1.0 else searched + np.array(share, searched.dtype) * (denoised - searched)


def search_of(recording: xr.Dataset, parameters: Mapping[str, Any]) -> Search:
    """Return the search that these parameters describe, such as those that the columns of events carry."""
    budget = parameters.get("false_positives_per_minute")
    return Search(
        detector=parameters["detector"],
        rate=sampling_rate(recording),
        bounds=epoch_bounds(recording),
        indicator=get_indicator(parameters["indicator"]),
        threshold=parameters.get("threshold"),
        least_dff=parameters["min_dff"],
        false_positives_per_minute=np.nan if budget is None else budget,
        criterion=parameters.get("criterion") or CRITERIA[0],
        denoised_share=parameters.get("denoised_share", 0.0),
    )


def _assemble(
    recording: xr.Dataset, array: xr.DataArray, parts: list[Any], rate: float, parameters: dict[str, Any]
) -> xr.Dataset:
    """Label the events of all blocks: frames become seconds, rows become neuron ids."""
    counts = np.concatenate([part[0] for part in parts])
    columns = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    flags = np.concatenate([part[2] for part in parts])
    frames, times = np.arange(recording.sizes["frame"]), recording["time"].values
    table: dict[str, Any] = {"neuron": np.repeat(recording["neuron"].values, counts)}
    table |= {name: np.interp(columns[name], frames, times) for name in ("onset", "peak", "offset")}
    table |= {name: columns[name] / rate for name in ("fwhm", "rise", "decay", "area")}
    table |= {"amplitude": columns["amplitude"], "peak_dff": columns["peak_value"], "z": columns["z"], "flags": flags}
    units = array.attrs.get("units", "1")
    in_units = {"amplitude": units, "peak_dff": units, "area": "s" if units == "1" else f"{units} s"}
    result = recording.assign(
        {
            f"event_{name}": var(f"event_{name}").wrap(values, **parameters, units=in_units.get(name, var(f"event_{name}").units))
            for name, values in table.items()
        }
    )
    edges = np.concatenate([[0], np.cumsum(counts)])
    active = mark_rows(array, edges, np.ceil(columns["onset"]).astype(int), np.floor(columns["offset"]).astype(int))
    return result.assign(active=var("active").wrap(active))


def event_epochs(recording: xr.Dataset) -> np.ndarray:
    """Epoch (0, 1, ...) in which each event begins."""
    starts = epoch_bounds(recording)[1:-1]
    onset = var("event_onset").check(recording).values
    return np.asarray(np.searchsorted(recording["time"].values[starts], onset, side="right"))


def event_frames(recording: xr.Dataset, of: str = "onset") -> np.ndarray:
    """Frame of each event's onset (or peak); what lies between two frames belongs to the nearer one."""
    frames = np.arange(recording.sizes["frame"])
    place = np.interp(var(f"event_{of}").check(recording).values, recording["time"].values, frames)
    return np.asarray(np.floor(place + 0.5).astype(np.int64))


def event_rows(recording: xr.Dataset) -> np.ndarray:
    """Row (position along `neuron`) of each event's neuron."""
    import pandas as pd

    neurons = pd.Index(recording["neuron"].values)
    if not neurons.is_unique:
        raise CalciumError(
            f"neuron {neurons[neurons.duplicated()][0]} is there more than once; give every neuron an id of its own"
        )
    rows = neurons.get_indexer(var("event_neuron").check(recording).values)
    if (rows < 0).any():
        missing = recording["event_neuron"].values[rows < 0][0]
        raise CalciumError(
            f"event_neuron names neuron {missing}, which the recording does not hold; run detect_events() again, or keep the "
            "events of its neurons with .isel(event=recording['event_neuron'].isin(recording['neuron']))"
        )
    onset, time = var("event_onset").check(recording).values, recording["time"].values
    # beyond the last frame of its epoch: in a gap, or after the recording
    ends = time[epoch_bounds(recording)[1:] - 1]
    last = ends[event_epochs(recording)] if len(ends) > 1 else ends[0]
    outside = np.count_nonzero((onset < time[0]) | (onset > last))
    if outside:
        raise CalciumError(f"{outside} events lie outside the recording's time, as after a selection; run detect_events() again")
    return np.asarray(rows)
