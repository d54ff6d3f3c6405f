"""What a recording holds: every variable's name, dims, units and maker, declared once.

A recording is an `xarray.Dataset` with dims `neuron` and `frame`. Steps add variables to it; each of them is declared here
and nowhere else, so that a name, a unit or a label is changed in one place.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

SCHEMA_VERSION = 1
GAP = 1.0  # s; a longer pause between frames starts a new epoch
RATE_TOLERANCE = 0.02


class CalciumError(ValueError):
    """Something about the input or the request that the user can mend; its message says how."""


class MissingVariableError(CalciumError):
    """A step was asked for before the variable that it reads exists."""


class NeuronsWarning(UserWarning):
    """A warning that counts neurons: silenced where they are worked on a block at a time, and given once for all of them."""


Attr = str | int | float | bool


@dataclass(frozen=True)
class Variable:
    """One variable of a recording: its name, dims, dtype kinds, units, meaning and the function that makes it."""

    name: str
    dims: tuple[str, ...]
    kind: str
    units: str
    long_name: str
    made_by: str

    def check(self, recording: xr.Dataset) -> xr.DataArray:
        """Return this variable of the recording in canonical dim order, or say what is missing and what makes it."""
        if not isinstance(recording, xr.Dataset):
            raise CalciumError(
                f"a recording is an xarray.Dataset, but this is a {type(recording).__name__}; make_recording() makes one"
            )
        if self.name not in recording.variables:
            raise MissingVariableError(
                f"the recording has no '{self.name}' ({self.long_name}); {self.made_by}() makes it. "
                f"It has: {', '.join(sorted(map(str, recording.data_vars))) or 'no variables'}"
            )
        array = recording[self.name]
        if set(array.dims) != set(self.dims):
            raise CalciumError(f"'{self.name}' has dims {tuple(array.dims)}, but needs {self.dims}{self._mended(array)}")
        if array.dtype.kind not in self.kind:
            raise CalciumError(
                f"'{self.name}' holds {array.dtype}, but needs dtype kind {' or '.join(self.kind)}; convert it with .astype()"
            )
        if not array.dtype.isnative:  # of another machine: kernels take this one's
            array = array.astype(array.dtype.newbyteorder("="))
        return array.transpose(*self.dims)

    def _mended(self, array: xr.DataArray) -> str:
        """Say how a variable with wrong dims comes to have the right ones."""
        lost = [dim for dim in self.dims if dim not in array.dims]
        if lost:
            return f"; select by a list to keep '{lost[0]}', such as .isel({lost[0]}=[0])"
        spread = next(dim for dim in array.dims if dim not in self.dims)
        join = "xarray.concat(..., data_vars='minimal', coords='minimal', compat='override')"
        return f"; {self.made_by}() makes it anew, and {join} along '{spread}' would leave it as it is"

    def wrap(self, data: Any, **parameters: Attr | None) -> xr.DataArray:
        """Label plain or labelled data as this variable; parameters that are not None become plain scalar attributes."""
        attrs: dict[str, Attr] = {"units": self.units, "long_name": self.long_name, "made_by": self.made_by}
        attrs.update({key: plain(value) for key, value in parameters.items() if value is not None})
        if isinstance(data, xr.DataArray):
            labelled = data.transpose(*self.dims).rename(self.name)  # not drop_attrs(), which copies the data
            labelled.attrs = attrs
            return labelled
        return xr.DataArray(data, dims=self.dims, name=self.name, attrs=attrs)


def native(recording: xr.Dataset) -> xr.Dataset:
    """Return a recording whose values all have this machine's byte order; what has it already is not copied."""
    swapped = {
        name: (variable.dims, variable.astype(variable.dtype.newbyteorder("=")).data, variable.attrs)
        for name, variable in recording.variables.items()
        if not variable.dtype.isnative
    }
    coords = {name: swapped.pop(name) for name in list(swapped) if name in recording.coords}
    return recording.assign(swapped).assign_coords(coords) if swapped or coords else recording


def plain(value: Any) -> Attr:
    """Turn a NumPy scalar into the Python scalar that Zarr's JSON can hold."""
    scalar: Attr = value.item() if isinstance(value, np.generic) else value
    return scalar


TRACE = ("neuron", "frame")  # the dims of one
_PAIR = ("neuron", "neuron_other")
_MEMBER = ("ensemble", "neuron")
_TRANSITION = ("ensemble", "ensemble_other")
_RETENTION = ("retention_stage", "planted_fwhm", "planted_amplitude")


def _declare(*rows: tuple[str, tuple[str, ...], str, str, str, str]) -> dict[str, Variable]:
    return {row[0]: Variable(*row) for row in rows}


VARIABLES: dict[str, Variable] = _declare(
    # traces
    ("fluorescence", TRACE, "f", "a.u.", "fluorescence", "make_recording"),
    ("neuropil", TRACE, "f", "a.u.", "neuropil fluorescence around the neuron", "read_suite2p"),
    ("fluorescence_corrected", TRACE, "f", "a.u.", "fluorescence without neuropil", "subtract_neuropil"),
    ("baseline", TRACE, "f", "a.u.", "baseline fluorescence F0", "estimate_baseline"),
    ("dff", TRACE, "f", "1", "relative fluorescence change ΔF/F", "compute_dff"),
    ("background", TRACE, "f", "1", "slow background of ΔF/F", "subtract_background"),
    ("detrended", TRACE, "f", "1", "ΔF/F without slow background", "subtract_background"),
    ("denoised", TRACE, "f", "1", "denoised ΔF/F", "denoise"),
    ("deconvolved", TRACE, "f", "1", "deconvolved activity", "deconvolve"),
    ("spikes_suite2p", TRACE, "f", "a.u.", "deconvolved activity as suite2p found it", "read_suite2p"),
    ("artifact", ("frame",), "b", "", "movement or another common artefact; masked", "mask_artifacts"),
    # neurons
    ("noise", ("neuron",), "f", "1", "noise σ of ΔF/F", "estimate_noise"),
    ("noise_level", ("neuron",), "f", "% Hz^-1/2", "standardised noise level ν", "estimate_noise"),
    ("noise_correlation", ("neuron",), "f", "1", "correlation of the noise with that of the frame before", "estimate_noise"),
    ("low_passed_input", ("neuron",), "b", "", "the noise is correlated: the trace was low-pass filtered", "estimate_noise"),
    ("neuropil_ratio", ("neuron",), "f", "1", "share of the neuropil signal that was subtracted", "subtract_neuropil"),
    ("f0_floored", ("neuron",), "b", "", "F0 too small to divide by: ΔF/F rests on the floor", "compute_dff"),
    ("saturated_activity", ("neuron",), "b", "", "too little of the trace lies at rest to be sure of F0", "estimate_baseline"),
    ("drifting", ("neuron",), "b", "", "F0 moves by more than bleaching explains", "estimate_baseline"),
    ("bleaching", ("neuron",), "b", "", "F0 decays exponentially", "estimate_baseline"),
    ("bleaching_tau", ("neuron",), "f", "s", "time constant of bleaching", "estimate_baseline"),
    (
        "baseline_edge",
        ("frame",),
        "b",
        "",
        "within half a window of an epoch's end",
        "estimate_baseline",
    ),
    # what the cleaning does to planted transients
    ("retention_amplitude", _RETENTION, "f", "1", "recovered over planted amplitude", "retention_test"),
    ("retention_fwhm", _RETENTION, "f", "1", "recovered over planted FWHM", "retention_test"),
    ("retention_onset", _RETENTION, "f", "s", "shift of the onset", "retention_test"),
    ("retention_drift", _RETENTION, "f", "1", "shift of the level around a transient, over its amplitude", "retention_test"),
    ("retention_count", _RETENTION[1:], "iu", "count", "planted transients", "retention_test"),
    ("retention_slope", _RETENTION[:2], "f", "1", "slope of recovered against planted amplitude", "retention_test"),
    ("slow_attenuation", _RETENTION[:1], "f", "dB", "how much a planted slow wave is reduced", "retention_test"),
    ("event_count", ("neuron",), "i", "count", "events", "compute_features"),
    ("event_rate", ("neuron",), "f", "min^-1", "event rate", "compute_features"),
    (
        "event_rate_low",
        ("neuron",),
        "f",
        "min^-1",
        "event rate, lower end of the exact 95 % Poisson interval",
        "compute_features",
    ),
    (
        "event_rate_high",
        ("neuron",),
        "f",
        "min^-1",
        "event rate, upper end of the exact 95 % Poisson interval",
        "compute_features",
    ),
    ("amplitude_median", ("neuron",), "f", "1", "median event amplitude", "compute_features"),
    ("amplitude_cv", ("neuron",), "f", "1", "coefficient of variation of event amplitudes", "compute_features"),
    ("amplitude_gini", ("neuron",), "f", "1", "Gini coefficient of event amplitudes", "compute_features"),
    ("fwhm_median", ("neuron",), "f", "s", "median event FWHM", "compute_features"),
    ("rise_median", ("neuron",), "f", "s", "median event rise time", "compute_features"),
    ("decay_median", ("neuron",), "f", "s", "median event decay time", "compute_features"),
    ("interval_median", ("neuron",), "f", "s", "median inter-event interval", "compute_features"),
    ("interval_cv", ("neuron",), "f", "1", "coefficient of variation of inter-event intervals", "compute_features"),
    ("interval_lv", ("neuron",), "f", "1", "local variation of inter-event intervals", "compute_features"),
    ("burst_share", ("neuron",), "f", "1", "share of events in bursts", "compute_features"),
    ("compounding_index", ("neuron",), "f", "1", "share of events that start on the tail of another", "compute_features"),
    ("duty_cycle", ("neuron",), "f", "1", "share of valid time spent inside events", "compute_features"),
    ("fano_factor", ("neuron",), "f", "1", "Fano factor of event counts", "compute_features"),
    ("skewness", ("neuron",), "f", "1", "skewness of the trace", "compute_features"),
    ("population_coupling", ("neuron",), "f", "1", "correlation with the rest of the population", "compute_features"),
    # what could have been found
    (
        "detectability",
        ("neuron", "detectability_amplitude"),
        "f",
        "1",
        "share of the planted transients that are found",
        "compute_features",
    ),
    ("lod50", ("neuron",), "f", "1", "amplitude of the transient that is found half the time", "compute_features"),
    ("detection_recall", ("neuron",), "f", "1", "share of transients like the neuron's own that are found", "compute_features"),
    ("event_rate_corrected", ("neuron",), "f", "min^-1", "event rate, corrected for what is missed", "compute_features"),
    ("negative_event_count", ("neuron",), "f", "count", "events in the inverted trace", "compute_features"),
    ("negative_ratio", ("neuron",), "f", "1", "events in the inverted trace over events", "compute_features"),
    # events
    ("active", TRACE, "b", "", "inside an event (onset to offset)", "detect_events"),
    ("event_neuron", ("event",), "iuUSO", "", "neuron id of the event", "detect_events"),
    ("event_onset", ("event",), "f", "s", "event onset", "detect_events"),
    ("event_peak", ("event",), "f", "s", "event peak", "detect_events"),
    ("event_offset", ("event",), "f", "s", "event offset", "detect_events"),
    ("event_amplitude", ("event",), "f", "1", "event amplitude (height over its base)", "detect_events"),
    ("event_peak_dff", ("event",), "f", "1", "ΔF/F at the event's peak", "detect_events"),
    ("event_fwhm", ("event",), "f", "s", "event full width at half maximum", "detect_events"),
    ("event_rise", ("event",), "f", "s", "event rise time, 20 to 80 %", "detect_events"),
    ("event_decay", ("event",), "f", "s", "event decay time to 1/e of its amplitude", "detect_events"),
    ("event_area", ("event",), "f", "s", "event area over its base", "detect_events"),
    ("event_z", ("event",), "f", "1", "event amplitude in units of the noise σ", "detect_events"),
    ("event_flags", ("event",), "iu", "", "event flags (bits)", "detect_events"),
    # coactivity
    ("coactivity", ("bin",), "iu", "count", "neurons with an event onset in the bin", "compute_coactivity"),
    ("coactivity_expected", ("bin",), "f", "count", "coactive neurons expected by chance", "find_ensemble_events"),
    ("coactivity_pvalue", ("bin",), "f", "1", "chance of at least so many coactive neurons", "find_ensemble_events"),
    (
        "coactivity_qvalue",
        ("bin",),
        "f",
        "1",
        "false-discovery rate among bins like this and more extreme",
        "find_ensemble_events",
    ),
    ("coactivity_threshold", ("bin",), "f", "count", "smallest significant count", "find_ensemble_events"),
    ("is_coactive", ("bin",), "b", "", "more coactive neurons than chance explains", "find_ensemble_events"),
    ("coactivity_null", ("count",), "f", "1", "share of bins with so many coactive neurons by chance", "find_ensemble_events"),
    ("coactivity_null_sampled", ("count",), "f", "1", "the same as counted in shuffles", "find_ensemble_events"),
    ("comparison_expected", ("bin",), "f", "count", "coactive neurons expected by the other null", "find_ensemble_events"),
    ("comparison_pvalue", ("bin",), "f", "1", "p-value by the other null", "find_ensemble_events"),
    ("comparison_threshold", ("bin",), "f", "count", "smallest significant count by the other null", "find_ensemble_events"),
    ("comparison_is_coactive", ("bin",), "b", "", "significant by the other null", "find_ensemble_events"),
    ("synchrony_divergence", (), "f", "bits", "divergence of the counts from chance, a bin", "find_ensemble_events"),
    ("synchrony_surplus", (), "f", "1", "share of activity above chance in significant bins", "find_ensemble_events"),
    ("gregariousness", ("neuron",), "f", "1", "activity of the others in the neuron's bins (z)", "find_ensemble_events"),
    # pairs of neurons
    ("pair_overlap", _PAIR, "iu", "count", "bins in which both neurons are active", "compute_pairwise"),
    ("pair_jaccard", _PAIR, "f", "1", "Jaccard similarity of two neurons", "compute_pairwise"),
    ("pair_jaccard_adjusted", _PAIR, "f", "1", "Jaccard similarity above chance", "compute_pairwise"),
    ("pair_z", _PAIR, "f", "1", "Jaccard similarity above chance (z)", "compute_pairwise"),
    ("pair_pvalue", _PAIR, "f", "1", "chance of at least so many common bins", "compute_pairwise"),
    ("pair_qvalue", _PAIR, "f", "1", "false-discovery rate among pairs like this and more extreme", "compute_pairwise"),
    ("is_pair_significant", _PAIR, "b", "", "active together in more bins than chance explains", "compute_pairwise"),
    # ensemble events
    ("ensemble_event_time", ("ensemble_event",), "f", "s", "centre of the ensemble event's peak bin", "find_ensemble_events"),
    ("ensemble_event_start", ("ensemble_event",), "f", "s", "start of the ensemble event", "find_ensemble_events"),
    ("ensemble_event_duration", ("ensemble_event",), "f", "s", "duration of the ensemble event", "find_ensemble_events"),
    ("ensemble_event_size", ("ensemble_event",), "iu", "count", "neurons that take part", "find_ensemble_events"),
    ("ensemble_event_pvalue", ("ensemble_event",), "f", "1", "p-value of the ensemble event's peak bin", "find_ensemble_events"),
    (
        "participation",
        ("ensemble_event", "neuron"),
        "b",
        "",
        "the neuron takes part in the ensemble event",
        "find_ensemble_events",
    ),
    # ensembles
    ("similarity", ("ensemble_event", "ensemble_event_other"), "f", "1", "Jaccard similarity", "find_ensembles"),
    ("linkage", ("merge", "merge_field"), "f", "1", "hierarchical clustering (left, right, distance, events)", "find_ensembles"),
    ("explained_variance", ("component",), "f", "1", "share of variance by principal component", "find_ensembles"),
    ("cut_value", ("cut_step",), "f", "1", "where the tree, or the list of components, could be cut", "find_ensembles"),
    ("cut_score", ("cut_step",), "f", "1", "what speaks for cutting there", "find_ensembles"),
    ("cut_reference", ("cut_step",), "f", "1", "the same by chance", "find_ensembles"),
    ("ensemble_event_label", ("ensemble_event",), "i", "", "ensemble of the ensemble event (-1: unassigned)", "find_ensembles"),
    ("ensemble_event_match", ("ensemble_event",), "f", "1", "similarity of its neurons to the ensemble's core", "find_ensembles"),
    ("membership", _MEMBER, "f", "1", "share of the ensemble's events in which the neuron takes part", "find_ensembles"),
    (
        "membership_pvalue",
        _MEMBER,
        "f",
        "1",
        "chance of so much participation by the neuron's activity otherwise",
        "find_ensembles",
    ),
    ("is_core", _MEMBER, "b", "", "core neuron of the ensemble", "find_ensembles"),
    ("is_peripheral", _MEMBER, "b", "", "takes part more than chance explains, but is no core neuron", "find_ensembles"),
    ("ensemble_weight", _MEMBER, "f", "1", "weight of the neuron in the ensemble's independent component", "find_ensembles"),
    ("ensemble_size", ("ensemble",), "iu", "count", "core neurons", "find_ensembles"),
    ("ensemble_event_count", ("ensemble",), "iu", "count", "events of the ensemble", "find_ensembles"),
    ("ensemble_rate", ("ensemble",), "f", "min^-1", "rate of the ensemble's events", "find_ensembles"),
    ("ensemble_stability", ("ensemble",), "f", "1", "split-half stability of the core", "find_ensembles"),
    ("ensemble_activation", ("ensemble", "bin"), "f", "1", "activation of the ensemble", "find_ensembles"),
    ("is_activated", ("ensemble", "bin"), "b", "", "activation over what chance explains", "find_ensembles"),
    ("ensemble_activation_count", ("ensemble",), "iu", "count", "times that the ensemble is activated", "find_ensembles"),
    ("recruitment_latency", _MEMBER, "f", "s", "median latency of the core neuron in the ensemble's events", "find_ensembles"),
    (
        "recruitment_consistency",
        ("ensemble",),
        "f",
        "1",
        "consistency of the order of recruitment (Kendall's W)",
        "find_ensembles",
    ),
    ("recruitment_pvalue", ("ensemble",), "f", "1", "chance of so consistent an order", "find_ensembles"),
    (
        "pattern_completion",
        ("ensemble",),
        "f",
        "1",
        "chance that half the core is active given a fifth of it, above that of independent neurons",
        "find_ensembles",
    ),
    ("transition_count", _TRANSITION, "iu", "count", "times that the other ensemble is the next to be active", "find_ensembles"),
    ("transition_expected", _TRANSITION, "f", "count", "the same with the events in random order", "find_ensembles"),
    ("transition_pvalue", _TRANSITION, "f", "1", "chance of at least so many in random order", "find_ensembles"),
    ("sequence_entropy", (), "f", "bits", "uncertainty of the next ensemble, given the last", "find_ensembles"),
    ("sequence_entropy_pvalue", (), "f", "1", "chance of so little uncertainty in random order", "find_ensembles"),
    ("compared_is_core", ("compared_ensemble", "neuron"), "b", "", "core neuron by the other method", "find_ensembles"),
    (
        "compared_match",
        ("ensemble",),
        "f",
        "1",
        "similarity of the core to the nearest one of the other method",
        "find_ensembles",
    ),
    ("ensemble_power", ("planted_reliability",), "f", "1", "share of planted ensembles that are found", "ensemble_power"),
    # what a simulation planted
    ("true_spikes", TRACE, "iu", "count", "simulated action potentials in the frame", "simulate_recording"),
    ("true_spike_neuron", ("true_spike",), "iuUSO", "", "neuron id of the simulated action potential", "simulate_recording"),
    ("true_spike_time", ("true_spike",), "f", "s", "time of the simulated action potential", "simulate_recording"),
    ("true_dff", TRACE, "f", "1", "simulated ΔF/F without noise", "simulate_recording"),
    ("true_baseline", TRACE, "f", "a.u.", "simulated baseline fluorescence", "simulate_recording"),
    ("true_neuropil_ratio", ("neuron",), "f", "1", "share of the neuropil in the simulated fluorescence", "simulate_recording"),
    ("true_movement", ("frame",), "b", "", "simulated movement of the tissue", "simulate_recording"),
    ("true_ensemble_time", ("true_ensemble_event",), "f", "s", "time of the planted ensemble event", "simulate_recording"),
    ("true_ensemble_label", ("true_ensemble_event",), "i", "", "ensemble of the planted ensemble event", "simulate_recording"),
    (
        "true_participation",
        ("true_ensemble_event", "neuron"),
        "b",
        "",
        "the neuron fired in the planted ensemble event",
        "simulate_recording",
    ),
    ("true_member", ("true_ensemble", "neuron"), "b", "", "planted member of the ensemble", "simulate_recording"),
    (
        "true_latency",
        ("true_ensemble", "neuron"),
        "f",
        "s",
        "mean start of the member after the planted ensemble event",
        "simulate_recording",
    ),
)

# sampling_rate is a coordinate, not an attribute, so that merging 30 Hz with 10 Hz raises instead of passing silently.
COORDINATES: dict[str, dict[str, Attr]] = {
    "neuron": {"long_name": "neuron id"},
    "neuron_other": {"long_name": "id of the other neuron"},
    "frame": {"long_name": "frame index"},
    "time": {"units": "s", "long_name": "time"},
    "sampling_rate": {"units": "Hz", "long_name": "sampling rate"},
    "epoch": {"long_name": "stretch of frames without a gap"},
    "x": {"units": "pixel", "long_name": "x position"},
    "y": {"units": "pixel", "long_name": "y position"},
    "is_cell": {"long_name": "accepted as a cell"},
    "cell_probability": {"units": "1", "long_name": "probability of being a cell"},
    "bin_time": {"units": "s", "long_name": "centre of the bin"},
    "bin_frames": {"units": "count", "long_name": "frames in the bin"},
    "retention_stage": {"long_name": "trace in which planted transients are measured"},
    "planted_fwhm": {"units": "s", "long_name": "FWHM of planted transients"},
    "planted_amplitude": {"units": "1", "long_name": "amplitude of planted transients"},
    "planted_reliability": {"units": "1", "long_name": "chance that a member is active in an event of the planted ensemble"},
    "detectability_amplitude": {"units": "1", "long_name": "amplitude of transients planted to be detected"},
}

EVENT_FLAGS = {"compound": 1, "long": 2, "fwhm_censored": 4, "edge": 8, "onset_unseen": 16}

# The most processed trace comes last.
DFF_TRACES = ("dff", "detrended", "denoised")
TRACES = ("fluorescence", "fluorescence_corrected", *DFF_TRACES)


def var(name: str) -> Variable:
    """Return the declaration of a variable."""
    if name not in VARIABLES:
        raise CalciumError(f"there is no variable {name!r}; traces are {', '.join(TRACES)}")
    return VARIABLES[name]


def dff_trace(recording: xr.Dataset, name: str | None, among: tuple[str, ...]) -> str:
    """Return the ΔF/F trace that a step asks for by name, or the most processed of `among`."""
    if name is None:
        return latest_trace(recording, among)
    if name not in DFF_TRACES:
        raise CalciumError(f"{name!r} is no trace of ΔF/F; choose one of {', '.join(DFF_TRACES)}")
    return name


def latest_trace(recording: xr.Dataset, among: Iterable[str]) -> str:
    """Return the last of the named traces that the recording holds; `among` goes from the least processed to the most."""
    names = list(among)
    for name in reversed(names):
        if name in recording.variables:
            return name
    makers = " or ".join(f"{var(name).made_by}()" for name in names)
    raise MissingVariableError(f"the recording has none of {', '.join(names)}; {makers} makes one")


def small_values(coordinate: xr.DataArray) -> np.ndarray:
    """Return a coordinate's values at once: chunking a recording chunks its times too, small as they are."""
    known = coordinate if coordinate.chunks is None else coordinate.compute(scheduler="synchronous")
    return np.asarray(known.values)


def masked_frames(recording: xr.Dataset) -> np.ndarray:
    """Return which frames are masked as artefacts: none where they were not sought."""
    if "artifact" not in recording.variables:
        return np.zeros(recording.sizes["frame"], bool)
    return small_values(var("artifact").check(recording))


def frame_interval(time: np.ndarray) -> float:
    """Return the time from frame to frame, s: the mean step, which few digits do not bias, gaps left out."""
    steps = np.diff(time)
    return float(np.mean(steps[steps <= 1.500001 * np.median(steps)]))


def sampling_rate(recording: xr.Dataset) -> float:
    """Return the recording's sampling rate in Hz, or say how to set it."""
    if "sampling_rate" not in recording.coords:
        raise CalciumError("the recording has no sampling_rate coordinate; make_recording(array, sampling_rate=...) sets it")
    rate = float(small_values(recording["sampling_rate"]))
    if not (np.isfinite(rate) and rate > 0):
        raise CalciumError(f"the sampling rate is {rate} Hz, but must be a positive number")
    if "time" not in recording.coords or recording["time"].dims != ("frame",):
        raise CalciumError("the recording has no time of each frame; make_recording(array, sampling_rate=...) sets it")
    time = small_values(recording["time"])
    back = np.flatnonzero(~(np.diff(time) > 0))
    if len(back):
        raise CalciumError(
            f"time does not go on after frame {back[0]} ({time[back[0]]:g} s, then {time[back[0] + 1]:g} s); "
            "to join recordings, first shift the times of the second"
        )
    if len(time) > 1:
        step = frame_interval(time)
        if abs(step * rate - 1.0) > RATE_TOLERANCE:
            raise CalciumError(
                f"the sampling rate is {rate:g} Hz, but frames are {step:.4g} s apart ({1 / step:.4g} Hz); "
                "after taking every n-th frame, say .assign_coords(sampling_rate=...)"
            )
    return rate


def epoch_bounds(recording: xr.Dataset) -> np.ndarray:
    """Return the frames at which epochs start, and the number of frames at the end: epoch i is bounds[i]:bounds[i + 1].

    An epoch starts where the recording's `epoch` changes, and where time jumps by over GAP beyond a frame: whatever frames were
    selected or joined, nothing is computed across.
    """
    n_frames = recording.sizes["frame"]
    steps = np.diff(small_values(recording["time"]))
    breaks = steps > GAP + 1.0 / sampling_rate(recording)
    if "epoch" in recording.coords:
        breaks |= np.diff(small_values(recording["epoch"])) != 0
    return np.concatenate([[0], np.flatnonzero(breaks) + 1, [n_frames]]).astype(np.int64)


# Each step reads what those before it made; features come from the events and nothing comes from features.
CHAIN = (
    "mask_artifacts",
    "subtract_neuropil",
    "estimate_baseline",
    "compute_dff",
    "subtract_background",
    "estimate_noise",
    "denoise",
    "detect_events",
    "compute_coactivity",
    "find_ensemble_events",
    "find_ensembles",
)

# Steps that nothing else reads, and the step of the chain that they wait for.
OFFSHOOTS = {
    "deconvolve": "subtract_background",
    "retention_test": "detect_events",
    "compute_features": "detect_events",
    "compute_pairwise": "compute_coactivity",
    "ensemble_power": "find_ensembles",
}


def maker_of(name: str, array: xr.DataArray) -> str | None:
    """Return the step that made a variable, by its attribute or, where xarray has dropped that, by its name."""
    declared = VARIABLES[name].made_by if name in VARIABLES else None
    return array.attrs.get("made_by", declared)


def fresh(recording: xr.Dataset, step: str) -> xr.Dataset:
    """Begin a step: drop what an earlier run of it made, all that later steps made of that, and their lines of the history."""
    if not isinstance(recording, xr.Dataset):
        return recording  # the first check() says what is wrong
    stale = {step, *CHAIN[CHAIN.index(step) + 1 :]} if step in CHAIN else {step}
    stale |= {offshoot for offshoot, after in OFFSHOOTS.items() if after in stale}
    gone = [name for name, array in recording.data_vars.items() if maker_of(str(name), array) in stale]
    kept = recording.drop_vars(gone)
    used = {dim for array in kept.data_vars.values() for dim in array.dims} | {"neuron", "frame"}
    unused = {dim for name in gone for dim in recording[name].dims} - used
    kept = kept.drop_vars([name for name, coord in kept.coords.items() if unused & set(coord.dims)])
    history = [line for line in str(kept.attrs.get("history", "")).splitlines() if line.partition("(")[0] not in stale]
    return kept.assign_attrs(history="\n".join(history))


def record(recording: xr.Dataset, step: str, **arguments: Attr | None) -> xr.Dataset:
    """Finish a step: note the call in the history; a step of the cleaning with just the arguments that would repeat it."""
    line = f"{step}({', '.join(f'{key}={plain(value)!r}' for key, value in arguments.items() if value is not None)})"
    history = str(recording.attrs.get("history", ""))
    return recording.assign_attrs(history=f"{history}\n{line}" if history else line)


def recorded_calls(recording: xr.Dataset) -> list[tuple[str, dict[str, Attr]]]:
    """Return the calls that the history holds: each step's name and arguments, in order; lines that are no calls are left out.

    >>> recorded_calls(record(xr.Dataset(), "denoise", method="swt", levels=3))
    [('denoise', {'method': 'swt', 'levels': 3})]
    """
    calls = []
    for line in str(recording.attrs.get("history", "")).splitlines():
        try:
            call = ast.parse(line, mode="eval").body
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                calls.append((call.func.id, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}))
        except (SyntaxError, ValueError):  # a note that somebody added
            continue
    return calls


_READ_BY = {"fluorescence": "estimate_baseline", "neuropil": "subtract_neuropil"}  # their own makers could make others


def was_made(recording: xr.Dataset, name: str) -> bool:
    """Return whether a variable was made or read on the way to this recording, kept or not, by its history."""
    step = _READ_BY.get(name, VARIABLES[name].made_by)
    return name in recording.variables or any(call == step for call, _ in recorded_calls(recording))


def not_kept(recording: xr.Dataset) -> list[str]:
    """Return what is no longer in the recording: traces that were made or read on the way, and all that a step made."""
    steps = {*CHAIN, *OFFSHOOTS}
    made = {name for name, variable in VARIABLES.items() if variable.dims == TRACE and variable.made_by in steps}
    traces = [name for name in VARIABLES if name in made | {*_READ_BY}]
    gone = [name for name in traces if name not in recording.variables and was_made(recording, name)]
    for step, _ in recorded_calls(recording):
        results = [name for name, variable in VARIABLES.items() if variable.made_by == step and variable.dims != TRACE]
        if step in steps and results and not any(name in recording.variables for name in results):
            gone.append(f"results of {step}")
    return gone


def warn(message: str, category: type[UserWarning] = UserWarning) -> None:
    """Warn, pointing at the line outside this package from which it was called."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
