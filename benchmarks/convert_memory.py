"""Peak memory and speed of `calcium convert` on a CSV file that is larger than what it may hold, neurons in rows and in columns.

The file is simulated in blocks, the conversion is a process of its own, and what is in the store is compared with what was
simulated: the sum of each neuron's values, in hundredths. Everything lies in a temporary folder: three times the file's size.

    python benchmarks/convert_memory.py [--gigabytes 2] [--neurons 2000] [--orientations rows columns] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import SAMPLING_RATE, run_child, table, write_json

BAR_MB = 500
CELL_BYTES = 7  # 300.12 and a comma
SIMULATE = """
import sys
import numpy as np
path, sums = sys.argv[1:3]
n_neurons, n_frames, rate, rows = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), sys.argv[6] == "rows"
cells = np.array([f"{i / 100:06.2f}," for i in range(100_000)], "S7")
draw = np.random.default_rng(0)
total = np.zeros(n_neurons, np.int64)
lines, width = (n_neurons, n_frames) if rows else (n_frames, n_neurons)
step = max(1, 2_000_000 // width)
with open(path, "wb") as file:
    if not rows:
        file.write(("time (s)," + ",".join(f"n{i}" for i in range(n_neurons)) + "\\n").encode())
    for first in range(0, lines, step):
        count = min(step, lines - first)
        # noise, and now and then something large: hundredths from 0 to 99999
        block = draw.normal(30_000, 2_000, (count, width)) + 40_000 * (draw.random((count, width)) < 0.01)
        block = np.clip(block, 0, 99_999).astype(int)
        if rows:
            total[first : first + count] = block.sum(axis=1)
        else:
            total += block.sum(axis=0)
        text = cells[block].view("S1").reshape(count, -1)
        text[:, -1] = b"\\n"
        if rows:
            file.write(text.tobytes())
        else:
            file.writelines(f"{(first + i) / rate:.6f},".encode() + text[i].tobytes() for i in range(count))
np.save(sums, total)
print("written")
"""
COMPARE = """
import sys
import numpy as np
from calcium_engine import open_recording
traces = open_recording(sys.argv[1])["fluorescence"]
expected = np.load(sys.argv[2])
blocks = (traces[i : i + 16].values for i in range(0, traces.sizes["neuron"], 16))
found = np.concatenate([np.rint(block.astype(float) * 100).astype(np.int64).sum(axis=1) for block in blocks])
print(np.array_equal(found, expected))
"""


def convert(path: Path, out: Path, orientation: str) -> tuple[float, float]:
    """Convert in a process of its own; return its peak memory in MB, and the seconds it took."""
    rate = ["--sampling-rate", str(SAMPLING_RATE)] if orientation == "rows" else []
    command = [sys.executable, "-m", "calcium_engine", "convert", str(path), str(out), *rate]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"calcium convert failed on {path.name}")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), seconds


def measure(folder: Path, orientation: str, n_neurons: int, n_frames: int) -> dict[str, float | str | bool]:
    """Simulate, convert and compare one file."""
    path, sums, out = folder / "recording.csv", folder / "sums.npy", folder / "recording.zarr"
    run_child(SIMULATE, str(path), str(sums), str(n_neurons), str(n_frames), str(SAMPLING_RATE), orientation)
    size = path.stat().st_size / 2**20
    peak, seconds = convert(path, out, orientation)
    path.unlink()
    equal = run_child(COMPARE, str(out), str(sums)) == "True"
    left = sorted(file.name for file in folder.iterdir())
    return {
        "neurons in": orientation,
        "file_mb": size,
        "peak_mb": peak,
        "seconds": seconds,
        "mb_per_s": size / seconds,
        "equal": equal,
        "clean": left == ["recording.zarr", "sums.npy"],
        "reached": peak < BAR_MB and equal,
    }


def main() -> None:
    """Print peak memory and speed for each orientation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the file")
    parser.add_argument("--neurons", type=int, default=2000)
    parser.add_argument("--orientations", nargs="+", choices=("rows", "columns"), default=("rows", "columns"))
    parser.add_argument("--folder", type=Path, help="where there is room (default: the system's temporary folder)")
    arguments = parser.parse_args()
    n_frames = max(2, round(arguments.gigabytes * 2**30 / CELL_BYTES / arguments.neurons))
    results = []
    for orientation in arguments.orientations:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            results.append(measure(Path(folder), orientation, arguments.neurons, n_frames))
    table(list(results[0]), [[str(v) if isinstance(v, bool) else v for v in result.values()] for result in results])
    print(f"{arguments.neurons} neurons × {n_frames} frames, {4 * arguments.neurons * n_frames / 2**20:.0f} MB as float32")
    write_json("convert_memory", {"neurons": arguments.neurons, "frames": n_frames, "bar_mb": BAR_MB, "files": results})


if __name__ == "__main__":
    main()
