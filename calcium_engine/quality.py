"""What a slow level says of a neuron: does it drift, does it bleach."""

from __future__ import annotations

import numpy as np

from calcium_engine.kernels import fill_gaps, pool, rolling_quantile

BLEACHED = 0.05  # share of F0 that must be lost by the end, by the fitted exponential
EXPLAINED = 0.25  # share of the variance of log F0 that the exponential must explain
DRIFTING = 0.20  # range (5 to 95 %) of F0 about the exponential, as a share of it
PIECES = 200  # means of F0 that the fit sees


def describe_level(level: np.ndarray, floor: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tell from the slow level of each trace whether it drifts, whether it bleaches, and with what time constant (s).

    Bleaching is an exponential decay F0 ∝ exp(−t / τ) over the recorded time (dark pauses do not bleach), fitted to log F0 by
    least squares; drift is what F0 does besides. A level that is not over its floor throughout, the least that one can divide by,
    is not asked.
    """
    width = max(1, level.shape[1] // PIECES)
    coarse = fill_gaps(pool(level, width)).astype(np.float64)
    time = np.arange(coarse.shape[1]) * width / rate
    sound = np.asarray((coarse > floor[:, None]).all(axis=1))
    logarithm = np.log(np.where(sound[:, None], coarse, 1.0))
    about = logarithm - logarithm.mean(axis=1, keepdims=True)
    centred = time - time.mean()
    # not a matrix product, whose last bit depends on the number of rows
    slope = (about * centred).sum(axis=1) / max(float(np.square(centred).sum()), np.finfo(float).tiny)
    line = slope[:, None] * centred
    variance = np.square(about).sum(axis=1)
    explained = np.square(line).sum(axis=1) >= EXPLAINED * variance
    lost = -np.expm1(slope * level.shape[1] / rate)
    bleaching = sound & (lost >= BLEACHED) & explained
    tau = np.full(len(level), np.nan)
    tau[bleaching] = -1.0 / slope[bleaching]
    rest = np.where(bleaching[:, None], about - line, about)
    low, high = np.quantile(rest, [0.05, 0.95], axis=1)
    return sound & (np.expm1(high - low) > DRIFTING), bleaching, tau


def describe_trace(traces: np.ndarray, floor: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tell the same from the traces themselves: of the lower quintile of their means over 1 s, in windows of 60 s."""
    second = max(1, round(rate))
    return describe_level(rolling_quantile(pool(traces, second), max(1, round(60.0 * rate / second)), 0.2), floor, rate / second)
