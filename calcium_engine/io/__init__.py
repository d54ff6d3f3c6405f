"""Files to recordings, recordings to files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from calcium_engine.io.csv import read_csv
from calcium_engine.io.fetch import fetch_intro
from calcium_engine.io.integrity import seal
from calcium_engine.io.npy import MAGIC, read_npy
from calcium_engine.io.recording import agreed_rate, make_recording
from calcium_engine.io.regions import finish, lay_out, open_unfinished, write_rows
from calcium_engine.io.store import open_recording, rows_per_chunk, save_recording
from calcium_engine.io.suite2p import read_suite2p
from calcium_engine.schema import CalciumError
from calcium_engine.schema import sampling_rate as rate_of

__all__ = [
    "fetch_intro",
    "finish",
    "lay_out",
    "make_recording",
    "open_recording",
    "open_unfinished",
    "read",
    "read_csv",
    "read_npy",
    "read_suite2p",
    "rows_per_chunk",
    "save_recording",
    "seal",
    "write_rows",
]


def read(path: str | os.PathLike[str], *, sampling_rate: float | None = None, **options: Any) -> xr.Dataset:
    """Read a recording, whatever it is kept in: a text file, a .npy file, a Zarr store of ours or a suite2p folder.

    Args:
        path: the file or folder. What it holds decides on the reader: `read_csv`, `read_npy`, `open_recording`, `read_suite2p`.
        sampling_rate: frames per second, Hz. Needed where the file does not say; must not contradict one that does.
        options: further arguments of that reader. Those that are None are left out.

    Returns:
        A recording.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CalciumError: an option that the reader does not know (the message lists those it does), or what the reader refuses.
    """
    path = Path(path)
    reader = _reader_of(path)
    options = {name: value for name, value in options.items() if value is not None}
    known = [name for name, parameter in inspect.signature(reader).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise CalciumError(
            f"{path.name} is read by {reader.__name__}(), which takes {', '.join(known)}, not {', '.join(unknown)}"
        )
    if reader is not open_recording:
        return reader(path, sampling_rate=sampling_rate, **options)
    recording = open_recording(path, **options)
    agreed_rate(sampling_rate, rate_of(recording), path.name)
    return recording


def _reader_of(path: Path) -> Callable[..., xr.Dataset]:
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_dir():
        is_zarr = path.suffix == ".zarr" or any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))
        return open_recording if is_zarr else read_suite2p
    with path.open("rb") as file:
        is_npy = file.read(len(MAGIC)) == MAGIC or path.suffix.lower() == ".npy"
    return read_npy if is_npy else read_csv
