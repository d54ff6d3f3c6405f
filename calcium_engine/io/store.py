"""Recordings in Zarr v3 stores: whole or absent, read lazily, with every label and attribute as it was."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.io.atomic import replacing
from calcium_engine.io.integrity import ENTRY, MARKER, UNFINISHED, ArrayOnDisk, check_quickly, seal
from calcium_engine.schema import SCHEMA_VERSION, TRACE, VARIABLES, CalciumError, native

CHUNK_BYTES = 2**21
BLOCK_BYTES = 25 * 2**20  # what dask handles at a time: several chunks


def save_recording(recording: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Save a recording as a Zarr v3 store.

    The store is written beside `path` and then renamed, so it is whole or absent. Chunks hold whole traces, 2 MB each.
    dask-backed variables are computed on the way, in blocks, without holding them all in memory.

    Args:
        recording: what `make_recording`, a reader or a step returned.
        path: the folder to make, by custom `name.zarr`.
        overwrite: whether to replace a store that exists. The old one is kept until the new one is complete.

    Returns:
        The path.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False, or it is not a Zarr store.
        PermissionError: the folder cannot be written to.
        CalciumError: this is no recording, or no space is left.
    """
    _check_recording(recording, "what you want to save")
    with replacing(path, overwrite=overwrite, marker=MARKER) as temporary:
        write_store(recording, temporary)
        seal(temporary)
    return Path(path)


def write_store(recording: xr.Dataset, folder: Path, *, with_traces: bool = True) -> None:
    """Write a recording into a new folder; of (neuron, frame) variables only the metadata, unless `with_traces`."""
    import dask.array
    import zarr

    # What a variable was read with (chunks, compressor, fill value) says nothing about how to write it.
    recording = native(recording.drop_encoding())
    plain = recording.map(_storable, keep_attrs=True)
    plain = plain.assign_coords(  # all: `map` leaves out those that no variable has
        {name: coord if name in recording.dims else _storable(coord) for name, coord in recording.coords.items()}
    )
    encoding = {name: encoding_of(variable) for name, variable in plain.variables.items()}
    later = {name: variable for name, variable in plain.data_vars.items() if is_trace(variable) or _is_unread(variable)}
    empty = {
        name: variable.copy(data=dask.array.zeros(variable.shape, dtype=variable.dtype, chunks=_whole_chunks(variable)))
        for name, variable in later.items()
    }
    # A chunk of nothing but the fill value is written too: one that is missing is always a fault.
    with _string_warnings_off():
        plain.assign(empty).to_zarr(
            folder, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=True, compute=False
        )
    from calcium_engine.io.chunks import Target

    lazy = {name: variable for name, variable in plain.variables.items() if variable.chunks and name not in later}
    targets: dict[Any, Any] = {}
    for name in (*later, *lazy):
        if name in later and is_trace(later[name]):
            if with_traces:
                targets[name] = Target(ArrayOnDisk.read(folder / str(name)))
        else:
            targets[name] = zarr.open_array(folder / str(name), mode="r+").with_config({"write_empty_chunks": True})
    for name in targets.keys() & later.keys():
        variable = later[name]
        if variable.chunks:
            lazy[name] = variable.variable
            continue
        step = _chunk_rows(variable)  # Zarr holds several copies of what it writes
        if is_trace(variable):  # in memory, all at once: threads that wait for the last of each block would be idle
            step = _whole_chunks(variable)[0] if _is_unread(variable) else len(variable)
        for first in range(0, len(variable), max(1, step)):
            targets[name][(slice(first, first + step),)] = variable[first : first + step].values
    if lazy:  # together, since they come from each other
        dask.array.store([variable.data for variable in lazy.values()], [targets[name] for name in lazy], lock=False)


def _is_unread(variable: xr.DataArray) -> bool:
    """Tell whether values are on a disk, to be read when they are looked at, by xarray alone."""
    return variable.ndim > 0 and variable.chunks is None and not variable.variable._in_memory


def open_recording(path: str | os.PathLike[str], *, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """Open a recording that `save_recording` wrote; values are read when they are used.

    Args:
        path: the store, a folder. It must stay as it is while its values are in use: one that is replaced meanwhile gives the
            new values, or an error.
        chunks: None reads through plain lazy indexing. `{}` makes the traces dask arrays in the chunks on disk, and
            `{"neuron": 256}` all variables dask arrays in blocks of so many neurons.

    Returns:
        The recording, with the coordinates and attributes it was saved with.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CalciumError: it is not a recording of ours, or of a later version.
    """
    return open_store(path, chunks)


def open_store(path: str | os.PathLike[str], chunks: Mapping[str, int] | None = None, *, unfinished: bool = False) -> xr.Dataset:
    """Open a store as `open_recording` does; also a half-made one, where `unfinished`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no recording at {path}")
    if not (path / MARKER).is_file():
        older = " (it is Zarr v2)" if (path / ".zgroup").exists() or (path / ".zarray").exists() else ""
        raise CalciumError(f"{path} is not a Zarr v3 store{older}; save_recording() writes one, and read() reads other formats")
    check_quickly(path, unfinished=unfinished)
    from calcium_engine.io.checked import CheckedStore

    try:
        with _string_warnings_off():
            recording = xr.open_zarr(
                CheckedStore(path, read_only=True), consolidated=False, chunks=None, decode_times=False, mask_and_scale=False
            )
    except CalciumError:
        raise
    except Exception as error:  # whatever Zarr, its codecs or JSON say about a damaged store
        raise CalciumError(
            f"{path} cannot be read as a recording: {type(error).__name__}: {str(error) or 'damaged store'}"
        ) from error
    for name in (ENTRY, UNFINISHED):
        recording.attrs.pop(name, None)
    traces = {name: array for name, array in recording.data_vars.items() if array.dims == ("neuron", "frame")}
    recording = recording.assign({name: _lazily(path, array, in_chunks=chunks == {}) for name, array in traces.items()})
    _check_recording(recording, str(path))
    version = recording.attrs.get("schema_version")
    if version is None:
        raise CalciumError(f"{path} is a Zarr store without schema_version, so not a recording that save_recording() wrote")
    if version != SCHEMA_VERSION:
        raise CalciumError(
            f"{path} has schema_version {version}, but this version of calcium_engine reads {SCHEMA_VERSION}; update it"
        )
    # The folder lists its arrays in any order; the steps' order reads better.
    known = {name: place for place, name in enumerate(VARIABLES)}
    names = sorted(recording.data_vars, key=lambda name: (known.get(str(name), len(known)), str(name)))
    ordered = recording.drop_vars(names).assign({name: recording.variables[name] for name in names})
    restored = _restore_strings(ordered)
    return restored.chunk(dict(chunks)) if chunks else restored


def _check_recording(recording: Any, what: str) -> None:
    if not isinstance(recording, xr.Dataset):
        raise CalciumError(f"{what} is not a recording: it is a {type(recording).__name__}; make_recording() makes one")
    missing = [name for name in ("neuron", "frame") if name not in recording.dims]
    missing += [
        name for name in ("neuron", "frame", "time", "sampling_rate") if name not in recording.coords and name not in missing
    ]
    if missing:
        raise CalciumError(f"{what} is not a recording: it has no {', '.join(missing)}; make_recording() makes one")


def rows_per_chunk(n_frames: int) -> int:
    """Return how many neurons a chunk takes, the same for all (neuron, frame) variables of a store, whatever their dtype.

    Blocks of a multiple of so many neurons can be read and written by themselves.

    Args:
        n_frames: frames of the recording.

    Returns:
        Neurons a chunk: 2 MB of float32, at least one.

    >>> rows_per_chunk(15000)
    34
    """
    return max(1, CHUNK_BYTES // (4 * max(1, n_frames)))


def is_trace(variable: Any) -> bool:
    """Whether a variable has a value for each neuron and frame."""
    return set(variable.dims) == set(TRACE)


def _chunk_rows(variable: xr.Variable | xr.DataArray) -> int:
    """Return how many rows of a variable a chunk takes: those of traces, or whole rows up to 2 MB."""
    if is_trace(variable):
        return rows_per_chunk(variable.sizes["frame"])
    row: int = variable.dtype.itemsize * math.prod(variable.shape[1:])
    return max(1, CHUNK_BYTES // max(1, row))


def _storable(array: xr.DataArray) -> xr.DataArray:
    """Return a variable as it is stored: traces neuron × frame, strings as Zarr's own string type, dask in whole chunks."""
    if array.dtype.kind in "UO":
        # Fixed-width strings have no specification in Zarr v3, and an empty array of objects comes back as numbers.
        return array.copy(data=np.asarray(array.values, dtype=np.dtypes.StringDType()))
    if array.ndim > 1 and array.dims[0] == "frame":
        array = array.transpose(..., "frame")
    if array.chunks is None or array.size == 0:
        return array
    return array.chunk(dict(zip(array.dims, _whole_chunks(array), strict=True)))


def _whole_chunks(array: xr.DataArray) -> tuple[int, ...]:
    """Return a block of whole chunks that is handled at a time."""
    rows = _chunk_rows(array)
    row_bytes = max(1, array.nbytes // max(1, array.shape[0]))
    return (rows * max(1, BLOCK_BYTES // (rows * row_bytes)), *array.shape[1:])


def encoding_of(variable: xr.Variable) -> dict[str, Any]:
    """Return how to store a variable: its chunks, a compressor, and a checksum that tells a damaged chunk when it is read."""
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    # NaN is NaN; no attribute has to say so.
    encoding: dict[str, Any] = {"_FillValue": None} if variable.dtype.kind == "f" else {}
    is_text = variable.dtype.kind == "T"
    encoding["compressors"] = (
        ZstdCodec(level=0) if is_text else BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        Crc32cCodec(),
    )
    if variable.ndim > 0:
        encoding["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "."}}
        rows = max(1, min(_chunk_rows(variable), variable.shape[0]))
        encoding["chunks"] = (rows, *(max(1, length) for length in variable.shape[1:]))
    return encoding


def _lazily(path: Path, opened: xr.DataArray, *, in_chunks: bool) -> xr.DataArray:
    """Return traces that are read straight from their chunks, where they were written so; as dask's, if asked for."""
    from xarray.core import indexing

    from calcium_engine.io.chunks import Traces, is_ours

    array, variable = ArrayOnDisk.read(path.absolute() / str(opened.name)), opened.variable
    if is_ours(array) and opened.size > 0:
        lazy: Any = indexing.LazilyIndexedArray(Traces(array))
        lazy = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))  # type: ignore[no-untyped-call]
        variable = xr.Variable(array.dims, lazy, opened.attrs, opened.encoding)
    return xr.DataArray(
        variable.chunk(dict(zip(array.dims, array.chunks, strict=True))) if in_chunks else variable, opened.coords
    )


def _restore_strings(recording: xr.Dataset) -> xr.Dataset:
    """Read string variables now (ids and names: small) and give them NumPy's plain string dtype again."""
    strings = {name: variable for name, variable in recording.variables.items() if variable.dtype.kind in "TO"}
    restored = {
        name: (variable.dims, np.array(variable.values.tolist(), dtype=str), variable.attrs) for name, variable in strings.items()
    }
    coords = {name: value for name, value in restored.items() if name in recording.coords}
    return recording.assign({name: value for name, value in restored.items() if name not in coords}).assign_coords(coords)


@contextmanager
def _string_warnings_off() -> Iterator[None]:
    """Silence what older Zarr releases say about strings, which their later specification settled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(vlen-utf8|Zarr (format 3|V3) spec|consolidated).*")
        yield
