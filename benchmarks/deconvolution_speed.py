"""Deconvolution beside its peers, in turns in one process: called by `speed.py --events`.

The peers are the PyPI package oasis-deconv (one row a call, float32) and `suite2p.extraction.dcnv.oasis`. They need no place in
this environment: `peers_python` names the interpreter of another one, of the same Python version, that has them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import io
import logging
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cleaning_speed import in_turns
from common import SAMPLING_RATE, run_child, table

TAU = 1.25
RISE = 0.2
BAR = 3.0  # peer over ours, the faster peer
MEMORY_BAR = 0.25  # ours over suite2p's
AR2_ROWS = 32  # the interior point method is timed on so many
Run = Callable[[np.ndarray], Any]


def decay() -> float:
    """Factor from one frame to the next."""
    return float(np.exp(-1.0 / (TAU * SAMPLING_RATE)))


def ours(traces: np.ndarray) -> np.ndarray:
    """Pools of neighbouring frames, all rows."""
    from calcium_engine.kernels import nonnegative_deconvolution

    return nonnegative_deconvolution(traces, decay())


def find_oasis() -> Run:
    """oasis-deconv, row by row: it has no loop over rows."""
    from oasis.oasis_methods import oasisAR1_f32

    return lambda traces: np.array([oasisAR1_f32(row, decay())[1] for row in traces])


def find_suite2p() -> Run:
    """suite2p's function, all rows in one batch; its module asks for torch, which this function does not use.

    It does not hold calcium at 0 or over, so that its result differs wherever a trace is below rest.
    """
    module = sys.modules.get("suite2p.extraction.dcnv") or import_dcnv()
    logging.getLogger("suite2p").setLevel(logging.ERROR)

    def run(traces: np.ndarray) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            return module.oasis(traces, len(traces), TAU, SAMPLING_RATE)

    return run


def import_dcnv() -> types.ModuleType:
    """Import that one module, without its packages' own __init__, which import everything."""
    spec = importlib.util.find_spec("suite2p")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("No module named 'suite2p'")
    folder = Path(next(iter(spec.submodule_search_locations)))
    stand_in = importlib.util.find_spec("torch") is None
    if stand_in:
        torch, functional = types.ModuleType("torch"), types.ModuleType("torch.nn.functional")
        torch.device = lambda name: name  # type: ignore[attr-defined]
        functional.conv1d = functional.max_pool1d = functional.pad = None  # type: ignore[attr-defined]
        sys.modules |= {"torch": torch, "torch.nn": types.ModuleType("torch.nn"), "torch.nn.functional": functional}
    for name in ("suite2p", "suite2p.extraction"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    module = importlib.import_module("suite2p.extraction.dcnv")
    if stand_in:
        for name in ("torch", "torch.nn", "torch.nn.functional"):
            del sys.modules[name]
    return module


def add_environment(peers_python: str | Path | None) -> None:
    """Let modules that are missing here come from another environment; those that are here stay the first choice."""
    if peers_python is not None:
        code = "import sysconfig; print(sysconfig.get_paths()['platlib'])"
        found = subprocess.run([str(peers_python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        if found not in sys.path:
            sys.path.append(found)
            importlib.invalidate_caches()


def peers(peers_python: str | Path | None) -> dict[str, Run]:
    """The peers that can be imported; of the others, say why not."""
    add_environment(peers_python)
    found: dict[str, Run] = {}
    for name, find in (("oasis-deconv", find_oasis), ("suite2p", find_suite2p)):
        try:
            found[name] = find()
        except (ImportError, AttributeError) as error:
            print(f"{name} is left out: {error}; install it in some environment and name its interpreter as peers_python")
    return found


# What the process holds at most beyond what it held before, by Linux's count: Python's knows nothing of compiled peers.
PEAK = """
import sys
from pathlib import Path
import numpy as np
import deconvolution_speed as speed

name, rows, frames, python = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] or None
run = speed.ours if name == "ours" else speed.peers(python)[name]
traces = np.random.default_rng(0).standard_normal((rows, frames), dtype=np.float32)
run(traces[:4])  # compiled, imported

def kilobytes(what):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))

Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
kept = run(traces)
print((kilobytes("VmHWM") - before) * 1024 / traces.nbytes)
"""


def measure(traces: np.ndarray, repeats: int, peers_python: str | Path | None = None) -> dict[str, Any]:
    """Measure and print time and memory of the deconvolution and of each peer that is there, at the traces' size."""
    from calcium_engine.kernels import nonnegative_deconvolution_ar2

    traces = np.ascontiguousarray(traces, dtype=np.float32)
    result: dict[str, Any] = {"time": {}, "memory": {}, "shape": list(traces.shape)}
    found = peers(peers_python)
    times = {name: in_turns(lambda: ours(traces), lambda run=run: run(traces), repeats) for name, run in found.items()}
    fastest = min(times, key=lambda name: times[name][1], default=None)
    lines = []
    for name, (mine, theirs) in times.items():
        reached = "" if name != fastest else "yes" if theirs / mine >= BAR else "NO"
        bar = BAR if name == fastest else ""
        apart = float(np.abs(ours(traces[:8])[:, 1:] - found[name](traces[:8])[:, 1:]).max() / np.abs(traces[:8]).max())
        lines.append([name, 1000 * mine, 1000 * theirs, theirs / mine, bar, reached, apart])
        result["time"][name] = {"ours_s": mine, "peer_s": theirs, "bar": bar or None, "difference": apart}
    if lines:
        table(["peer, AR(1)", "ours, ms", "peer, ms", "peer/ours", "bar", "reached", "largest difference"], lines)
    rows = traces[:AR2_ROWS]
    rise = float(np.exp(-1.0 / (RISE * SAMPLING_RATE)))
    spent, alone = in_turns(lambda: nonnegative_deconvolution_ar2(rows, decay(), rise), lambda: ours(rows), repeats)
    result["time"]["AR(2)"] = {"ours_s": spent, "rows": len(rows), "over_ar1": spent / alone}
    print(f"with a rise, AR(2): {1e9 * spent / rows.size:.0f} ns a frame, {spent / alone:.0f} times AR(1)\n")
    gc.collect()
    for name in ("ours", *found):
        arguments = (name, *map(str, traces.shape), "" if peers_python is None else str(peers_python))
        result["memory"][name] = float(run_child(PEAK, *arguments))
    table(["extra memory, result included, in copies of the traces", "copies"], [list(item) for item in result["memory"].items()])
    if "suite2p" in found:
        share = result["memory"]["ours"] / result["memory"]["suite2p"]
        print(f"ours over suite2p's: {share:.2f} (at most {MEMORY_BAR}: {'yes' if share <= MEMORY_BAR else 'NO'})\n")
    return result
