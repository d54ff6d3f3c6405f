"""How well deconvolved activity follows the spikes that were planted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from calcium_engine.blocks import gather
from calcium_engine.schema import RATE_TOLERANCE, CalciumError, epoch_bounds, sampling_rate, small_values, var
from calcium_engine.score.truth import RESAMPLES, planted, rows_of

_FLAT = 1e-12  # of the largest value: what rounding leaves of a trace without activity does not vary


def score_deconvolution(found: xr.Dataset, truth: xr.Dataset | None = None, *, sigma: float = 0.2) -> dict[str, float]:
    """Score deconvolved activity by its correlation with the true spike rate, neuron by neuron.

    Both are smoothed by a Gaussian, epoch by epoch, and compared at the frames that are not missing. A frame at time t holds the
    spikes within half a frame of t; those in a pause between epochs are in none.

    Args:
        found: with `deconvolved` (see `deconvolve`).
        truth: a recording with the true spikes (`true_spike_neuron`, `true_spike_time`), of any frame rate; default: `found`
            itself, where it was simulated. Neurons are matched by id.
        sigma: SD of the Gaussian in s. Default 0.2, with which deconvolution was compared with recorded spikes.

    Returns:
        `deconvolution_correlation`, the median over neurons with spikes (Pearson; 0 for a neuron in which nothing was found),
        its 95 % bootstrap interval over neurons, `deconvolution_correlation_low` and `deconvolution_correlation_high` (1000
        resamples, always the same), and `deconvolution_neurons`, the number of those neurons. NaN where there is none.

    Raises:
        MissingVariableError: there is no `deconvolved`, or no true spikes.
        CalciumError: sigma is not positive.
    """
    array = var("deconvolved").check(found)
    duration = found.sizes["frame"] / sampling_rate(found)
    if isinstance(sigma, str) or not 0 < sigma <= max(duration, 1.0):
        raise CalciumError(f"sigma is {sigma!r} s, but must be a number from 0 to the recording's {duration:g} s; 0.2 is usual")
    rows, frames = _spikes_in_frames(found, found if truth is None else truth)
    bounds, width = epoch_bounds(found), sigma * sampling_rate(found)
    numbers = xr.DataArray(np.arange(found.sizes["neuron"]), dims="neuron", coords={"neuron": found["neuron"]})

    def run(activity: np.ndarray, number: np.ndarray) -> list[float]:
        chosen = (frames[rows == i] for i in number)
        return [_correlation(row, spikes, bounds, width) for row, spikes in zip(activity, chosen, strict=True)]

    values = np.concatenate([np.asarray(part, dtype=float) for part in gather(run, array, per_neuron=[numbers])])
    values = values[~np.isnan(values)]
    low = high = middle = float("nan")
    if len(values):
        drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
        low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975]).tolist()
        middle = float(np.median(values))
    return {
        "deconvolution_correlation": middle,
        "deconvolution_correlation_low": low,
        "deconvolution_correlation_high": high,
        "deconvolution_neurons": float(len(values)),
    }


def _spikes_in_frames(found: xr.Dataset, truth: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the frame of every true spike that falls into a frame of one of the neurons at hand."""
    seconds = planted(truth, "true_spike_time")
    rows = rows_of(found, planted(truth, "true_spike_neuron"))
    time, reach = small_values(found["time"]), 0.5 / sampling_rate(found)
    after = np.clip(np.searchsorted(time, seconds, side="right"), 1, max(len(time) - 1, 1))
    if len(time) == 1:
        frames = np.zeros(len(seconds), dtype=np.int64)
    else:
        frames = np.where(seconds - time[after - 1] < time[after] - seconds, after - 1, after)
    # recorded times have few digits
    inside = (rows >= 0) & (np.abs(seconds - time[frames]) <= reach * (1 + RATE_TOLERANCE))
    return rows[inside], frames[inside]


def _correlation(activity: np.ndarray, spikes: np.ndarray, bounds: np.ndarray, width: float) -> float:
    """Correlate one neuron's smoothed activity with its smoothed spikes; NaN where there are no spikes or no frames."""
    valid = ~np.isnan(activity)
    if not len(spikes) or np.count_nonzero(valid) < 2:
        return float("nan")
    count = np.bincount(spikes, minlength=len(activity)).astype(np.float64)
    parts = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    # the spikes are known in missing frames, too
    rate = np.concatenate([_smooth(count[part], np.ones_like(count[part]), width) for part in parts])[valid]
    filled = np.where(valid, activity, 0.0).astype(np.float64)
    smooth = np.concatenate([_smooth(filled[part], valid[part].astype(np.float64), width) for part in parts])[valid]
    rate_sd, smooth_sd = rate.std(), smooth.std()
    if rate_sd <= _FLAT * np.abs(rate).max():
        return float("nan")
    if smooth_sd <= _FLAT * np.abs(smooth).max():
        return 0.0
    return float(np.mean((rate - rate.mean()) * (smooth - smooth.mean())) / (rate_sd * smooth_sd))


def _smooth(values: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """Gaussian mean, SD in frames, of the values that have weight, within reach; 0 where there are none."""
    from scipy.ndimage import gaussian_filter1d

    total, weight = (gaussian_filter1d(part, width, mode="constant") for part in (values * weights, weights))
    return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0))
