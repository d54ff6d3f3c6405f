"""Slow levels of traces: what lies under the transients. Baselines and backgrounds are found by the same methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calcium_engine.arguments import choose
from calcium_engine.kernels import (
    fill_gaps,
    hand_over,
    masked_baseline,
    pool,
    rolling_quantile,
    row_quantile,
    spread_below_mode,
    window_mode,
)
from calcium_engine.noise import auto_noise, correlation_at_rest, difference_noise
from calcium_engine.schema import CalciumError, warn

STANDS_OUT = 2.5  # σ over the level at which the mean of a second is taken for a transient
LEAST = 0.05  # of the trace's span: what transients have decayed to by then counts as level, however low the noise
ENOUGH = 0.1  # share of a Gaussian window outside transients from which on their level is trusted
WIDER = 3.0  # times the window: where a window has not enough outside transients, one so much wider is asked
SWAYS = 0.05  # share of F0
SATURATED = 0.1  # share of frames without enough from which on a neuron is marked

# The level of each trace, and in how many frames more than may be it was not seen for transients.
Level = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Method:
    """One way to find a level: `level(traces, rate, **options)`, and the options that it takes with their defaults.

    A method with a window gives a `Level`, one without a value a row.
    """

    level: Callable[..., Any]
    options: Mapping[str, Any]

    @property
    def local(self) -> bool:
        """Whether the level moves with time, within a window."""
        return "window" in self.options


def choose_method(methods: Mapping[str, Method], name: str, what: str, given: Mapping[str, Any]) -> tuple[Method, dict[str, Any]]:
    """Look a method up, and complete the options given (None: the default); those that it does not take are warned of."""
    method = choose(dict(methods), name, what)
    options = dict(method.options)
    for option, value in given.items():
        if value is None:
            continue
        if option in options:
            options[option] = value
        else:
            warn(f"the {what} {name!r} takes no {option}: {option}={value!r} changes nothing")
    quantile = options.get("quantile")
    if quantile is not None and not 0.0 <= quantile <= 1.0:
        raise CalciumError(f"the quantile is {quantile}, but must be from 0 to 1 (0.08 is the 8 % quantile)")
    smoothing = options.get("smoothing")
    if smoothing is not None and not 0 <= smoothing <= options["window"]:
        raise CalciumError(f"smoothing is {smoothing} s, but must be from 0 s to the window ({options['window']:g} s)")
    return method, options


def _seen(traces: np.ndarray) -> np.ndarray:
    """For methods that do not ask how much of the trace they can see."""
    return np.zeros(len(traces))


def masked_level(traces: np.ndarray, rate: float, *, window: float) -> Level:
    """Level of the samples outside transients; see `estimate_baseline`."""
    second = max(1, round(rate))
    seconds = pool(traces, second)
    start = rolling_quantile(seconds, max(1, round(window * rate / second)), 0.2)
    span = row_quantile(seconds, 0.995) - row_quantile(seconds, 0.2)
    # the noise of a second's mean: by differences, and, where that is more, as it is: what was smoothed before differs by nothing
    rest = seconds - start
    mode, spread = spread_below_mode(rest)
    noise = np.fmax(difference_noise(traces) / np.sqrt(second), spread)
    height = np.nan_to_num(np.fmax(STANDS_OUT * noise, LEAST * span))
    level, coverage = _outside(traces, start, height, rate, window)
    unseen = coverage < ENOUGH
    rows = np.flatnonzero(unseen.any(axis=1))
    if len(rows):
        wider = _wider_level(traces[rows], seconds[rows], height[rows], rate, window)
        level[rows] = hand_over(level[rows], wider, coverage[rows], ENOUGH)
    # what sways by much of F0 from second to second, where noise would not, is no rest: it was never seen
    unseen |= ((spread > SWAYS * np.abs(row_quantile(level, 0.5))) & correlation_at_rest(rest, mode)[1])[:, None]
    valid = ~np.isnan(traces)
    return level, np.count_nonzero(unseen & valid, axis=1) - SATURATED * np.count_nonzero(valid, axis=1)


def _outside(traces: np.ndarray, start: np.ndarray, height: np.ndarray, rate: float, window: float) -> Level:
    """Level of the samples that do not lie `height` over it, and the share of the window that they make up."""
    second = max(1, round(rate))
    return masked_baseline(
        traces,
        start,
        height,
        start_width=second,
        box=second,
        before=round(0.5 * rate),
        after=round(rate),
        sigma=max(1.0, window * rate) / 4,
    )


def _wider_level(traces: np.ndarray, seconds: np.ndarray, height: np.ndarray, rate: float, window: float) -> np.ndarray:
    """Level by a wider window, and where that does not see enough either, the 10 % quantile in it.

    Where a tenth of the samples is at rest, the 10 % quantile of all is about the largest of those; where a fifth is, their
    median. It needs no correction for noise.
    """
    window *= WIDER
    frames = max(1, round(window * rate))
    start = rolling_quantile(seconds, max(1, round(frames / max(1, round(rate)))), 0.2)
    level, coverage = _outside(traces, start, height, rate, window)
    rows = np.flatnonzero((coverage < ENOUGH).any(axis=1))
    if len(rows):
        level[rows] = hand_over(level[rows], rolling_quantile(traces[rows], frames, 0.1), coverage[rows], ENOUGH)
    return level


def quantile_level(traces: np.ndarray, rate: float, *, window: float, quantile: float, bias_correction: bool = False) -> Level:
    """Find the rolling quantile; corrected, the mean of the noise whose quantile it is."""
    level = rolling_quantile(traces, max(1, round(window * rate)), quantile)
    if bias_correction:
        level -= _depth(traces - level, quantile)[:, None]
    return level, _seen(traces)


def _depth(traces: np.ndarray, quantile: float) -> np.ndarray:
    """How far a quantile of noise lies over its mean (negative: under it); the outermost ones as one sample in a million."""
    from scipy.special import ndtri

    depth = float(ndtri(np.clip(quantile, 1e-6, 1 - 1e-6)))
    return np.asarray(depth * np.nan_to_num(auto_noise(traces)), traces.dtype)


def global_level(traces: np.ndarray, rate: float, *, quantile: float, bias_correction: bool = False) -> np.ndarray:
    """One quantile of the whole trace, one value a row."""
    level = row_quantile(traces, quantile).astype(traces.dtype)
    return level - _depth(traces, quantile) if bias_correction else level


def opening_level(traces: np.ndarray, rate: float, *, window: float, smoothing: float) -> Level:
    """Lower envelope: Gaussian smoothing, then the largest of the smallest values in the window (a morphological opening)."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d

    frames = max(1, round(window * rate))
    smooth = fill_gaps(traces)
    if smoothing > 0:
        smooth = gaussian_filter1d(smooth, smoothing * rate, axis=1, mode="reflect")
    # the second window is the first one's mirror image, or an even one would shift the level by a frame
    shift = -1 if frames % 2 == 0 else 0
    low = minimum_filter1d(smooth, frames, axis=1, mode="reflect")
    return np.asarray(maximum_filter1d(low, frames, axis=1, mode="reflect", origin=shift)), _seen(traces)


def mode_level(traces: np.ndarray, rate: float, *, window: float) -> Level:
    """Half-sample mode of the window, found four times a window, with straight lines between."""
    frames = max(1, round(window * rate))
    step = max(1, frames // 4)
    knots = fill_gaps(window_mode(traces, frames, step))
    n = traces.shape[1]
    at = np.append(np.arange(0, n - 1, step), n - 1)
    level = np.empty_like(traces)
    for row, values in zip(level, knots, strict=True):
        row[:] = np.interp(np.arange(n), at, values)
    return level, _seen(traces)


def auto_level(traces: np.ndarray, rate: float, *, window: float) -> Level:
    """Find the rolling quantile, for each neuron the one at which its trace's values are densest."""
    mode, _ = spread_below_mode(traces)
    valid = np.maximum(np.count_nonzero(~np.isnan(traces), axis=1), 1)
    quantile = np.count_nonzero(traces < mode[:, None], axis=1) / valid
    return rolling_quantile(traces, max(1, round(window * rate)), quantile), _seen(traces)


def slow_level(traces: np.ndarray, rate: float, *, window: float) -> Level:
    """Find what a high-pass filter takes away: Butterworth of second order, forth and back, so that nothing is shifted."""
    from scipy.signal import butter, sosfiltfilt

    cutoff = 1.0 / window
    if cutoff >= rate / 2 or traces.shape[1] < 2:
        return np.zeros_like(traces), _seen(traces)
    filled = np.nan_to_num(fill_gaps(traces))  # a row without samples
    sections = butter(2, cutoff, "lowpass", fs=rate, output="sos")
    reach = min(traces.shape[1] - 1, round(3 * window * rate))
    slow = sosfiltfilt(sections, filled, axis=1, padtype="even", padlen=reach)
    return slow.astype(traces.dtype), _seen(traces)


def resting_level(traces: np.ndarray) -> np.ndarray:
    """Level of each trace at rest: the median of the samples within 2.5 σ over the median, σ being taken from below it."""
    ordered = np.sort(traces, axis=1)  # NaN last
    rows = np.arange(len(traces))
    valid = np.count_nonzero(~np.isnan(ordered), axis=1)

    def sample(share: float, count: np.ndarray) -> np.ndarray:
        return np.asarray(ordered[rows, (share * np.maximum(count - 1, 0)).astype(np.int64)])

    median = sample(0.5, valid)
    spread = median - sample(0.1587, valid)  # one σ under the median of normal noise
    return sample(0.5, np.count_nonzero(ordered <= (median + 2.5 * spread)[:, None], axis=1))
