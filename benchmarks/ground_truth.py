"""Recordings with the spikes recorded at the same time, at the frame rate and the noise that are asked for.

The field's collection (Rupprecht et al. 2021, Nat Neurosci 24:1324), a folder a data set, a file a neuron: ΔF/F with its times,
and the times of action potentials. A recording takes part at a rate if it was taken at 0.85 of that or more, lasts 30 s, and is
not noisier than asked for; its mean over each frame's exposure is taken, and white noise added up to the noise level ν, several
times anew: each draw is a neuron of the recording that comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

import calcium_engine as ce
from calcium_engine.schema import var

SETS = {
    "GCaMP6s": ("ground_truth/DS14-GCaMP6s-m-V1", "GCaMP6s"),
    "GCaMP6f": ("ground_truth/DS09-GCaMP6f-m-V1", "GCaMP6f"),
    "GCaMP6s, spinal cord": ("ground_truth/DS40-GCaMP6s-spinal-cord-excitatory", "GCaMP6s"),
}
FASTER, SHORTEST = 0.85, 30.0  # share of the rate; s
MEDIAN_OF_DIFFERENCE = 0.6745 * np.sqrt(2.0)  # of white noise, in its SD


@dataclass(frozen=True)
class Trial:
    """One recording of one neuron: ΔF/F at these times, and its spikes (s)."""

    neuron: str
    time: np.ndarray
    dff: np.ndarray
    spikes: np.ndarray

    @property
    def rate(self) -> float:
        """Frames per second."""
        return float(1.0 / np.median(np.diff(self.time)))

    @property
    def noise_level(self) -> float:
        """The noise level ν that it was recorded with, % Hz^-1/2."""
        return float(100.0 * np.median(np.abs(np.diff(self.dff))) / np.sqrt(self.rate))

    def at(self, rate: float, noise_level: float, draws: int, rng: np.random.Generator) -> xr.Dataset | None:
        """Return it at this rate and noise, or None where it has too few frames or too much noise for that."""
        if self.rate < FASTER * rate or self.time[-1] - self.time[0] < SHORTEST or self.noise_level > noise_level:
            return None
        edges = np.arange(self.time[0], self.time[-1], 1.0 / rate)
        steps = 0.5 * (self.dff[1:] + self.dff[:-1]) * np.diff(self.time)
        mean = np.diff(np.interp(edges, self.time, np.concatenate([[0.0], np.cumsum(steps)]))) * rate
        added = np.sqrt(noise_level**2 - self.noise_level**2) / 100.0 * np.sqrt(rate) / MEDIAN_OF_DIFFERENCE
        traces = (mean + rng.normal(0.0, added, (draws, len(mean)))).astype(np.float32)
        recording = ce.make_recording(traces, sampling_rate=rate, variable="dff")
        inside = (self.spikes >= edges[0]) & (self.spikes < edges[-1])
        spikes = np.sort(self.spikes[inside] - edges[0] - 0.5 / rate)  # a frame's time is the middle of its exposure
        return recording.assign(
            true_spike_time=var("true_spike_time").wrap(np.tile(spikes, draws)),
            true_spike_neuron=var("true_spike_neuron").wrap(np.repeat(recording["neuron"].values, len(spikes))),
        )


def trials(folder: Path) -> Iterator[Trial]:
    """Read a data set."""
    from scipy.io import loadmat

    for path in sorted(folder.glob("*.mat")):
        for trial in loadmat(path)["CAttached"][0]:
            cell = trial[0][0]
            if cell.dtype.names is None or "fluo_time" not in cell.dtype.names:
                continue
            time = cell["fluo_time"].astype(float).ravel()
            dff = cell["fluo_mean"].astype(float).ravel()[: len(time)]
            spikes = cell["events_AP"].astype(float).ravel()
            known = np.isfinite(time)
            yield Trial(path.stem, time[known], dff[known], spikes[np.isfinite(spikes)] / 1e4)


def clean(recording: xr.Dataset) -> xr.Dataset:
    """Clean ΔF/F as the calibrated recipe does; what is shorter than its window keeps its background."""
    if recording.sizes["frame"] / float(recording["sampling_rate"]) > 20.0:
        recording = ce.subtract_background(recording, window=20.0)
    return ce.denoise(ce.estimate_noise(recording))
