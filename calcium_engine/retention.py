"""What the cleaning does to transients: known ones are planted in the raw traces, cleaned again, and looked for in the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.blocks import frames_of
from calcium_engine.denoise import denoise
from calcium_engine.kernels import row_quantile
from calcium_engine.neuropil import subtract_neuropil
from calcium_engine.noise import estimate_noise
from calcium_engine.planting import AMPLITUDES, STILL, WIDTHS, Plants, plan, slots, template, transients
from calcium_engine.schema import (
    COORDINATES,
    Attr,
    CalciumError,
    epoch_bounds,
    fresh,
    latest_trace,
    record,
    recorded_calls,
    sampling_rate,
    small_values,
    var,
)

ENOUGH = 1000  # transients to plant where the recording has room for them: 50 of each kind
EXCURSION = 2.5  # σ over the median from which a frame is taken for activity where no events were sought
FLOOR = 3.0  # σ that stand for an F0 too small to divide by, as in compute_dff
AROUND = 10.0  # s before and after a transient in which the level is looked at
TAIL = 4.0  # FWHMs after its onset, a transient has fallen to 3 %
WAVE, PERIOD = 0.05, 60.0  # ΔF/F and s of the planted slow wave
WAVES = 16  # neurons that get one

CLEANING: dict[str, Callable[..., xr.Dataset]] = {
    step.__name__: step
    for step in (subtract_neuropil, estimate_baseline, compute_dff, subtract_background, estimate_noise, denoise)
}
STAGES = {"compute_dff": "dff", "subtract_background": "detrended", "denoise": "denoised"}


def retention_test(recording: xr.Dataset, *, neurons: int = 32, seed: int = 0) -> xr.Dataset:
    """Plant known transients where nothing happens, repeat this recording's own cleaning, and measure what is left of them.

    The cleaning is repeated with the arguments in the history, on untouched traces and on planted copies; the difference is
    what became of the transients, without noise and the neuron's own activity. They have 0.1 to 2 ΔF/F over the F0 that was
    estimated and FWHMs of 0.5 to 5 s, rise fast and decay exponentially, and lie at least 120 s apart where no event is. Another
    copy holds a sine of 60 s and 5 % of F0 instead: background, which should go. How far F0 itself is off, no such test tells.

    Args:
        recording: cleaned from `fluorescence` or from `dff`, whole traces; with events where they were sought.
        neurons: how many take part, drawn at random, so that every noise level has its share. 32 give some 40 transients of each
            kind in 50 min; in short recordings each neuron is used several times, to have 50.
        seed: of the choice of neurons, and of where the transients are planted.

    Returns:
        The recording with, by `retention_stage` (what the cleaning makes of dff, detrended and denoised), `planted_fwhm` and
        `planted_amplitude`: `retention_amplitude` and `retention_fwhm` (recovered over planted), `retention_onset` (shift of the
        rise through 20 %, s), `retention_drift` (level in the 10 s before and after, over the amplitude), all in the mean shape
        of a kind, without the outer 10 % of either side; amplitudes by least squares over the frames above half maximum.
        `retention_slope` is that of recovered against planted amplitude, `retention_count` the number of transients, and
        `slow_attenuation` how much the sine fell (dB), NaN where no epoch lasts 120 s. Neurons whose F0 is too small to divide
        by take part only where there are no others. NaN where no transient found a place.

    Raises:
        CalciumError: the history holds no step that makes or cleans ΔF/F, or one that cannot be repeated; or `neurons` or
            `seed` is out of range.
    """
    recording = fresh(recording, "retention_test")
    if neurons < 1 or not 0 <= seed < 2**63:
        raise CalciumError(f"neurons must be 1 or more and the seed from 0 to 2^63, but they are {neurons} and {seed}")
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(recording.sizes["neuron"])[:neurons])
    cleaning = _cleaning(recording, drawn)
    unit, gain, usable = _one_dff(cleaning)
    rows = np.resize(usable, max(neurons, -(-ENOUGH // slots(recording))) if len(usable) else 0)
    plants = plan(_busy(recording, cleaning.quiet, drawn)[rows], recording, rng)
    found = _measure(cleaning.left_of(transients(plants, unit[rows], recording), rows, gain), plants, recording)
    wave = WAVE * np.sin(2 * np.pi / PERIOD * small_values(recording["time"]))
    some = usable[:: -(-len(usable) // WAVES) or 1]
    found["slow_attenuation"] = _attenuation(cleaning.left_of(wave * unit[some], some, gain), wave, recording)
    coords = {"retention_stage": cleaning.stages, "planted_fwhm": WIDTHS, "planted_amplitude": AMPLITUDES}
    result = recording.assign({name: var(name).wrap(values) for name, values in found.items()})
    result = result.assign_coords({name: (name, values, COORDINATES[name]) for name, values in coords.items()})
    return record(result, "retention_test", neurons=neurons, seed=seed)


@dataclass(frozen=True)
class _Cleaning:
    """A recording's cleaning, to be repeated on traces to which something was added."""

    calls: list[tuple[str, dict[str, Attr]]]
    stages: list[str]  # the traces of ΔF/F that it makes
    source: str  # the trace from which it starts
    traces: xr.Dataset  # what it reads
    quiet: xr.Dataset  # what it makes of that

    def left_of(self, added: np.ndarray, rows: np.ndarray, gain: np.ndarray) -> np.ndarray:
        """Return what cleaning leaves of something added to these rows of the traces, in ΔF/F: stage × row × frame."""
        if not len(rows):
            return np.zeros((len(self.stages), 0, self.traces.sizes["frame"]))
        copies = self.traces.isel(neuron=rows)
        before = copies[self.source]
        cleaned = _repeat(copies.assign({self.source: (before + added).astype(before.dtype)}), self.calls)
        left = np.array([cleaned[stage].values - self.quiet[stage].values[rows] for stage in self.stages])
        left /= gain[rows, None].astype(left.dtype)
        return left


def _cleaning(recording: xr.Dataset, drawn: np.ndarray) -> _Cleaning:
    """Repeat the recording's cleaning on the drawn neurons, in memory."""
    calls = [(name, arguments) for name, arguments in recorded_calls(recording) if name in CLEANING]
    names = [name for name, _ in calls]
    for name, arguments in calls:
        check_arguments(CLEANING[name], arguments)
    stages = [trace for name, trace in STAGES.items() if name in names]
    if not stages:
        raise CalciumError(
            "there is no cleaning to test: the history holds no compute_dff(), subtract_background() or denoise(); "
            "run one of them, or analyze(), first"
        )
    source = "dff"
    if "compute_dff" in names:
        corrected = ["fluorescence_corrected"] if "subtract_neuropil" not in names else []
        source = latest_trace(recording, ["fluorescence", *corrected])
    inputs = [source, "neuropil"] if "subtract_neuropil" in names else [source]
    if "compute_dff" in names and "estimate_baseline" not in names:
        inputs.append("baseline")  # the user's own
    traces = xr.Dataset({name: var(name).check(recording).isel(neuron=drawn) for name in inputs}, attrs=recording.attrs)
    traces = traces.assign_attrs(history="").compute()
    return _Cleaning(calls, stages, source, traces, _repeat(traces, calls))


def _repeat(traces: xr.Dataset, calls: list[tuple[str, dict[str, Attr]]]) -> xr.Dataset:
    """Run these steps on the traces."""
    traces = traces.assign_coords(neuron=np.arange(traces.sizes["neuron"]))  # a neuron may be there several times
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # all was said when the recording itself was cleaned
        for name, arguments in calls:
            traces = CLEANING[name](traces, **arguments)
    return traces


def _one_dff(cleaning: _Cleaning) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how much of the source one ΔF/F is, frame by frame, and in units of `dff`; and the neurons that can take part.

    It is F0. Where that is too small to divide by in every neuron, the floor stands for it.
    """
    quiet, n_neurons = cleaning.quiet, cleaning.traces.sizes["neuron"]
    if cleaning.source == "dff":
        return np.ones_like(quiet["dff"].values), np.ones(n_neurons), np.arange(n_neurons)
    in_sigma = quiet["dff"].attrs["units"] == "sigma"
    unit = quiet["baseline"].values.copy()
    change = quiet[latest_trace(quiet, ("fluorescence", "fluorescence_corrected"))] - quiet["baseline"]
    with np.errstate(divide="ignore", invalid="ignore"):
        divisor = ((quiet["dff"] * change).sum("frame") / (quiet["dff"] ** 2).sum("frame")).values
    floored, floor, gain = quiet["f0_floored"].values, divisor, np.ones(n_neurons)
    if in_sigma:
        unit[:] = row_quantile(unit, 0.5)[:, None]
        floor = FLOOR * divisor
        floored = ~(unit[:, 0] > floor)
    unit[floored] = floor[floored, None]
    if in_sigma:
        gain = unit[:, 0] / divisor
    known = (divisor > 0) & (unit > 0).any(axis=1)
    sound = known & ~floored
    return unit, gain, np.flatnonzero(sound if sound.any() else known)


def _busy(recording: xr.Dataset, quiet: xr.Dataset, drawn: np.ndarray) -> np.ndarray:
    """Return the frames inside events (where none were sought: far above the median), and those that are missing."""
    import pandas as pd

    trace: np.ndarray = quiet[latest_trace(quiet, ("dff", "detrended"))].values
    if "event_onset" not in recording.variables:
        noise = (quiet if "noise" in quiet.variables else _repeat(quiet, [("estimate_noise", {})]))["noise"].values
        return np.asarray(np.isnan(trace) | (trace > (row_quantile(trace, 0.5) + EXCURSION * noise)[:, None]))
    busy: np.ndarray = np.isnan(trace)
    time = small_values(recording["time"])
    first = np.searchsorted(time, var("event_onset").check(recording).values)
    last = np.searchsorted(time, var("event_offset").check(recording).values)
    rows = recording.indexes["neuron"][drawn].get_indexer(pd.Index(var("event_neuron").check(recording).values))
    for i in np.flatnonzero(rows >= 0):
        busy[rows[i], first[i] : last[i] + 1] = True
    return busy


def _measure(left: np.ndarray, plants: Plants, recording: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the measures of what is left (stage × row × frame, ΔF/F) of each kind of transient."""
    rate, before = sampling_rate(recording), frames_of(AROUND, recording)
    measures = np.full((4, len(left), len(WIDTHS), len(AMPLITUDES)), np.nan)
    count = np.zeros(measures.shape[2:], np.int64)
    for width, size in np.ndindex(*count.shape):
        fwhm = float(WIDTHS[width])
        mine = np.flatnonzero((plants.width == width) & (plants.size == size))
        count[width, size] = len(mine)
        if not len(mine):
            continue
        after = frames_of(TAIL * fwhm + AROUND, recording)
        planted = np.concatenate([np.zeros(before), template(fwhm, after, rate)])
        lags = np.arange(-before, after)
        for stage, traces in enumerate(left):
            found = _mean_around(traces, plants.row[mine], plants.frame[mine], lags, epoch_bounds(recording))
            measures[:, stage, width, size] = _compare(found / AMPLITUDES[size], planted, lags / rate, fwhm)
    names = ("retention_amplitude", "retention_fwhm", "retention_onset", "retention_drift")
    slope = [[_slope(AMPLITUDES, shares * AMPLITUDES) for shares in stage] for stage in measures[0]]
    return {**dict(zip(names, measures, strict=True)), "retention_count": count, "retention_slope": np.array(slope)}


def _mean_around(traces: np.ndarray, rows: np.ndarray, frames: np.ndarray, lags: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the mean of the traces around these frames, the outer 10 % of either side and other epochs left out."""
    at = frames[:, None] + lags
    epoch = np.searchsorted(bounds, frames, side="right")[:, None]
    inside = (at >= bounds[epoch - 1]) & (at < bounds[epoch])
    values = np.where(inside, traces[rows[:, None], np.clip(at, 0, traces.shape[1] - 1)], np.nan)
    values = np.sort(values, axis=0)  # NaN comes last
    known = np.count_nonzero(~np.isnan(values), axis=0)
    rank, cut = np.arange(len(values))[:, None], known // 10
    kept = (rank >= cut) & (rank < known - cut)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(kept, values, 0.0).sum(axis=0, dtype=np.float64) / kept.sum(axis=0))


def _compare(found: np.ndarray, planted: np.ndarray, seconds: np.ndarray, fwhm: float) -> tuple[float, float, float, float]:
    """Return amplitude and FWHM of a transient relative to the planted one, the shift of its onset (s), and the level around."""
    top = planted >= planted.max() / 2
    (first, last), (rise, fall) = _crossings(planted, seconds, 0.5), _crossings(found, seconds, 0.5)
    around = (found - planted)[(seconds <= -STILL) | (seconds >= TAIL * fwhm)]
    around = around[~np.isnan(around)]
    return (
        float(found[top] @ planted[top] / (planted[top] @ planted[top])),
        (fall - rise) / (last - first),
        _crossings(found, seconds, 0.2)[0] - _crossings(planted, seconds, 0.2)[0],
        float(around.mean()) if len(around) else np.nan,
    )


def _crossings(shape: np.ndarray, seconds: np.ndarray, share: float) -> tuple[float, float]:
    """Return when a shape rises through a share of its peak, and when it falls through it; NaN where it does not.

    >>> _crossings(np.array([0.0, 0.0, 4.0, 1.0]), np.arange(4.0), 0.5)
    (1.5, 2.6666666666666665)
    """
    peak = int(np.argmax(np.nan_to_num(shape, nan=-np.inf)))
    level = share * shape[peak]
    before, after = np.flatnonzero(shape[:peak] < level), np.flatnonzero(shape[peak:] < level) + peak
    if not (shape[peak] > 0 and len(before) and len(after)):
        return np.nan, np.nan
    up, down = slice(before[-1], before[-1] + 2), slice(after[0] - 1, after[0] + 1)
    return float(np.interp(level, shape[up], seconds[up])), float(np.interp(-level, -shape[down], seconds[down]))


def _slope(planted: np.ndarray, found: np.ndarray) -> float:
    """Return the slope of the least-squares line; NaN under two points."""
    known = ~np.isnan(found)
    if np.count_nonzero(known) < 2:
        return float("nan")
    away = planted[known] - planted[known].mean()
    return float(away @ found[known] / (away @ away))


def _attenuation(left: np.ndarray, wave: np.ndarray, recording: xr.Dataset) -> np.ndarray:
    """Return by how many dB the wave fell (median over rows), in the whole periods of epochs that hold two or more."""
    frames = PERIOD * sampling_rate(recording)
    looked_at = np.zeros(len(wave), bool)
    for start, stop in pairwise(epoch_bounds(recording)):
        periods = int((stop - start) / frames)
        looked_at[start : start + round(periods * frames)] = periods >= 2
    phase = 2 * np.pi / PERIOD * small_values(recording["time"])[looked_at]
    turns = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    left, known = left[..., looked_at], ~np.isnan(left[..., looked_at])
    # einsum, not @: a BLAS's sums depend on its number of threads
    planted, remaining = (
        np.linalg.norm(np.einsum("srt,tk->srk", np.where(known, traces, 0.0), turns), axis=-1)
        for traces in (wave[looked_at], left)
    )
    seen = (planted > 0).all(axis=0)
    if not seen.any():
        return np.full(len(left), np.nan)
    with np.errstate(divide="ignore"):
        return np.asarray(np.median(20 * np.log10(planted[:, seen] / remaining[:, seen]), axis=1))
