"""Wavelet denoising: for display and for measuring transients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import along_frame
from calcium_engine.kernels import decimated_shrink, fill_gaps, has_gaps, stationary_shrink
from calcium_engine.kernels.wavelet import SHRINKS
from calcium_engine.schema import DFF_TRACES, Attr, CalciumError, dff_trace, fresh, record, sampling_rate, var


def default_levels(rate: float) -> int:
    """Levels that separate noise from transients of about 2 s: floor(log2(2 s · rate)), from 2 to 6."""
    return int(np.clip(np.floor(np.log2(2.0 * rate)), 2, 6))


TRANSFORMS: dict[str, Callable[..., np.ndarray]] = {"swt": stationary_shrink, "dwt": decimated_shrink}
WAVELETS = {"swt": "db2", "dwt": "sym4"}


def denoise(
    recording: xr.Dataset,
    *,
    method: Literal["swt", "dwt"] = "swt",
    shrink: Literal["bayes", "visu", "sure"] = "bayes",
    wavelet: str | None = None,
    levels: int | None = None,
    trace: str | None = None,
) -> xr.Dataset:
    """Denoise ΔF/F by thresholds on its wavelet coefficients, with the noise σ that `estimate_noise` found.

    Args:
        recording: with `dff` or `detrended`, and `noise`.
        method: "swt" (default), the stationary transform, whose result does not depend on where a transient falls on the
            sampling grid; "dwt", the decimated one.
        shrink: "bayes" (default): the threshold of each band is σ² over the SD of its signal (Chang, Yu & Vetterli 2000). With
            "swt" it is found apart for frames near activity, where the smooth trace is over 2 σ, and for all others; it falls by
            √2 from each band to the next slower one, and large coefficients keep their size (garrote): more noise goes, and
            more of small transients stays. "visu": soft, σ √(2 ln n) in all bands (Donoho & Johnstone 1994), which removes all
            noise, and small transients with it. "sure": soft, in each band the threshold of least unbiased risk (Donoho &
            Johnstone 1995), which takes more noise than "bayes" from noisy traces and keeps two thirds of small transients.
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
    choose(SHRINKS, shrink, "shrinkage")
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
    low, high = (np.array(taps) for taps in pywt.Wavelet(wavelet_name).filter_bank[2:])

    def clean(traces: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        # where a trace has too few samples to know its noise, nothing is taken for noise
        how = np.nan_to_num(sigma), low, high, depth
        if not has_gaps(traces):
            return transform(traces, *how, shrink=shrink)
        return np.where(np.isnan(traces), traces, transform(fill_gaps(traces), *how, shrink=shrink))

    denoised = along_frame(clean, recording, array, per_neuron=[noise])
    parameters: dict[str, Attr | None] = {
        "method": method,
        "shrink": shrink,
        "wavelet": wavelet_name,
        "levels": depth,
        "trace": name,
    }
    labelled = var("denoised").wrap(denoised, **parameters, units=array.attrs.get("units", "1"))
    return record(recording.assign(denoised=labelled), "denoise", **parameters)
