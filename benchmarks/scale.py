"""Recordings larger than memory: memory, speed, and what becomes of runs that are killed, of faults and of full disks.

The parent stays small: every analysis is a process of its own, and its peak is what the system says of it.

    python benchmarks/scale.py [--only memory,killed,workers,disk,convert,faults] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import table, write_json
from convert_memory import BAR_MB, CELL_BYTES
from convert_memory import measure as measure_conversion

SIZES, FRAMES, BUDGET = (2_000, 5_000, 10_000, 20_000), 20_000, "1GB"
QUICK_SIZES, QUICK_FRAMES = (500, 1_000), 4_000
IN_MEMORY = 2_000  # neurons of the part that fits
SMALL = 1_500, 3_000  # neurons and frames of the runs that are killed
SMALL_BUDGET = "420MB"
KILLS = 10
FLAT = 1.3e9  # bytes that a run may hold under BUDGET
SLOWEST, LINEAR = 0.8, 1.15

SIMULATE = """
import sys
from simulated_blocks import write_simulated_store
write_simulated_store(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""
PART = """
import sys
from calcium_engine import open_recording, save_recording
save_recording(open_recording(sys.argv[1]).isel(neuron=slice(int(sys.argv[3]))), sys.argv[2])
"""
IN_BLOCKS = """
import json, sys, time
from calcium_engine import analyze, open_recording
start, marks = time.perf_counter(), []
def mark(stage, done, total):
    marks.append([stage, time.perf_counter() - start])
analyze(open_recording(sys.argv[1]), out=sys.argv[2], memory=sys.argv[3], keep={keep}, resume=True, progress=mark)
print(json.dumps([*marks, ["", time.perf_counter() - start]]))
"""
WHOLE = """
import json, sys, time
from calcium_engine import analyze, open_recording, save_recording
recording = open_recording(sys.argv[1]).isel(neuron=slice(int(sys.argv[3])))
analyze(recording.isel(neuron=slice(8)).load())  # compiled kernels are read from the cache
start, marks = time.perf_counter(), []
def mark(stage, done, total):
    marks.append([stage, time.perf_counter() - start])
result = analyze(recording.load(), progress=mark)
print(json.dumps([*marks, ["", time.perf_counter() - start]]))
if sys.argv[2]:
    save_recording(result, sys.argv[2])
"""
SAME = """
import sys
import xarray as xr
from calcium_engine import open_recording
blocks, whole = open_recording(sys.argv[1]).load(), open_recording(sys.argv[2]).load()
whole = whole.drop_vars(["baseline", "background"], errors="ignore")
xr.testing.assert_identical(blocks, whole)
print("identical")
"""
AFTER = ("retention_test", "compute_features", "compute_coactivity", "find_ensemble_events", "find_ensembles")


def run(code: str, *arguments: object) -> tuple[str, int]:
    """Run code in a process of its own; return what it printed last, and its peak of resident memory in bytes."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment
    )
    text = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"a run failed with exit code {child.returncode}")
    return (text.strip().splitlines() or [""])[-1], usage.ru_maxrss * 1024


def digest(store: Path) -> str:
    """Return one checksum of all files of a store, with their names."""
    total = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(store)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def phases(marks: list[list[Any]], *, in_blocks: bool) -> tuple[float, float]:
    """Return the seconds of the steps that look at single neurons, and of the others.

    Features belong to the first, but for what blocks leave of them to do together.
    """
    times = [at for _, at in marks]
    together = AFTER if in_blocks else tuple(name for name in AFTER if name != "compute_features")
    per_neuron = sum(stop - start for (stage, start), stop in zip(marks, times[1:], strict=False) if stage not in together)
    return per_neuron, times[-1] - per_neuron


def judge_memory(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Peak memory, throughput and linearity under one budget; results beside those of the run in memory."""
    sizes, frames = (QUICK_SIZES, QUICK_FRAMES) if quick else (SIZES, FRAMES)
    part = min(IN_MEMORY, sizes[0])
    rows: list[list[Any]] = []
    largest = folder / "largest.zarr"
    print(f"simulating {sizes[-1]} × {frames} …", file=sys.stderr, flush=True)
    run(SIMULATE, largest, sizes[-1], frames)
    for n in sizes:
        given = largest if n == sizes[-1] else folder / f"{n}.zarr"
        if given != largest:
            run(PART, largest, given, n)
        print(f"{n} neurons …", file=sys.stderr, flush=True)
        text, peak = run(IN_BLOCKS.format(keep=None), given, folder / f"{n}_out.zarr", BUDGET)
        rows.append([n, *phases(json.loads(text), in_blocks=True), peak])
        if given != largest:
            shutil.rmtree(given)
        if n not in (part, sizes[-1]):
            shutil.rmtree(folder / f"{n}_out.zarr")
    print("in memory …", file=sys.stderr, flush=True)
    text, peak = run(WHOLE, largest, folder / "whole.zarr", part)
    whole = [part, *phases(json.loads(text), in_blocks=False), peak]
    same, _ = run(SAME, folder / f"{part}_out.zarr", folder / "whole.zarr")
    header = ["neurons", "single neurons, s", "population, s", "ms a neuron", "peak, MB"]
    table(
        ["", *header],
        [
            [how, n, alone, together, 1e3 * alone / n, peak / 1e6]
            for how, (n, alone, together, peak) in [*(("in blocks", row) for row in rows), ("in memory", whole)]
        ],
    )
    each = {n: alone / n for n, alone, _, _ in rows}
    bars = {
        f"peak under {BUDGET}, MB (at most {FLAT / 1e6:.0f})": (
            max(peak for *_, peak in rows) / 1e6,
            max(peak for *_, peak in rows) <= FLAT,
        ),
        f"throughput over that in memory (at least {SLOWEST})": (
            whole[1] / part / each[sizes[-1]],
            whole[1] / part / each[sizes[-1]] >= SLOWEST,
        ),
        f"time a neuron at {sizes[-1]} over {sizes[0]} (at most {LINEAR})": (
            each[sizes[-1]] / each[sizes[0]],
            each[sizes[-1]] / each[sizes[0]] <= LINEAR,
        ),
        f"results of {part} neurons": (same, same == "identical"),
    }
    return {"rows": [[*row] for row in rows], "in_memory": whole, "bars": bars}


def _small(folder: Path) -> Path:
    given = folder / "small.zarr"
    if not given.exists():
        run(SIMULATE, given, *SMALL)
    return given


def judge_killed(folder: Path, *, quick: bool) -> dict[str, Any]:
    """SIGKILL at random moments, and what comes of it when the run is resumed."""
    given, whole = _small(folder), folder / "uninterrupted.zarr"
    start = time.perf_counter()
    run(IN_BLOCKS.format(keep=None), given, whole, SMALL_BUDGET)
    lasts, expected = time.perf_counter() - start, digest(whole)
    rng, same, when = random.Random(0), 0, []
    tries = 2 if quick else KILLS
    for k in range(tries):
        out = folder / f"killed_{k}.zarr"
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", IN_BLOCKS.format(keep=None), str(given), str(out), SMALL_BUDGET],
            stdout=subprocess.DEVNULL,
        )
        moment = rng.uniform(0.1, 1.0) * lasts
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        child.wait()
        blocks = len(list((folder / f"killed_{k}.zarr.unfinished" / "blocks").glob("*.npz")))
        when.append([moment, blocks if not out.exists() else "all"])
        run(IN_BLOCKS.format(keep=None), given, out, SMALL_BUDGET)
        same += digest(out) == expected and not (folder / f"killed_{k}.zarr.unfinished").exists()
        shutil.rmtree(out)
    table(["killed after, s", "blocks done"], when)
    return {"when": when, "bars": {f"identical stores after SIGKILL, of {tries}": (same, same == tries)}}


WORKERS = """
import os, signal, sys, threading, time
from pathlib import Path
from distributed import Client, LocalCluster
from calcium_engine import analyze, open_recording

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=60) as cluster:
        with Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
            killed = []
            def progress(stage, done, total):
                if done >= 2 and not killed:
                    killed.append(pids[0])
                    os.kill(pids[0], signal.SIGKILL)
            analyze(open_recording(sys.argv[1]), out=sys.argv[2], memory=sys.argv[3], progress=progress)
    print(len(killed))
"""


def judge_workers(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Two local workers, of which one is killed on the way."""
    given, whole, out = _small(folder), folder / "uninterrupted.zarr", folder / "workers.zarr"
    if not whole.exists():
        run(IN_BLOCKS.format(keep=None), given, whole, SMALL_BUDGET)
    script = folder / "workers.py"
    script.write_text(WORKERS)
    killed, _ = run(
        "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')", script, given, out, SMALL_BUDGET
    )
    same = killed == "1" and digest(out) == digest(whole)
    return {"bars": {"two workers, one killed: identical": (same, same)}}


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size, which takes a superuser."""
    place = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def _calcium(*arguments: object) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "calcium_engine", *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, (done.stderr or done.stdout).strip()


def judge_disk(folder: Path, *, quick: bool) -> dict[str, Any]:
    """A full disk, and one that cannot be written to: one error, and nothing lost."""
    given = _small(folder)
    before, bars = digest(given), {}
    with small_disk(64) as disk:
        (disk / "earlier.txt").write_text("results")
        code, said = _calcium("run", given, "--out", disk / "out", "--memory", "600MB", "--quiet")
        print(said)
        bars["full disk: one line, exit code 1"] = (len(said.splitlines()), code == 1 and len(said.splitlines()) == 1)
        kept = (disk / "earlier.txt").read_text() == "results" and not (disk / "out").exists() and digest(given) == before
        bars["full disk: input and earlier results untouched"] = (kept, kept)
    with small_disk(64) as disk:
        (disk / "earlier.txt").write_text("results")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, said = _calcium("run", given, "--out", disk / "out", "--memory", "600MB", "--quiet")
        print(said)
        bars["read-only disk: one line, exit code 1"] = (len(said.splitlines()), code == 1 and len(said.splitlines()) == 1)
        kept = [path.name for path in disk.iterdir()] == ["earlier.txt"] and digest(given) == before
        bars["read-only disk: input and earlier results untouched"] = (kept, kept)
    return {"bars": bars}


def judge_convert(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Text of 2 GB becomes a store."""
    gigabytes, bars, files = 0.05 if quick else 2.0, {}, []
    for orientation in ("rows", "columns"):
        place = folder / orientation
        place.mkdir()
        files.append(measure_conversion(place, orientation, 2000, round(gigabytes * 2**30 / CELL_BYTES / 2000)))
        peak, equal = files[-1]["peak_mb"], files[-1]["equal"]
        bars[f"{gigabytes:g} GB of text, neurons in {orientation}: peak, MB (under {BAR_MB})"] = (peak, files[-1]["reached"])
        bars[f"{gigabytes:g} GB of text, neurons in {orientation}: values as simulated"] = (equal, equal)
        shutil.rmtree(place)
    return {"files": files, "bars": bars}


FAULTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a missing chunk": (lambda store, _: (store / "dff" / "c.1.0").unlink(), "chunk dff/c.1.0"),
    "a truncated chunk": (lambda store, _: os.truncate(store / "dff" / "c.1.0", 1000), "chunk dff/c.1.0"),
    "metadata of another recording": (
        lambda store, other: shutil.copy(other / "fluorescence" / "zarr.json", store / "fluorescence" / "zarr.json"),
        "metadata of 'fluorescence'",
    ),
}


def judge_faults(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Faults planted in a finished store are named by `calcium info --check`, and by an analysis that reads it."""
    given, whole, other = _small(folder), folder / "uninterrupted.zarr", folder / "other.zarr"
    if not whole.exists():
        run(IN_BLOCKS.format(keep=None), given, whole, SMALL_BUDGET)
    run(PART, given, other, 700)
    bars = {}
    for what, (plant, named) in FAULTS.items():
        store = folder / "faulty.zarr"
        shutil.copytree(whole, store)
        plant(store, other)
        for how, arguments in (("info --check", ["info", store, "--check"]), ("run", ["run", store, "--out", folder / "out"])):
            code, said = _calcium(*arguments)
            met = code == 1 and named in said
            bars[f"{what}: named by calcium {how}"] = (met, met)
        shutil.rmtree(store)
    return {"bars": bars}


JUDGES: dict[str, Callable[..., dict[str, Any]]] = {
    "memory": judge_memory,
    "killed": judge_killed,
    "workers": judge_workers,
    "disk": judge_disk,
    "convert": judge_convert,
    "faults": judge_faults,
}


def main() -> None:
    """Measure, print the bars and write JSON; fail where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(JUDGES), help=f"some of {', '.join(JUDGES)}")
    parser.add_argument("--quick", action="store_true", help="small recordings: to see that it runs")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in JUDGES]:
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(JUDGES)}")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found[name] = JUDGES[name](Path(folder), quick=arguments.quick)
    bars = [[what, value, "yes" if met else "NO"] for result in found.values() for what, (value, met) in result["bars"].items()]
    print()
    table(["bar", "measured", "met"], bars)
    print("written:", write_json("scale_quick" if arguments.quick else "scale", found))
    if any(met == "NO" for *_, met in bars):
        raise SystemExit("a bar is missed")


if __name__ == "__main__":
    main()
