"""From fluorescence to ΔF/F: baseline, normalisation and slow background."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import along_frame, over_frame, window_of
from calcium_engine.kernels import row_quantile
from calcium_engine.levels import (
    Method,
    auto_level,
    choose_method,
    global_level,
    masked_level,
    mode_level,
    opening_level,
    quantile_level,
    slow_level,
)
from calcium_engine.noise import auto_noise, difference_noise
from calcium_engine.quality import describe_level, describe_trace
from calcium_engine.schema import Attr, epoch_bounds, fresh, latest_trace, masked_frames, record, sampling_rate, var, warn

BASELINES = {
    "masked": Method(masked_level, {"window": 60.0}),
    "rolling_quantile": Method(quantile_level, {"window": 60.0, "quantile": 0.08, "bias_correction": False}),
    "maximin": Method(opening_level, {"window": 60.0, "smoothing": 2.0}),
    "mode": Method(mode_level, {"window": 60.0}),
    "auto": Method(auto_level, {"window": 60.0}),
    "global_quantile": Method(global_level, {"quantile": 0.08, "bias_correction": False}),
}
BACKGROUNDS = {
    "masked": Method(masked_level, {"window": 20.0}),
    "rolling_quantile": Method(quantile_level, {"window": 30.0, "quantile": 0.08}),
    "opening": Method(opening_level, {"window": 30.0, "smoothing": 1.0}),
    "highpass": Method(slow_level, {"window": 20.0}),
}


def _level(
    recording: xr.Dataset, array: xr.DataArray, method: Method, options: dict[str, Any]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Level of a trace, epoch by epoch where it moves, and which neurons were too active to see it."""
    rate = sampling_rate(recording)
    if method.local:
        window_of(options["window"], recording, "the window")
        _warn_of_short_epochs(recording, options["window"])
        level, excess = along_frame(lambda traces: method.level(traces, rate, **options), recording, array, counted=True)
        lost = excess > 0
    else:
        values = over_frame(lambda traces: method.level(traces, rate, **options), array, dtypes=(array.dtype,))
        level, lost = values.broadcast_like(array), xr.zeros_like(values, dtype=bool)
    return level, lost


def _warn_of_short_epochs(recording: xr.Dataset, window: float) -> None:
    """Say where a level cannot be what was asked for."""
    bounds = epoch_bounds(recording)
    lengths = np.diff(bounds) / sampling_rate(recording)
    lengths = lengths[~masked_frames(recording)[bounds[:-1]]]  # a masked stretch has no level
    short = int(np.count_nonzero(lengths < window))
    if len(lengths) > 1 and short:
        warn(
            f"{short} of {len(lengths)} epochs are shorter than the window of {window:g} s (the shortest has "
            f"{lengths.min():.3g} s): their level rests on mirrored samples, and transients may be taken for it"
        )


def _edges(recording: xr.Dataset, seconds: float) -> np.ndarray:
    """Frames that lie less than this from the first or the last of their epoch."""
    reach = round(seconds * sampling_rate(recording))
    near = np.zeros(recording.sizes["frame"], bool)
    for bound in epoch_bounds(recording):
        near[max(bound - reach, 0) : bound + reach] = True
    return near


def _labelled(options: dict[str, Any]) -> dict[str, Attr]:
    """Options as attributes: durations with their unit."""
    return {f"{key}_s" if key in ("window", "smoothing") else key: value for key, value in options.items()}


def floor_of(traces: np.ndarray, rate: float) -> np.ndarray:
    """Least F0 to divide by; a trace of zeros has no scale at all, and its ΔF/F is 0.

    Noise in a frame grows with the sampling rate, how well F0 is known does not: above 10 Hz σ is that of a mean over 0.1 s.
    """
    noise = difference_noise(traces) * min(1.0, np.sqrt(10.0 / rate))
    floor = np.fmax(3.0 * noise, 0.05 * row_quantile(traces, 0.5))
    return np.where(floor > 0, floor, 1.0).astype(traces.dtype)


def estimate_baseline(
    recording: xr.Dataset,
    *,
    method: Literal["masked", "rolling_quantile", "maximin", "mode", "auto", "global_quantile"] = "masked",
    window: float | None = None,
    quantile: float | None = None,
    bias_correction: bool | None = None,
    smoothing: float | None = None,
) -> xr.Dataset:
    """Baseline fluorescence F0 of each neuron: what it would show without transients.

    Args:
        recording: with `fluorescence`, or `fluorescence_corrected`, which is preferred.
        method: "masked" (default): Gaussian-weighted mean of the samples outside transients, which has neither the bias of a low
            quantile nor the pull of activity; "rolling_quantile": a low quantile of the window round each frame; "maximin":
            Gaussian smoothing, rolling minimum, rolling maximum (suite2p's rule, Pachitariu et al. 2017); "mode": the half-sample
            mode of the window (Bickel & Frühwirth 2006); "auto": the rolling quantile at which each neuron's values are densest
            (the idea of CaImAn's, Giovannucci et al. 2019); "global_quantile": one quantile of the whole trace.
        window: s; default 60 s, many transients long, which still follows bleaching and drift. The Gaussian of "masked" has
            σ = window / 4. Not of "global_quantile".
        quantile: of the two quantile methods, 0 to 1; default 0.08.
        bias_correction: of the two quantile methods: whether to add what separates the quantile of normal noise from its mean
            (1.4 σ at 8 %); default False: the plain quantile.
        smoothing: s, standard deviation of the Gaussian of "maximin"; default 2 s.

    Returns:
        The recording with `baseline` (neuron × frame, a.u.), and
        `saturated_activity` (neuron): of "masked", that under 10 % of the window lies at rest for over 10 % of the frames, or
        that what lies lowest sways by 5 % of F0 from second to second as noise would not. Where there is no rest, the window is
        three times as wide, and where that does not do either, the rolling 10 % quantile takes over;
        `drifting` (neuron): F0 ranges by over 20 % (5 to 95 %) about its bleaching;
        `bleaching`, `bleaching_tau` (neuron): F0 falls exponentially by 5 % or more of itself, and its time constant in s;
        these are not asked of neurons whose F0 is too small to divide by (see `compute_dff`);
        `baseline_edge` (frame): less than half a window from the end of an epoch, where F0 rests on mirrored samples.

    Raises:
        MissingVariableError: there is no fluorescence.
        CalciumError: the method is unknown, the window longer than the recording, or the quantile not within 0 to 1.

    Epochs are worked on one by one; edges are continued by their mirror image. Warns of arguments that the method does not take.

    The samples of "masked" are those left by three rounds of masking where the running mean over 1 s lies over the level by
    2.5 σ of that mean, from 0.5 s before to 1 s after. That σ is what differences of frames say, or, where it is more, how the
    means spread below their mode; 2.5 σ stand for no less than 5 % of the trace's span, or the tails of transients would count
    for ever in a trace without noise. The bias stays under 1 % of F0 in neurons that rest for 30 % of the time:
    `docs/cleaning.md`.
    """
    recording = fresh(recording, "estimate_baseline")
    given = {"window": window, "quantile": quantile, "bias_correction": bias_correction, "smoothing": smoothing}
    chosen, options = choose_method(BASELINES, method, "baseline method", given)
    name = latest_trace(recording, ("fluorescence", "fluorescence_corrected"))
    array = var(name).check(recording)
    rate = sampling_rate(recording)
    level, lost = _level(recording, array, chosen, options)
    # a constant level cannot tell of drift: the lower envelope is asked instead
    describe = describe_level if chosen.local else describe_trace
    drifting, bleaching, tau = over_frame(
        lambda traces, floor: describe(traces, floor, rate),
        level if chosen.local else array,
        per_neuron=[over_frame(lambda traces: floor_of(traces, rate), array)],
        dtypes=(bool, bool, np.float64),
    )
    parameters = {"method": method, "trace": name, **_labelled(options)}
    made = {
        "baseline": var("baseline").wrap(level, **parameters),
        "saturated_activity": var("saturated_activity").wrap(lost),
        "drifting": var("drifting").wrap(drifting),
        "bleaching": var("bleaching").wrap(bleaching),
        "bleaching_tau": var("bleaching_tau").wrap(tau),
        "baseline_edge": var("baseline_edge").wrap(_edges(recording, options.get("window", 0.0) / 2)),
    }
    return record(recording.assign(made), "estimate_baseline", method=method, **options)


def _sigma(traces: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Noise to divide by; a constant trace has none, and stays 0."""
    noise = auto_noise(traces - baseline)
    return np.where(noise > 0, noise, 1.0).astype(traces.dtype)


def _over_baseline(traces: np.ndarray, baseline: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F − F0) / max(F0, floor), and in how many frames the floor was needed."""
    floor = floor[:, None]
    dff = traces - baseline
    dff /= np.maximum(baseline, floor)
    return dff, np.count_nonzero(baseline < floor, axis=1).astype(np.float64)


def _over_sigma(traces: np.ndarray, baseline: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F − F0) / σ: no floor is needed."""
    return (traces - baseline) / sigma[:, None], np.zeros(len(traces))


NORMALIZATIONS = {"baseline": (_over_baseline, "1"), "sigma": (_over_sigma, "sigma")}


def compute_dff(recording: xr.Dataset, *, normalize: Literal["baseline", "sigma"] = "baseline") -> xr.Dataset:
    """Relative fluorescence change ΔF/F = (F − F0) / max(F0, floor), with floor = max(3 σ, 5 % of the median F).

    σ is that of F in a frame, or above 10 Hz of its mean over 0.1 s: how well F0 is known does not depend on the frame rate.

    The floor keeps ΔF/F finite where the baseline is near zero or negative, as after a generous neuropil subtraction; such
    neurons are marked, since their amplitudes mean little. Negative ΔF/F is kept.

    Args:
        recording: with `fluorescence` (or `fluorescence_corrected`) and `baseline`.
        normalize: "baseline" (default), or "sigma": (F − F0) / σ, with the σ of F. For recordings whose F0 means nothing,
            such as demixed or background-subtracted traces: amplitudes then compare within a neuron, not between neurons.

    Returns:
        The recording with `dff` (neuron × frame; 1 is 100 %, or σ) and `f0_floored` (neuron).

    Raises:
        MissingVariableError: fluorescence or baseline is missing.
        CalciumError: the normalisation is unknown.
    """
    recording = fresh(recording, "compute_dff")
    function, units = choose(NORMALIZATIONS, normalize, "normalisation")
    name = latest_trace(recording, ("fluorescence", "fluorescence_corrected"))
    array, baseline = var(name).check(recording), var("baseline").check(recording)
    rate = sampling_rate(recording)
    if normalize == "baseline":
        scale = over_frame(lambda traces: floor_of(traces, rate), array, dtypes=(array.dtype,))
    else:
        scale = over_frame(_sigma, array, baseline, dtypes=(array.dtype,))
    dff, below = along_frame(function, recording, array, baseline, per_neuron=[scale], counted=True)
    made = {
        "dff": var("dff").wrap(dff, units=units, trace=name, normalize=normalize),
        "f0_floored": var("f0_floored").wrap(below > 0),
    }
    return record(recording.assign(made), "compute_dff", normalize=normalize)


def subtract_background(
    recording: xr.Dataset,
    *,
    method: Literal["masked", "rolling_quantile", "opening", "highpass"] = "masked",
    window: float | None = None,
    quantile: float | None = None,
    smoothing: float | None = None,
) -> xr.Dataset:
    """Remove what is slower than transients from ΔF/F: drifts of the optics, over 20 s and more.

    Args:
        recording: with `dff`.
        method: "masked" (default): the level of the samples outside transients (see `estimate_baseline`); "rolling_quantile": the
            lower envelope, a low quantile of the window round each frame, which in noise of σ lies 1.4 σ under the level;
            "opening": the lower envelope by a rolling minimum and then maximum of the smoothed trace; "highpass": a zero-phase
            Butterworth filter with its cutoff at 1 / window, which takes some 20 % of the transients' amplitude with it and
            leaves dips behind them: for comparison with work that used it.
        window: s; default 20 s for "masked", which takes a wave of 60 s down by over 20 dB and leaves activity of up to 20 s as
            it is; 30 s for "rolling_quantile" and "opening": several GCaMP6s transients long, so that they pass; 20 s for
            "highpass".
        quantile: of "rolling_quantile", 0 to 1; default 0.08.
        smoothing: s, standard deviation of the Gaussian of "opening"; default 1 s.

    Returns:
        The recording with `background` and `detrended` (both neuron × frame, in the units of `dff`).

    Raises:
        MissingVariableError: there is no `dff`.
        CalciumError: the method is unknown, the window longer than the recording, or the quantile not within 0 to 1.

    Epochs are worked on one by one; edges are continued by their mirror image. Warns of arguments that the method does not take.
    `retention_test` tells what the chosen method did to transients in a recording.
    """
    recording = fresh(recording, "subtract_background")
    given = {"window": window, "quantile": quantile, "smoothing": smoothing}
    chosen, options = choose_method(BACKGROUNDS, method, "background method", given)
    dff = var("dff").check(recording)
    level, _ = _level(recording, dff, chosen, options)
    parameters = {"method": method, "units": str(dff.attrs.get("units", "1")), **_labelled(options)}
    made = {
        "background": var("background").wrap(level, **parameters),
        "detrended": var("detrended").wrap(dff - level, **parameters),
    }
    return record(recording.assign(made), "subtract_background", method=method, **options)
