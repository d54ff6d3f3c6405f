"""Wavelet denoising: for display and for measuring transients."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import along_frame
from calcium_engine.kernels import fill_gaps, has_gaps, stationary_shrink
from calcium_engine.schema import DFF_TRACES, Attr, CalciumError, dff_trace, fresh, record, sampling_rate, var


def default_levels(rate: float) -> int:
    """Levels that separate noise from transients of about 2 s: floor(log2(2 s · rate)), from 2 to 6."""
    return int(np.clip(np.floor(np.log2(2.0 * rate)), 2, 6))


def _stationary(traces: np.ndarray, noise: np.ndarray, wavelet: Any, levels: int, universal: bool) -> np.ndarray:
    return stationary_shrink(traces, noise, np.array(wavelet.rec_lo), np.array(wavelet.rec_hi), levels, universal=universal)


def _decimated(traces: np.ndarray, noise: np.ndarray, wavelet: Any, levels: int, universal: bool) -> np.ndarray:
    import pywt

    levels = min(levels, pywt.dwt_max_level(traces.shape[1], wavelet.dec_len))
    if levels == 0:
        return traces.copy()
    sigma = noise[:, None]
    smooth, *details = pywt.wavedec(traces, wavelet, mode="symmetric", level=levels, axis=-1)
    shrunk = []
    for detail in details:
        if universal:
            threshold = sigma * np.sqrt(2.0 * np.log(traces.shape[1]))
        else:
            excess = np.mean(np.square(detail, dtype=np.float64), axis=-1, keepdims=True) - sigma**2
            with np.errstate(divide="ignore", invalid="ignore"):
                threshold = np.where(excess > 0, sigma**2 / np.sqrt(np.maximum(excess, 0)), np.inf)
        threshold = threshold.astype(traces.dtype)
        shrunk.append(detail - np.clip(detail, -threshold, threshold))
    return np.asarray(pywt.waverec([smooth, *shrunk], wavelet, mode="symmetric", axis=-1)[:, : traces.shape[1]])


def _decimated_in_threads(traces: np.ndarray, noise: np.ndarray, *how: Any) -> np.ndarray:
    """Share the rows among threads: PyWavelets lets go of the interpreter's lock."""
    from concurrent.futures import ThreadPoolExecutor

    n_threads = max(1, min(os.cpu_count() or 1, len(traces)))
    edges = np.linspace(0, len(traces), n_threads + 1).astype(int)
    pieces = [slice(start, stop) for start, stop in pairwise(edges)]
    with ThreadPoolExecutor(len(pieces)) as pool:
        return np.concatenate(list(pool.map(lambda rows: _decimated(traces[rows], noise[rows], *how), pieces)))


TRANSFORMS: dict[str, Callable[..., np.ndarray]] = {"swt": _stationary, "dwt": _decimated_in_threads}
SHRINKS = {"bayes": False, "visu": True}
WAVELETS = {"swt": "db2", "dwt": "sym4"}


def denoise(
    recording: xr.Dataset,
    *,
    method: Literal["swt", "dwt"] = "swt",
    shrink: Literal["bayes", "visu"] = "bayes",
    wavelet: str | None = None,
    levels: int | None = None,
    trace: str | None = None,
) -> xr.Dataset:
    """Denoise ΔF/F by soft thresholds on its wavelet coefficients, with the noise σ that `estimate_noise` found.

    Args:
        recording: with `dff` or `detrended`, and `noise`.
        method: "swt" (default), the stationary transform, whose result does not depend on where a transient falls on the
            sampling grid; "dwt", the decimated one.
        shrink: "bayes" (default): the threshold of each band is σ² over the SD of its signal (Chang, Yu & Vetterli 2000); "visu":
            σ √(2 ln n) in all bands (Donoho & Johnstone 1994), which removes all noise, and small transients with it.
        wavelet: an orthogonal wavelet of PyWavelets; default db2 for "swt", sym4 for "dwt".
        levels: default floor(log2(2 s · sampling rate)), from 2 to 6.
        trace: default `detrended` where it exists, else `dff`.

    Returns:
        The recording with `denoised` (neuron × frame). Missing frames stay missing; they are bridged for the transform only.

    Raises:
        MissingVariableError: there is no ΔF/F or no `noise` yet.
        CalciumError: the method, shrinkage or wavelet is unknown, or the levels are not from 1 to 12.
    """
    import pywt

    recording = fresh(recording, "denoise")
    transform = choose(TRANSFORMS, method, "denoising method")
    universal = choose(SHRINKS, shrink, "shrinkage")
    wavelet_name = wavelet or WAVELETS[method]
    if wavelet_name not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(wavelet_name).orthogonal:
        raise CalciumError(f"unknown wavelet {wavelet_name!r}; choose an orthogonal one of PyWavelets, such as db2 or sym4")
    name = dff_trace(recording, trace, DFF_TRACES[:2])
    array, noise = var(name).check(recording), var("noise").check(recording)
    depth = default_levels(sampling_rate(recording)) if levels is None else levels
    if not 1 <= depth <= 12:
        raise CalciumError(
            f"levels is {depth}, but must be from 1 to 12; the default here is {default_levels(sampling_rate(recording))}"
        )

    def clean(traces: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        # where a trace has too few samples to know its noise, nothing is taken for noise
        how = np.nan_to_num(sigma), pywt.Wavelet(wavelet_name), depth, universal
        if not has_gaps(traces):
            return transform(traces, *how)
        return np.where(np.isnan(traces), traces, transform(fill_gaps(traces), *how))

    denoised = along_frame(clean, recording, array, per_neuron=[noise])
    parameters: dict[str, Attr | None] = {
        "method": method,
        "shrink": shrink,
        "wavelet": wavelet_name,
        "levels": depth,
        "trace": name,
    }
    return record(recording.assign(denoised=var("denoised").wrap(denoised, **parameters)), "denoise", **parameters)
