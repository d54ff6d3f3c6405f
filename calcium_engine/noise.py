"""How noisy each trace is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import choose
from calcium_engine.blocks import over_frame
from calcium_engine.kernels import (
    correlation_below,
    difference_quantile,
    fill_gaps,
    row_moments,
    row_quantile,
    spread_below_mode,
)
from calcium_engine.schema import DFF_TRACES, NeuronsWarning, dff_trace, fresh, record, sampling_rate, var, warn

REST = 0.5  # RMS distances from below the mode: three samples whose mean is not higher than that over it are at rest
SAME = 0.1  # of the differences anywhere: transients swell those by less than ten times
CORRELATED = 0.3  # correlation of neighbouring frames' noise from which on a trace was low-pass filtered
ENOUGH = 50  # pairs of frames, to be sure of that
MEDIAN_OF_NORMAL = 0.6745  # median of the absolute value of unit normal noise


def difference_noise(traces: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
    """σ of white noise by the median of absolute second differences (with a mean `below` a level), blind to anything smooth."""
    return np.asarray(difference_quantile(traces, 2, 0.5, below) / (MEDIAN_OF_NORMAL * np.sqrt(6.0)))


def below_mode_noise(traces: np.ndarray) -> np.ndarray:
    """σ by the root mean square distance of the samples below the mode: transients only ever lie above it."""
    return spread_below_mode(traces)[1]


def auto_noise(traces: np.ndarray) -> np.ndarray:
    """σ of white noise by the median of absolute second differences at rest, where no transient rises or falls.

    The second difference of three samples is uncorrelated with their mean, so that choosing low means does not bias it.
    """
    return _noise_at_rest(traces, *spread_below_mode(traces))


def _noise_at_rest(traces: np.ndarray, mode: np.ndarray, spread: np.ndarray) -> np.ndarray:
    at_rest, anywhere = difference_noise(traces, mode + REST * spread), difference_noise(traces)
    # no three samples in a row, or always the same three, as in a trace cut off at 0 or of a few photons
    return np.where(at_rest > SAME * anywhere, at_rest, anywhere)


def deviation_noise(traces: np.ndarray) -> np.ndarray:
    """σ by the median absolute deviation from the median, transients and all."""
    middle = row_quantile(traces, 0.5).astype(traces.dtype)
    return row_quantile(np.abs(traces - middle[:, None]), 0.5) / MEDIAN_OF_NORMAL


def spectral_noise(traces: np.ndarray, rate: float) -> np.ndarray:
    """σ by the mean power density between a quarter and a half of the sampling rate, as if it were that at all frequencies."""
    from scipy.signal import welch

    n = traces.shape[1]
    if n < 3:
        return np.full(len(traces), np.nan)
    frequency, power = welch(fill_gaps(traces).astype(np.float64), rate, nperseg=min(256, n), axis=1)
    return np.asarray(np.sqrt(np.ascontiguousarray(power[:, frequency >= rate / 4]).mean(axis=1) * rate / 2))


NOISES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "auto": lambda traces, rate: auto_noise(traces),
    "difference": lambda traces, rate: difference_noise(traces),
    "below_mode": lambda traces, rate: below_mode_noise(traces),
    "mad": lambda traces, rate: deviation_noise(traces),
    "psd": spectral_noise,
    "sd": lambda traces, rate: row_moments(traces)[2],
}


def _truncated_correlation(correlation: np.ndarray) -> np.ndarray:
    """Correlation of two normal variables among the cases in which both lie below their mean (Rosenbaum 1961)."""
    chance = 0.25 + np.arcsin(correlation) / (2 * np.pi)
    rest = np.sqrt(1 - correlation**2) / (2 * np.pi * chance)
    mean = (1 + correlation) / (2 * np.sqrt(2 * np.pi) * chance)
    return np.asarray((correlation + rest - mean**2) / (1 + correlation * rest - mean**2))


def correlation_at_rest(traces: np.ndarray, mode: np.ndarray, lag: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the noise with that some frames before, and whether it is over the limit beyond doubt.

    Only pairs of frames that both lie below the mode are looked at: transients are above. Independent noise has no correlation
    there, wherever the mode is taken to be; correlated noise has a part of its own.
    """
    below, count = correlation_below(traces, mode, lag)
    grid = np.linspace(-0.99, 0.99, 199)
    known = _truncated_correlation(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        least = below - 3.0 * (1.0 - below**2) / np.sqrt(count)
    return np.interp(below, known, grid), (count >= ENOUGH) & (least > np.interp(CORRELATED, grid, known))


def noise_correlation(traces: np.ndarray, mode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the noise from one frame to the next, and whether it is over the limit beyond doubt, as a filter's would be.

    What fluctuates slowly beside white noise has nearly the same correlation two frames apart; what a filter smoothed has at most
    the square of it there.
    """
    correlation, over = correlation_at_rest(traces, mode)
    return correlation, over & (correlation_at_rest(traces, mode, 2)[0] < correlation**2)


def estimate_noise(
    recording: xr.Dataset,
    *,
    method: Literal["auto", "difference", "below_mode", "mad", "psd", "sd"] = "auto",
    trace: str | None = None,
) -> xr.Dataset:
    """Noise of each neuron's ΔF/F: σ, and the noise level ν that compares recordings of any rate.

    σ is the standard deviation of the noise in a frame; ν = 100 · median |ΔF/F[t+1] − ΔF/F[t]| / √rate (Rupprecht et al.
    2021, Nat Neurosci 24:1324), in % per √Hz: 1 is a very good recording, 8 a poor one.

    Args:
        recording: with `dff`, or `detrended`.
        method: "auto" (default): the median absolute second difference, divided by 0.6745 √6, of the samples at rest, or, where
            the noise is correlated (see below), from below the mode, since differences see next to nothing of it then;
            "difference": the same of all samples, at rest or not; "below_mode": the root mean square of the samples below the
            mode; "mad": the median absolute deviation; "psd": the power density over a quarter of the sampling rate (the rule of
            CaImAn's GetSn); "sd": the standard deviation. All but the first and the third are swollen by transients, above all
            at low sampling rates: `docs/cleaning.md`.
        trace: the trace to look at; default: `detrended` where it exists, else `dff`. Never a denoised one.

    Returns:
        The recording with, per neuron, `noise` (σ, in units of the trace), `noise_level` (ν; NaN for traces in units of σ),
        `noise_correlation` (of neighbouring frames, by those below the mode) and `low_passed_input`: that it is over 0.3 beyond
        doubt, and falls off as a filter makes it; not asked of neurons with `saturated_activity`. NaN where a neuron has under
        three samples.

    Raises:
        MissingVariableError: there is no ΔF/F yet.
        CalciumError: the method is unknown.

    Warns of low-passed input where the recording is in memory: thresholds that assume white noise let too much through there.
    """
    recording = fresh(recording, "estimate_noise")
    estimate = choose(NOISES, method, "noise method")
    name = dff_trace(recording, trace, DFF_TRACES[:2])
    array = var(name).check(recording)
    rate = sampling_rate(recording)
    units = array.attrs.get("units", "1")

    def all_of(traces: np.ndarray, busy: np.ndarray) -> tuple[np.ndarray, ...]:
        mode, spread = spread_below_mode(traces)
        noise = _noise_at_rest(traces, mode, spread) if method == "auto" else estimate(traces, rate)
        level = 100.0 * difference_quantile(traces, 1, 0.5) / np.sqrt(rate)
        correlation, correlated = noise_correlation(traces, mode)
        correlated &= ~busy  # what never comes to rest shows its transients there, not its noise
        if method == "auto":
            noise = np.where(correlated, spread, noise)
        return noise, level if units == "1" else np.full_like(level, np.nan), correlation, correlated

    busy = recording.get("saturated_activity", xr.zeros_like(array.isel(frame=0, drop=True), dtype=bool))
    dtypes: tuple[Any, ...] = (np.float64, np.float64, np.float64, bool)
    noise, level, correlation, correlated = over_frame(all_of, array, per_neuron=[busy], dtypes=dtypes)
    parameters = {"method": method, "trace": name}
    made = {
        "noise": var("noise").wrap(noise, units=units, **parameters),
        "noise_level": var("noise_level").wrap(level, **parameters),
        "noise_correlation": var("noise_correlation").wrap(correlation, **parameters),
        "low_passed_input": var("low_passed_input").wrap(correlated, **parameters),
    }
    result = recording.assign(made)
    warn_of_correlated_noise(result)
    return record(result, "estimate_noise", method=method, trace=name)


def warn_of_correlated_noise(recording: xr.Dataset) -> None:
    """Say in how many neurons the noise is correlated, where the recording is in memory and has such neurons."""
    correlated = var("low_passed_input").check(recording)
    if correlated.chunks is None and correlated.any():
        warn(
            f"in {int(correlated.sum())} of {correlated.size} neurons the noise of neighbouring frames is correlated by over "
            f"{CORRELATED} (low_passed_input): the traces were smoothed before, and thresholds that assume white noise let too "
            'much through; estimate_noise(method="auto" or "below_mode") sees all of the noise, the others do not',
            NeuronsWarning,
        )
