"""Recordings with a known truth: spikes, ensembles and baseline are planted, then seen through an indicator and a microscope.

Spontaneous bursts and ensemble events make action potentials in continuous time; the indicator turns them into calcium
transients; baseline, drift and bleaching scale them; the camera averages over each frame and adds shot noise. What was planted
comes back in the same Dataset under names that start with `true_`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine import schema
from calcium_engine.indicators import Indicator, get_indicator
from calcium_engine.io.recording import make_recording
from calcium_engine.schema import CalciumError, var

# A transient of n simultaneous spikes is n^exponent times as large as that of one spike. Fitted to the amplitudes of 2, 3 and 4
# spikes over 1: GCaMP6s 2.3, 3.6, 5.4; GCaMP6f 1.9, 3.7, 5.3; jGCaMP8m 1.9, 2.8, 3.8. The others take their nearest relative's.
_EXPONENT = {"GCaMP6s": 1.2, "GCaMP6f": 1.2, "jGCaMP7f": 1.2, "jGCaMP8m": 0.95, "jGCaMP8s": 0.95}

_RATE_SPREAD = 0.8  # SD of the log of the neurons' rates
_BRIGHTNESS, _BRIGHTNESS_SPREAD = 300.0, 0.5  # median F0 in a.u., SD of its log
_SHORTEST_INTERVAL, _MEAN_INTERVAL = 0.005, 0.030  # between the spikes of a burst, s
_APART = 2.0  # least time between planted ensemble events, s: closer ones could not be told apart
_DRIFT_PERIODS = (120.0, 900.0)  # s
_ROWS = 16  # neurons at a time, so that memory stays small
_QUIET = 1e-6  # calcium, in units of one spike's peak, below which a transient is over


def simulate_recording(
    *,
    n_neurons: int = 324,
    n_frames: int = 15000,
    sampling_rate: float = 4.8,
    indicator: str = "GCaMP6s",
    event_rate: float = 3.0,
    spikes_per_event: float = 2.5,
    n_ensembles: int = 6,
    ensemble_size: int | None = None,
    ensemble_rate: float = 1.0,
    reliability: float = 0.7,
    jitter: float = 0.1,
    noise_level: float = 2.0,
    drift: float = 0.1,
    bleaching: float = 0.1,
    missing_frames: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate a recording whose spikes, ensembles and baseline are known.

    Args:
        n_neurons: number of neurons.
        n_frames: number of frames, at least 2.
        sampling_rate: frames per second, Hz. A frame is the mean over its whole exposure, centred on its time.
        indicator: the calcium indicator, which sets size and kinetics of the transients.
        event_rate: mean rate of a neuron's spontaneous bursts, per minute; log-normal over neurons.
        spikes_per_event: mean number of spikes of a burst (geometric, at least 1).
        n_ensembles: number of planted ensembles; 0 plants none.
        ensemble_size: members of each ensemble, drawn independently, so that ensembles may share some. By default 25, or a fifth
            of the neurons where there are fewer than 125.
        ensemble_rate: events of each ensemble per minute. Planted events lie at least 2 s apart.
        reliability: chance that a member fires in an event of its ensemble.
        jitter: SD of a member's timing around the event, s.
        noise_level: shot noise at the baseline as ν, in %·Hz^-½ (Rupprecht et al. 2021, Nat Neurosci 24:1324); its SD
            grows with the root of the fluorescence.
        drift: largest slow change of the baseline, as a fraction.
        bleaching: fraction of the baseline lost, exponentially, by the end.
        missing_frames: number of frames, at random, in which all neurons are NaN.
        seed: the same seed gives the same bytes. Spikes do not depend on indicator, noise, drift, bleaching or missing frames.

    Returns:
        A recording with `fluorescence` (a.u.) and the truth: `true_spikes`, `true_spike_time`, `true_spike_neuron`, `true_dff`,
        `true_baseline`, `true_ensemble_time`, `true_ensemble_label` (1..K), `true_participation` and `true_member`. The
        attributes of `true_spikes` hold every parameter.

    Raises:
        CalciumError: an argument is out of its range.

    >>> recording = simulate_recording(n_neurons=5, n_frames=100, n_ensembles=2, seed=1)
    >>> dict(recording.fluorescence.sizes)
    {'neuron': 5, 'frame': 100}
    """
    arguments = dict(locals())  # every argument by its name, for the checks and the record
    _check(arguments)
    kinetics = get_indicator(indicator)
    n_neurons, n_frames, n_ensembles = int(n_neurons), int(n_frames), int(n_ensembles)
    size = int(ensemble_size) if ensemble_size is not None else min(25, max(1, n_neurons // 5))
    arguments |= {"indicator": kinetics.name, "ensemble_size": size}
    duration = n_frames / sampling_rate
    # one stream of random numbers for each matter, so that changing one leaves the others as they were
    plans, bursts, optics, shots, gaps = map(np.random.default_rng, np.random.SeedSequence(int(seed)).spawn(5))

    planted = _plant(plans, n_neurons, n_ensembles, size, ensemble_rate / 60, reliability, jitter, duration)
    spikes = _fire(bursts, planted, n_neurons, event_rate / 60, spikes_per_event, duration)
    baseline = _baseline(optics, n_neurons, n_frames, duration, drift, bleaching)
    dff = _transients(spikes, n_neurons, n_frames, 1 / sampling_rate, kinetics)
    fluorescence = _expose(shots, baseline, dff, noise_level * math.sqrt(sampling_rate) / 100)
    fluorescence[:, gaps.choice(n_frames, size=int(missing_frames), replace=False)] = np.nan

    recording = make_recording(fluorescence, sampling_rate=sampling_rate, source="simulation")
    recording = recording.assign(_truth(recording, spikes, planted, dff, baseline, arguments))
    return schema.record(recording.assign_attrs(indicator=kinetics.name), "simulate_recording", **arguments)


# What each number may be: (least, most, whole)
_RANGES: dict[str, tuple[float, float, bool]] = {
    "n_neurons": (1, math.inf, True),
    "n_frames": (2, math.inf, True),
    "sampling_rate": (0.1, 10_000, False),
    "event_rate": (0, 600, False),
    "spikes_per_event": (1, 100, False),
    "n_ensembles": (0, math.inf, True),
    "ensemble_size": (1, math.inf, True),
    "ensemble_rate": (0, math.inf, False),
    "reliability": (0, 1, False),
    "jitter": (0, 10, False),
    "noise_level": (0, 1000, False),
    "drift": (0, 0.9, False),
    "bleaching": (0, 0.99, False),
    "missing_frames": (0, math.inf, True),
    "seed": (0, math.inf, True),
}


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuse numbers that no recording could have."""
    for name, (least, most, whole) in _RANGES.items():
        value = arguments[name]
        if value is None and name == "ensemble_size":
            continue
        kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds) or not (least <= value <= most and value < math.inf):
            bounds = f"of {least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
            raise CalciumError(f"{name} is {value!r}, but must be a {'whole ' if whole else ''}number {bounds}")
    if (arguments["ensemble_size"] or 0) > arguments["n_neurons"]:
        raise CalciumError(f"an ensemble of {arguments['ensemble_size']} does not fit into {arguments['n_neurons']} neurons")
    if arguments["missing_frames"] >= arguments["n_frames"]:
        raise CalciumError(
            f"missing_frames is {arguments['missing_frames']}, which leaves none of {arguments['n_frames']} frames"
        )
    per_minute = arguments["n_ensembles"] * arguments["ensemble_rate"]
    if per_minute > 30 / _APART:
        raise CalciumError(
            f"n_ensembles × ensemble_rate is {per_minute:g} events a minute, but with {_APART:g} s between them at most "
            f"{30 / _APART:g} can be planted at random; give a lower ensemble_rate"
        )


@dataclass(frozen=True)
class _Planted:
    """Ensembles: who belongs (ensemble × neuron), when which one is active, who fires then and at what time (event × neuron)."""

    member: np.ndarray
    time: np.ndarray
    label: np.ndarray
    fired: np.ndarray
    start: np.ndarray


def _plant(
    rng: np.random.Generator,
    n_neurons: int,
    n_ensembles: int,
    size: int,
    rate: float,
    reliability: float,
    jitter: float,
    duration: float,
) -> _Planted:
    """Draw members and events of the ensembles; time 0 is the start of the first exposure."""
    member = np.zeros((n_ensembles, n_neurons), dtype=bool)
    for row in member:
        row[rng.choice(n_neurons, size=size, replace=False)] = True
    label = np.repeat(np.arange(n_ensembles), rng.poisson(rate * duration, size=n_ensembles))
    label = rng.permutation(label)[: int(duration // _APART)]
    # uniform times in what is left after taking out the gaps, then the gaps put back: a Poisson process with a dead time
    time = np.sort(rng.uniform(0, duration - _APART * len(label), size=len(label))) + _APART * np.arange(len(label))
    start = time[:, None] + jitter * rng.standard_normal((len(label), n_neurons))
    fired = member[label] & (rng.random((len(label), n_neurons)) < reliability) & (start >= 0) & (start < duration)
    return _Planted(member, time, label, fired, start)


def _fire(
    rng: np.random.Generator, planted: _Planted, n_neurons: int, rate: float, spikes_per_event: float, duration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw every spike, spontaneous or planted: neuron and time in s, sorted by neuron, then by time."""
    rates = rate * rng.lognormal(-(_RATE_SPREAD**2) / 2, _RATE_SPREAD, size=n_neurons)
    alone = np.repeat(np.arange(n_neurons), rng.poisson(rates * duration))
    together = np.nonzero(planted.fired)
    neuron = np.concatenate([alone, together[1]])
    start = np.concatenate([rng.uniform(0, duration, size=len(alone)), planted.start[together]])
    count = rng.geometric(1 / spikes_per_event, size=len(neuron))
    first = np.cumsum(count) - count
    elapsed = np.cumsum(_SHORTEST_INTERVAL + rng.exponential(_MEAN_INTERVAL - _SHORTEST_INTERVAL, size=int(count.sum())))
    neuron = np.repeat(neuron, count)
    time = np.repeat(start - elapsed[first], count) + elapsed
    kept = time < duration
    neuron, time = neuron[kept], time[kept]
    order = np.lexsort((time, neuron))
    return neuron[order], time[order]


def _baseline(
    rng: np.random.Generator, n_neurons: int, n_frames: int, duration: float, drift: float, bleaching: float
) -> np.ndarray:
    """Fluorescence at rest, neuron × frame: log-normal brightness, slow drift (three slow waves), exponential bleaching."""
    brightness = _BRIGHTNESS * rng.lognormal(0, _BRIGHTNESS_SPREAD, size=n_neurons)
    frequency = 1 / rng.uniform(*_DRIFT_PERIODS, size=(3, n_neurons))
    phase = rng.uniform(0, 2 * np.pi, size=(3, n_neurons))
    weight = drift * rng.dirichlet(np.ones(3), size=n_neurons).T
    progress = (np.arange(n_frames) + 0.5) / n_frames
    bleached = np.exp(progress * np.log1p(-bleaching))
    out = np.empty((n_neurons, n_frames), dtype=np.float32)
    for i in range(n_neurons):
        angle = (2 * np.pi * duration * frequency[:, i, None] * progress + phase[:, i, None]).astype(np.float32)
        out[i] = brightness[i] * bleached * (1 + weight[:, i] @ np.cos(angle))
    return out


def _time_constants(time_to_peak: float, half_decay: float, exponent: float) -> tuple[float, float]:
    """Return (decay, rise) for which exp(-t/decay) - exp(-t/rise), raised to `exponent`, peaks and halves when asked to."""
    left = 0.5 ** (1 / exponent)

    def constants(log_ratio: float) -> tuple[float, float]:
        decay = time_to_peak * math.expm1(log_ratio) / log_ratio
        return decay, decay / math.exp(log_ratio)

    def kept(log_ratio: float) -> float:
        decay, rise = constants(log_ratio)
        late = time_to_peak + half_decay
        return (math.exp(-late / decay) - math.exp(-late / rise)) / (
            math.exp(-time_to_peak / decay) - math.exp(-time_to_peak / rise)
        )

    low, high = 1e-3, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) < left else (low, middle)
    return constants(low)


def _transients(
    spikes: tuple[np.ndarray, np.ndarray], n_neurons: int, n_frames: int, exposure: float, indicator: Indicator
) -> np.ndarray:
    """ΔF/F, neuron × frame: spikes through the indicator, averaged over each exposure.

    Calcium is linear in the spikes, so its mean over a slice of a frame is exact. Slices are so short that fluorescence, a power
    of calcium, may be taken of the slice's mean.
    """
    from scipy.signal import lfilter

    exponent = _EXPONENT[indicator.name]
    decay, rise = _time_constants(indicator.time_to_peak, indicator.half_decay, exponent)
    peak = math.exp(-indicator.time_to_peak / decay) - math.exp(-indicator.time_to_peak / rise)
    slices = min(8, math.ceil(4 * exposure / indicator.time_to_peak))
    n_bins, width = n_frames * slices, exposure / slices
    bounds = np.searchsorted(spikes[0], np.arange(0, n_neurons + _ROWS, _ROWS))
    out = np.empty((n_neurons, n_frames), dtype=np.float32)
    for block, (low, high) in enumerate(itertools.pairwise(bounds)):
        first = block * _ROWS
        rows = out[first : first + _ROWS]
        position = spikes[1][low:high] / width
        bin_of = np.minimum(position.astype(np.int64), n_bins - 1)
        rest = (bin_of + 1 - position) * width  # from the spike to the end of its slice
        flat = (spikes[0][low:high] - first) * n_bins + bin_of
        calcium = np.zeros((len(rows), n_bins))
        for tau, sign in ((decay, 1 / peak), (rise, -1 / peak)):
            left = np.exp(-rest / tau)
            within = np.bincount(flat, tau / width * (1 - left), minlength=calcium.size).reshape(calcium.shape)
            # a trickle keeps the filter's memory out of the subnormal numbers, where arithmetic is slow
            onward = np.bincount(flat, left, minlength=calcium.size).reshape(calcium.shape) + 1e-30
            kept = math.exp(-width / tau)
            calcium += sign * (within + tau / width * (1 - kept) * lfilter([0, 1], [1, -kept], onward))
        bright = np.zeros(calcium.shape, dtype=np.float32)
        np.power(calcium.astype(np.float32), np.float32(exponent), out=bright, where=calcium > _QUIET)
        rows[:] = indicator.amplitude * bright.reshape(len(rows), n_frames, slices).mean(axis=-1)
    return out


def _expose(rng: np.random.Generator, baseline: np.ndarray, dff: np.ndarray, step: float) -> np.ndarray:
    """Add shot noise to the fluorescence; `step` is the median change of ΔF/F at rest from one frame to the next."""
    # the median of |difference of two normal samples| is 0.6745·√2 standard deviations
    noise = np.float32(step / (0.674490 * math.sqrt(2)))
    out: np.ndarray = baseline * (1 + dff)
    for i, row in enumerate(out):
        # variance is proportional to fluorescence, with the gain at which the mean baseline has the noise asked for
        gain = noise * np.sqrt(baseline[i].mean())
        row += gain * np.sqrt(row) * rng.standard_normal(len(row), dtype=np.float32)
    return out


def _truth(
    recording: xr.Dataset,
    spikes: tuple[np.ndarray, np.ndarray],
    planted: _Planted,
    dff: np.ndarray,
    baseline: np.ndarray,
    arguments: Mapping[str, Any],
) -> dict[str, xr.DataArray]:
    """Label what was planted; times are counted from the middle of the first exposure, as the recording's are."""
    exposure = 1 / schema.sampling_rate(recording)
    n_neurons, n_frames = dff.shape
    frame = np.minimum((spikes[1] / exposure).astype(np.int64), n_frames - 1)
    counts = np.zeros((n_neurons, n_frames), dtype=np.uint16)
    np.add.at(counts, (spikes[0], frame), 1)
    neurons = recording["neuron"].values
    ensembles = {"true_ensemble": np.arange(1, len(planted.member) + 1)}
    return {
        "true_spikes": var("true_spikes").wrap(counts, **arguments),
        "true_spike_neuron": var("true_spike_neuron").wrap(neurons[spikes[0]]),
        "true_spike_time": var("true_spike_time").wrap(spikes[1] - exposure / 2),
        "true_dff": var("true_dff").wrap(dff),
        "true_baseline": var("true_baseline").wrap(baseline),
        "true_ensemble_time": var("true_ensemble_time").wrap(planted.time - exposure / 2),
        "true_ensemble_label": var("true_ensemble_label").wrap(planted.label + 1),
        "true_participation": var("true_participation").wrap(planted.fired),
        "true_member": var("true_member").wrap(planted.member).assign_coords(ensembles),
    }
