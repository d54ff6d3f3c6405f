"""Transients of known shape, and free places for them in a recording's traces."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from calcium_engine.blocks import frames_of
from calcium_engine.schema import epoch_bounds, sampling_rate

AMPLITUDES = np.array([0.1, 0.2, 0.5, 1.0, 2.0])  # ΔF/F
WIDTHS = np.array([0.5, 1.0, 2.0, 5.0])  # FWHM, s
RISE = 0.1  # time constant of a transient's rise over that of its decay, near that of the common indicators
LENGTH = 8.0  # FWHMs after its onset, 0.05 % of a transient is left
APART = 120.0  # s from one transient planted in a trace to the next: with more of them it would be a more active trace
STILL = 1.0  # s before a planted transient without an event; after its onset it is twice its FWHM


class Plants(NamedTuple):
    """Planted transients: row and frame of each one's onset, and the places of its FWHM and amplitude in their lists."""

    row: np.ndarray
    frame: np.ndarray
    width: np.ndarray
    size: np.ndarray


def template(fwhm: float, n_frames: int, rate: float) -> np.ndarray:
    """Return a transient of peak 1 with its onset in the middle of the first frame, as the mean over each frame's exposure.

    (1 - exp(-t / rise)) exp(-t / decay), integrated in closed form; its FWHM is taken from a fine grid.

    >>> template(1.0, 5, 4.0).round(2).tolist()
    [0.27, 0.97, 0.85, 0.67, 0.53]
    """
    fine = np.linspace(0.0, 3.0, 30001)  # in units of the decay constant
    shape = (1 - np.exp(-fine / RISE)) * np.exp(-fine)
    above = fine[shape >= shape.max() / 2]
    decay = fwhm / (above[-1] - above[0])
    both = decay * RISE / (1 + RISE)
    edges = np.concatenate([[0.0], np.arange(n_frames) + 0.5]) / rate
    integral = decay * (1 - np.exp(-edges / decay)) - both * (1 - np.exp(-edges / both))
    return np.asarray(np.diff(integral) * rate / shape.max())


def plan(busy: np.ndarray, recording: xr.Dataset, rng: np.random.Generator) -> Plants:
    """Choose what to plant where: all kinds in turn, at random among the next free places of a row, far from each other.

    Args:
        busy: rows × frames, true inside events and where a sample is missing.
        recording: gives rate and epochs.
        rng: draws the places.
    """
    bounds, before, apart = epoch_bounds(recording), frames_of(STILL, recording), frames_of(APART, recording)
    places = [_places(busy, bounds, before, frames_of(2 * fwhm, recording)) for fwhm in WIDTHS.tolist()]
    deck, chosen = _deck(rng), []
    for row in range(len(busy)):
        earliest = 0
        for _ in range(slots(recording)):
            width, size = divmod(next(deck), len(AMPLITUDES))
            free = places[width][row]
            first = int(np.searchsorted(free, earliest))
            among = min(len(free) - first, max(1, apart // 4))
            if among > 0:
                frame = int(free[first + rng.integers(among)])
                chosen.append((row, frame, width, size))
                earliest = frame + apart
    return Plants(*np.array(chosen, np.int64).reshape(-1, 4).T)


def slots(recording: xr.Dataset) -> int:
    """Return how many transients one trace has room for."""
    return int(np.ceil(recording.sizes["frame"] / frames_of(APART, recording)))


def _places(busy: np.ndarray, bounds: np.ndarray, before: int, after: int) -> list[np.ndarray]:
    """Return, row by row, the frames at which a transient may start: none is busy from `before` up to `after`."""
    free = np.zeros(busy.shape, bool)
    total = np.pad(np.cumsum(busy, axis=1), ((0, 0), (1, 0)))
    for start, stop in pairwise(bounds):
        first, last = start + before, stop - after
        if first < last:
            free[:, first:last] = total[:, first + after : last + after] == total[:, start : last - before]
    return [np.flatnonzero(row) for row in free]


def _deck(rng: np.random.Generator) -> Iterator[int]:
    """Deal all kinds of transients in random order, again and again, so that none comes short."""
    while True:
        yield from rng.permutation(len(WIDTHS) * len(AMPLITUDES)).tolist()


def transients(plants: Plants, unit: np.ndarray, recording: xr.Dataset) -> np.ndarray:
    """Return what is to be added to the rows, in units of theirs: each transient up to the end of its epoch."""
    bounds, rate = epoch_bounds(recording), sampling_rate(recording)
    ends = bounds[np.searchsorted(bounds, plants.frame, side="right")]
    shapes = [template(fwhm, frames_of(LENGTH * fwhm, recording), rate) for fwhm in WIDTHS.tolist()]
    added = np.zeros_like(unit)
    for row, frame, width, size, end in zip(*plants, ends, strict=True):
        stop = min(frame + len(shapes[width]), end)
        added[row, frame:stop] += AMPLITUDES[size] * unit[row, frame:stop] * shapes[width][: stop - frame]
    return added
