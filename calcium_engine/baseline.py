"""From raw fluorescence to ΔF/F: neuropil, baseline, normalisation and slow background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import along_frame, over_frame, window_of
from calcium_engine.kernels import fill_gaps, masked_baseline, rolling_quantile, row_quantile
from calcium_engine.noise import auto_noise, difference_noise
from calcium_engine.schema import Attr, CalciumError, fresh, latest_trace, record, sampling_rate, var

ENOUGH = 0.3  # share of a window that must lie outside transients for its baseline to be seen
SATURATED = 0.1  # share of frames without enough from which on a neuron is marked
NORMAL_QUANTILE_10 = -1.2815515655446004  # where the 10 % quantile of unit normal noise lies


def subtract_neuropil(recording: xr.Dataset, *, ratio: float = 0.7) -> xr.Dataset:
    """Take the surrounding neuropil's fluctuations out of each neuron's fluorescence: F − ratio · (F_np − median F_np).

    Only the fluctuations: the median is left in, so that F keeps its level and ΔF/F its scale.

    Args:
        recording: with `fluorescence` and `neuropil` (neuron × frame, a.u.).
        ratio: share of the neuropil signal in the neuron's; 0.7 is the field's habit since Chen et al. 2013.

    Returns:
        The recording with `fluorescence_corrected`.

    Raises:
        MissingVariableError: fluorescence or neuropil is missing.
        CalciumError: the ratio is not within 0 to 2.
    """
    recording = fresh(recording, "subtract_neuropil")
    if not 0.0 <= ratio <= 2.0:
        raise CalciumError(f"the neuropil ratio is {ratio}, but must be from 0 to 2; 0.7 is usual")
    fluorescence, neuropil = var("fluorescence").check(recording), var("neuropil").check(recording)
    level = over_frame(lambda traces: row_quantile(traces, 0.5), neuropil).astype(fluorescence.dtype)
    corrected = fluorescence - fluorescence.dtype.type(ratio) * (neuropil - level)
    return record(
        recording.assign(fluorescence_corrected=var("fluorescence_corrected").wrap(corrected, ratio=ratio)),
        "subtract_neuropil",
        ratio=ratio,
    )


def _masked_level(traces: np.ndarray, rate: float, window: int, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Level of the samples outside transients, and whether too few of them were left somewhere."""
    from scipy.ndimage import uniform_filter1d

    noise = auto_noise(traces, rate)
    smooth, width = fill_gaps(traces), round(0.3 * rate)
    if width > 1:
        smooth = uniform_filter1d(smooth, width, axis=1, mode="reflect")
    level, coverage = masked_baseline(
        traces,
        rolling_quantile(smooth, window, 0.2),
        noise,
        threshold=2.5,
        dilation=round(1.5 * rate),
        sigma=max(window / 4, 1.0),
    )
    rows = np.flatnonzero((coverage < ENOUGH).any(axis=1))
    if len(rows):
        low = rolling_quantile(traces[rows], window, 0.1)
        low = low - (NORMAL_QUANTILE_10 * np.nan_to_num(noise[rows]))[:, None].astype(traces.dtype)
        # the one hands over to the other as coverage falls from enough to half of that, so that the level has no steps
        trust = np.clip(2.0 * coverage[rows] / ENOUGH - 1.0, 0.0, 1.0).astype(traces.dtype)
        level[rows] = np.where(np.isnan(low), level[rows], trust * level[rows] + (1 - trust) * low)
    valid = ~np.isnan(traces)
    lost = np.count_nonzero((coverage < ENOUGH) & valid, axis=1)
    return level, lost > SATURATED * np.count_nonzero(valid, axis=1)


def _quantile_level(traces: np.ndarray, rate: float, window: int, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    return rolling_quantile(traces, window, quantile), np.zeros(len(traces), bool)


LEVELS: dict[str, Callable[..., Any]] = {"masked": _masked_level, "rolling_quantile": _quantile_level}


def _checked(quantile: float) -> float:
    if not 0.0 <= quantile <= 1.0:
        raise CalciumError(f"the quantile is {quantile}, but must be from 0 to 1 (0.08 is the 8 % quantile)")
    return quantile


def _level(
    recording: xr.Dataset, array: xr.DataArray, method: str, window: float, quantile: float
) -> tuple[xr.DataArray, xr.DataArray]:
    """Slow level of a trace, epoch by epoch, and which neurons were too active to see it."""
    function = choose(LEVELS, method, "background method")
    quantile = _checked(quantile)
    frames = window_of(window, recording, "the window")
    rate = sampling_rate(recording)
    level, saturated = along_frame(lambda traces: function(traces, rate, frames, quantile), recording, array, flagged=True)
    return level, saturated


def _global_level(array: xr.DataArray, quantile: float) -> tuple[xr.DataArray, xr.DataArray]:
    """One quantile of the whole trace."""
    level = over_frame(lambda traces: row_quantile(traces, quantile), array).astype(array.dtype)
    return level.broadcast_like(array), xr.zeros_like(level, dtype=bool)


def estimate_baseline(
    recording: xr.Dataset,
    *,
    method: Literal["masked", "rolling_quantile", "global_quantile"] = "masked",
    window: float = 60.0,
    quantile: float = 0.08,
) -> xr.Dataset:
    """Baseline fluorescence F0 of each neuron: what it would show without transients.

    Args:
        recording: with `fluorescence`, or `fluorescence_corrected`, which is preferred.
        method: "masked" (default): Gaussian-weighted mean of the samples outside transients, which leaves neither the bias of
            a low quantile nor the pull of activity; "rolling_quantile": a low quantile of the window round each frame;
            "global_quantile": one quantile of the whole trace.
        window: s, of "masked" (whose Gaussian has σ = window / 4) and "rolling_quantile". 60 s is many transients long and
            still follows bleaching and drift.
        quantile: of the two quantile methods, 0 to 1. In noise of σ, the 8 % quantile lies 1.4 σ under the mean.

    Returns:
        The recording with `baseline` (neuron × frame, a.u.) and `saturated_activity` (neuron). Where transients fill
        over 70 % of a window, the rolling 10 % quantile, corrected for noise, takes over; a neuron in which they do so for
        over 10 % of the frames is marked.

    Raises:
        MissingVariableError: there is no fluorescence.
        CalciumError: the method is unknown, the window longer than the recording, or the quantile not within 0 to 1.

    Epochs are worked on one by one; edges are continued by their mirror image.
    """
    recording = fresh(recording, "estimate_baseline")
    name = latest_trace(recording, ("fluorescence", "fluorescence_corrected"))
    array = var(name).check(recording)
    choose({**LEVELS, "global_quantile": _global_level}, method, "baseline method")
    if method == "global_quantile":
        level, saturated = _global_level(array, _checked(quantile))
    else:
        level, saturated = _level(recording, array, method, window, quantile)
    parameters: dict[str, Attr | None] = {
        "method": method,
        "trace": name,
        "window_s": None if method == "global_quantile" else float(window),
        "quantile": None if method == "masked" else float(quantile),
    }
    return record(
        recording.assign(
            baseline=var("baseline").wrap(level, **parameters), saturated_activity=var("saturated_activity").wrap(saturated)
        ),
        "estimate_baseline",
        **parameters,
    )


def _relative_change(traces: np.ndarray, baseline: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F − F0) / max(F0, floor), and whether the floor was needed anywhere."""
    floor = floor[:, None]
    dff = traces - baseline
    dff /= np.maximum(baseline, floor)
    return dff, np.asarray((baseline < floor).any(axis=1))


def compute_dff(recording: xr.Dataset) -> xr.Dataset:
    """Relative fluorescence change ΔF/F = (F − F0) / max(F0, floor), with floor = max(3 σ of F, 5 % of the median F).

    The floor keeps ΔF/F finite where the baseline is near zero or negative, as after a generous neuropil subtraction; such
    neurons are marked, since their amplitudes mean little. Negative ΔF/F is kept.

    Args:
        recording: with `fluorescence` (or `fluorescence_corrected`) and `baseline`.

    Returns:
        The recording with `dff` (neuron × frame, 1 is 100 %) and `f0_floored` (neuron).

    Raises:
        MissingVariableError: fluorescence or baseline is missing.
    """
    recording = fresh(recording, "compute_dff")
    name = latest_trace(recording, ("fluorescence", "fluorescence_corrected"))
    array, baseline = var(name).check(recording), var("baseline").check(recording)
    floor = over_frame(lambda traces: np.fmax(3.0 * difference_noise(traces), 0.05 * row_quantile(traces, 0.5)), array)
    # a trace of zeros has no scale at all: its ΔF/F is 0
    floor = floor.where(floor > 0, 1.0).astype(array.dtype)
    dff, floored = along_frame(_relative_change, recording, array, baseline, per_neuron=[floor], flagged=True)
    return record(
        recording.assign(dff=var("dff").wrap(dff, trace=name), f0_floored=var("f0_floored").wrap(floored)),
        "compute_dff",
        trace=name,
    )


def subtract_background(
    recording: xr.Dataset,
    *,
    method: Literal["masked", "rolling_quantile"] = "masked",
    window: float = 60.0,
    quantile: float = 0.08,
) -> xr.Dataset:
    """Remove what is slower than transients from ΔF/F: drifts of the optics, over 20 s and more.

    Args:
        recording: with `dff`.
        method: "masked" (default): the level of the samples outside transients (see `estimate_baseline`), which after a masked
            baseline only reports what is left; "rolling_quantile": the lower envelope, a low quantile of the window round each
            frame, which in noise of σ lies 1.4 σ under the level.
        window: s. 60 s for "masked"; 30 s suits "rolling_quantile": several GCaMP6s transients long, so that they pass
            untouched, and short enough for fluctuations slower than 20 s.
        quantile: of "rolling_quantile", 0 to 1.

    Returns:
        The recording with `background` and `detrended` (both neuron × frame, ΔF/F).

    Raises:
        MissingVariableError: there is no `dff`.
        CalciumError: the method is unknown, the window longer than the recording, or the quantile not within 0 to 1.
    """
    recording = fresh(recording, "subtract_background")
    dff = var("dff").check(recording)
    level, _ = _level(recording, dff, method, window, quantile)
    parameters: dict[str, Attr | None] = {
        "method": method,
        "window_s": float(window),
        "quantile": None if method == "masked" else float(quantile),
    }
    return record(
        recording.assign(
            background=var("background").wrap(level, **parameters), detrended=var("detrended").wrap(dff - level, **parameters)
        ),
        "subtract_background",
        **parameters,
    )
