"""A simulated recording of any size, made block by block and never held whole."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import xarray as xr

from calcium_engine import make_recording, simulate_recording
from calcium_engine.io.regions import finish, lay_out, write_rows
from calcium_engine.io.store import rows_per_chunk

RATE = 4.8
AT_A_TIME = 500  # neurons


def write_simulated_store(path: str | Path, n_neurons: int, n_frames: int) -> None:
    """Write fluorescence with two ensembles in each block of neurons; a block's seed is its number."""
    path = Path(path)
    empty = make_recording(
        dask.array.zeros((n_neurons, n_frames), dtype=np.float32), sampling_rate=RATE, source="simulated in blocks"
    )
    empty = empty.assign_attrs(indicator="GCaMP6s")
    lay_out(path, empty, n_neurons)
    rows = max(1, AT_A_TIME // rows_per_chunk(n_frames)) * rows_per_chunk(n_frames)
    for seed, first in enumerate(range(0, n_neurons, rows)):
        n = min(rows, n_neurons - first)
        block = simulate_recording(n_neurons=max(n, 60), n_frames=n_frames, sampling_rate=RATE, n_ensembles=2, seed=seed)
        write_rows(path, "fluorescence", first, block["fluorescence"].values[:n])
    finish(path, xr.Dataset(coords=empty.coords, attrs=empty.attrs))
