"""Importing the package is quick and does nothing but register the accessor."""

import subprocess
import sys
import time

HEAVY = ("scipy", "matplotlib", "pywt", "dask", "zarr", "rich", "pooch")


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_heavy_libraries_load_when_first_needed():
    before = set(_python("import sys, xarray, numba; print(*sys.modules)").split())
    after = set(_python("import sys, xarray, numba, calcium_engine; print(*sys.modules)").split())
    assert [name for name in HEAVY if name in after - before] == []


def test_the_command_line_too():
    loaded = set(_python("import sys, calcium_engine.cli; print(*sys.modules)").split())
    assert [name for name in ("matplotlib", "pywt", "dask", "zarr", "rich", "pooch") if name in loaded] == []


def test_no_side_effect_but_the_accessor(tmp_path):
    code = """
import os, signal, sys, warnings, threading
import numba, numpy as np, xarray as xr
def state():
    return (dict(os.environ), os.getcwd(), sorted(os.listdir()), list(warnings.filters), signal.getsignal(signal.SIGTERM),
            threading.active_count(), str(np.random.get_state()), numba.get_num_threads(), str(xr.get_options()), sys.excepthook)
before = state()
had = hasattr(xr.Dataset, "calcium")
import calcium_engine
print(had, hasattr(xr.Dataset, "calcium"), [a == b for a, b in zip(before, state())])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == f"False True {[True] * 10}"
    assert run.stderr == ""


def test_import_takes_little_more_than_xarray_and_numba():
    def seconds(modules):
        start = time.perf_counter()
        _python(f"import {modules}")
        return time.perf_counter() - start

    seconds("xarray, numba, calcium_engine")  # compile the bytecode
    ours, theirs = ([seconds(modules) for _ in range(5)] for modules in ("xarray, numba, calcium_engine", "xarray, numba"))
    # The bar is 0.15 s on an idle machine; a test shares its machine with others, which can only add to the time.
    assert min(ours) - min(theirs) < 0.3
