"""Memory and time of the steps after events, by the number of neurons, on recordings that hold events and no traces.

    python benchmarks/population.py [--neurons 5000 10000 20000] [--frames 20000] [--rate-per-minute 0.11]

Each size runs in a process of its own. Memory is what tracemalloc sees a step allocate at once, beyond what was there before it,
and the peak of the whole process (resident, with imports and compiled code). Times are taken without tracemalloc.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from common import SAMPLING_RATE, run_child, table, write_json

N_ENSEMBLES, SIZE, TIMES, RELIABILITY = 5, 100, 40, 0.6  # planted


def recording_of(n_neurons: int, n_frames: int, per_minute: float, seed: int = 0) -> xr.Dataset:
    """A recording of nothing but events: of independent neurons of unequal rates, and of planted ensembles."""
    from calcium_engine.schema import COORDINATES, SCHEMA_VERSION, var

    rng = np.random.default_rng(seed)
    minutes = n_frames / SAMPLING_RATE / 60
    rates = rng.lognormal(-0.32, 0.8, n_neurons) * per_minute
    rows = [np.repeat(np.arange(n_neurons), rng.poisson(rates * minutes))]
    frames = [rng.integers(n_frames, size=len(rows[0]))]
    for _ in range(N_ENSEMBLES):
        members, when = rng.choice(n_neurons, SIZE, replace=False), rng.choice(n_frames, TIMES, replace=False)
        event, member = np.nonzero(rng.random((TIMES, SIZE)) < RELIABILITY)
        rows.append(members[member])
        frames.append(when[event])
    row, frame = np.divmod(np.unique(np.concatenate(rows) * n_frames + np.concatenate(frames)), n_frames)
    n = len(row)
    onset = frame / SAMPLING_RATE
    events = {"neuron": row, "onset": onset, "peak": onset + 0.4, "offset": onset + 2.0, "flags": np.zeros(n, np.uint8)}
    events |= {name: rng.lognormal(0.0, 0.4, n) for name in ("amplitude", "fwhm", "rise", "decay")}
    settings = {"detector": "pulse", "trace": "detrended", "indicator": "GCaMP6s"}
    coords: dict[str, Any] = {
        "neuron": np.arange(n_neurons),
        "frame": np.arange(n_frames),
        "time": ("frame", np.arange(n_frames) / SAMPLING_RATE, COORDINATES["time"]),
        "sampling_rate": SAMPLING_RATE,
    }
    made = {f"event_{name}": var(f"event_{name}").wrap(values, **settings) for name, values in events.items()}
    return xr.Dataset(made, coords=coords, attrs={"schema_version": SCHEMA_VERSION})


def seen_of(recording: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """What `see_traces` could have seen."""
    from calcium_engine.detectability import BINS, SIZES

    rng, n = np.random.default_rng(seed), recording.sizes["neuron"]
    share = np.sort(rng.random((n, len(SIZES))), axis=1)
    share[:, 0] = 0.0  # nothing is planted at size 0, nor found
    of_neurons = {"valid": np.full(n, float(recording.sizes["frame"])), "skewness": rng.random(n), "active": np.full(n, 30)}
    of_neurons |= {"unit": rng.lognormal(-1.0, 0.3, n), "negative": rng.integers(3, size=n), "quiet": np.full(n, 0.8)}
    table = {name: ("neuron", values) for name, values in of_neurons.items()}
    counts = rng.integers(100, size=(1, len(SIZES) - 1, len(BINS) - 1)).astype(float)
    table |= {"share": (("neuron", "size"), share), "measured": (("block", "size_found", "bin_measured"), counts)}
    return xr.Dataset(table, coords={"neuron": recording["neuron"]})


def steps(recording: xr.Dataset) -> dict[str, Callable[[xr.Dataset], xr.Dataset]]:
    """The steps after events, as the calibrated recipe has them."""
    import calcium_engine as ce
    from calcium_engine.features import complete_features

    seen = seen_of(recording)
    return {
        "compute_features": lambda held: complete_features(held, seen),
        "compute_coactivity": lambda held: ce.compute_coactivity(held, bin=0.5, binning="sliding"),
        "find_ensemble_events": lambda held: ce.find_ensemble_events(held, significance="fdr", alpha=0.05),
        "find_ensembles": lambda held: ce.find_ensembles(held, min_events=5),
        "ensemble_power": lambda held: ce.ensemble_power(held, runs=2),
    }


def measure(n_neurons: int, n_frames: int, per_minute: float) -> dict[str, Any]:
    """Seconds and MB of each step."""
    warnings.simplefilter("ignore")
    small = recording_of(400, 2000, per_minute)
    for step in steps(small).values():  # what is compiled or imported at the first call
        small = step(small)
    found: dict[str, Any] = {}
    recording = recording_of(n_neurons, n_frames, per_minute)
    found["events"] = recording.sizes["event"]
    held = recording
    for name, step in steps(recording).items():
        start = time.perf_counter()
        made = step(held)
        found[name] = {"s": time.perf_counter() - start, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}
        del made
        tracemalloc.start()
        made = step(held)
        found[name]["mb"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        found[name]["result"] = (made.nbytes - held.nbytes) / 2**20
        held = made
    found["ensembles"] = held.sizes["ensemble"]
    found["ensemble_events"] = held.sizes["ensemble_event"]
    return found


def main() -> None:
    """Print a table of each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, nargs="*", default=[5000, 10_000, 20_000])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rate-per-minute", type=float, default=0.11)
    arguments = parser.parse_args()
    result = {}
    for n_neurons in arguments.neurons:
        child = "import sys, json, population; print(json.dumps(population.measure(*map(eval, sys.argv[1:]))))"
        found = json.loads(run_child(child, str(n_neurons), str(arguments.frames), str(arguments.rate_per_minute)))
        result[n_neurons] = found
        counts = {name: value for name, value in found.items() if not isinstance(value, dict)}
        print(f"\n{n_neurons} neurons x {arguments.frames} frames: {counts}")
        timed = {name: value for name, value in found.items() if isinstance(value, dict)}
        rows = [[name, one["s"], one["mb"], one["result"], one["rss"]] for name, one in timed.items()]
        table(["step", "s", "allocated at once, MB", "of it the result, MB", "peak RSS so far, MB"], rows)
        sys.stdout.flush()
    write_json("population", result)


if __name__ == "__main__":
    main()
