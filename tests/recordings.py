"""What several test files run the steps on."""

import warnings

import numpy as np

from calcium_engine.analysis import analyze
from calcium_engine.io import make_recording
from calcium_engine.schema import VARIABLES

RATE = 4.8  # Hz


def run(recording, recipe="calibrated", **settings):
    """Analyse without the word on bins of 0.5 s, which are 2.4 frames here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of", UserWarning)
        return analyze(recording, recipe, settings={key.replace("__", "."): value for key, value in settings.items()})


def transients(n, times):
    """Transients of height 1 that begin at these frames and decay with a time constant of 6 frames, n frames in all."""
    lag = np.arange(n) - np.array(times)[:, None]
    return np.where(lag >= 0, np.exp(-np.maximum(lag, 0) / 6.0), 0.0).sum(axis=0)


def with_events(n_neurons, n_frames, rows, frames):
    """A recording that holds nothing but event onsets."""
    made = make_recording(np.zeros((n_neurons, n_frames), np.float32), sampling_rate=RATE, variable="dff")
    table = {"event_neuron": made["neuron"].values[rows], "event_flags": np.zeros(len(rows), int)}
    table |= {f"event_{end}": made["time"].values[frames] for end in ("onset", "peak", "offset")}
    return made.assign({name: VARIABLES[name].wrap(values) for name, values in table.items()})


def poisson_events(n_neurons, n_frames, rate_per_frame, seed, burst=3):
    """A recording with events only: independent bursty neurons."""
    rng = np.random.default_rng(seed)
    rows, frames = np.nonzero(rng.random((n_neurons, n_frames)) < rng.lognormal(np.log(rate_per_frame), 0.5, n_neurons)[:, None])
    extra = rng.geometric(1 / burst, len(rows))
    pairs = {(r, f + 3 * k) for r, f, n in zip(rows, frames, extra, strict=True) for k in range(n) if f + 3 * k < n_frames}
    rows, frames = np.array(sorted(pairs)).T
    return with_events(n_neurons, n_frames, rows, frames)
