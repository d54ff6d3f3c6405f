"""The plain definition of wavelet ridge walking: slow, obvious, and what the kernel is held against."""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np


@lru_cache
def ricker(width):
    """Second derivative of a Gaussian of SD `width`, 5 widths (a multiple of 4 frames) on either side; mean 0, energy 1."""
    reach = 4 * math.ceil(5 * width / 4)
    square = (np.arange(-reach, reach + 1) / width) ** 2
    taps = (1 - square) * np.exp(-square / 2)
    taps -= taps.mean()
    return taps / np.linalg.norm(taps)


def coefficients(stretch, width):
    taps = ricker(width)
    return np.convolve(np.pad(stretch, len(taps) // 2, mode="symmetric"), taps, mode="valid")


@lru_cache
def deviation(n, width):
    """SD of each frame's coefficient in unit white noise of n frames, at least 1: independent frames add up in squares."""
    return np.maximum(np.linalg.norm([coefficients(impulse, width) for impulse in np.eye(n)], axis=0), 1)


def maxima(values):
    """Frames of the positive local maxima, the edges included; of equals the first."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    return np.flatnonzero((values > padded[:-2]) & (values >= padded[2:]) & (values > 0))


def link(ridges, frames, values, reach):
    """Pair ridges with maxima: {frame: ridge}, nearest first."""
    pairs = [
        (abs(frame - ridge["at"][-1]), ridge["missing"], ridge["at"][-1], -values[frame], frame, number)
        for number, ridge in enumerate(ridges)
        for frame in frames
        if abs(frame - ridge["at"][-1]) <= reach
    ]
    linked, walked = {}, set()
    for *_, frame, number in sorted(pairs):
        if frame not in linked and number not in walked:
            linked[frame] = ridges[number]
            walked.add(number)
    return linked


def stretch_ridges(stretch, sigma, widths, shortest, least):
    """{frame: (strength, width)} of one stretch."""
    alive, ended = [], []
    stretch = stretch - stretch[0]
    stretch = stretch - stretch.mean()
    for width in widths[::-1]:
        values = coefficients(stretch, width)
        strength = values / (sigma * deviation(len(stretch), width))
        linked = link(alive, maxima(values), values, max(int(width), 1))
        for ridge in alive:
            ridge["missing"] += 1
        for frame in maxima(values):
            ridge = linked.get(frame)
            if ridge is None:
                ridge = {"at": [], "strengths": [], "missing": 0}
                alive.append(ridge)
            ridge["at"].append(frame)
            ridge["strengths"].append((strength[frame], width))
            ridge["missing"] = 0
        ended += [ridge for ridge in alive if ridge["missing"] > 1]
        alive = [ridge for ridge in alive if ridge["missing"] <= 1]
    found = {}
    for ridge in ended + alive:
        best = max(ridge["strengths"])
        if len(ridge["at"]) >= shortest and best[0] > least:
            found[ridge["at"][-1]] = max(best, found.get(ridge["at"][-1], best))
    return found


def wavelet_ridges(traces, noise, widths, bounds, *, shortest=3, least=3.0):
    """One list of (frame, strength, width) a neuron."""
    rows = []
    for row, sigma in zip(traces.astype(np.float64), noise, strict=True):
        found = {}
        for first, end in pairwise(bounds):
            missing = [t for t in range(first, end) if not np.isfinite(row[t])]
            for start, stop in zip([first, *(t + 1 for t in missing)], [*missing, end], strict=True):
                if stop > start and sigma > 0:
                    ridges = stretch_ridges(row[start:stop], sigma, widths, shortest, least)
                    found |= {start + t: best for t, best in ridges.items()}
        rows.append([(t, *found[t]) for t in sorted(found)])
    return rows
