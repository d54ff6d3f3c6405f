"""Wavelet shrinkage that does not depend on where a transient falls on the sampling grid."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _split(signal, low, high, step, smooth, detail):
    """One level of the stationary transform: correlate with both filters, their taps `step` apart, round the circle."""
    n = signal.shape[0]
    for t in range(n):
        a = 0.0
        d = 0.0
        for k in range(low.shape[0]):
            at = t + k * step
            if at >= n:
                at -= n
            a += low[k] * signal[at]
            d += high[k] * signal[at]
        smooth[t] = a
        detail[t] = d


@inline
def _join(smooth, detail, low, high, step, signal):
    """Undo `_split`: the transposed filters, halved, since the transform is twice redundant."""
    n = signal.shape[0]
    for t in range(n):
        value = 0.0
        for k in range(low.shape[0]):
            at = t - k * step
            if at < 0:
                at += n
            value += low[k] * smooth[at] + high[k] * detail[at]
        signal[t] = 0.5 * value


@inline
def _shrink(detail, threshold):
    """Soft threshold."""
    for t in range(detail.shape[0]):
        if detail[t] > threshold:
            detail[t] -= threshold
        elif detail[t] < -threshold:
            detail[t] += threshold
        else:
            detail[t] = 0.0


@kernel
def _stationary_shrink(traces, noise, low, high, levels, universal, padding, length, out):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        signal = np.empty(length)
        for t in range(length):
            k = (t - padding) % (2 * n)
            signal[t] = traces[i, k if k < n else 2 * n - 1 - k]
        smooth = np.empty(length)
        details = np.empty((levels, length))
        for level in range(levels):
            _split(signal, low, high, 2**level, smooth, details[level])
            power = 0.0
            for t in range(length):
                power += details[level, t] ** 2
            excess = power / length - noise[i] ** 2
            if universal:
                threshold = noise[i] * np.sqrt(2.0 * np.log(n))
            elif excess > 0.0:
                threshold = noise[i] ** 2 / np.sqrt(excess)
            else:
                threshold = np.inf
            _shrink(details[level], threshold)
            signal, smooth = smooth, signal
        for level in range(levels - 1, -1, -1):
            _join(signal, details[level], low, high, 2**level, smooth)
            signal, smooth = smooth, signal
        for t in range(n):
            out[i, t] = signal[t + padding]


def stationary_shrink(
    traces: np.ndarray, noise: np.ndarray, low: np.ndarray, high: np.ndarray, levels: int, *, universal: bool = False
) -> np.ndarray:
    """Denoise each trace by soft thresholds on its stationary wavelet coefficients.

    Args:
        traces: neuron × frame, without NaN inside a row (a NaN makes its row NaN).
        noise: neuron, σ of white noise in each trace: the filters have unit norm, so it is σ in every band.
        low: the orthonormal reconstruction low-pass filter (PyWavelets' `rec_lo`), of even length.
        high: the reconstruction high-pass filter (`rec_hi`).
        levels: how many.
        universal: threshold σ√(2 ln n) (VisuShrink, Donoho & Johnstone 1994) instead of σ²/√max(var − σ², 0) of each band
            (BayesShrink, Chang, Yu & Vetterli 2000).

    Returns:
        An array like `traces`. Traces are continued by their mirror image.
    """
    out = np.empty_like(traces)
    padding = (len(low) - 1) * (2**levels - 1)
    length = traces.shape[1] + 2 * padding
    length += -length % 2**levels
    _stationary_shrink(traces, noise, low, high, int(levels), bool(universal), padding, length, out)
    return out
