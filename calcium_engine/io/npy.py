"""NumPy's .npy files: numbers only; whatever would need unpickling is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.lib import format as npy_format

from calcium_engine.io.recording import check_orientation, make_recording, warn_if_transposed
from calcium_engine.schema import CalciumError

MAGIC = npy_format.MAGIC_PREFIX


def read_npy(
    path: str | os.PathLike[str],
    *,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str = "fluorescence",
    neuron: object = None,
) -> xr.Dataset:
    """Read traces from a .npy file.

    Args:
        path: the file, a two-dimensional array of real numbers.
        sampling_rate: frames per second, Hz. Needed: the file says nothing of it.
        orientation: "rows" or "columns", where the neurons are. Rows by default.
        variable: what the traces are: "fluorescence" (raw), or "dff" where they are ΔF/F already.
        neuron: one id per neuron; 0, 1, 2, ... by default.

    Returns:
        A recording with float32 traces.

    Raises:
        FileNotFoundError: there is no such file.
        CalciumError: the file is damaged, or holds pickled objects or anything but a table of numbers; or what
            `make_recording` refuses.

    Warns:
        UserWarning: there are more rows than columns, and `orientation` does not say where the neurons are.
    """
    check_orientation(orientation)
    path = Path(path)
    table = load_numbers(path)
    if table.ndim == 2 and orientation is None:
        warn_if_transposed(path.name, *table.shape)
    traces = np.ascontiguousarray(table.T if orientation == "columns" else table)
    return make_recording(traces, sampling_rate=sampling_rate, neuron=neuron, variable=variable, source=path.name)


def load_numbers(path: Path) -> np.ndarray:
    """Return the float32 array of a .npy file of numbers; it is mapped into memory, so that only float32 is ever held."""
    shape, dtype, _ = header_of(path)
    if dtype.hasobject:
        raise CalciumError(
            f"{path.name} holds pickled Python objects, which could run code and are not loaded; save an array of numbers"
        )
    if dtype.kind not in "biuf":
        raise CalciumError(f"{path.name} holds {dtype}, but traces must be real numbers")
    if 0 in shape:
        return np.empty(shape, np.float32)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise CalciumError(f"{path.name} is damaged: {error}") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return np.array(mapped, dtype=np.float32, order="C")


def header_of(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return the shape, the dtype and the offset of the data of a .npy file."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            shape, _, dtype = readers[version](file)
        except (ValueError, KeyError) as error:
            raise CalciumError(f"{path.name} is no .npy file, or a damaged one: {error}") from None
        return shape, dtype, file.tell()
