"""The published surrogate data for finding assemblies (Mölter, Avitan & Goodhill 2018, BMC Biology 16:143)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine import schema
from calcium_engine.arguments import choose
from calcium_engine.io.recording import make_recording
from calcium_engine.membership import overlap
from calcium_engine.schema import COORDINATES, CalciumError, var
from calcium_engine.simulate.ranges import check_ranges

# Points of an assembly, range of the variance of their places, range of its members
_KINDS = {
    "small": (16, (0.5, 2.0), (5, 15)),
    "medium": (26, (1.0, 2.5), (10, 20)),
    "large": (36, (1.5, 3.0), (15, 25)),
}
_NEAR = 0.5  # a cell within so much of a point is a member, in units of the distance of neighbours
_RATES = (1.0, 6.0)  # of a cell that is not on, Hz
_TRIES = 20_000  # assemblies that are drawn before giving up
_BATCH = 32  # of them at a time
_CLOSE = 0.05  # how close to the overlap aimed at is close enough, as a share of the range


def simulate_assemblies(
    *,
    degree: int = 12,
    n_assemblies: int = 10,
    kind: Literal["small", "medium", "large"] = "medium",
    overlap: tuple[float, float] = (0.0, 0.05),
    duration: float = 3600.0,
    sampling_rate: float = 2.0,
    event_rate: float = 0.01,
    event_duration: float = 0.5,
    event_multiplier: float = 6.0,
    half_life: float = 1.0,
    saturation: float = math.inf,
    noise: float = 0.0,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate the published surrogate data on which methods that find assemblies were compared.

    Cells tile a hexagon, and an assembly is a patch of them. At random steps (frames) an assembly is on: all its members fire at
    a multiple of their base rate, which is drawn from 1 to 6 Hz for each cell. Cells in no assembly are on by themselves as
    often. Spikes are Poisson; each adds a jump of 1 that decays exponentially, and a frame is what is there at its step's end.
    The defaults are the publication's, whose series vary one argument at a time.

    Args:
        degree: number v of rings of cells around the one in the middle; N = 3v(v + 1) + 1: 91 for 5, 217 for 8, 469 for 12.
        n_assemblies: number of assemblies (series: 1 to 20); 0 plants none, so that every cell is on by itself.
        kind: size of the assemblies: "small" (5 to 15 members), "medium" (10 to 20) or "large" (15 to 25).
        overlap: least and most mean overlap (Jaccard similarity) of two assemblies, over all pairs. A set that is drawn freely
            has about 0.02, and is kept where that is in the range; else assemblies are drawn again, one by one, until the mean
            comes close to a value drawn from the range (series: 0 to 0.35).
        duration: s (series: to 7200).
        sampling_rate: steps per second, Hz (series: steps of 0.1 to 0.5 s).
        event_rate: how often an assembly, or a cell in none, is switched on, per s (series: to 0.01).
        event_duration: how long it is on, s; at least one step. Of a fraction of a step left over, each cell is on for a whole
            one at that chance.
        event_multiplier: firing rate of a cell that is on, over its base rate (series: 1 to 26).
        half_life: of fluorescence, s, over 0 (series: to 2). Twice that is simulated first, and left out.
        saturation: K of the fluorescence K · c / (K + c) of calcium c, over 0, or infinite for none (series: to 1000).
        noise: SD of the Gaussian noise, in units of one spike's jump (series: to 8). What is below 0 with it is set to 0.
        seed: the same seed gives the same bytes. Places, switches, spikes and noise have random numbers of their own.

    Returns:
        A recording with `fluorescence` (in units of one spike's jump), coordinates `x` and `y` (in units of the distance of
        neighbours), and the truth: `true_spikes`, whose attributes hold every parameter, `true_member`; and `true_ensemble_time`,
        `true_ensemble_label` (1..K) and `true_participation` of every stretch of steps during which an assembly is on. Its time
        is that of its first frame; all members are on, and those with a spike in it take part.

    Raises:
        CalciumError: an argument is out of its range, or no assemblies with such an overlap are found.

    References:
        Mölter J, Avitan L, Goodhill GJ (2018) Detecting neural assemblies in calcium imaging data. BMC Biology 16:143.

    >>> recording = simulate_assemblies(degree=5, n_assemblies=3, duration=60.0, seed=1)
    >>> recording.sizes["neuron"], recording.sizes["frame"], recording.sizes["true_ensemble"]
    (91, 120, 3)
    """
    arguments = dict(locals())  # every argument by its name, for the checks and the record
    _check(arguments)
    # one stream of random numbers for each matter, so that changing one leaves the others as they were
    places, switches, firing, shots = map(np.random.default_rng, np.random.SeedSequence(int(seed)).spawn(4))
    step = 1 / sampling_rate
    n_frames = math.ceil(round(duration / step, 6))
    before = math.ceil(round(2 * half_life / step, 6))

    where = hexagonal_tiling(int(degree))
    member = _draw_set(places, where, int(degree), int(n_assemblies), kind, overlap)
    steps_on = max(1.0, event_duration / step)
    started, on = _switch(switches, member, before + n_frames, event_rate * step, steps_on)
    spikes, calcium = _fire(firing, on, event_multiplier, step, half_life)
    spikes, calcium = spikes[:, before:], calcium[:, before:]
    if saturation < math.inf:
        calcium = saturation * calcium / (saturation + calcium)
    light = calcium.astype(np.float32)
    if noise:
        light = np.maximum(light + np.float32(noise) * shots.standard_normal(light.shape, dtype=np.float32), np.float32(0))

    recording = make_recording(light, sampling_rate=sampling_rate, source="simulation")
    units = {"units": "cell spacing"}
    recording = recording.assign_coords(
        {name: ("neuron", values, COORDINATES[name] | units) for name, values in zip("xy", where.T, strict=True)}
    )
    assembly_on = _lengthen(started, int(steps_on))[:, before:]
    recorded = {name: value for name, value in arguments.items() if name != "overlap" and value != math.inf}
    recording = recording.assign(_planted(recording, spikes, member, assembly_on, recorded | _ends(overlap)))
    return schema.record(recording, "simulate_assemblies", **recorded, overlap=tuple(map(float, overlap)))  # type: ignore[arg-type]


_RANGES: dict[str, tuple[float, float, bool]] = {
    "degree": (1, 100, True),
    "n_assemblies": (0, 1000, True),
    "duration": (0.001, math.inf, False),
    "sampling_rate": (0.1, 1000, False),
    "event_rate": (0, math.inf, False),
    "event_duration": (0, 60, False),
    "event_multiplier": (0, 100, False),
    "half_life": (0.001, 1000, False),
    "noise": (0, math.inf, False),
    "seed": (0, math.inf, True),
}


def _check(arguments: dict[str, Any]) -> None:
    """Refuse what no recording could have."""
    endless = arguments["saturation"] == math.inf
    check_ranges(arguments, _RANGES | ({} if endless else {"saturation": (0.001, math.inf, False)}))
    choose(_KINDS, arguments["kind"], "kind of assemblies")
    try:
        least, most = map(float, arguments["overlap"])
    except (TypeError, ValueError):
        least = most = math.nan
    if not 0 <= least < most <= 1:
        raise CalciumError(
            f"overlap is {arguments['overlap']!r}, but must be two numbers from 0 to 1, the least and the most mean Jaccard "
            "similarity of two assemblies, such as (0.0, 0.05)"
        )
    frames = arguments["duration"] * arguments["sampling_rate"]
    if frames < 2:
        raise CalciumError(f"duration × sampling_rate is {frames:g} frames, but a recording needs 2 or more")
    if arguments["event_rate"] > arguments["sampling_rate"]:
        raise CalciumError(
            f"event_rate is {arguments['event_rate']:g} per s, but a step can switch on only once: at most the sampling rate, "
            f"{arguments['sampling_rate']:g} Hz"
        )


def _ends(overlap: tuple[float, float]) -> dict[str, float]:
    """Return the range of the overlap as plain numbers, for the attributes."""
    return {"overlap_least": float(overlap[0]), "overlap_most": float(overlap[1])}


def hexagonal_tiling(degree: int) -> np.ndarray:
    """Centres (cell × 2) of a hexagonal tiling at unit distance: the one in the middle, then ring by ring, counter-clockwise.

    >>> hexagonal_tiling(1).round(2).tolist()[:3]
    [[0.0, 0.0], [1.0, 0.0], [0.5, 0.87]]
    """
    angle = np.arange(7) * np.pi / 3
    corner = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.zeros((1, 2))]
    for ring in range(1, degree + 1):
        along = np.arange(ring)[None, :, None]
        side = corner[:-1, None] * (ring - along) + corner[1:, None] * along
        rings.append(side.reshape(-1, 2))
    return np.concatenate(rings)


def _draw(rng: np.random.Generator, where: np.ndarray, degree: int, kind: str) -> Iterator[np.ndarray]:
    """Draw assemblies of the right size (cell, bool), one after the other, until so many were tried that none seems to fit."""
    n_points, (low, high), (fewest, most) = _KINDS[kind]
    for _ in range(_TRIES // _BATCH):
        # the root makes centres uniform over the disc
        radius = math.sqrt(3) * degree / 2 * np.sqrt(rng.random(_BATCH))
        angle = 2 * np.pi * rng.random(_BATCH)
        spread = rng.uniform(math.sqrt(low), math.sqrt(high), size=(_BATCH, 1, 1))
        centre = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        point = centre[:, None] + spread * rng.standard_normal((_BATCH, n_points, 2))
        apart = np.square(point[:, :, None, 0] - where[:, 0]) + np.square(point[:, :, None, 1] - where[:, 1])
        member = (apart < _NEAR**2).any(axis=1)
        size = member.sum(axis=1)
        yield from member[(fewest <= size) & (size <= most)]


def _draw_set(
    rng: np.random.Generator, where: np.ndarray, degree: int, n_assemblies: int, kind: str, overlap: tuple[float, float]
) -> np.ndarray:
    """Draw assemblies (assembly × cell) whose mean overlap lies in the range."""
    drawn = _draw(rng, where, degree, kind)
    member = np.array([one for one, _ in zip(drawn, range(n_assemblies), strict=False)], dtype=bool).reshape(-1, len(where))
    if len(member) < n_assemblies:
        _, _, (fewest, most) = _KINDS[kind]
        raise CalciumError(
            f"no {n_assemblies} assemblies of {fewest} to {most} cells were found among {_TRIES} drawn in {len(where)} cells; "
            "raise degree, or take a smaller kind"
        )
    mean = _mean_overlap(member)
    if n_assemblies < 2 or overlap[0] <= mean <= overlap[1]:
        return member
    aim = rng.uniform(*overlap)
    close = _CLOSE * (overlap[1] - overlap[0])
    for one in drawn:
        changed = member.copy()
        changed[rng.integers(n_assemblies)] = one
        other = _mean_overlap(changed)
        if abs(other - aim) < abs(mean - aim):
            member, mean = changed, other
        if overlap[0] <= mean <= overlap[1] and abs(mean - aim) <= close:
            break
    if overlap[0] <= mean <= overlap[1]:
        return member
    raise CalciumError(
        f"{n_assemblies} {kind} assemblies in {len(where)} cells came to a mean overlap of {mean:.3f} after {_TRIES} drawn, "
        f"not to one from {overlap[0]:g} to {overlap[1]:g}; change overlap, n_assemblies or degree"
    )


def _mean_overlap(member: np.ndarray) -> float:
    """Mean Jaccard similarity of two assemblies, over all pairs; 0 without a pair."""
    pair = np.triu_indices(len(member), 1)
    return float(overlap(member, member)[pair].mean()) if len(pair[0]) else 0.0


def _switch(
    rng: np.random.Generator, member: np.ndarray, n_steps: int, chance: float, steps_on: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw when each assembly is switched on (assembly × step), and return when each cell is on (cell × step), too."""
    started = np.zeros((len(member), n_steps), dtype=bool)
    on = np.zeros((member.shape[1], n_steps), dtype=bool)
    for row, members in zip(started, member, strict=True):
        row[:] = rng.random(n_steps) < chance
        on[members] |= row
    for alone in np.flatnonzero(~member.any(axis=0)):
        on[alone] = rng.random(n_steps) < chance
    cells, steps = np.nonzero(on)
    over = steps + int(steps_on)
    kept = (rng.random(len(steps)) < steps_on % 1) & (over < n_steps)
    on = _lengthen(on, int(steps_on))
    on[cells[kept], over[kept]] = True
    return started, on


def _lengthen(started: np.ndarray, steps: int) -> np.ndarray:
    """Keep what was switched on (row × step) on for so many steps."""
    on = started.copy()
    for late in range(1, steps):
        on[:, late:] |= started[:, :-late]
    return on


def _fire(
    rng: np.random.Generator, on: np.ndarray, multiplier: float, step: float, half_life: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the spikes of each step (cell × step), and return the calcium at its end, too: exact, as each has its time."""
    from scipy.signal import lfilter

    n_cells, n_steps = len(on), on.shape[1]
    rate = rng.uniform(_RATES[0], _RATES[1], size=n_cells)
    spikes = np.empty(on.shape, dtype=np.uint16)
    calcium = np.empty(on.shape)
    kept = 2.0 ** (-step / half_life)
    for i in range(n_cells):
        count: np.ndarray = rng.poisson(rate[i] * step * np.where(on[i], multiplier, 1.0))
        left = np.exp2(-rng.random(int(count.sum())) * step / half_life)
        jump = np.bincount(np.repeat(np.arange(n_steps), count), weights=left, minlength=n_steps)
        spikes[i] = count
        calcium[i] = lfilter([1.0], [1.0, -kept], jump)
    return spikes, calcium


def _stretches(on: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, first step and the step after the last of every stretch during which a row is on, in order of time."""
    edge = np.diff(np.pad(on.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, first = np.nonzero(edge == 1)
    last = np.nonzero(edge == -1)[1]
    order = np.lexsort((row, first))
    return row[order], first[order], last[order]


def _planted(
    recording: xr.Dataset,
    spikes: np.ndarray,
    member: np.ndarray,
    on: np.ndarray,
    arguments: dict[str, Any],
) -> dict[str, xr.DataArray]:
    """Label what was planted, under the names that `simulate_recording` gives."""
    label, first, last = _stretches(on)
    fired = np.zeros((len(label), len(spikes)), dtype=bool)
    for row, start, stop, cells in zip(fired, first, last, member[label], strict=True):
        row[:] = cells & spikes[:, start:stop].any(axis=1)
    maker = {"made_by": "simulate_assemblies"}
    return {
        "true_spikes": var("true_spikes").wrap(spikes, **maker, **arguments),
        "true_ensemble_time": var("true_ensemble_time").wrap(recording["time"].values[first], **maker),
        "true_ensemble_label": var("true_ensemble_label").wrap(label + 1, **maker),
        "true_participation": var("true_participation").wrap(fired, **maker),
        "true_member": var("true_member").wrap(member, **maker).assign_coords({"true_ensemble": np.arange(1, len(member) + 1)}),
    }
