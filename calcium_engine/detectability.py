"""Which transients the detector can see in each neuron's own noise, and how many events it sees where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from calcium_engine.blocks import gather
from calcium_engine.denoise import denoise
from calcium_engine.detectors import Levels, Search, levels_of
from calcium_engine.events import ROUNDING, find_events, mixed, search_of
from calcium_engine.schema import DFF_TRACES, latest_trace, recorded_calls, var

# Planted amplitudes, in units of what should just be found; at 0, where the curves begin, nothing is planted.
SIZES = np.concatenate([[0.0], np.geomspace(0.35, 3.0, 9)])
EACH = 40  # transients of each size in a neuron
MOST_COPIES = 32  # of a trace, to plant them all; in less than two minutes there is not room for so many
ENOUGH = 5  # of each size in the mean, or the neuron's places are too few to tell
STILL = 1.0  # s before a planted transient without an event
GONE = 3.0  # decay constants after its onset, 5 % of a transient is left; so long there is no event, either
AWAY = 2.5  # s from an event, the widest wavelet, in which nothing is made of the inverted trace
LEAST_QUIET = 0.05  # share of the time
APART = 10.0  # decay constants from one planted transient to the next
FOUND = (-0.5, 0.75)  # s from the planted onset to that of the event that finds it
PHASES = 4  # of an onset between two frames
N_AMPLITUDES = 12
BINS = np.geomspace(0.25, 4.0, 25)  # edges of measured amplitudes, in what should just be found
LEAST_SHARE = 0.2  # that is found of a size, or nothing can be said of how many of it there are
ROWS = 1000  # neurons at a time
ITERATIONS = 30  # stopping early keeps few events from being spread over all sizes that could have left them


class Detectability(NamedTuple):
    """What became of planted transients, and of nothing.

    Of each neuron: the amplitude that should just be found, the share found of each of SIZES in its units (neuron × size), the
    events in the inverted trace, and the share of the time in which they were counted. Of all together: how the found ones of
    each size were measured (size × bin of BINS).
    """

    unit: np.ndarray
    share: np.ndarray
    negative: np.ndarray
    quiet: np.ndarray
    measured: np.ndarray

    @property
    def amplitude(self) -> np.ndarray:
        """Planted amplitudes, neuron × size."""
        return np.asarray(self.unit[:, None] * SIZES)

    def negative_counts(self) -> np.ndarray:
        """Events that there would be in all of the inverted trace; NaN where it was hardly looked at."""
        return np.where(self.quiet >= LEAST_QUIET, self.negative / np.maximum(self.quiet, LEAST_QUIET), np.nan)

    def lod50(self) -> np.ndarray:
        """Amplitude that is found half the time; NaN where none of the planted ones is, or too few could be planted."""
        out = np.full(len(self.share), np.nan)
        for i, (amplitude, share) in enumerate(zip(self.amplitude, self.share, strict=True)):
            above = np.flatnonzero(share >= 0.5)
            if above.size:
                out[i] = np.interp(0.5, share[above[0] - 1 : above[0] + 1], amplitude[above[0] - 1 : above[0] + 1])
        return out

    def on_common_amplitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes that span what all neurons need, and the share found of each, neuron × amplitude."""
        lod = self.lod50()
        known = lod[np.isfinite(lod) & (lod > 0)]
        low, high = (0.4 * known.min(), 2.0 * known.max()) if known.size else (0.05, 2.0)
        amplitudes = np.geomspace(low, high, N_AMPLITUDES)
        table = [np.interp(amplitudes, *pair) for pair in zip(self.amplitude, self.share, strict=True)]
        return amplitudes, np.array(table).reshape(len(lod), N_AMPLITUDES)

    def expected_counts(self, row: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
        """How many events each neuron had, found or missed, by most likelihood given the measured amplitudes of those found.

        A measured amplitude is what noise made of a true one, and small ones are found where noise was kind: so the numbers of
        each true size are sought that would have left these measurements (expectation maximisation, from equal numbers). Sizes of
        which under LEAST_SHARE is found are left out: nobody knows how many of them there are.
        """
        n = len(self.share)
        size = amplitude / self.unit[row]
        inside = (size >= BINS[0]) & (size < BINS[-1])
        seen = np.zeros((n, len(BINS) - 1))
        np.add.at(seen, (row[inside], np.searchsorted(BINS, size[inside], side="right") - 1), 1.0)
        blocks = [slice(first, first + ROWS) for first in range(0, n, ROWS)]
        number = np.concatenate([np.zeros(0), *(self._unfolded(seen[block], self.share[block]) for block in blocks)])
        return np.where(np.isnan(self.share[:, 0]), np.nan, number + np.bincount(row[~inside], minlength=n))

    def _unfolded(self, seen: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """How many events of all sizes together would have left what was seen (neuron × bin of BINS)."""
        found = self.measured + 1e-3  # what was never seen is not impossible
        chance = (found / found.sum(axis=1, keepdims=True))[None] * shares[:, 1:, None]
        share = np.where(shares[:, 1:] >= LEAST_SHARE, shares[:, 1:], np.nan)
        chance = np.where(np.isnan(share)[:, :, None], 0.0, chance)
        number = np.where(np.isnan(share), 0.0, seen.sum(axis=1, keepdims=True) + 1e-9)
        for _ in range(ITERATIONS):
            expected = np.einsum("ij,ijm->im", number, chance)
            ratio = np.divide(seen, expected, out=np.zeros_like(seen), where=expected > 0)
            number = number * np.einsum("im,ijm->ij", ratio, chance) / np.where(np.isnan(share), 1.0, share)
        return np.asarray(number.sum(axis=1))


def judge_detector(recording: xr.Dataset, first_row: int = 0) -> Detectability | None:
    """Plant transients of the indicator's shape where nothing happens, search again by the same thresholds, and count.

    Everything is taken from the events at hand: their detector, its trace, their indicator. None where those are not known or the
    trace is no longer there. The places of planted transients differ from row to row: a recording that is a block of neurons says
    which row of the whole is its `first_row`.
    """
    parameters = recording["event_onset"].attrs
    if "detector" not in parameters or parameters.get("trace") not in recording.variables or "noise" not in recording.variables:
        return None
    search = search_of(recording, parameters)
    search = replace(search, threshold=search.k)  # once, not in each block
    searched = var(str(parameters["trace"])).check(recording)
    before = var(latest_trace(recording, DFF_TRACES[:2])).check(recording) if searched.name == "denoised" else searched
    traces = [before, var("active").check(recording)]
    numbers = first_row + np.arange(recording.sizes["neuron"])
    rows = xr.DataArray(numbers, dims="neuron", coords={"neuron": recording["neuron"]})
    see = _Seeing(recording, search, denoised=searched.name == "denoised")

    def run(found: np.ndarray, active: np.ndarray, noise: np.ndarray, row: np.ndarray) -> Detectability:
        noise = np.maximum(noise.astype(np.float64), ROUNDING)
        traces = see(found, noise)
        levels = levels_of(*traces, noise, search)
        busy = active | np.isnan(found)
        unit, share, measured = _found_again(found, busy, levels, search, row, see)
        return Detectability(unit, share, *_inverted(*traces, busy, levels, search), measured)

    parts = gather(run, *traces, per_neuron=[recording["noise"], rows])
    unit, share, negative, quiet = (np.concatenate([part[k] for part in parts]) for k in range(4))
    return Detectability(unit, share, negative, quiet, np.sum([part.measured for part in parts], axis=0))


def _inverted(
    traces: np.ndarray, measured: np.ndarray, busy: np.ndarray, levels: Levels, search: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Count the events in the inverted trace, by the same thresholds: symmetric noise gives as many in the trace itself.

    The end of an inverted transient is a rise of its own, and filters see it from afar: only the time well away from events is
    looked at. Returns the count, and the share of that time.
    """
    twice = (2.0 * levels.rest[:, None]).astype(traces.dtype)
    counts, columns, _ = find_events(twice - traces, twice - measured, levels, search)
    row = np.repeat(np.arange(len(traces)), counts)
    total = np.pad(np.cumsum(busy, axis=1), ((0, 0), (1, 0)))
    n = traces.shape[1]
    away = round(max(AWAY, GONE * search.indicator.decay) * search.rate)
    first = np.maximum(np.floor(columns["onset"]).astype(int) - away, 0)
    last = np.minimum(np.ceil(columns["peak"]).astype(int) + away, n - 1)
    quiet = total[row, last + 1] == total[row, first]
    frame = np.arange(n)
    free = total[:, np.minimum(frame + away, n - 1) + 1] == total[:, np.maximum(frame - away, 0)]
    return np.bincount(row[quiet], minlength=len(traces)), free.mean(axis=1)


class _Seeing:
    """What a detector sees of a trace before denoising: the trace that it searches, and the one that it measures."""

    def __init__(self, recording: xr.Dataset, search: Search, *, denoised: bool) -> None:
        calls = [arguments for name, arguments in recorded_calls(recording) if name == "denoise"]
        self.arguments: Mapping[str, Any] = calls[-1] if calls else {}
        self.coords = {name: recording[name] for name in ("time", "sampling_rate", "epoch") if name in recording.coords}
        self.trace = str(self.arguments.get("trace") or latest_trace(recording, DFF_TRACES[:2]))
        self.share, self.denoised = search.denoised_share, denoised

    def __call__(self, traces: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not (self.denoised or self.share):
            return traces, traces
        held = xr.Dataset({self.trace: (("neuron", "frame"), traces), "noise": ("neuron", noise)}, coords=self.coords)
        quiet = np.asarray(denoise(held, **self.arguments)["denoised"].values)
        return (quiet, quiet) if self.denoised else (traces, mixed(traces, quiet, self.share))


def _found_again(
    traces: np.ndarray, busy: np.ndarray, levels: Levels, search: Search, row: np.ndarray, see: _Seeing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plant transients in copies of the traces.

    Returns the amplitude that should just be found, the share found of each of SIZES, and how the found ones were measured.
    """
    from scipy.optimize import isotonic_regression

    shapes = _shapes(search)
    unit = levels.high / np.sqrt(max(1, search.reach // 2)) if search.detector == "noise" else levels.high / _norm(shapes)
    if search.detector == "sd":
        unit = levels.high - levels.rest
    amplitude = unit[:, None] * SIZES
    planted, found = np.zeros((len(traces), len(SIZES))), np.zeros((len(traces), len(SIZES)))
    measured = np.zeros((len(SIZES) - 1, len(BINS) - 1))
    apart = max(shapes.shape[1], round(APART * search.indicator.decay * search.rate))
    copies = min(MOST_COPIES, max(1, -(-EACH * (len(SIZES) - 1) * apart // traces.shape[1])))
    total = np.pad(np.cumsum(busy, axis=1), ((0, 0), (1, 0)))
    for copy in range(copies):
        place = np.arange(copy * apart // copies, traces.shape[1], apart)
        free = _free(total, place, search)
        if not free.any():
            continue
        # one size after another, beginning with another one in each row and each copy
        size = 1 + (np.arange(len(place)) + (row[:, None] + copy) * 4) % (len(SIZES) - 1)
        i, slot = np.nonzero(free)
        added = traces.copy()
        heights = amplitude[i, size[i, slot]]
        frames = place[slot][:, None] + np.arange(shapes.shape[1])
        within = frames < traces.shape[1]
        values = (heights[:, None] * shapes[(slot + row[i]) % PHASES]).astype(traces.dtype)
        added[np.broadcast_to(i[:, None], frames.shape)[within], frames[within]] += values[within]
        counts, columns, _ = find_events(*see(added, levels.noise), levels, search)
        event = _event_at(counts, columns["onset"], i, place[slot], search, traces.shape[1])
        hit, size = event >= 0, size[i, slot]
        np.add.at(planted, (i, size), 1.0)
        np.add.at(found, (i, size), hit)
        as_measured = columns["amplitude"][event[hit]] / unit[i[hit]]
        bins = np.clip(np.searchsorted(BINS, as_measured, side="right") - 1, 0, len(BINS) - 2)
        np.add.at(measured, (size[hit] - 1, bins), 1.0)
    enough = planted.sum(axis=1) >= ENOUGH * (len(SIZES) - 1)
    share = np.full(planted.shape, np.nan)
    for k in np.flatnonzero(enough):
        # a larger one is found no less often; nothing is planted at size 0, nor found
        share[k] = isotonic_regression(found[k] / np.maximum(planted[k], 1.0), weights=np.maximum(planted[k], 0.5)).x
    return unit, share, measured


def _shapes(search: Search) -> np.ndarray:
    """Return transients of one action potential as frames show them, phase by phase; their highest frames have a mean of 1."""
    n = max(2, int(np.ceil(5.0 * search.indicator.decay * search.rate)))
    within = (np.arange(8) + 0.5) / 8 - 0.5
    onset = np.arange(PHASES) / PHASES
    at = np.arange(n)[:, None] + within - onset[:, None, None]
    shapes = search.indicator.shape(at / search.rate).mean(axis=-1)
    return np.asarray(shapes / shapes.max(axis=1).mean())


def _norm(shapes: np.ndarray) -> float:
    return float(np.sqrt(np.square(shapes).sum(axis=1).mean()))


def _free(total: np.ndarray, place: np.ndarray, search: Search) -> np.ndarray:
    """Whether a transient may start at each place of each row: no event around it, nor an epoch's end."""
    before, after = round(STILL * search.rate), round(GONE * search.indicator.decay * search.rate)
    epoch = np.searchsorted(search.bounds, place, side="right")
    inside = (place - before >= search.bounds[epoch - 1]) & (place + after <= search.bounds[epoch])
    first, last = np.maximum(place - before, 0), np.minimum(place + after, total.shape[1] - 1)
    return np.asarray(inside & (total[:, last] == total[:, first]))


def _event_at(
    counts: np.ndarray, onset: np.ndarray, row: np.ndarray, place: np.ndarray, search: Search, n_frames: int
) -> np.ndarray:
    """Return the first event of the row that begins within FOUND of each place, -1 without one."""
    stride = 2.0 * n_frames + 10.0 * search.rate
    events = np.repeat(np.arange(len(counts)), counts) * stride + onset
    at = row * stride + place
    first, last = (np.searchsorted(events, at + seconds * search.rate) for seconds in FOUND)
    return np.asarray(np.where(last > first, first, -1))
