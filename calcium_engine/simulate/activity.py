"""What the neurons do: ensembles and their events, spontaneous bursts, and every spike of both, in continuous time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

APART = 2.0  # least time between planted ensemble events, s: closer ones could not be told apart

_RATE_SPREAD = 0.8  # SD of the log of the neurons' rates
_SHORTEST_INTERVAL, _MEAN_INTERVAL = 0.005, 0.030  # between the spikes of a burst, s
_STEPS = 200  # of a period of the modulation, in which its integral is taken for straight


@dataclass(frozen=True)
class Planted:
    """Members and their mean start after an event (ensemble × neuron); events, who fires in each and when (event × neuron)."""

    member: np.ndarray
    latency: np.ndarray
    time: np.ndarray
    label: np.ndarray
    fired: np.ndarray
    start: np.ndarray


def plant(
    rng: np.random.Generator,
    ranks: np.random.Generator,
    n_neurons: int,
    n_ensembles: int,
    size: int,
    overlap: float | None,
    rate: float,
    reliability: float,
    jitter: float,
    order: float,
    duration: float,
) -> Planted:
    """Draw members, their order (from `ranks`) and events of the ensembles; time 0 is the start of the first exposure."""
    member = np.zeros((n_ensembles, n_neurons), dtype=bool)
    latency = np.zeros(member.shape)
    taken = np.zeros(n_neurons, dtype=bool)
    for row, after in zip(member, latency, strict=True):
        row[_members(rng, taken, size, overlap)] = True
        after[row] = order * (ranks.permutation(size) - (size - 1) / 2) / max(size - 1, 1)
        taken |= row
    label = np.repeat(np.arange(n_ensembles), rng.poisson(rate * duration, size=n_ensembles))
    label = rng.permutation(label)[: int(duration // APART)]
    # uniform times in what is left after taking out the gaps, then the gaps put back: a Poisson process with a dead time
    time = np.sort(rng.uniform(0, duration - APART * len(label), size=len(label))) + APART * np.arange(len(label))
    start = time[:, None] + jitter * rng.standard_normal((len(label), n_neurons)) + latency[label]
    fired = member[label] & (rng.random((len(label), n_neurons)) < reliability) & (start >= 0) & (start < duration)
    return Planted(member, latency, time, label, fired, start)


def _members(rng: np.random.Generator, taken: np.ndarray, size: int, overlap: float | None) -> np.ndarray:
    """Draw the members of one ensemble, this share of them among those that earlier ones have taken; None: from all."""
    if overlap is None or not taken.any():
        return rng.choice(len(taken), size=size, replace=False)
    shared = shared_members(size, overlap)
    known = rng.choice(np.flatnonzero(taken), size=shared, replace=False)
    return np.concatenate([known, rng.choice(np.flatnonzero(~taken), size=size - shared, replace=False)])


def shared_members(size: int, overlap: float) -> int:
    """Return how many members an ensemble of that size shares with earlier ones."""
    return round(size * overlap)


def fire(
    rng: np.random.Generator,
    planted: Planted,
    n_neurons: int,
    rate: float,
    spikes_per_event: float,
    modulation: float,
    period: float,
    duration: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw every spike, spontaneous or planted: neuron and time in s, sorted by neuron, then by time."""
    rates = rate * rng.lognormal(-(_RATE_SPREAD**2) / 2, _RATE_SPREAD, size=n_neurons)
    alone = np.repeat(np.arange(n_neurons), rng.poisson(rates * duration))
    together = np.nonzero(planted.fired)
    neuron = np.concatenate([alone, together[1]])
    spontaneous = _modulate(rng.uniform(0, duration, size=len(alone)), modulation, period, duration)
    start = np.concatenate([spontaneous, planted.start[together]])
    count = rng.geometric(1 / spikes_per_event, size=len(neuron))
    first = np.cumsum(count) - count
    elapsed = np.cumsum(_SHORTEST_INTERVAL + rng.exponential(_MEAN_INTERVAL - _SHORTEST_INTERVAL, size=int(count.sum())))
    neuron = np.repeat(neuron, count)
    time = np.repeat(start - elapsed[first], count) + elapsed
    kept = time < duration
    neuron, time = neuron[kept], time[kept]
    order = np.lexsort((time, neuron))
    return neuron[order], time[order]


def _modulate(time: np.ndarray, depth: float, period: float, duration: float) -> np.ndarray:
    """Move times that are uniform over the recording to where a rate of 1 + depth · sin(2πt / period) has them."""
    if not depth:
        return time
    grid = np.linspace(0, duration, 2 + int(_STEPS * duration / period))
    expected = grid + depth * period / (2 * np.pi) * (1 - np.cos(2 * np.pi * grid / period))
    moved: np.ndarray = np.interp(time * (expected[-1] / duration), expected, grid)
    return moved
