"""How well a transient of known shape fits at each frame."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel


@inline
def _correlate(x, template, before, bounds, out):
    """Sum of template · trace around each frame; beyond an epoch's ends, and where frames are missing, it is at rest (0)."""
    n = x.shape[0]
    known = x.copy()
    for t in range(n):
        if np.isnan(x[t]):
            known[t] = 0.0
    out[:] = 0.0
    for epoch in range(bounds.shape[0] - 1):
        first, last = bounds[epoch], bounds[epoch + 1]
        # tap by tap, not frame by frame: neighbouring frames do not depend on each other
        for tap in range(template.shape[0]):
            weight, lag = template[tap], tap - before
            low, high = max(first, first - lag), min(last, last - lag)
            if low < high:
                here, there = out[low:high], known[low + lag : high + lag]
                for t in range(high - low):
                    here[t] += weight * there[t]
    for t in range(n):
        if np.isnan(x[t]):
            out[t] = np.nan


@kernel
def _matched_filter(traces, template, before, bounds, out):
    for i in prange(traces.shape[0]):
        _correlate(traces[i], template, before, bounds, out[i])


@kernel
def _clements_bekkers(traces, template, squares, before, bounds, out):
    for i in prange(traces.shape[0]):
        x = traces[i]
        _correlate(x, template, before, bounds, out[i])
        n = template.shape[0]
        for epoch in range(bounds.shape[0] - 1):
            first, last = bounds[epoch], bounds[epoch + 1]
            total = 0.0
            square = 0.0
            for t in range(first - (n - 1 - before), last):
                # the window of n frames around t: one comes in at its end, one goes out
                enter, leave = t + n - 1 - before, t - before - 1
                if first <= enter < last and not np.isnan(x[enter]):
                    total += x[enter]
                    square += x[enter] * x[enter]
                if first <= leave < last and not np.isnan(x[leave]):
                    total -= x[leave]
                    square -= x[leave] * x[leave]
                if t >= first and not np.isnan(out[i, t]):
                    scale = out[i, t] / squares
                    error = square - total * total / n - scale * out[i, t]
                    # an exact fit leaves nothing but rounding
                    out[i, t] = scale / np.sqrt(max(error, 1e-12 * square) / (n - 1)) if square > 0.0 else 0.0


def _checked(traces: np.ndarray, template: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = np.asarray(template, np.float64) - np.mean(template)
    if len(centred) < 2 or not np.any(centred):
        raise ValueError("a template needs two frames or more that are not all alike")
    return centred, np.asarray(bounds, np.int64)


def matched_filter(traces: np.ndarray, template: np.ndarray, before: int, bounds: np.ndarray) -> np.ndarray:
    """Size of the template that fits at each frame, over the SD that white noise of σ 1 gives it.

    ⟨x, e⟩ / ‖e‖ with the template e less its mean, so that a constant level has no size. Beyond the ends of an epoch, and where
    frames are missing, the trace is taken to be at rest (0).

    Args:
        traces: neuron × frame, resting level 0.
        template: frames.
        before: frame of the template that falls on the frame asked for, such as its onset.
        bounds: the first frame of each epoch, then the number of frames.

    Returns:
        neuron × frame, in units of the trace; NaN where the trace is.

    >>> matched_filter(np.array([[0.0, 1.0, -1.0, 0.0]]), np.array([1.0, -1.0]), 0, np.array([0, 4])).round(2)
    array([[-0.71,  1.41, -0.71,  0.  ]])
    """
    centred, bounds = _checked(traces, template, bounds)
    traces = np.ascontiguousarray(traces)
    out = np.empty_like(traces)
    _matched_filter(traces, (centred / np.linalg.norm(centred)).astype(traces.dtype), int(before), bounds, out)
    return out


def clements_bekkers(traces: np.ndarray, template: np.ndarray, before: int, bounds: np.ndarray) -> np.ndarray:
    """Scale of the template that fits best at each frame, over its standard error (Clements & Bekkers 1997, Biophys J 73:220).

    Scale and offset come from least squares over the template's frames; the standard error is √(SSE / (frames - 1)). It needs no
    σ, but calls a small transient in a quiet stretch as certain as a large one in a noisy one.

    Args:
        traces: neuron × frame, resting level 0, which it is taken to have beyond an epoch's ends and where frames are missing.
        template: frames.
        before: frame of the template that falls on the frame asked for, such as its onset.
        bounds: the first frame of each epoch, then the number of frames.

    Returns:
        neuron × frame, a pure number; NaN where the trace is.
    """
    centred, bounds = _checked(traces, template, bounds)
    out = np.empty(traces.shape, np.float64)
    _clements_bekkers(np.array(traces, np.float64, order="C"), centred, float(centred @ centred), int(before), bounds, out)
    return out.astype(traces.dtype)
