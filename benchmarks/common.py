"""What all benchmarks share: a table on the terminal, a JSON file in benchmarks/results/, and what the machine is, the input."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

SAMPLING_RATE = 4.8
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("calcium_engine", "numpy", "scipy", "numba", "xarray", "PyWavelets", "zarr", "polars", "fastcluster", "scikit-learn")


def shown(value: Any) -> str:
    """Numbers to four significant digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header, numbers to the right."""
    cells = [list(header), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


class Stages:
    """Stages timed beside a peer: a table on the terminal, and the same by name for the JSON file."""

    def __init__(self) -> None:
        self._lines: list[list[Any]] = []
        self._times: dict[str, Any] = {}

    def add(self, what: str, peer: str, ours: float, theirs: float, bar: float | None) -> None:
        """Note the seconds of a stage and of its peer, and how many times as long the peer must take."""
        reached = "" if bar is None else "yes" if theirs / ours >= bar else "NO"
        self._lines.append([what, 1000 * ours, 1000 * theirs, theirs / ours, bar or "", reached, peer])
        self._times[f"{what} / {peer}"] = {"ours_s": ours, "peer_s": theirs, "bar": bar}

    def show(self) -> dict[str, Any]:
        """Print the table; return the times."""
        table(["stage", "ours, ms", "peer, ms", "peer/ours", "bar", "reached", "peer"], self._lines)
        return self._times


def machine() -> dict[str, Any]:
    """What ran it: figures without this say little."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "-"
    return {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.system(), **versions}


def write_json(name: str, result: Any) -> Path:
    """Write a benchmark's figures with the machine and the date."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), "result": result}, indent=1))
    return path


def write_simulated_csv(path: str | Path, *, n_neurons: int, n_frames: int, seed: int = 0) -> None:
    """Write a simulated recording with planted ensembles at 4.8 Hz (rows = neurons, no header)."""
    import numpy as np

    from calcium_engine import simulate_recording

    recording = simulate_recording(n_neurons=n_neurons, n_frames=n_frames, sampling_rate=SAMPLING_RATE, seed=seed)
    np.savetxt(path, recording["fluorescence"].values, fmt="%.4f", delimiter=",")


def run_child(code: str, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run Python code in a process of its own, in this folder, and return its last line of output."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, env={**os.environ, **(env or {})})
    if done.returncode:
        raise SystemExit(f"a child process failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]
