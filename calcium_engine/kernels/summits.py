"""The summit of the trace near each detection."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end


@inline
def _lowest(x, start, stop):
    """Lowest frame from start to stop, both included."""
    a = b = c = d = x.dtype.type(np.inf)
    for t in range(start, stop - 2, 4):  # four minima, so that none waits for the one before
        a = x[U(t)] if x[U(t)] < a else a
        b = x[U(t + 1)] if x[U(t + 1)] < b else b
        c = x[U(t + 2)] if x[U(t + 2)] < c else c
        d = x[U(t + 3)] if x[U(t + 3)] < d else d
    for t in range(max(stop - 2, start), stop + 1):
        a = x[U(t)] if x[U(t)] < a else a
    lowest = min(min(a, b), min(c, d))
    for t in range(start, stop):
        if x[U(t)] == lowest:
            return t
    return stop


@inline
def _highest(x, start, stop, limit):
    """Highest frame from start to stop, both included, and on from there for as long as the trace rises, up to limit."""
    top = start
    for t in range(start + 1, stop + 1):
        if x[t] > x[top] or np.isnan(x[top]):
            top = t
    # a burst of spikes rises for longer than one of them
    while top + 1 <= limit and x[top + 1] > x[top]:
        top += 1
    return top


@kernel
def _find_summits(traces, reach, bounds, offsets, peaks, summits):
    for i in prange(traces.shape[0]):
        x = traces[i]
        epoch = 0
        first = bounds[0]  # frame that may belong to the next detection
        for k in range(offsets[i], offsets[i + 1]):
            while bounds[epoch + 1] <= peaks[k]:
                epoch += 1
                first = bounds[epoch]
            last = bounds[epoch + 1] - 1
            if k + 1 < offsets[i + 1] and peaks[k + 1] <= last:
                # what lies between two detections belongs to either side of its lowest frame; where the trace only rises, to
                # either side of the frame before the second transient begins
                last = _lowest(x, peaks[k], peaks[k + 1])
                if last == peaks[k]:
                    last = max(peaks[k], peaks[k + 1] - reach - 1)
            start = max(peaks[k] - reach, first)
            summits[k] = _highest(x, start, max(min(peaks[k] + reach, last), start), last)
            first = min(last + 1, bounds[epoch + 1] - 1)


def find_summits(traces: np.ndarray, reach: int, bounds: np.ndarray, offsets: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return the frame at which each detected transient is highest.

    Args:
        traces: neuron × frame, the trace in which events are measured.
        reach: frames on either side of a detection in which its summit lies; it may lie later where the trace rises on. It is
            also the time from a transient's beginning to the frame at which it was detected.
        bounds: the first frame of each epoch, then the number of frames.
        offsets: of each neuron's detections (neuron + 1).
        peaks: frames, flat, in order of time.
    """
    summits = np.zeros(len(peaks), np.int64)
    _find_summits(traces, int(reach), np.asarray(bounds, np.int64), offsets, peaks, summits)
    return summits
