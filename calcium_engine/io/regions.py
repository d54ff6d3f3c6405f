"""Recordings too large for memory, written into a store block by block of neurons: laid out, filled, finished."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from calcium_engine.io.atomic import hidden, remove, replacing
from calcium_engine.io.integrity import MARKER, UNFINISHED, ArrayOnDisk, arrays_of, flush_folder, root_of, seal, write_root
from calcium_engine.io.store import is_trace, open_store, write_store
from calcium_engine.schema import CalciumError


def lay_out(path: str | os.PathLike[str], template: xr.Dataset, n_neurons: int, *, overwrite: bool = False) -> Path:
    """Make the store of a recording whose traces are to be written block by block.

    It is marked as unfinished, so `open_recording` refuses it until `finish` has been called.

    Args:
        path: the folder to make.
        template: the coordinates of the whole recording, and of each (neuron, frame) variable the dtype and attributes: it is
            best backed by `dask.array.zeros`, since its values are not used.
        n_neurons: neurons of the recording.
        overwrite: whether to replace a store that exists.

    Returns:
        The path.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False, or it is not a Zarr store.
        CalciumError: the template has other neurons, or other variables than traces.

    >>> import tempfile
    >>> from calcium_engine.io import make_recording, open_recording
    >>> recording = make_recording(np.ones((5, 100), np.float32), sampling_rate=4.8)
    >>> path = lay_out(Path(tempfile.mkdtemp()) / "r.zarr", recording, 5)
    >>> write_rows(path, "fluorescence", 0, recording["fluorescence"].values)
    >>> finish(path, recording.drop_vars("fluorescence"))
    >>> open_recording(path).identical(recording)
    True
    """
    if template.sizes.get("neuron") != n_neurons:
        raise CalciumError(f"the template has {template.sizes.get('neuron')} neurons, but the recording {n_neurons}")
    small = [str(name) for name, variable in template.data_vars.items() if not is_trace(variable)]
    if small:
        raise CalciumError(f"lay_out() lays out (neuron, frame) variables, not {', '.join(small)}; finish() writes these")
    with replacing(path, overwrite=overwrite, marker=MARKER) as temporary:
        write_store(template.assign_attrs({UNFINISHED: True}), temporary, with_traces=False)
        flush_files([file for file in temporary.rglob("*") if file.is_file()])
    flush_folder(Path(path).resolve().parent)
    return Path(path)


def write_rows(path: str | os.PathLike[str], name: str, first: int, values: np.ndarray, *, flush: bool = True) -> None:
    """Write the traces of some neurons into a store; other processes may write other blocks meanwhile.

    Args:
        path: a store that `lay_out` made.
        name: a (neuron, frame) variable of it.
        first: the first neuron's row; a multiple of `rows_per_chunk(n_frames)`.
        values: neuron × frame, of the variable's dtype: a multiple of so many rows, or as many as there are up to the last.
        flush: wait until the disk has them, so that what has been written stays so when power is lost.

    Raises:
        CalciumError: the rows are no whole chunks, or the frames or the dtype are not the variable's. Nothing was written.
    """
    from calcium_engine.io.chunks import check_block, write_chunks

    folder = Path(path) / name
    if not (folder / MARKER).is_file():
        raise CalciumError(f"{path} has no variable '{name}'; lay_out() makes those of its template")
    array = ArrayOnDisk.read(folder)
    check_block(array, first, values)
    write_chunks(array, first, values, flush=flush)


def flush_files(files: list[Path]) -> None:
    """Wait until the disk has these files and their names."""
    for file in files:
        with file.open("r+b") as opened:
            os.fsync(opened.fileno())
    folders = {folder for file in files for folder in (file.parent, file.parent.parent)}
    for folder in folders:
        flush_folder(folder)


def open_unfinished(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a store that is being made: traces not written yet raise when they are read."""
    return open_store(path, unfinished=True)


def finish(path: str | os.PathLike[str], small: xr.Dataset) -> None:
    """Add everything but traces to a store whose traces have been written, and let it be opened.

    It can be repeated after an interruption: what an earlier attempt had added is replaced.

    Args:
        path: a store that `lay_out` made, every trace of it written by `write_rows`.
        small: the other variables, and the attributes of the recording. Its coordinates are added to those of the store.

    Raises:
        CalciumError: `small` has (neuron, frame) variables, or not all traces have been written.
    """
    path = Path(path)
    traces = [str(name) for name, variable in small.data_vars.items() if is_trace(variable)]
    if traces:
        raise CalciumError(
            f"finish() writes all but (neuron, frame) variables, not {', '.join(traces)}; write_rows() writes these"
        )
    made = open_store(path, unfinished=True)
    of_traces = {name: variable for name, variable in made.data_vars.items() if is_trace(variable)}
    coords = {name: coord for name, coord in made.coords.items() if set(coord.dims) <= {"neuron", "frame"}}
    whole = xr.Dataset(of_traces, coords, small.attrs or made.attrs).assign_coords(small.coords).assign(small.data_vars)
    beside = hidden(path.resolve(), "partial")
    try:
        write_store(whole.assign_attrs({UNFINISHED: True}), beside, with_traces=False)
        _move_in(beside, path, set(map(str, of_traces)))
        seal(path)
    finally:
        remove(beside)


def _move_in(beside: Path, path: Path, traces: set[str]) -> None:
    """Move all arrays into a store, of traces only the metadata, and the store's own metadata last."""
    made = {array.folder.name: array for array in arrays_of(beside)}
    for name in {array.folder.name for array in arrays_of(path)} - set(made):
        shutil.rmtree(path / name)  # an earlier attempt's
    for name, array in made.items():
        target, files = path / name, [MARKER, *array.keys]
        if name in traces:
            for stray in target.glob(".*.partial"):  # of a process that was killed while it wrote
                stray.unlink()
            files = [MARKER]
            (array.folder / MARKER).replace(target / MARKER)
        elif _same(array.folder, target, files):
            continue
        else:
            remove(target)
            array.folder.rename(target)
        flush_files([target / file for file in files])
    write_root(path, root_of(beside))


def _same(one: Path, other: Path, files: list[str]) -> bool:
    """Whether two folders hold the same; what is there already need not be replaced."""
    return all((other / file).is_file() and filecmp.cmp(one / file, other / file, shallow=False) for file in files)
