"""What importing calcium_engine costs over importing xarray and numba, in a fresh process each time.

python benchmarks/import_time.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

from common import run_child, table, write_json

ALLOWANCE_MS = 150
LATER = ("scipy", "matplotlib", "pywt", "dask", "zarr", "rich", "pooch")
CODE = """
import json, sys, time
start = time.perf_counter()
import {modules}
spent = time.perf_counter() - start
print(json.dumps([1000 * spent, sorted(sys.modules)]))
"""


def measure(repeats: int) -> tuple[dict[str, list[float]], dict[str, set[str]]]:
    """Milliseconds of each import, in turns after one round of warm-up, and the modules that each loads."""
    codes = {"xarray, numba": CODE.format(modules="xarray, numba"), "calcium_engine": CODE.format(modules="calcium_engine")}
    spent: dict[str, list[float]] = {name: [] for name in codes}
    loaded: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # an installation has its bytecode, whatever this environment says of writing it
        environment = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        for turn in range(repeats + 1):
            for name, code in codes.items():
                milliseconds, modules = json.loads(run_child(code, env=environment))
                loaded[name] = set(modules)
                if turn:
                    spent[name].append(milliseconds)
    return spent, loaded


def main() -> None:
    """Print medians and their difference; fail where it exceeds the allowance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    spent, loaded = measure(parser.parse_args().repeats)
    median = {name: statistics.median(times) for name, times in spent.items()}
    difference = median["calcium_engine"] - median["xarray, numba"]
    table(["import", "median ms", "least ms"], [[name, median[name], min(times)] for name, times in spent.items()])
    early = [name for name in LATER if name in loaded["calcium_engine"] - loaded["xarray, numba"]]
    print(f"calcium_engine adds {difference:.0f} ms (allowed: {ALLOWANCE_MS})")
    write_json("import_time", {"ms": spent, "median_ms": median, "difference_ms": difference, "loaded_early": early})
    if early:
        raise SystemExit(f"loaded at import, but should be loaded when first needed: {', '.join(early)}")
    if difference > ALLOWANCE_MS:
        raise SystemExit(f"importing calcium_engine takes {difference - ALLOWANCE_MS:.0f} ms too long")


if __name__ == "__main__":
    main()
