"""The whole simulation: its arguments and their checks, the streams of random numbers, and the truth beside the fluorescence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine import schema
from calcium_engine.indicators import get_indicator
from calcium_engine.io.recording import label_neurons, make_recording
from calcium_engine.schema import GAP, CalciumError, var
from calcium_engine.simulate import optics
from calcium_engine.simulate.activity import APART, Planted, fire, plant, shared_members
from calcium_engine.simulate.ranges import check_ranges
from calcium_engine.simulate.transients import transients


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
    ensemble_overlap: float | None = None,
    ensemble_rate: float = 1.0,
    reliability: float = 0.7,
    jitter: float = 0.1,
    order: float = 0.0,
    modulation: float = 0.0,
    modulation_period: float = 120.0,
    noise_level: float = 2.0,
    drift: float = 0.1,
    bleaching: float = 0.1,
    neuropil: float = 0.0,
    movement: int = 0,
    low_pass: float = 0.0,
    gap: float = 0.0,
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
        ensemble_size: members of each ensemble. By default 25, or a fifth of the neurons where there are fewer than 125.
        ensemble_overlap: share of the members of each ensemble but the first that are members of earlier ones, too: 0 makes them
            disjoint. By default all are drawn independently.
        ensemble_rate: events of each ensemble per minute. Planted events lie at least 2 s apart.
        reliability: chance that a member fires in an event of its ensemble.
        jitter: SD of a member's timing around the event, s.
        order: time over which the members of an ensemble start one after the other, s: evenly, always in the same order, half of
            them before the event's time. Jitter comes on top.
        modulation: depth of a slow change that all neurons' spontaneous rates share: they go as 1 + depth · sin(2πt / period).
        modulation_period: period of that change, s.
        noise_level: shot noise at the baseline as ν, in %·Hz^-½ (Rupprecht et al. 2021, Nat Neurosci 24:1324); its SD
            grows with the root of the fluorescence.
        drift: largest slow change of the baseline, as a fraction.
        bleaching: fraction of the baseline lost, exponentially, by the end.
        neuropil: share r of the surrounding neuropil in a neuron's fluorescence, which differs by up to 10 % between neurons; 0.7
            is the field's guess (Chen et al. 2013, Nature 499:295). An annulus sees slow waves common to all neuropil, the
            activity of neighbours and noise, at about the brightness of a neuron.
        movement: number of movement artefacts: for 1 to 5 frames the fluorescence of each neuron is 10 to 30 % higher or lower,
            most neurons' in the same direction. Neuropil, which is alike all around, keeps its level.
        low_pass: SD of a Gaussian over which the traces with their noise are smoothed, frames, as cameras and denoisers do.
            `noise_level` and `true_dff` are as before it.
        gap: pause in the middle of the recording, s: over 1 (or 0 for none), so that a second epoch starts. Drift goes on in it,
            bleaching does not, and neurons come out of it at rest.
        missing_frames: number of frames, at random, in which all neurons are NaN.
        seed: the same seed gives the same bytes. Each matter has random numbers of its own: the indicator and all arguments after
            `modulation_period` leave the spikes as they are (a gap delays those after it).

    Returns:
        A recording with `fluorescence` (a.u.) and the truth: `true_spikes`, `true_spike_time`, `true_spike_neuron`, `true_dff`,
        `true_baseline`, `true_ensemble_time`, `true_ensemble_label` (1..K), `true_participation` and `true_member`. The
        attributes of `true_spikes` hold every parameter. An order adds `true_latency` (s), movement `true_movement`; neuropil
        adds `neuropil` (a.u.), `true_neuropil_ratio` and the coordinates `x` and `y` (pixel).

        `true_baseline` is F0 as `subtract_neuropil` leaves it: the neuron's own, with its drift and bleaching, and the constant
        r · median(neuropil). `true_dff` is relative to it, so that before noise and movement
        fluorescence = true_baseline · (1 + true_dff) + r · (neuropil - median(neuropil)).

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
    if ensemble_overlap is not None:
        _check_room(n_neurons, n_ensembles, size, ensemble_overlap)
    arguments |= {"indicator": kinetics.name, "ensemble_size": size}
    duration, exposure = n_frames / sampling_rate, 1 / sampling_rate
    epochs = [slice(0, n_frames // 2), slice(n_frames // 2, n_frames)] if gap else [slice(0, n_frames)]
    # one stream of random numbers for each matter, so that changing one leaves the others as they were; a new one goes last
    plans, bursts, *streams, ranks = map(np.random.default_rng, np.random.SeedSequence(int(seed)).spawn(8))

    planted = plant(
        plans,
        ranks,
        n_neurons,
        n_ensembles,
        size,
        ensemble_overlap,
        ensemble_rate / 60,
        reliability,
        jitter,
        order,
        duration,
    )
    spikes = fire(bursts, planted, n_neurons, event_rate / 60, spikes_per_event, modulation, modulation_period, duration)
    frame = _frame_of(spikes[1], exposure, n_frames)
    dff = np.empty((n_neurons, n_frames), dtype=np.float32)
    for epoch in epochs:
        within = (frame >= epoch.start) & (frame < epoch.stop)
        fired = spikes[0][within], spikes[1][within] - epoch.start * exposure
        dff[:, epoch] = transients(fired, n_neurons, epoch.stop - epoch.start, exposure, kinetics)
    pause = np.zeros(n_frames)
    pause[epochs[-1].start :] = gap

    recording = _see(
        streams,
        dff,
        epochs,
        pause,
        sampling_rate,
        noise_level,
        drift,
        bleaching,
        neuropil,
        int(movement),
        low_pass,
        missing_frames,
    )
    recording = recording.assign(_planted(recording, spikes, planted, dff, pause, arguments))
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
    "ensemble_overlap": (0, 1, False),
    "ensemble_rate": (0, math.inf, False),
    "reliability": (0, 1, False),
    "jitter": (0, 10, False),
    "order": (0, 10, False),
    "modulation": (0, 1, False),
    "modulation_period": (1, math.inf, False),
    "noise_level": (0, 1000, False),
    "drift": (0, 0.9, False),
    "bleaching": (0, 0.99, False),
    "neuropil": (0, 2, False),
    "movement": (0, math.inf, True),
    "low_pass": (0, 100, False),
    "gap": (0, math.inf, False),
    "missing_frames": (0, math.inf, True),
    "seed": (0, math.inf, True),
}


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuse numbers that no recording could have."""
    left_open = {name for name in ("ensemble_size", "ensemble_overlap") if arguments[name] is None}
    check_ranges(arguments, {name: one for name, one in _RANGES.items() if name not in left_open})
    if (arguments["ensemble_size"] or 0) > arguments["n_neurons"]:
        raise CalciumError(f"an ensemble of {arguments['ensemble_size']} does not fit into {arguments['n_neurons']} neurons")
    if arguments["missing_frames"] >= arguments["n_frames"]:
        raise CalciumError(
            f"missing_frames is {arguments['missing_frames']}, which leaves none of {arguments['n_frames']} frames"
        )
    if 0 < arguments["gap"] <= GAP:
        raise CalciumError(f"gap is {arguments['gap']:g} s, but only over {GAP:g} s starts a new epoch; 0 is none")
    least = max(4 if arguments["gap"] else 2, (optics.LONGEST_MOVEMENT + 1) * arguments["movement"] + 1)
    if arguments["n_frames"] < least:
        raise CalciumError(
            f"n_frames is {arguments['n_frames']}, but a gap of {arguments['gap']:g} s and {arguments['movement']} movements "
            f"need {least} or more"
        )
    per_minute = arguments["n_ensembles"] * arguments["ensemble_rate"]
    if per_minute > 30 / APART:
        raise CalciumError(
            f"n_ensembles × ensemble_rate is {per_minute:g} events a minute, but with {APART:g} s between them at most "
            f"{30 / APART:g} can be planted at random; give a lower ensemble_rate"
        )


def _check_room(n_neurons: int, n_ensembles: int, size: int, overlap: float) -> None:
    """Refuse ensembles that share too little to fit."""
    needed = size + max(n_ensembles - 1, 0) * (size - shared_members(size, overlap))
    if n_ensembles and needed > n_neurons:
        raise CalciumError(
            f"{n_ensembles} ensembles of {size} with an ensemble_overlap of {overlap:g} need {needed} neurons, but there are "
            f"{n_neurons}; give more overlap, or a smaller ensemble_size"
        )


def _frame_of(time: np.ndarray, exposure: float, n_frames: int) -> np.ndarray:
    """Return the frame during whose exposure each time lies."""
    frame: np.ndarray = np.minimum((time / exposure).astype(np.int64), n_frames - 1)
    return frame


def _see(
    streams: Sequence[np.random.Generator],
    dff: np.ndarray,
    epochs: Sequence[slice],
    pause: np.ndarray,
    sampling_rate: float,
    noise_level: float,
    drift: float,
    bleaching: float,
    neuropil: float,
    movement: int,
    low_pass: float,
    missing_frames: int,
) -> xr.Dataset:
    """Make the recording of these transients, with the truth about baseline, neuropil and movement."""
    lights, shots, losses, haze, jolts = streams
    n_neurons, n_frames = dff.shape
    frames, duration = np.arange(n_frames), n_frames / sampling_rate
    progress = (frames + 0.5) / n_frames
    faded = np.exp(progress * np.log1p(-bleaching))
    baseline = optics.rest(lights, n_neurons, duration, drift, progress + pause / duration, faded)
    around = optics.surround(haze, dff, neuropil, faded, sampling_rate, epochs) if neuropil else None
    light, baseline = optics.expose(dff, baseline, around)
    moved = optics.move(jolts, light, movement)
    # the median of |difference of two normal samples| is 0.6745·√2 standard deviations
    noise = noise_level * math.sqrt(sampling_rate) / 100 / (0.674490 * math.sqrt(2))
    optics.add_noise(shots, light, baseline, noise)
    measured, added = [light], {"true_baseline": baseline}
    if movement:
        added["true_movement"] = moved
    if around is not None:
        optics.add_noise(haze, around.signal, around.signal, noise / math.sqrt(optics.ANNULUS))
        measured.append(around.signal)
        added |= {"neuropil": around.signal, "true_neuropil_ratio": around.ratio}
    lost = losses.choice(n_frames, size=int(missing_frames), replace=False)
    for traces in measured:
        if low_pass:
            traces[:] = optics.smooth(traces, low_pass, epochs)
        traces[:, lost] = np.nan
    time = frames / sampling_rate + pause
    recording = make_recording(light, sampling_rate=sampling_rate, time=time, source="simulation")
    recording = recording.assign({name: var(name).wrap(values, made_by="simulate_recording") for name, values in added.items()})
    return recording if around is None else label_neurons(recording, {"x": around.x, "y": around.y})


def _planted(
    recording: xr.Dataset,
    spikes: tuple[np.ndarray, np.ndarray],
    planted: Planted,
    dff: np.ndarray,
    pause: np.ndarray,
    arguments: Mapping[str, Any],
) -> dict[str, xr.DataArray]:
    """Label what was planted; times are counted from the middle of the first exposure, as the recording's are."""
    (neuron, time), exposure = spikes, 1 / arguments["sampling_rate"]
    frame, event_frame = (_frame_of(when, exposure, len(pause)) for when in (time, planted.time))
    counts = np.zeros(dff.shape, dtype=np.uint16)
    np.add.at(counts, (neuron, frame), 1)
    ensembles = {"true_ensemble": np.arange(1, len(planted.member) + 1)}
    latency = np.where(planted.member, planted.latency, np.nan)
    order = {"true_latency": var("true_latency").wrap(latency)} if arguments["order"] else {}
    return order | {
        "true_spikes": var("true_spikes").wrap(counts, **arguments),
        "true_spike_neuron": var("true_spike_neuron").wrap(recording["neuron"].values[neuron]),
        "true_spike_time": var("true_spike_time").wrap(time - exposure / 2 + pause[frame]),
        "true_dff": var("true_dff").wrap(dff),
        "true_ensemble_time": var("true_ensemble_time").wrap(planted.time - exposure / 2 + pause[event_frame]),
        "true_ensemble_label": var("true_ensemble_label").wrap(planted.label + 1),
        "true_participation": var("true_participation").wrap(planted.fired),
        "true_member": var("true_member").wrap(planted.member).assign_coords(ensembles),
    }
