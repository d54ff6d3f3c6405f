"""Traces into the chunk files of a store and out of them, straight through the codec, several chunks at a time.

Zarr's own path through its event loop copies each chunk several times and checks it on one thread: it takes twice to four times
as long (docs/scale.md). What is written here is what Zarr writes, byte for byte; arrays of any other codec are left to Zarr.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from calcium_engine.io.integrity import CHECKSUM_BYTES, ArrayOnDisk, checksum_of, chunk_fault, flush_folder, incomplete
from calcium_engine.schema import CalciumError

WORKERS = min(8, os.cpu_count() or 1)


def is_ours(array: ArrayOnDisk) -> bool:
    """Whether an array holds traces in the layout that is read and written here."""
    plain = array.dtype != object and array.codec_settings[0].get("endian", sys.byteorder) == sys.byteorder
    whole = len(array.shape) == 2 and array.chunks[1:] == array.shape[1:]
    return plain and whole and array.codecs == ("bytes", "blosc", "crc32c")


def _all(function: Callable[[int], None], numbers: Iterable[int], workers: int = WORKERS) -> None:
    """Call a function with each number, on several threads where this is the main one; dask's workers are many already."""
    numbers = list(numbers)
    if threading.current_thread() is not threading.main_thread() or len(numbers) < 2:
        for number in numbers:
            function(number)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(function, numbers):
            pass


def write_chunks(array: ArrayOnDisk, first: int, values: np.ndarray, *, flush: bool = False) -> None:
    """Write rows from `first` on, whole chunks or up to the end; `flush` waits until the disk has them."""
    rows, codec = array.chunks[0], _codec(array)

    def write(i: int) -> None:
        block = values[i * rows - first : (i + 1) * rows - first]
        if len(block) < rows:  # the last chunk is as large as the others
            fill = array.dtype.type(array.fill)  # NaN is written as a word
            block = np.concatenate([block, np.full((rows - len(block), block.shape[1]), fill)])
        data = codec.encode(np.ascontiguousarray(block))
        _put(array.folder / array.key(i, 0), data, checksum_of(data), flush)

    # Those that wait for the disk need no processor.
    _all(write, range(first // rows, -(-(first + len(values)) // rows)), 4 * WORKERS if flush else WORKERS)
    if flush:
        flush_folder(array.folder)


def _put(file: Path, data: bytes, checksum: bytes, flush: bool) -> None:
    """Write a file that is whole or absent."""
    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with beside.open("wb", buffering=0) as opened:
            opened.write(data)
            opened.write(checksum)
            if flush:
                os.fsync(opened.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _codec(array: ArrayOnDisk) -> Any:
    from numcodecs import Blosc

    shuffle = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
    settings = array.codec_settings[1]
    return Blosc(settings["cname"], settings["clevel"], shuffle[settings["shuffle"]], settings["blocksize"])


@dataclass
class Target:
    """Where dask stores the blocks of a trace variable, each of whole chunks."""

    array: ArrayOnDisk

    def __setitem__(self, key: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a block of rows."""
        write_chunks(self.array, key[0].start or 0, values)


class Traces(BackendArray):
    """Traces on the disk, read when they are indexed."""

    def __init__(self, array: ArrayOnDisk) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> Any:
        """Return the values of a part, as xarray asks for it."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        places = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        frames = np.arange(self.shape[1])[key[1]]
        whole = len(np.atleast_1d(frames)) == self.shape[1] and isinstance(key[1], slice) and (key[1].step or 1) == 1
        out = np.empty((len(places), *np.shape(frames)), self.dtype)
        chunks = places // self.array.chunks[0]

        def read(i: int) -> None:
            taken = np.flatnonzero(chunks == i)
            rows = places[taken] - i * self.array.chunks[0]
            if whole and np.array_equal(rows, np.arange(self.array.chunks[0])) and taken[-1] - taken[0] + 1 == len(taken):
                self._decode(i, out[taken[0] : taken[-1] + 1])
            else:
                out[taken] = self._decode(i, np.empty(self.array.chunks, self.dtype))[rows][:, key[1]]

        _all(read, map(int, np.unique(chunks)))
        return out[0] if np.ndim(key[0]) == 0 and not isinstance(key[0], slice) else out

    def _decode(self, i: int, out: np.ndarray) -> np.ndarray:
        key = self.array.key(i, 0)
        data = self.array.data(key)
        fault = chunk_fault(self.array, key, data)
        if fault is None and data is not None:
            packed = np.frombuffer(data, np.uint8)[:-CHECKSUM_BYTES]  # a view
            if _sizes(packed) == (out.nbytes, len(packed)):
                _codec(self.array).decode(packed, out)
                return out
            fault = f"{self.array.describe(key)} is that of another array"
        raise incomplete(self.array.folder.parent, fault or "")


def _sizes(packed: np.ndarray) -> tuple[int, int]:
    """Return the bytes of a chunk as it is and compressed, from the head that Blosc writes."""
    return int.from_bytes(packed[4:8].tobytes(), "little"), int.from_bytes(packed[12:16].tobytes(), "little")


def check_block(array: ArrayOnDisk, first: int, values: np.ndarray) -> None:
    """Refuse rows that are no whole chunks, or do not fit the array."""
    name, rows = array.folder.name, array.chunks[0]
    if array.dims != ("neuron", "frame") or not is_ours(array):
        raise CalciumError(
            f"'{name}' has dims {array.dims}, but rows are written of (neuron, frame) variables that lay_out() made"
        )
    n, frames = array.shape
    if values.ndim != 2 or values.shape[1] != frames or values.dtype != array.dtype:
        raise CalciumError(f"'{name}' takes rows of {frames} frames of {array.dtype}, not {values.dtype} of {values.shape}")
    stop = first + len(values)
    if first < 0 or stop > n or first % rows or (stop % rows and stop != n) or len(values) == 0:
        raise CalciumError(
            f"rows {first} to {stop - 1} of '{name}' are no whole chunks: begin at a multiple of {rows} and end before one, "
            f"or at the last row ({n - 1}); rows_per_chunk() gives their number"
        )
