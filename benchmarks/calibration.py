"""Is the null right? Independent, bursty neurons, and the share of bins that the classical recipe calls coactive.

There is nothing to find: in 99 of 100 recordings that share should lie within the binomial 99 % interval of the attained alpha.
Sources: event lists drawn directly; whole simulated recordings (no ensembles planted) through the classical recipe; the same
with the stationary wavelet transform in place of the decimated one, whose dyadic grid all neurons share.

    python benchmarks/calibration.py [--seeds 40] [--source events|traces|traces_stationary|all]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from common import SAMPLING_RATE, table, write_json
from scipy import stats

from calcium_engine import analyze, compute_coactivity, find_ensemble_events, make_recording, simulate_recording

N_NEURONS, N_FRAMES = 324, 15000
PER_BURST, WITHIN_BURST = 3.0, (1.0, 2.0)  # events; least and mean interval in s
LEVEL = 0.99


def bursty_events(rng: np.random.Generator, duration: float) -> tuple[np.ndarray, np.ndarray]:
    """Neuron and onset time of each event: bursts at log-normal rates (mean 1 a minute), geometric numbers of events in each."""
    rates = rng.lognormal(-0.32, 0.8, N_NEURONS) / 60
    neuron = np.repeat(np.arange(N_NEURONS), rng.poisson(rates * duration))
    start = rng.uniform(0, duration, len(neuron))
    size = rng.geometric(1 / PER_BURST, len(neuron))
    least, mean = WITHIN_BURST
    elapsed = np.cumsum(least + rng.exponential(mean - least, size.sum()))
    first = np.cumsum(size) - size
    time = np.repeat(start - elapsed[first], size) + elapsed
    neuron = np.repeat(neuron, size)[time < duration]
    return neuron, time[time < duration]


def from_events(seed: int) -> xr.Dataset:
    """Random event lists through the last two steps of the classical recipe."""
    recording = make_recording(np.zeros((N_NEURONS, N_FRAMES), np.float32), sampling_rate=SAMPLING_RATE)
    time = recording["time"].values
    neuron, onset = bursty_events(np.random.default_rng(seed), float(time[-1]))
    events = {"neuron": recording["neuron"].values[neuron], "onset": onset, "flags": np.zeros(len(onset), np.int64)}
    recording = recording.assign({f"event_{name}": ("event", values) for name, values in events.items()})
    return find_ensemble_events(compute_coactivity(recording), significance="percentile", monte_carlo=1000, seed=seed)


def from_traces(seed: int, settings: dict[str, str] | None = None) -> xr.Dataset:
    """Simulate fluorescence without ensembles and run the whole classical recipe."""
    recording = simulate_recording(n_neurons=N_NEURONS, n_frames=N_FRAMES, sampling_rate=SAMPLING_RATE, n_ensembles=0, seed=seed)
    return analyze(recording, "classical", settings=settings, seed=seed)


def from_traces_stationary(seed: int) -> xr.Dataset:
    """The same with the stationary wavelet transform: the decimated one pulls all neurons' onsets towards its one dyadic grid."""
    return from_traces(seed, {"denoise.method": "swt"})


SOURCES: dict[str, Callable[[int], xr.Dataset]] = {
    "events": from_events,
    "traces": from_traces,
    "traces_stationary": from_traces_stationary,
}


def judge(result: xr.Dataset) -> dict[str, Any]:
    """The number of bins over the threshold, and the interval that the attained alpha gives it."""
    coactive = result["is_coactive"]
    n_bins, alpha = coactive.size, float(coactive.attrs["attained_alpha"])
    low, high = stats.binom.interval(LEVEL, n_bins, alpha)
    found = int(coactive.sum())
    return {
        "bins": n_bins,
        "threshold": int(coactive.attrs["threshold"]),
        "alpha": alpha,
        "found": found,
        "low": int(low),
        "high": int(high),
        "inside": bool(low <= found <= high),
        "ensembles": result.sizes.get("ensemble", 0),
    }


def main() -> None:
    """Print each seed's share and how many lie inside their interval; fail where that is too few to be chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--source", choices=[*SOURCES, "all"], default="all")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="bins of 0.5 s are")  # 2 frames at 4.8 Hz are 0.417 s
    chosen = SOURCES if arguments.source == "all" else {arguments.source: SOURCES[arguments.source]}
    found = {name: [judge(run(seed)) for seed in range(arguments.seeds)] for name, run in chosen.items()}
    rows, failed = [], False
    # the number inside that one round of seeds in a thousand would not reach if each were inside with probability 0.99
    least = int(stats.binom.ppf(0.001, arguments.seeds, LEVEL))
    for name, seeds in found.items():
        inside = sum(row["inside"] for row in seeds)
        share = sum(row["found"] for row in seeds) / sum(row["bins"] for row in seeds)
        alpha = float(np.mean([row["alpha"] for row in seeds]))
        rows.append(
            [name, f"{inside} of {len(seeds)}", least, 100 * share, 100 * alpha, sum(row["ensembles"] > 0 for row in seeds)]
        )
        failed |= inside < least
    table(["source", "seeds inside", "at least", "% of bins over", "attained alpha, %", "seeds with ensembles"], rows)
    print("written:", write_json("calibration", {"seeds": arguments.seeds, "level": LEVEL, **found}))
    if failed:
        raise SystemExit("the share of bins over the threshold is not what the null says")


if __name__ == "__main__":
    main()
