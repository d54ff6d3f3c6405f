"""What the indicator makes of spikes: ΔF/F with its size, kinetics and nonlinearity, averaged over each exposure."""

from __future__ import annotations

import itertools
import math

import numpy as np

from calcium_engine.indicators import Indicator, time_constants

# A transient of n simultaneous spikes is n^exponent times as large as that of one spike. Fitted to the amplitudes of 2, 3 and 4
# spikes over 1: GCaMP6s 2.3, 3.6, 5.4; GCaMP6f 1.9, 3.7, 5.3; jGCaMP8m 1.9, 2.8, 3.8. The others take their nearest relative's.
_EXPONENT = {"GCaMP6s": 1.2, "GCaMP6m": 1.2, "GCaMP6f": 1.2, "jGCaMP7f": 1.2, "jGCaMP8m": 0.95, "jGCaMP8s": 0.95}

_ROWS = 16  # neurons at a time, so that memory stays small
_QUIET = 1e-6  # calcium, in units of one spike's peak, below which a transient is over


def transients(
    spikes: tuple[np.ndarray, np.ndarray], n_neurons: int, n_frames: int, exposure: float, indicator: Indicator
) -> np.ndarray:
    """ΔF/F, neuron × frame: spikes through the indicator, averaged over each exposure.

    Calcium is linear in the spikes, so its mean over a slice of a frame is exact. Slices are so short that fluorescence, a power
    of calcium, may be taken of the slice's mean.
    """
    from scipy.signal import lfilter

    exponent = _EXPONENT[indicator.name]
    decay, rise = time_constants(indicator.time_to_peak, indicator.half_decay, exponent)
    peak = math.exp(-indicator.time_to_peak / decay) - math.exp(-indicator.time_to_peak / rise)
    slices = min(8, math.ceil(4 * exposure / indicator.time_to_peak))
    n_bins, width = n_frames * slices, exposure / slices
    bounds = np.searchsorted(spikes[0], np.arange(0, n_neurons + _ROWS, _ROWS))
    out = np.empty((n_neurons, n_frames), dtype=np.float32)
    for block, (low, high) in enumerate(itertools.pairwise(bounds)):
        first = block * _ROWS
        rows = out[first : first + _ROWS]
        position = spikes[1][low:high] / width
        bin_of = np.minimum(position.astype(np.int64), n_bins - 1)
        rest = (bin_of + 1 - position) * width  # from the spike to the end of its slice
        flat = (spikes[0][low:high] - first) * n_bins + bin_of
        calcium = np.zeros((len(rows), n_bins))
        for tau, sign in ((decay, 1 / peak), (rise, -1 / peak)):
            left = np.exp(-rest / tau)
            within = np.bincount(flat, tau / width * (1 - left), minlength=calcium.size).reshape(calcium.shape)
            # a trickle keeps the filter's memory out of the subnormal numbers, where arithmetic is slow
            onward = np.bincount(flat, left, minlength=calcium.size).reshape(calcium.shape) + 1e-30
            kept = math.exp(-width / tau)
            calcium += sign * (within + tau / width * (1 - kept) * lfilter([0, 1], [1, -kept], onward))
        bright = np.zeros(calcium.shape, dtype=np.float32)
        np.power(calcium.astype(np.float32), np.float32(exponent), out=bright, where=calcium > _QUIET)
        rows[:] = indicator.amplitude * bright.reshape(len(rows), n_frames, slices).mean(axis=-1)
    return out
