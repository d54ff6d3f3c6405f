"""Where a trace rises for a transient: one function a detector, and the thresholds that follow from a false-positive budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from calcium_engine.indicators import Indicator
from calcium_engine.kernels import (
    clements_bekkers,
    fill_gaps,
    find_peaks,
    find_pulses,
    has_gaps,
    matched_filter,
    pool,
    row_moments,
    wavelet_ridges,
)
from calcium_engine.levels import resting_level
from calcium_engine.noise import auto_noise

BRIDGED_GAP = 1.0  # s; shorter gaps are bridged for the search, longer ones end a search as an epoch's edge does
SD_RULE = 5.0
SD_RULE_LEAST_DFF = 0.10
LEAST_VALLEY = 3.5  # σ
HYSTERESIS = 0.5  # σ; a run of the noise detector lasts until the trace is back to this
CLIMB = 1.25  # σ by which the half second after a pulse lies over that before, or the pulse is an error of the tail's shape
CLIMB_SHARE = 0.05  # of the height of the trace after it that a pulse climbs
AROUND = 0.5  # s
BASE = 0.4  # s of rest before the transient in a template
TAIL = 3.0  # decay constants after its onset, 5 % of a transient is left: there a template ends
WIDTHS = (0.25, 2.5)  # s, of the wavelets
N_WIDTHS = 11
NOISE_FRAMES = 3_000_000  # to count false positives in
RIDGE_FRAMES = 1e8  # times Hz: the more frames a wavelet spans, the longer it takes
TRACE_FRAMES = (256, 32_768)  # shortest and longest trace that they are counted in: nothing changes beyond
MANY = 100  # false positives: a threshold at which there are so many is known to 1 %
MOST_TRIES = 12
MARGIN = 0.9  # of the budget is spent, since they are counted to 10 %


@dataclass(frozen=True)
class Search:
    """What a detector needs to know besides the traces; `threshold` None: what the budget asks for."""

    detector: str
    rate: float
    bounds: np.ndarray
    indicator: Indicator
    threshold: float | None
    least_dff: float
    false_positives_per_minute: float
    criterion: str
    denoised_share: float = 0.0

    @property
    def reach(self) -> int:
        """Frames from a spike to the peak of its transient."""
        return max(1, round(self.indicator.time_to_peak * self.rate))

    @property
    def k(self) -> float:
        """Threshold in units of the noise of what the detector looks at."""
        if self.threshold is not None:
            return self.threshold
        if self.detector == "sd":
            return SD_RULE
        # in steps of a factor 2: a length asks for no more than that it be known roughly
        n_frames = 2 ** round(np.log2(np.clip(np.diff(self.bounds).max(), *TRACE_FRAMES)))
        budget = self.false_positives_per_minute
        return budget_threshold(self.detector, self.rate, self.indicator, budget, self.criterion, n_frames)

    def bridge(self, traces: np.ndarray) -> np.ndarray:
        """Fill short gaps, epoch by epoch."""
        if not has_gaps(traces):
            return traces
        longest = round(BRIDGED_GAP * self.rate)
        pieces = [np.ascontiguousarray(traces[:, start:stop]) for start, stop in pairwise(self.bounds)]
        return np.asarray(np.concatenate([fill_gaps(piece, longest) for piece in pieces], axis=1))


class Levels(NamedTuple):
    """Of each neuron: the level at rest, σ, the threshold over `zero`, the least valley between two events, and that zero."""

    rest: np.ndarray
    noise: np.ndarray
    high: np.ndarray
    valley: np.ndarray
    zero: np.ndarray


def levels_of(traces: np.ndarray, measured: np.ndarray, noise: np.ndarray, search: Search) -> Levels:
    """Return the levels by which events are sought in these traces, and measured."""
    rest = resting_level(measured)
    if search.detector == "sd":
        _, mean, deviation, _ = row_moments(traces)
        high = np.fmax(mean + search.k * deviation, search.least_dff)
        return Levels(rest, noise, high, deviation, np.zeros_like(rest))
    return _levels(rest, noise, search.k, search.detector)


def _levels(rest: np.ndarray, noise: np.ndarray, k: float, detector: str) -> Levels:
    """Levels of k σ. A valley of the trace itself must be one of the trace, and not of its noise, however low k is."""
    valley = max(k, LEAST_VALLEY) if detector == "noise" else 0.5 * k
    return Levels(rest, noise, k * noise, valley * noise, rest)


Peaks = tuple[np.ndarray, np.ndarray]


def _runs(traces: np.ndarray, levels: Levels, search: Search) -> Peaks:
    """Find runs over the threshold; stacked peaks are parted by valleys of one SD."""
    return find_peaks(traces, levels.high, levels.high, levels.valley, 1, search.bounds)


def _noise_runs(traces: np.ndarray, levels: Levels, search: Search) -> Peaks:
    """Find runs that exceed k σ and last until the trace is back at rest; parted by valleys of k σ.

    Looked at are means over half a rise, in which a run lasts that long at least.
    """
    width = max(1, search.reach // 2)
    binned, bounds = _binned(traces, search.bounds, width)
    high, low, valley = (level / np.sqrt(width) for level in (levels.high, HYSTERESIS * levels.noise, levels.valley))
    offsets, bins = find_peaks(binned, high, low, valley, 1, bounds)
    return offsets, _frames(bins, bounds, width, search) + width // 2


def _pulses(traces: np.ndarray, levels: Levels, search: Search) -> Peaks:
    """Find the pulses of the non-negative deconvolution that explain more than k σ, and climb.

    The transient that is looked for is that of one action potential, so that the second of two is not taken for the tail of the
    first. It rises at once; a real one takes a while, and loses least where two bins span its rise.
    """
    width = max(1, search.reach // 2)
    binned, bounds = _binned(traces, search.bounds, width)
    rate = search.rate / width
    offsets, bins, _ = find_pulses(
        binned,
        levels.noise / np.sqrt(width),
        float(np.exp(-1.0 / (search.indicator.decay * rate))),
        levels.high / np.sqrt(width),
        bounds,
        climb=CLIMB,
        share=CLIMB_SHARE,
        reach=max(1, round(search.indicator.time_to_peak * rate)),
        around=max(1, round(AROUND * rate)),
    )
    return offsets, _later(_frames(bins, bounds, width, search), search)


def _binned(traces: np.ndarray, bounds: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of so many frames each, and the first bin of each epoch; a bin that is not complete is missing."""
    if width == 1:
        return traces, bounds
    pieces = []
    for start, stop in pairwise(bounds):
        piece = np.ascontiguousarray(traces[:, start:stop])
        means = pool(piece, width)
        if has_gaps(piece):
            means[pool(np.isnan(piece).astype(piece.dtype), width) > 0] = np.nan
        if (stop - start) % width:
            means[:, -1] = np.nan
        pieces.append(means)
    return np.concatenate(pieces, axis=1), np.cumsum([0, *(piece.shape[1] for piece in pieces)])


def template_frames(search: Search) -> int:
    """Return how many frames the template has."""
    return len(_template(search)[0])


def _frames(bins: np.ndarray, bounds: np.ndarray, width: int, search: Search) -> np.ndarray:
    """Return the first frame of each bin; `bounds` are the first bins of the epochs."""
    epoch = np.searchsorted(bounds, bins, side="right") - 1
    return np.asarray(search.bounds[epoch] + (bins - bounds[epoch]) * width)


def _template(search: Search) -> tuple[np.ndarray, int]:
    """Return the transient of one action potential with some rest before it, and the frame of its onset."""
    before, after = round(BASE * search.rate), max(2, round(TAIL * search.indicator.decay * search.rate))
    return search.indicator.shape(np.arange(-before, after) / search.rate), before


def _template_peaks(traces: np.ndarray, levels: Levels, search: Search) -> Peaks:
    """Find the onsets at which the transient of one action potential fits best, and better than the threshold."""
    shape, before = _template(search)
    if search.criterion == "clements_bekkers":
        fit = clements_bekkers(traces, shape, before, search.bounds)
        high = np.full(len(traces), search.k)
    else:
        fit, high = matched_filter(traces, shape, before, search.bounds), levels.high
    offsets, onsets = find_peaks(fit, high, 0.0 * high, 0.5 * high, 1, search.bounds)
    return offsets, _later(onsets, search)


def _later(onsets: np.ndarray, search: Search) -> np.ndarray:
    """Return the frames at which transients that begin at these frames should peak, within their epochs."""
    ends = search.bounds[np.searchsorted(search.bounds, onsets, side="right")]
    return np.asarray(np.minimum(onsets + search.reach, ends - 1))


def _ridges(traces: np.ndarray, levels: Levels, search: Search) -> Peaks:
    """Find ridges of the wavelet transform whose strength exceeds k σ."""
    widths = np.geomspace(*WIDTHS, N_WIDTHS) * search.rate
    # a wavelet that is wider than the trace sees its mirror images
    widths = widths[: max(3, np.count_nonzero(widths <= np.diff(search.bounds).max() / 4))]
    offsets, peaks, strength, _ = wavelet_ridges(traces, levels.noise, widths, search.bounds, least=min(3.0, search.k))
    rows = np.repeat(np.arange(len(traces)), np.diff(offsets))
    strong = strength > (levels.high / levels.noise)[rows]
    return np.concatenate([[0], np.cumsum(strong)])[offsets], peaks[strong]


DETECTORS: dict[str, Callable[[np.ndarray, Levels, Search], Peaks]] = {
    "pulse": _pulses,
    "template": _template_peaks,
    "noise": _noise_runs,
    "sd": _runs,
    "ridge": _ridges,
}
CRITERIA = ("matched_filter", "clements_bekkers")


@lru_cache(maxsize=32)
def budget_threshold(detector: str, rate: float, indicator: Indicator, budget: float, criterion: str, n_frames: int) -> float:
    """Find the threshold that white noise exceeds `budget` times a minute: counted in simulated traces, from a fixed seed.

    Their σ and their level are estimated as those of recordings are, so that short traces, whose σ is not so well known, get a
    higher threshold. How often noise exceeds k falls as exp(-k² / 2), whatever the detector but Clements and Bekkers' (Rice 1945,
    for what is smooth): that tells the next k to try, and the last step from where there are enough to count.
    """
    wanted = MARGIN * budget / 60.0 / rate
    frames = NOISE_FRAMES if detector != "ridge" else int(min(NOISE_FRAMES, RIDGE_FRAMES / rate))
    noise = np.random.default_rng(0).standard_normal((max(1, frames // n_frames), n_frames), dtype=np.float32)
    countable = max(wanted, MANY / noise.size)
    rest, sigma = resting_level(noise), auto_noise(noise)
    noise -= rest[:, None].astype(noise.dtype)
    search = Search(detector, rate, np.array([0, n_frames]), indicator, 0.0, 0.0, budget, criterion)

    # Clements and Bekkers divide the scale by the SD of what is left, not by the scale's own
    shape, _ = _template(search)
    unit = 1.0 / float(np.linalg.norm(shape - shape.mean())) if criterion == "clements_bekkers" else 1.0

    k, slope, latest = 3.7, -0.5, (0.0, 0.0)  # of the logarithm of the rate over k²
    for _ in range(MOST_TRIES):
        levels = _levels(rest, sigma, k, detector)
        found = len(DETECTORS[detector](noise, levels, replace(search, threshold=k * unit))[1])
        log_rate = float(np.log(max(found, 0.5) / noise.size))
        if criterion == "clements_bekkers" and latest[0] and abs(k * k - latest[0]) > 0.5 and found:
            # the fewer frames a template has to tell the noise from, the longer are the tails
            slope = float(np.clip((log_rate - latest[1]) / (k * k - latest[0]), -0.5, -0.005))
        wrong = log_rate - np.log(countable)
        if abs(wrong) < 0.3:
            break
        latest = (k * k, log_rate)
        k = float(np.sqrt(np.clip(k * k - wrong / slope, 0.25 * k * k, 4.0 * k * k)))
    last_step = (np.log(wanted) - log_rate) / slope
    return float(np.sqrt(max(k * k + last_step, 0.25)) * unit)
