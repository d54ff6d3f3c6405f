"""NumPy's .npy files: numbers only; whatever would need unpickling is refused."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.lib import format as npy_format

from calcium_engine.io.recording import as_rate, check_orientation, check_shape, make_recording, warn_if_transposed
from calcium_engine.io.tables import Arrays, InMemory, as_float32
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
    return scan_npy(path, InMemory(), sampling_rate=sampling_rate, orientation=orientation, variable=variable, neuron=neuron)


def scan_npy(
    path: str | os.PathLike[str],
    arrays: Arrays,
    *,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str = "fluorescence",
    neuron: object = None,
) -> xr.Dataset:
    """Do what `read_npy` does; `arrays` says how the traces are held."""
    check_orientation(orientation)
    path = Path(path)
    shape = _header_of_numbers(path).shape
    if len(shape) == 2 and orientation is None:
        warn_if_transposed(path.name, *shape)
    in_columns = orientation == "columns"
    check_shape(shape[::-1] if in_columns else shape)
    as_rate(sampling_rate)
    table = NpyTable(path)
    traces = arrays.from_table(table, frames_in_rows=in_columns != table.fortran_order)
    return make_recording(traces, sampling_rate=sampling_rate, neuron=neuron, variable=variable, source=path.name)


class NpyTable:
    """The table of a .npy file; in Fortran order its columns are what lies together, so they are the rows here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header, self.dtype, self.offset, self.fortran_order = _header_of_numbers(path)
        n_rows, n_columns = header
        self.shape = (n_columns, n_rows) if self.fortran_order else (n_rows, n_columns)

    def read(self, first: int, last: int) -> np.ndarray:
        """Return rows as float32, by plain reads: pages of a map would count as memory in use."""
        n_columns = self.shape[1]
        offset = self.offset + first * n_columns * self.dtype.itemsize
        numbers = np.fromfile(self.path, self.dtype, (last - first) * n_columns, offset=offset)
        return as_float32(numbers.reshape(last - first, n_columns))


def load_numbers(path: Path) -> np.ndarray:
    """Return the float32 array of a .npy file of numbers."""
    shape, dtype, offset, fortran_order = _header_of_numbers(path)
    numbers = np.fromfile(path, dtype, math.prod(shape), offset=offset)
    return as_float32(numbers.reshape(shape, order="F" if fortran_order else "C"))


class Header(NamedTuple):
    """What a .npy file says about its array, and where the data begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    fortran_order: bool


def header_of(path: Path) -> Header:
    """Return the shape, the dtype, the offset of the data and the order of a .npy file."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            shape, fortran_order, dtype = readers[version](file)
        except (ValueError, KeyError) as error:
            raise CalciumError(f"{path.name} is no .npy file, or a damaged one: {error}") from None
        return Header(shape, dtype, file.tell(), fortran_order)


def _header_of_numbers(path: Path) -> Header:
    """Refuse what holds no numbers, or fewer than it says."""
    header = header_of(path)
    if header.dtype.hasobject:
        raise CalciumError(
            f"{path.name} holds pickled Python objects, which could run code and are not loaded; save an array of numbers"
        )
    if header.dtype.kind not in "biuf":
        raise CalciumError(f"{path.name} holds {header.dtype}, but traces must be real numbers")
    needed, found = header.offset + math.prod(header.shape) * header.dtype.itemsize, path.stat().st_size
    if found < needed:
        raise CalciumError(f"{path.name} is damaged: it should have {needed} bytes, but has {found}")
    return header
