"""Peak memory of the pipeline beside the plain script's, from a CSV file to ensembles, each in a process of its own.

The parent stays small and imports no array library: on Linux a child's peak starts from what its parent held.

    python benchmarks/memory.py [--neurons 324] [--frames 15000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import SAMPLING_RATE, run_child, table, write_json

PEAK = """
import resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (2**20 if sys.platform == "darwin" else 2**10))
"""
SIMULATE = """
import sys
from common import write_simulated_csv
write_simulated_csv(sys.argv[1], n_neurons=int(sys.argv[2]), n_frames=int(sys.argv[3]))
print("written")
"""
OURS = """
import sys
from calcium_engine import analyze, read
analyze(read(sys.argv[1], sampling_rate=float(sys.argv[2])), recipe={recipe!r})
"""
VARIANTS = {
    "plain, imports only": "import plain",
    "plain": "import sys; from plain import run_plain; result = run_plain(sys.argv[1], float(sys.argv[2]))",
    "calcium_engine, imports only": "import calcium_engine",
    "calcium_engine, classical": OURS.format(recipe="classical"),
    "calcium_engine, calibrated": OURS.format(recipe="calibrated"),
}


def main() -> None:
    """Print the peaks in MB, and as multiples of the traces themselves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=324)
    parser.add_argument("--frames", type=int, default=15000)
    arguments = parser.parse_args()
    traces = arguments.neurons * arguments.frames * 4 / 2**20
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "recording.csv")
        run_child(SIMULATE, path, str(arguments.neurons), str(arguments.frames))
        # twice, since compiling takes memory of its own; the second run finds the compiled kernels in the cache
        peak = {
            name: min(float(run_child(code + PEAK, path, str(SAMPLING_RATE))) for _ in range(2))
            for name, code in VARIANTS.items()
        }
    rows = []
    for name, megabytes in peak.items():
        start = peak["plain, imports only" if name.startswith("plain") else "calcium_engine, imports only"]
        rows.append([name, megabytes, (megabytes - start) / traces])
    table(["peak memory", "MB", "over imports, in float32 traces"], rows)
    print(f"float32 traces of {arguments.neurons} × {arguments.frames}: {traces:.1f} MB")
    write_json("memory", {"neurons": arguments.neurons, "frames": arguments.frames, "traces_mb": traces, "peak_mb": peak})


if __name__ == "__main__":
    main()
