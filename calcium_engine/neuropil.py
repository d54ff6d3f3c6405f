"""The neuropil's share in each neuron's fluorescence."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.blocks import along_frame, frames_of, over_frame
from calcium_engine.kernels import fill_gaps, pool, row_quantile
from calcium_engine.schema import CalciumError, epoch_bounds, fresh, record, var

WINDOW = 60.0  # s; slower than that, bleaching and drift of cell and neuropil go together whatever the neuropil's share
NORMAL_AT_MINUS_ONE = 0.15865525393145707  # share of normal noise that lies more than 1 σ under its mean
POOL = 1.0  # s; neuropil is slower than that, its noise is not
ROUNDS = 10  # of fitting and leaving transients out


def _fast(traces: np.ndarray, bounds: np.ndarray, width: int, window: int) -> np.ndarray:
    """Pool `width` frames and take the running mean of `window` pools away, epoch by epoch; NaN where a pool is empty."""
    from scipy.ndimage import uniform_filter1d

    parts = []
    for start, stop in pairwise(bounds):
        pools = pool(traces[:, start:stop], width).astype(np.float64)
        parts.append(pools - uniform_filter1d(fill_gaps(pools), min(window, pools.shape[1]), axis=1, mode="reflect"))
    return np.concatenate(parts, axis=1)


def fit_ratio(fluorescence: np.ndarray, neuropil: np.ndarray, bounds: np.ndarray, width: int, window: int) -> np.ndarray:
    """Slope of fluorescence on neuropil, from 0 to 1, by least squares over what lies outside the neuron's own transients.

    Both are averaged over `width` frames, since noise in the neuropil would flatten the line, and taken relative to their running
    mean over `window` of those. Averages whose residual is further than 2.5 σ from the line are left out and the line is fitted
    anew, ten times; σ is that of the residual's lower half, which transients do not reach. A row in which the neuropil does not
    vary has ratio 0.
    """
    cell, around = _fast(fluorescence, bounds, width, window), _fast(neuropil, bounds, width, window)
    valid = ~(np.isnan(cell) | np.isnan(around))
    cell[~valid] = around[~valid] = 0.0
    kept = valid
    ratio = np.zeros(len(cell))
    for _ in range(ROUNDS):
        count = np.maximum(kept.sum(axis=1), 1)
        x, y = np.where(kept, around, 0.0), np.where(kept, cell, 0.0)
        x_mean, y_mean = x.sum(axis=1) / count, y.sum(axis=1) / count
        covariance = (x * y).sum(axis=1) / count - x_mean * y_mean
        variance = (x * x).sum(axis=1) / count - x_mean**2
        ratio = np.clip(np.divide(covariance, variance, out=np.zeros_like(variance), where=variance > 0), 0.0, 1.0)
        rest = np.where(valid, cell - ratio[:, None] * around, np.nan)
        middle = row_quantile(rest, 0.5)
        below = middle - row_quantile(rest, NORMAL_AT_MINUS_ONE)
        kept = valid & (np.abs(rest - middle[:, None]) <= 2.5 * below[:, None])
    return ratio


def subtract_neuropil(recording: xr.Dataset, *, ratio: float | Literal["fit"] = 0.7) -> xr.Dataset:
    """Take the surrounding neuropil's fluctuations out of each neuron's fluorescence: F − ratio · (F_np − median F_np).

    Only the fluctuations: the median is left in, so that F keeps its level and ΔF/F its scale.

    Args:
        recording: with `fluorescence` and `neuropil` (neuron × frame, a.u.).
        ratio: share of the neuropil signal in the neuron's, from 0 to 2; 0.7 is the field's habit since Chen et al. 2013. "fit":
            for each neuron the slope of its fluorescence on its neuropil outside its own transients, from 0 to 1. A fit needs
            neuropil that varies by more than its noise; where it does not, the slope comes out too small, as it may for a
            neuron whose own transients fill most of the recording: look at `neuropil_ratio` before trusting it.

    Returns:
        The recording with `fluorescence_corrected` and `neuropil_ratio` (neuron).

    Raises:
        MissingVariableError: fluorescence or neuropil is missing.
        CalciumError: the ratio is neither "fit" nor within 0 to 2.
    """
    recording = fresh(recording, "subtract_neuropil")
    number = isinstance(ratio, (int, float, np.number)) and not isinstance(ratio, bool)
    if ratio != "fit" and not (number and 0.0 <= float(ratio) <= 2.0):
        raise CalciumError(f'the neuropil ratio is {ratio!r}, but must be from 0 to 2, or "fit"; 0.7 is usual')
    fluorescence, neuropil = var("fluorescence").check(recording), var("neuropil").check(recording)
    bounds, width = epoch_bounds(recording), frames_of(POOL, recording)
    window = max(1, round(WINDOW / POOL))
    if ratio == "fit":
        share = over_frame(lambda cell, around: fit_ratio(cell, around, bounds, width, window), fluorescence, neuropil)
    else:
        share = xr.full_like(fluorescence.isel(frame=0, drop=True), float(ratio), dtype=np.float64)
    level = over_frame(lambda traces: row_quantile(traces, 0.5), neuropil)
    corrected = along_frame(
        lambda cell, around, part, middle: (
            cell - part[:, None].astype(cell.dtype) * (around - middle[:, None].astype(cell.dtype))
        ),
        recording,
        fluorescence,
        neuropil,
        per_neuron=[share, level],
    )
    made = {
        "fluorescence_corrected": var("fluorescence_corrected").wrap(corrected, ratio=ratio),
        "neuropil_ratio": var("neuropil_ratio").wrap(share, ratio=ratio),
    }
    return record(recording.assign(made), "subtract_neuropil", ratio=ratio)
