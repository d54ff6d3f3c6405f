"""Does the path leave the null right? Independent, bursty neurons, and the share of bins that the classical recipe calls.

There is nothing to find: in 99 of 100 recordings that share should lie within the binomial 99 % interval of the attained alpha.
Sources: whole simulated recordings (no ensembles planted) through the classical recipe; the same with the stationary wavelet
transform in place of the decimated one, whose dyadic grid all neurons share. The null by itself, on events that are drawn, is
judged by `accuracy.py coactivity`.

    python benchmarks/calibration.py [--seeds 40] [--source traces|traces_stationary|all]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from bursty import N_FRAMES, N_NEURONS
from common import SAMPLING_RATE, table, write_json
from scipy import stats

from calcium_engine import analyze, simulate_recording

LEVEL = 0.99


def from_traces(seed: int, settings: dict[str, str] | None = None) -> xr.Dataset:
    """Simulate fluorescence without ensembles and run the whole classical recipe."""
    recording = simulate_recording(n_neurons=N_NEURONS, n_frames=N_FRAMES, sampling_rate=SAMPLING_RATE, n_ensembles=0, seed=seed)
    return analyze(recording, "classical", settings=settings, seed=seed)


def from_traces_stationary(seed: int) -> xr.Dataset:
    """The same with the stationary wavelet transform: the decimated one pulls all neurons' onsets towards its one dyadic grid."""
    return from_traces(seed, {"denoise.method": "swt"})


SOURCES: dict[str, Callable[[int], xr.Dataset]] = {
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
