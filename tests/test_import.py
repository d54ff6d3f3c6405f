"""Importing the package loads no more than it needs and does nothing but register the accessor."""

import subprocess
import sys

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
