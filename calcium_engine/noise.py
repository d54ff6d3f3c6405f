"""How noisy each trace is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import over_frame
from calcium_engine.kernels import row_quantile, spread_below_mode
from calcium_engine.schema import DFF_TRACES, Attr, dff_trace, fresh, record, sampling_rate, var

SLOW_SAMPLING = 10.0  # Hz; below it transients rise within a frame or two, and differences see them as noise
DECIDEDLY_LESS = (
    0.85  # the mode's own scatter makes the estimate from below it vary by 5 %: always taking the smaller one would err low
)


def difference_noise(traces: np.ndarray) -> np.ndarray:
    """σ of white noise by the median of absolute second differences, blind to anything smooth."""
    if traces.shape[1] < 3:
        return np.full(len(traces), np.nan)
    return np.asarray(row_quantile(np.abs(np.diff(traces, n=2, axis=1)), 0.5) / (0.6745 * np.sqrt(6.0)))


def below_mode_noise(traces: np.ndarray) -> np.ndarray:
    """σ by the root mean square distance of the samples below the mode: transients only ever lie above it."""
    return spread_below_mode(np.sort(traces, axis=1))  # NaN sorts last


def auto_noise(traces: np.ndarray, rate: float) -> np.ndarray:
    """By differences; at low sampling rates from below the mode where that is decidedly less: transients swell differences."""
    noise = difference_noise(traces)
    if rate >= SLOW_SAMPLING:
        return noise
    below = below_mode_noise(traces)
    return np.where(below < DECIDEDLY_LESS * noise, below, noise)


NOISES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "auto": auto_noise,
    "difference": lambda traces, rate: difference_noise(traces),
    "below_mode": lambda traces, rate: below_mode_noise(traces),
}


def estimate_noise(
    recording: xr.Dataset, *, method: Literal["auto", "difference", "below_mode"] = "auto", trace: str | None = None
) -> xr.Dataset:
    """Noise of each neuron's ΔF/F: σ, and the noise level ν that compares recordings of any rate.

    σ is the standard deviation of the white noise in a frame; ν = 100 · median |ΔF/F[t+1] − ΔF/F[t]| / √rate (Rupprecht et al.
    2021, Nat Neurosci 24:1324), in % per √Hz: 1 is a very good recording, 8 a poor one.

    Args:
        recording: with `dff`, or `detrended`.
        method: "difference": the median absolute second difference, divided by 0.6745 √6; "below_mode": the root mean square of
            the samples below the mode; "auto" (default): by differences, but under 10 Hz from below the mode where that is
            less than 85 % of it, since transients as short as a frame swell the differences.
        trace: the trace to look at; default: `detrended` where it exists, else `dff`. Never a denoised one.

    Returns:
        The recording with `noise` and `noise_level` (neuron). NaN where a neuron has under three samples.

    Raises:
        MissingVariableError: there is no ΔF/F yet.
        CalciumError: the method is unknown.
    """
    recording = fresh(recording, "estimate_noise")
    estimate = choose(NOISES, method, "noise method")
    name = dff_trace(recording, trace, DFF_TRACES[:2])
    array = var(name).check(recording)
    rate = sampling_rate(recording)

    def both(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = row_quantile(np.abs(np.diff(traces, axis=1)), 0.5)
        return estimate(traces, rate), 100.0 * steps / np.sqrt(rate)

    noise, level = over_frame(both, array, dtypes=(np.float64, np.float64))
    parameters: dict[str, Attr | None] = {"method": method, "trace": name}
    return record(
        recording.assign(noise=var("noise").wrap(noise, **parameters), noise_level=var("noise_level").wrap(level, **parameters)),
        "estimate_noise",
        **parameters,
    )
