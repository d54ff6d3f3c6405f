"""Recordings that hold nothing but events: those of independent, bursty neurons, or events that are given."""

from __future__ import annotations

import numpy as np
import xarray as xr
from common import SAMPLING_RATE

from calcium_engine import make_recording
from calcium_engine.schema import var

N_NEURONS, N_FRAMES = 324, 15000
PER_BURST, WITHIN_BURST = 3.0, (1.0, 2.0)  # events; least and mean interval in s
LEAD = 60.0  # s before the recording, so that bursts under way at its start are there
PAUSE = 30.0  # between epochs, s
LASTS = 1.0  # from onset to offset, s


def bursty_events(rng: np.random.Generator, n_neurons: int, duration: float) -> tuple[np.ndarray, np.ndarray]:
    """Neuron and onset time of each event: bursts at log-normal rates (mean 1 a minute), geometric numbers of events in each."""
    rates = rng.lognormal(-0.32, 0.8, n_neurons) / 60
    neuron = np.repeat(np.arange(n_neurons), rng.poisson(rates * (duration + LEAD)))
    start = rng.uniform(-LEAD, duration, len(neuron))
    size = rng.geometric(1 / PER_BURST, len(neuron))
    least, mean = WITHIN_BURST
    elapsed = np.cumsum(least + rng.exponential(mean - least, size.sum()))
    first = np.cumsum(size) - size
    time = np.repeat(start - elapsed[first], size) + elapsed
    inside = (time >= 0) & (time < duration)
    return np.repeat(neuron, size)[inside], time[inside]


def with_events(
    rows: np.ndarray, frames: np.ndarray, n_neurons: int, n_frames: int, *, rate: float = SAMPLING_RATE, n_epochs: int = 1
) -> xr.Dataset:
    """A recording with these onsets, cut into epochs of equal length."""
    frame = np.arange(n_frames)
    time = frame / rate + PAUSE * (frame // -(-n_frames // n_epochs))
    recording = make_recording(np.zeros((n_neurons, n_frames), np.float32), sampling_rate=rate, time=time)
    onset = recording["time"].values[frames]
    events = {
        "event_neuron": recording["neuron"].values[rows],
        "event_onset": onset,
        "event_offset": onset + LASTS,
        "event_flags": np.zeros(len(rows), np.int64),
    }
    recording = recording.assign({name: var(name).wrap(values) for name, values in events.items()})
    return recording.assign_coords(pair=("neuron", np.arange(n_neurons) // 2))


def bursty_recording(seed: int, *, n_neurons: int = N_NEURONS, n_frames: int = N_FRAMES, n_epochs: int = 1) -> xr.Dataset:
    """A recording of independent bursty neurons, whose activity goes on evenly from one epoch to the next."""
    rows, time = bursty_events(np.random.default_rng(seed), n_neurons, n_frames / SAMPLING_RATE)
    return with_events(rows, (time * SAMPLING_RATE).astype(np.int64), n_neurons, n_frames, n_epochs=n_epochs)
