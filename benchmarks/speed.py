"""Each stage of the pipeline beside the plain script (plain.py), on the same simulated CSV file, in turns in one process.

    python benchmarks/speed.py [--neurons 324] [--frames 15000] [--repeats 7]     in a warm process
    python benchmarks/speed.py --process                                          whole runs of the command line, cold and warm
    python benchmarks/speed.py --cleaning [--neurons 2000 --frames 20000]         each stage of cleaning beside the fastest peers
    python benchmarks/speed.py --events [--peers PYTHON]                          deconvolution, detection, detectability likewise
    python benchmarks/speed.py --coactivity                                       shuffles, exact nulls, pairs of neurons
    python benchmarks/speed.py --ensembles                                        similarity and clustering of ensemble events

Times are medians after a warm-up in which the kernels are compiled or loaded. Machines are noisy: the ratios, taken in turns in
one run, say more than the seconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import SAMPLING_RATE, table, write_json, write_simulated_csv

RECIPES = ("classical", "calibrated")
STAGES = ("read", "ΔF/F", "background", "denoise", "events", "coactivity", "ensemble events", "ensembles")
ONLY_OURS = ("deconvolution", "retention", "features", "store and tables")
STAGE_OF = {
    "estimate_baseline": "ΔF/F",
    "compute_dff": "ΔF/F",
    "subtract_background": "background",
    "estimate_noise": "denoise",
    "denoise": "denoise",
    "deconvolve": "deconvolution",
    "detect_events": "events",
    "retention_test": "retention",
    "compute_features": "features",
    "compute_coactivity": "coactivity",
    "find_ensemble_events": "ensemble events",
    "find_ensembles": "ensembles",
}
Seconds = dict[str, float]
Run = Callable[[], tuple[Any, Seconds]]


def run_ours(path: Path, recipe: str, folder: Path) -> tuple[Any, Seconds]:
    """Run a recipe from the file to the store and the tables; the result and the time of each stage."""
    from calcium_engine import analyze, read, save_recording
    from calcium_engine.tables import write_tables

    marks = [("read", time.perf_counter())]
    recording = read(path, sampling_rate=SAMPLING_RATE)
    result = analyze(recording, recipe, progress=lambda step, place, total: marks.append((STAGE_OF[step], time.perf_counter())))
    marks.append(("store and tables", time.perf_counter()))
    folder.mkdir(exist_ok=True)
    save_recording(result, folder / "recording.zarr", overwrite=True)
    write_tables(result, folder / "tables")
    marks.append(("end", time.perf_counter()))
    seconds: Seconds = {}
    for (stage, start), (_, end) in pairwise(marks):
        seconds[stage] = seconds.get(stage, 0.0) + end - start
    return result, seconds


def run_peer(path: Path) -> tuple[dict[str, Any], Seconds]:
    """Run the plain script on the file."""
    from plain import run_plain

    result = run_plain(path, SAMPLING_RATE)
    return result, result["seconds"]


def take_turns(runs: dict[str, Run], repeats: int) -> tuple[dict[str, Any], dict[str, list[Seconds]]]:
    """Run A B C A B C ...; the first round is the warm-up and does not count."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in runs}
    results: dict[str, Any] = {}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            gc.collect()
            results[name], spent = run()
            if turn:
                seconds[name].append(spent)
    return results, seconds


def medians(rounds: list[Seconds]) -> Seconds:
    """Median of each stage, and of the sums: `total` of the stages that the plain script has too, `everything` of all."""
    row = {stage: statistics.median(spent.get(stage, 0.0) for spent in rounds) for stage in STAGES + ONLY_OURS}
    row["total"] = statistics.median(sum(spent.get(stage, 0.0) for stage in STAGES) for spent in rounds)
    row["total without reading"] = statistics.median(sum(spent.get(stage, 0.0) for stage in STAGES[1:]) for spent in rounds)
    row["everything"] = statistics.median(sum(spent.values()) for spent in rounds)
    return row


def agreement(ours: Any, peer: dict[str, Any]) -> list[list[Any]]:
    """The two scripts' results side by side: they must have done the same work."""
    dff = np.abs(ours["dff"].values - peer["dff"]).max()
    background = np.abs(ours["background"].values - peer["background"]).max()
    alike = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours["denoised"].values, peer["denoised"], strict=True)])
    return [
        ["ΔF/F, largest difference", float(dff), ""],
        ["background, largest difference", float(background), ""],
        ["denoised, mean correlation", float(alike), ""],
        ["events", ours.sizes["event"], len(peer["events"])],
        ["smallest significant count", int(ours["is_coactive"].attrs["threshold"]), peer["threshold"] + 1],
        ["ensemble events", ours.sizes["ensemble_event"], len(peer["participation"])],
        ["ensembles", ours.sizes["ensemble"], len(peer["core"])],
    ]


def stages(arguments: argparse.Namespace, path: Path, folder: Path) -> dict[str, Any]:
    """Measure and print the stages in a warm process."""
    runs: dict[str, Run] = {"plain": lambda: run_peer(path)}
    for recipe in RECIPES:
        runs[recipe] = lambda recipe=recipe: run_ours(path, recipe, folder / recipe)  # type: ignore[misc]
    results, seconds = take_turns(runs, arguments.repeats)
    median = {name: medians(rounds) for name, rounds in seconds.items()}
    rows = []
    for stage in (*STAGES, "total", "total without reading", *ONLY_OURS, "everything"):
        plain, classical, calibrated = (1000 * median[name][stage] for name in runs)
        shared = stage not in (*ONLY_OURS, "everything")
        rows.append([stage, plain if shared else "", classical, classical / plain if shared else "", calibrated])
    table(["ms", "plain", "classical", "ratio", "calibrated"], rows)
    everything = median["classical"]["everything"]
    print(f"from the CSV file to store and tables: {everything:.2f} s (allowed at 324 × 15000: 1.5 s)\n")
    same = agreement(results["classical"], results["plain"])
    table(["do both do the same work?", "classical", "plain"], same)
    return {"median_s": median, "rounds_s": seconds, "agreement": same}


def command(path: Path, out: Path, cache: Path) -> float:
    """Seconds of one `calcium run` with its figures and report, as a whole process."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["--sampling-rate", str(SAMPLING_RATE), "--out", str(out), "--quiet"]
    call = [sys.executable, "-m", "calcium_engine", "run", str(path), *options]
    start = time.perf_counter()
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)})
    spent = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(call)} failed:\n{done.stderr}")
    return spent


def processes(arguments: argparse.Namespace, path: Path, folder: Path) -> dict[str, Any]:
    """Measure and print the first run, with nothing compiled, and the later ones."""
    first = command(path, folder / "out", folder / "cache")
    later = [command(path, folder / "out", folder / "cache") for _ in range(arguments.repeats)]
    rows = [["first (compiles)", first, 40.0], ["later, median", statistics.median(later), 8.0]]
    table(["calcium run, whole process", "s", "allowed"], rows)
    return {"first_s": first, "later_s": later}


def cleaning(traces: np.ndarray, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print each stage of cleaning."""
    from cleaning_speed import measure

    return measure(traces, arguments.repeats)


def events(traces: np.ndarray, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print deconvolution, every detector, and what features and detectability take."""
    import deconvolution_speed
    import events_speed

    import calcium_engine as ce
    from calcium_engine.detectability import judge_detector

    cleaned = events_speed.prepare(traces)
    result: dict[str, Any] = {
        "deconvolution": deconvolution_speed.measure(cleaned.traces, arguments.repeats, arguments.peers),
        "detection": events_speed.measure(traces, arguments.repeats, arguments.peers),
    }
    found = ce.detect_events(cleaned.recording)
    spent: dict[str, list[float]] = {"LOD50 and corrected rates": [], "all features": []}
    for turn in range(arguments.repeats + 1):
        for stage, run in zip(spent, (lambda: judge_detector(found), lambda: ce.compute_features(found)), strict=True):
            start = time.perf_counter()
            run()
            if turn:
                spent[stage].append(time.perf_counter() - start)
    result["features"] = {stage: statistics.median(seconds) for stage, seconds in spent.items()}
    bars = {"LOD50 and corrected rates": 1.0}
    table(["stage", "s", "allowed at 324 × 15000"], [[stage, s, bars.get(stage, "")] for stage, s in result["features"].items()])
    return result


def main() -> None:
    """Simulate the input, measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=324)
    parser.add_argument("--frames", type=int, default=15000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--process", action="store_true", help="time whole runs of the command line instead")
    parser.add_argument("--cleaning", action="store_true", help="time the stages of cleaning, on plain arrays, instead")
    parser.add_argument("--events", action="store_true", help="time deconvolution and every detector instead")
    parser.add_argument("--coactivity", action="store_true", help="time shuffles, exact nulls and pairs of neurons instead")
    parser.add_argument("--ensembles", action="store_true", help="time similarity and clustering of ensemble events instead")
    parser.add_argument("--peers", help="interpreter of another environment that has oasis-deconv, suite2p or ssqueezepy")
    arguments = parser.parse_args()
    size = {"neurons": arguments.neurons, "frames": arguments.frames, "repeats": arguments.repeats}
    if arguments.coactivity:
        import coactivity_speed

        print("written:", write_json("speed_coactivity", coactivity_speed.measure(arguments.repeats)))
        return
    if arguments.ensembles:
        import ensembles_speed

        print("written:", write_json("speed_ensembles", ensembles_speed.measure(arguments.repeats)))
        return
    if arguments.cleaning or arguments.events:
        from calcium_engine import simulate_recording

        simulated = simulate_recording(
            n_neurons=arguments.neurons, n_frames=arguments.frames, sampling_rate=SAMPLING_RATE, seed=0
        )
        traces = simulated["fluorescence"].values
        name, result = ("events", events(traces, arguments)) if arguments.events else ("cleaning", cleaning(traces, arguments))
        print("written:", write_json(f"speed_{name}", {**size, **result}))
        return
    warnings.filterwarnings("ignore", message="bins of 0.5 s are")  # 2 frames at 4.8 Hz are 0.417 s
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "recording.csv"
        write_simulated_csv(path, n_neurons=arguments.neurons, n_frames=arguments.frames)
        result = (processes if arguments.process else stages)(arguments, path, folder)
    print("written:", write_json("speed_process" if arguments.process else "speed", {**size, **result}))


if __name__ == "__main__":
    main()
