"""Files to recordings, recordings to files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from calcium_engine.io.csv import read_csv, scan_csv
from calcium_engine.io.fetch import fetch_intro
from calcium_engine.io.hdf5 import is_hdf5, read_hdf5, scan_hdf5
from calcium_engine.io.integrity import check_store, seal
from calcium_engine.io.npy import MAGIC, read_npy, scan_npy
from calcium_engine.io.recording import agreed_rate, make_recording
from calcium_engine.io.regions import finish, lay_out, open_unfinished, write_rows
from calcium_engine.io.store import open_recording, rows_per_chunk, save_recording
from calcium_engine.io.stream import Progress, streaming
from calcium_engine.io.suite2p import read_suite2p, scan_suite2p
from calcium_engine.schema import CalciumError
from calcium_engine.schema import sampling_rate as rate_of

__all__ = [
    "check_store",
    "convert_recording",
    "fetch_intro",
    "finish",
    "lay_out",
    "make_recording",
    "open_recording",
    "open_unfinished",
    "read",
    "read_csv",
    "read_hdf5",
    "read_npy",
    "read_suite2p",
    "rows_per_chunk",
    "save_recording",
    "seal",
    "write_rows",
]


_SCANS: dict[Callable[..., xr.Dataset], Callable[..., xr.Dataset]] = {
    read_csv: scan_csv,
    read_npy: scan_npy,
    read_hdf5: scan_hdf5,
    read_suite2p: scan_suite2p,
}


def read(path: str | os.PathLike[str], *, sampling_rate: float | None = None, **options: Any) -> xr.Dataset:
    """Read a recording, whatever it is kept in: text, a .npy or HDF5 file, a Zarr store of ours or a suite2p folder.

    Args:
        path: the file or folder. What it holds decides on the reader: `read_csv`, `read_npy`, `read_hdf5`, `open_recording`,
            `read_suite2p`.
        sampling_rate: frames per second, Hz. Needed where the file does not say; must not contradict one that does.
        options: further arguments of that reader. Those that are None are left out.

    Returns:
        A recording.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CalciumError: an option that the reader does not know (the message lists those it does), or what the reader refuses.
    """
    path = Path(path)
    reader, options = _reader_of(path, options)
    if reader is not open_recording:
        return reader(path, sampling_rate=sampling_rate, **options)
    recording = open_recording(path, **options)
    agreed_rate(sampling_rate, rate_of(recording), path.name)
    return recording


def convert_recording(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    sampling_rate: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    r"""Make a Zarr store of a recording in any format, without ever holding it in memory.

    The store is what `save_recording(read(path, ...), out)` makes. Text, and what a file holds frame by frame, goes through a
    temporary file beside `out`, which takes 4 bytes a value.

    Args:
        path: the file or folder, as for `read`.
        out: the store to make, by custom `name.zarr`.
        overwrite: whether to replace a store that exists. The old one is kept until the new one is complete.
        sampling_rate: frames per second, Hz. Needed where the file does not say; must not contradict one that does.
        progress: is called with "reading" or "writing" and how many bytes of how many are done.
        options: further arguments of the reader. Those that are None are left out.

    Returns:
        The path of the store, which is whole or absent.

    Raises:
        FileNotFoundError, FileExistsError, PermissionError, CalciumError: as `read` and `save_recording` do.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "traces.csv").write_text("1,2,3\n4,5,6\n")
    >>> store = convert_recording(folder / "traces.csv", folder / "traces.zarr", sampling_rate=4.8)
    >>> open_recording(store)["fluorescence"].values.tolist()
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    """
    path = Path(path)
    reader, options = _reader_of(path, options)
    if reader is open_recording:
        recording = read(path, sampling_rate=sampling_rate, chunks={}, **options)
        return save_recording(recording, out, overwrite=overwrite)
    with streaming(out, overwrite=overwrite, progress=progress) as arrays:
        arrays.save(_SCANS[reader](path, arrays, sampling_rate=sampling_rate, **options))
    return Path(out)


def _reader_of(path: Path, options: dict[str, Any]) -> tuple[Callable[..., xr.Dataset], dict[str, Any]]:
    """Return what reads a file or folder, and those of the options that are given; it must know them all."""
    reader = _reader(path)
    options = {name: value for name, value in options.items() if value is not None}
    known = [name for name, parameter in inspect.signature(reader).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise CalciumError(
            f"{path.name} is read by {reader.__name__}(), which takes {', '.join(known)}, not {', '.join(unknown)}"
        )
    return reader, options


def _reader(path: Path) -> Callable[..., xr.Dataset]:
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_dir():
        is_zarr = path.suffix == ".zarr" or any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))
        return open_recording if is_zarr else read_suite2p
    with path.open("rb") as file:
        is_npy = file.read(len(MAGIC)) == MAGIC or path.suffix.lower() == ".npy"
    return read_npy if is_npy else read_hdf5 if is_hdf5(path) else read_csv
