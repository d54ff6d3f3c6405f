"""What the microscope sees: baselines that drift and bleach, neuropil, movement, shot noise and the camera's smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LONGEST_MOVEMENT = 5  # frames
ANNULUS = 4.0  # its area over that of the neuron: averaged over more pixels, neuropil has less noise

_BRIGHTNESS, _BRIGHTNESS_SPREAD = 300.0, 0.5  # median F0 in a.u., SD of its log
_DRIFT_PERIODS = (120.0, 900.0)  # s
_PITCH = 28.0  # between neighbouring neurons, pixel: 324 of them fill a field of 504 × 504
_REACH = 30.0  # SD of the Gaussian over which an annulus gathers the light of other neurons, pixel
_RATIO_SPREAD, _SURROUND_SPREAD = 0.1, 0.2  # largest relative difference of ratios; SD of the log of neuropil levels
_WAVE, _WAVE_WIDTH = 0.05, 2.0  # log-SD of the slow signal common to all neuropil, SD of its smoothing in s
_JUMP = (0.1, 0.3)  # relative change of a neuron's fluorescence by movement
_AGAINST = 0.15  # share of neurons that movement changes the other way


def rest(
    rng: np.random.Generator, n_neurons: int, duration: float, drift: float, elapsed: np.ndarray, faded: np.ndarray
) -> np.ndarray:
    """Fluorescence at rest, neuron × frame: log-normal brightness, slow drift (three slow waves), bleaching.

    `elapsed` is the time of each frame in units of `duration`, `faded` the share of the brightness left.
    """
    brightness = _BRIGHTNESS * rng.lognormal(0, _BRIGHTNESS_SPREAD, size=n_neurons)
    frequency = 1 / rng.uniform(*_DRIFT_PERIODS, size=(3, n_neurons))
    phase = rng.uniform(0, 2 * np.pi, size=(3, n_neurons))
    weight = drift * rng.dirichlet(np.ones(3), size=n_neurons).T
    out = np.empty((n_neurons, len(elapsed)), dtype=np.float32)
    for i in range(n_neurons):
        angle = (2 * np.pi * duration * frequency[:, i, None] * elapsed + phase[:, i, None]).astype(np.float32)
        out[i] = brightness[i] * faded * (1 + weight[:, i] @ np.cos(angle))
    return out


@dataclass(frozen=True)
class Surround:
    """Neuropil: where each neuron lies (pixel), its share of the neuropil around it, and that neuropil (neuron × frame)."""

    x: np.ndarray
    y: np.ndarray
    ratio: np.ndarray
    signal: np.ndarray


def surround(
    rng: np.random.Generator, dff: np.ndarray, ratio: float, faded: np.ndarray, sampling_rate: float, epochs: Sequence[slice]
) -> Surround:
    """Draw places, ratios and the light between the neurons: a slow wave common to all, and what the neighbours do."""
    n_neurons, n_frames = dff.shape
    side = math.ceil(math.sqrt(n_neurons))
    square = rng.permutation(side**2)[:n_neurons]
    x = _PITCH * (square % side + rng.uniform(0.25, 0.75, size=n_neurons))
    y = _PITCH * (square // side + rng.uniform(0.25, 0.75, size=n_neurons))
    near = np.exp(-((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / (2 * _REACH**2))
    np.fill_diagonal(near, 0.0)
    near /= np.maximum(near.sum(axis=1, keepdims=True), 1e-9)  # a neuron by itself has no neighbours
    ratios = np.asarray(ratio * rng.uniform(1 - _RATIO_SPREAD, 1 + _RATIO_SPREAD, size=n_neurons), dtype=np.float32)
    level = _BRIGHTNESS * rng.lognormal(0, _SURROUND_SPREAD, size=(n_neurons, 1))
    width = _WAVE_WIDTH * sampling_rate
    wave = smooth(rng.standard_normal((1, n_frames)), width, epochs)
    wave *= _WAVE * max(1.0, math.sqrt(2 * math.sqrt(math.pi) * width))  # smoothing has divided the SD by this
    signal = near.astype(np.float32) @ dff
    signal += np.exp(wave, dtype=np.float32)
    signal *= level.astype(np.float32)
    signal *= faded.astype(np.float32)
    return Surround(x, y, ratios, signal)


def expose(dff: np.ndarray, baseline: np.ndarray, around: Surround | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the fluorescence of these transients, and the baseline with the median level of the neuropil in it."""
    if around is None:
        return baseline * (1 + dff), baseline
    share = around.ratio[:, None] * around.signal
    level = np.median(share, axis=1, keepdims=True)
    baseline = baseline + level
    return baseline * (1 + dff) + (share - level), baseline


def move(rng: np.random.Generator, light: np.ndarray, times: int) -> np.ndarray:
    """Make all neurons jump together so many times, in place, and tell in which frames."""
    n_neurons, n_frames = light.shape
    apart = LONGEST_MOVEMENT + 1
    moved = np.zeros(n_frames, dtype=bool)
    first = np.sort(rng.integers(0, n_frames - apart * times, size=times)) + apart * np.arange(times)
    for start, length in zip(first, rng.integers(1, LONGEST_MOVEMENT + 1, size=times), strict=True):
        frames = slice(start, start + length)
        change = rng.choice([-1, 1]) * rng.uniform(*_JUMP, size=n_neurons)
        change[rng.random(n_neurons) < _AGAINST] *= -1
        light[:, frames] *= (1 + change[:, None]).astype(np.float32)
        moved[frames] = True
    return moved


def add_noise(rng: np.random.Generator, light: np.ndarray, still: np.ndarray, noise: float) -> None:
    """Add shot noise in place: relative to `still`, on average over its frames, it has the SD `noise`."""
    for row, at_rest in zip(light, still, strict=True):
        # variance is proportional to fluorescence, with the gain at which the mean of the baseline has the noise asked for
        gain = np.float32(noise) * np.sqrt(at_rest.mean())
        row += gain * np.sqrt(row) * rng.standard_normal(len(row), dtype=np.float32)


def smooth(traces: np.ndarray, width: float, epochs: Sequence[slice]) -> np.ndarray:
    """Smooth each epoch of the traces by a Gaussian of SD `width`, in frames."""
    from scipy.ndimage import gaussian_filter1d

    out = np.empty_like(traces)
    for epoch in epochs:
        out[:, epoch] = gaussian_filter1d(traces[:, epoch], width, axis=-1)
    return out
