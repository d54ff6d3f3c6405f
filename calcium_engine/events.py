"""Calcium events: where a trace rises for a transient, and the transient's shape. An event is not a spike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import gather, mark_rows
from calcium_engine.indicators import Indicator, get_indicator
from calcium_engine.kernels import fill_gaps, find_peaks, has_gaps, measure_events, nonnegative_deconvolution, row_moments
from calcium_engine.schema import (
    DFF_TRACES,
    EVENT_FLAGS,
    CalciumError,
    dff_trace,
    epoch_bounds,
    fresh,
    record,
    sampling_rate,
    var,
    warn,
)

BRIDGED_GAP = 1.0  # s; shorter gaps are bridged for the search, longer ones end a search as an epoch's edge does
ROUNDING = 1e-6  # ΔF/F; what float32 leaves of a constant trace is no event
LEAST_CLIMB = 2.0  # σ
LEAST_CLIMB_SHARE = 0.05  # of the height of its peak over rest
SD_RULE = 5.0
SD_RULE_LEAST_DFF = 0.10
HYSTERESIS = 0.5  # σ; a run of the noise detector lasts until the trace is back to this


@dataclass(frozen=True)
class Search:
    """What a detector needs to know besides the traces."""

    rate: float
    bounds: np.ndarray
    indicator: Indicator
    threshold: float | None
    least_dff: float
    false_positives_per_minute: float

    @property
    def reach(self) -> int:
        """Frames from a spike to the peak of its transient, and at least two: a spike may fall anywhere between frames."""
        return max(2, round(self.indicator.time_to_peak * self.rate))

    @property
    def false_positives_per_frame(self) -> float:
        """The false-positive budget of one neuron in one frame."""
        return self.false_positives_per_minute / 60.0 / self.rate

    def bridge(self, traces: np.ndarray) -> np.ndarray:
        """Fill short gaps, epoch by epoch."""
        if not has_gaps(traces):
            return traces
        longest = round(BRIDGED_GAP * self.rate)
        pieces = [np.ascontiguousarray(traces[:, start:stop]) for start, stop in pairwise(self.bounds)]
        return np.asarray(np.concatenate([fill_gaps(piece, longest) for piece in pieces], axis=1))


Peaks = tuple[np.ndarray, np.ndarray]


def resting_level(traces: np.ndarray) -> np.ndarray:
    """Level of each trace at rest: the median of the samples within 2.5 σ over the median, σ being taken from below it."""
    ordered = np.sort(traces, axis=1)  # NaN last
    rows = np.arange(len(traces))
    valid = np.count_nonzero(~np.isnan(ordered), axis=1)

    def sample(share: float, count: np.ndarray) -> np.ndarray:
        return np.asarray(ordered[rows, (share * np.maximum(count - 1, 0)).astype(np.int64)])

    median = sample(0.5, valid)
    spread = median - sample(0.1587, valid)  # one σ under the median of normal noise
    return sample(0.5, np.count_nonzero(ordered <= (median + 2.5 * spread)[:, None], axis=1))


def _sd_peaks(traces: np.ndarray, noise: np.ndarray, search: Search) -> Peaks:
    """Over mean + k · SD of the trace itself, and over the least ΔF/F; stacked peaks are parted by valleys of one SD."""
    _, mean, deviation, _ = row_moments(traces)
    high = np.fmax(mean + (search.threshold or SD_RULE) * deviation, search.least_dff)
    return find_peaks(search.bridge(traces), high, high - deviation, deviation, 1, search.bounds)


def _noise_peaks(traces: np.ndarray, noise: np.ndarray, search: Search) -> Peaks:
    """Over rest + k σ, in runs that last until the trace is back at rest; stacked peaks are parted by valleys of k σ."""
    from scipy.special import ndtri

    k = search.threshold or float(-ndtri(search.false_positives_per_frame))
    rest = resting_level(traces)
    high = np.maximum(rest + k * noise, search.least_dff)
    return find_peaks(search.bridge(traces), high, rest + HYSTERESIS * noise, k * noise, 1, search.bounds)


def _pulses(traces: np.ndarray, search: Search) -> np.ndarray:
    """Non-negative deconvolution, summed over the frames that a transient takes to rise, epoch by epoch."""
    decay = float(np.exp(-1.0 / (search.indicator.tau * search.rate)))
    out = np.empty_like(traces)
    for start, stop in pairwise(search.bounds):
        activity = nonnegative_deconvolution(fill_gaps(np.ascontiguousarray(traces[:, start:stop])), decay)
        total = activity.copy()
        for lag in range(1, min(search.reach, activity.shape[1])):
            total[:, lag:] += activity[:, :-lag]
        out[:, start:stop] = total
    if has_gaps(traces):
        out[np.isnan(search.bridge(traces))] = np.nan
    return out


@lru_cache(maxsize=32)
def _pulse_threshold(rate: float, tau: float, time_to_peak: float, budget: float) -> float:
    """Find the pulse size, in σ, that white noise exceeds at the budgeted rate: counted in simulated noise.

    So much noise is drawn that 100 pulses exceed the threshold, which is then known to 1 % or so; from a fixed seed.
    """
    n = int(np.clip(100.0 / budget, 1e5, 2e7))
    noise = np.random.default_rng(0).standard_normal((max(1, n // 10_000), 10_000), dtype=np.float32)
    search = Search(rate, np.array([0, 10_000]), Indicator("", 0.0, time_to_peak, 0.0, tau), None, 0.0, budget * 60.0 * rate)
    pulses = _pulses(noise, search)
    level = np.ones(len(noise))
    offsets, peaks = find_peaks(pulses, level, 0.0 * level, level, 1, search.bounds)
    sizes = np.sort(pulses[np.repeat(np.arange(len(noise)), np.diff(offsets)), peaks])
    return float(sizes[-min(len(sizes), max(1, round(budget * noise.size)))])


def _pulse_peaks(traces: np.ndarray, noise: np.ndarray, search: Search) -> Peaks:
    """Pulses of the non-negative deconvolution over k σ; two pulses are parted by a valley of half that."""
    indicator = search.indicator
    k = search.threshold or _pulse_threshold(search.rate, indicator.tau, indicator.time_to_peak, search.false_positives_per_frame)
    pulses = _pulses(traces - resting_level(traces)[:, None].astype(traces.dtype), search)
    high = np.maximum(k * noise, search.least_dff)
    return find_peaks(pulses, high, 0.0 * noise, 0.5 * high, 1, search.bounds)


DETECTORS: dict[str, Callable[[np.ndarray, np.ndarray, Search], Peaks]] = {
    "pulse": _pulse_peaks,
    "noise": _noise_peaks,
    "sd": _sd_peaks,
}


def _events_of_block(
    traces: np.ndarray, measured: np.ndarray, noise: np.ndarray, detect: Callable[..., Peaks], search: Search
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Detect and measure the events of one block of neurons: how many each has, their columns, their flags."""
    measured = search.bridge(measured)
    offsets, peaks = detect(traces, np.maximum(noise, ROUNDING), search)
    tau = search.indicator.tau * search.rate
    rest = resting_level(measured)
    columns, flags = measure_events(measured, rest, tau, search.reach, search.bounds, offsets, peaks)
    rows = np.repeat(np.arange(len(traces)), np.diff(offsets))
    columns["z"] = columns["amplitude"] / np.where(noise[rows] > 0, noise[rows], np.nan)
    flags[columns["fwhm"] > search.indicator.longest_fwhm * search.rate] |= EVENT_FLAGS["long"]
    # a tail that decays more slowly than the indicator's is not one transient after another: each must rise by itself
    height = columns["peak_value"] - rest[rows]
    keep = (columns["amplitude"] > 0) & ~(columns["climb"] < np.maximum(LEAST_CLIMB * noise[rows], LEAST_CLIMB_SHARE * height))
    return np.bincount(rows[keep], minlength=len(traces)), {name: column[keep] for name, column in columns.items()}, flags[keep]


def detect_events(
    recording: xr.Dataset,
    *,
    detector: Literal["pulse", "noise", "sd"] = "pulse",
    indicator: str = "GCaMP6s",
    threshold: float | None = None,
    min_dff: float | None = None,
    false_positives_per_minute: float = 0.01,
    trace: str | None = None,
) -> xr.Dataset:
    """Find calcium events and measure each: onset, peak, offset, amplitude, FWHM, rise, decay, area.

    Args:
        recording: with ΔF/F (`dff`, `detrended` or `denoised`) and `noise`.
        detector: "pulse" (default): pulses of the non-negative deconvolution over k σ; "noise": the trace over rest + k σ, until
            it is back at rest; "sd": the trace over mean + k · SD of the neuron, SD taken over the whole searched trace with its
            transients, and over `min_dff`.
        indicator: whose rise and decay the pulse detector and the measurement assume.
        threshold: k. Default 5 for "sd"; for the others it follows from the false-positive budget.
        min_dff: what a peak ("pulse": a pulse) must exceed besides, in ΔF/F. Default 0.10 for "sd", 0 for the others.
        false_positives_per_minute: how many events white noise of σ may give per neuron and minute.
        trace: what to search. Default: "sd" takes the most processed of `dff`, `detrended`, `denoised`; the others, which know
            the noise, `detrended` or `dff`. Shapes are measured on `denoised` where it exists.

    Returns:
        The recording with the event table (dim `event`, ordered by neuron and time) and `active` (neuron × frame, onset to
        offset). Bits of `event_flags`: 1 compound (starts on the tail of another), 2 long (FWHM over four decay constants, 5 s
        for GCaMP6s), 4 fwhm_censored (cut off by a neighbour or edge, and continued by the decay), 8 edge, 16 onset_unseen (under
        way when the recording, an epoch or the trace after a gap begins).

    Raises:
        MissingVariableError: there is no ΔF/F or no noise yet.
        CalciumError: the detector or indicator is unknown, or the threshold or budget is not positive.

    The number of events is not known beforehand: on a chunked recording this computes (all chunks at once, only events kept).
    """
    recording = fresh(recording, "detect_events")
    detect = choose(DETECTORS, detector, "detector")
    if threshold is not None and not 0 < threshold < np.inf:
        raise CalciumError(f"threshold is {threshold}, but must be a positive number")
    if min_dff is not None and not 0 <= min_dff < np.inf:
        raise CalciumError(f"min_dff is {min_dff}, but must be 0 or a positive number (0.1 is 10 % ΔF/F)")
    if not 1e-4 <= false_positives_per_minute <= 60:
        raise CalciumError(f"false_positives_per_minute is {false_positives_per_minute}, but must be positive, from 0.0001 to 60")
    searched = dff_trace(recording, trace, DFF_TRACES if detector == "sd" else DFF_TRACES[:2])
    array, noise = var(searched).check(recording), var("noise").check(recording)
    measured = recording["denoised"].transpose("neuron", "frame") if "denoised" in recording else array
    least_dff = min_dff if min_dff is not None else SD_RULE_LEAST_DFF if detector == "sd" else 0.0
    if detector == "sd" and min_dff in (None, SD_RULE_LEAST_DFF) and array.attrs.get("units", "1") == "sigma":
        warn(
            f"the traces are in units of σ, and so is the second threshold of the sd rule: {least_dff:g} σ holds nothing back; "
            "give min_dff in σ (0 to have no second threshold)"
        )
    rate = sampling_rate(recording)
    search = Search(rate, epoch_bounds(recording), get_indicator(indicator), threshold, least_dff, false_positives_per_minute)

    def run(traces: np.ndarray, shapes: np.ndarray, sigma: np.ndarray) -> Any:
        return _events_of_block(traces, shapes, sigma.astype(np.float64), detect, search)

    parts = gather(run, array, measured, per_neuron=[noise])
    parameters = {
        "detector": detector,
        "indicator": search.indicator.name,
        "threshold": threshold,
        "min_dff": float(least_dff),
        "false_positives_per_minute": None if detector == "sd" else float(false_positives_per_minute),
        "trace": searched,
        "measured_on": str(measured.name),
    }
    return record(_assemble(recording, array, parts, rate, parameters), "detect_events", **parameters)


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


def event_frames(recording: xr.Dataset) -> np.ndarray:
    """Frame of each event's onset; an onset between two frames belongs to the nearer one."""
    frames = np.arange(recording.sizes["frame"])
    onset = np.interp(var("event_onset").check(recording).values, recording["time"].values, frames)
    return np.asarray(np.floor(onset + 0.5).astype(np.int64))


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
        raise CalciumError(f"event_neuron names neuron {missing}, which the recording does not hold; run detect_events() again")
    onset, time = var("event_onset").check(recording).values, recording["time"].values
    # beyond the last frame of its epoch: in a gap, or after the recording
    last = time[epoch_bounds(recording)[1:] - 1][event_epochs(recording)]
    outside = np.count_nonzero((onset < time[0]) | (onset > last))
    if outside:
        raise CalciumError(f"{outside} events lie outside the recording's time, as after a selection; run detect_events() again")
    return np.asarray(rows)
