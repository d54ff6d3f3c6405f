"""HDF5 files: NWB, CaImAn's results, MATLAB's v7.3 files, or a table of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.io.recording import (
    agreed_rate,
    as_rate,
    check_orientation,
    check_shape,
    label_neurons,
    make_recording,
    warn_if_transposed,
)
from calcium_engine.io.tables import BLOCK_BYTES, Arrays, InMemory, as_float32
from calcium_engine.schema import CalciumError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_AT = (0, 512, 1024, 2048)  # after what another format put first: MATLAB's header takes 512 bytes
# What CaImAn's CNMF.save() calls them: components × frames. C is denoised fluorescence, F_dff is ΔF/F.
_CAIMAN = {"estimates/C": "fluorescence", "estimates/F_dff": "dff"}
_CAIMAN_RATE = "params/data/fr"
_CAIMAN_ACCEPTED = "estimates/idx_components"
_NWB_CONTAINERS = {"Fluorescence": "fluorescence", "DfOverF": "dff"}


def read_hdf5(
    path: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str | None = None,
    neuron: object = None,
) -> xr.Dataset:
    """Read traces from a dataset of an HDF5 file.

    Known are NWB (a RoiResponseSeries in Fluorescence or DfOverF, with its times, conversion and offset), CaImAn (`estimates/C`
    and `estimates/F_dff`, with the frame rate and which components were accepted: `is_cell`) and MATLAB (v7.3: rows are rows as
    MATLAB shows them). Of any other file, a two-dimensional dataset of numbers.

    Args:
        path: the file.
        dataset: the name of the dataset. By default the only one that may hold traces: of the known ones, if there are such.
        sampling_rate: frames per second, Hz. Needed unless the file is known to say it, which it must not contradict.
        orientation: "rows" or "columns", where the neurons are. By default columns in NWB, and rows elsewhere.
        variable: what the traces are: "fluorescence" (raw), or "dff" where they are ΔF/F already. By default "dff" for DfOverF
            and F_dff, and "fluorescence" elsewhere.
        neuron: one id per neuron; 0, 1, 2, ... by default.

    Returns:
        A recording with float32 traces.

    Raises:
        FileNotFoundError: there is no such file.
        CalciumError: the file is no HDF5 file, or a damaged one; there is no such dataset, or none of numbers in two dimensions,
            or several (the message lists them); or what `make_recording` refuses.

    Warns:
        UserWarning: there are more rows than columns, and nothing says where the neurons are.
    """
    return scan_hdf5(
        path,
        InMemory(),
        dataset=dataset,
        sampling_rate=sampling_rate,
        orientation=orientation,
        variable=variable,
        neuron=neuron,
    )


def scan_hdf5(
    path: str | os.PathLike[str],
    arrays: Arrays,
    *,
    dataset: str | None = None,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str | None = None,
    neuron: object = None,
) -> xr.Dataset:
    """Do what `read_hdf5` does; `arrays` says how the traces are held."""
    check_orientation(orientation)
    path = Path(path)
    with _opened(path) as file:
        found = _describe(file, _choose(file, dataset, path.name))
    if orientation is None and found.orientation is None:
        warn_if_transposed(f"'{found.name}' of {path.name}", *found.shape)
    in_columns = (orientation or found.orientation) == "columns"
    check_shape(found.shape[::-1] if in_columns else found.shape)
    if found.rate is not None:
        sampling_rate = agreed_rate(sampling_rate, found.rate, path.name)
    if found.time is None:
        as_rate(sampling_rate)
    table, frames_in_rows = _Hdf5Table.of(path, found, neuron_axis=int(in_columns != found.transposed))
    recording = make_recording(
        arrays.from_table(table, frames_in_rows=frames_in_rows),
        sampling_rate=sampling_rate,
        neuron=neuron,
        time=found.time,
        variable=variable or found.variable,
        source=path.name,
    )
    n_neurons = recording.sizes["neuron"]
    if found.accepted is None or found.accepted.max() >= n_neurons:
        return recording
    return label_neurons(recording, {"is_cell": np.isin(np.arange(n_neurons), found.accepted)})


def is_hdf5(path: Path) -> bool:
    """Whether a file bears the signature of HDF5."""
    with path.open("rb") as file:
        for place in _SIGNATURE_AT:
            file.seek(place)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
    return False


@dataclass(frozen=True)
class _Found:
    """A dataset, and what the file says about it."""

    name: str
    shape: tuple[int, ...]  # as the program that wrote it shows it
    chunks: tuple[int, ...] | None
    transposed: bool = False  # MATLAB stores columns first
    orientation: str | None = None
    variable: str = "fluorescence"
    rate: float | None = None  # Hz
    time: np.ndarray | None = None  # s
    accepted: np.ndarray | None = None  # components that are cells
    factor: float = 1.0
    offset: float = 0.0


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:  # a damaged file, or a compression that is not installed
        raise CalciumError(f"{path.name} cannot be read as HDF5: {error}") from None


def _choose(file: Any, dataset: str | None, name: str) -> str:
    """Return the name of the dataset that holds the traces."""
    shapes: dict[str, tuple[int, ...]] = {}
    file.visititems(lambda path, found: shapes.update({path: _shape_of(found)} if _is_table(found) else {}))
    if dataset is not None:
        if _is_table(file.get(dataset)):
            return dataset.strip("/")
        raise CalciumError(f"{name} has no two-dimensional dataset of numbers '{dataset}'; it has: {_listed(shapes) or 'none'}")
    known = {path: shape for path, shape in shapes.items() if path in _CAIMAN or _is_series(file, path)}
    named = {path: shape for path, shape in known.items() if path in _CAIMAN or path.split("/")[-3] in _NWB_CONTAINERS}
    chosen = (
        named or known or {path: shape for path, shape in shapes.items() if min(shape) > 1} or shapes
    )  # MATLAB has no scalars
    if not chosen:
        raise CalciumError(f"{name} holds no two-dimensional dataset of numbers, so no traces")
    if len(chosen) > 1:
        raise CalciumError(f"{name} holds {len(chosen)} datasets that may be traces: {_listed(chosen)}; name one (dataset)")
    return next(iter(chosen))


def _is_table(found: Any) -> bool:
    """Whether this is a two-dimensional dataset of numbers; MATLAB keeps texts as numbers too."""
    import h5py

    if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.dtype.kind not in "biuf":
        return False
    return _text(found.attrs.get("MATLAB_class")) != "char" and not found.name.startswith("/#")


def _shape_of(dataset: Any) -> tuple[int, ...]:
    """Return the shape as the program shows it that wrote the file: MATLAB keeps columns first."""
    shape: tuple[int, ...] = dataset.shape
    return shape[::-1] if "MATLAB_class" in dataset.attrs else shape


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"'{path}' ({' × '.join(map(str, shape))})" for path, shape in shapes.items())


def _is_series(file: Any, path: str) -> bool:
    """Whether a dataset is that of a RoiResponseSeries of NWB; files before its version 2 say so by their groups' names only."""
    parts = path.split("/")
    if len(parts) < 3 or parts[-1] != "data":
        return False
    return _text(file[path].parent.attrs.get("neurodata_type")) == "RoiResponseSeries" or parts[-3] in _NWB_CONTAINERS


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _describe(file: Any, name: str) -> _Found:
    dataset = file[name]
    found = _Found(name, _shape_of(dataset), dataset.chunks, transposed="MATLAB_class" in dataset.attrs)
    if name in _CAIMAN:
        rate = _numbers(file, _CAIMAN_RATE)
        accepted = _numbers(file, _CAIMAN_ACCEPTED)
        return replace(
            found,
            orientation="rows",
            variable=_CAIMAN[name],
            rate=_scalar(rate) if rate.size else None,
            accepted=accepted if accepted.size else None,
        )
    return _describe_series(file, found) if _is_series(file, name) else found


def _describe_series(file: Any, found: _Found) -> _Found:
    """Add what NWB says: times or a rate, what the numbers are to be multiplied by, and what is to be added."""
    dataset = file[found.name]
    group, container = dataset.parent, dataset.parent.parent
    kinds = (_text(container.attrs.get("neurodata_type")), container.name.rsplit("/", 1)[-1])
    time = _numbers(group, "timestamps") if "timestamps" in group else np.empty(0)
    rate = group["starting_time"].attrs.get("rate") if "starting_time" in group else None
    frames_first = time.size in (0, found.shape[0]) or time.size != found.shape[1]
    return replace(
        found,
        orientation="columns" if frames_first else "rows",
        variable="dff" if "DfOverF" in kinds else "fluorescence",
        time=time if time.size else None,
        rate=None if rate is None or time.size else _scalar(rate),
        factor=_scalar(dataset.attrs.get("conversion", 1.0)),
        offset=_scalar(dataset.attrs.get("offset", 0.0)),
    )


def _numbers(group: Any, name: str) -> np.ndarray:
    """Return a small dataset of numbers, flat; CaImAn writes a word where there is nothing."""
    found = group.get(name)
    is_numbers = found is not None and getattr(found, "dtype", np.dtype("O")).kind in "iuf"
    return np.ravel(found[()]) if is_numbers else np.empty(0)


def _scalar(value: Any) -> float:
    return float(np.ravel(value)[0])  # some write arrays of one


class _Hdf5Table:
    """A dataset, cut along the axis that costs least; it is opened anew for each block, so nothing is left open."""

    def __init__(self, path: Path, found: _Found, axis: int, stored: tuple[int, int]) -> None:
        self.path, self.found, self.axis = path, found, axis
        self.shape = (stored[axis], stored[1 - axis])

    @classmethod
    def of(cls, path: Path, found: _Found, *, neuron_axis: int) -> tuple[_Hdf5Table, bool]:
        """Return the table, and whether its rows are frames; `neuron_axis` is that of the file."""
        n_rows, n_columns = found.shape[::-1] if found.transposed else found.shape
        stored = (n_rows, n_columns)
        # A chunk is read as a whole, so neurons are cut out only where no chunk holds too many of them.
        if found.chunks is None:
            by_neuron = neuron_axis == 0
        else:
            by_neuron = 4 * found.chunks[neuron_axis] * stored[1 - neuron_axis] <= 2 * BLOCK_BYTES
        return cls(path, found, neuron_axis if by_neuron else 1 - neuron_axis, stored), not by_neuron

    def read(self, first: int, last: int) -> np.ndarray:
        """Return rows as float32, in the unit that the file gives."""
        with _opened(self.path) as file:
            dataset = file[self.found.name]
            numbers = dataset[first:last] if self.axis == 0 else dataset[:, first:last].T
        if self.found.factor != 1.0 or self.found.offset != 0.0:
            numbers = numbers.astype(np.float64) * self.found.factor + self.found.offset
        return as_float32(numbers)
