"""Recordings of any size from any format into a Zarr store, in blocks: what is in memory does not grow with the recording.

The readers run as ever, but their traces become dask arrays, which are written block by block. What a file holds
neuron by neuron is read when its block is written. What it holds frame by frame, and text, whose number of rows nobody knows
before its end, goes into a temporary file beside the store first: there, frames stand in slabs, neuron by neuron within each, so
that a block of neurons is one stretch of every slab. Plain reads and writes, no memory maps: mapped pages count as memory in use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.io.atomic import remove, replacing
from calcium_engine.io.integrity import MARKER, seal
from calcium_engine.io.recording import check_values
from calcium_engine.io.store import BLOCK_BYTES, rows_per_chunk, write_store
from calcium_engine.io.tables import Table, blocks_of

Progress = Callable[[str, int, int], None]
READING, WRITING = "reading", "writing"
SLAB_BYTES = 2**25


@contextmanager
def streaming(path: str | os.PathLike[str], *, overwrite: bool = False, progress: Progress | None = None) -> Iterator[Streaming]:
    """Give what turns tables into lazy traces and saves their recording at `path`; temporary files beside it go in the end.

    Args:
        path: the store to make.
        overwrite: whether to replace a store that exists.
        progress: is called with a stage ("reading", "writing") and how many bytes of how many are done.

    Raises:
        FileExistsError, FileNotFoundError, PermissionError, CalciumError: as `save_recording` does, and before anything is read.
    """
    with replacing(path, overwrite=overwrite, marker=MARKER) as store:
        scratch = store.with_suffix(".scratch")
        try:
            scratch.mkdir()
            yield Streaming(store, scratch, progress or (lambda stage, done, total: None))
        finally:
            remove(scratch)


class Streaming:
    """Traces as dask arrays over files."""

    def __init__(self, store: Path, scratch: Path, progress: Progress) -> None:
        self.store, self.scratch, self.progress = store, scratch, progress
        self._traces: list[_Traces] = []

    def from_table(self, table: Table, *, frames_in_rows: bool) -> Any:
        """Return traces that are read when they are computed; frames in rows are turned round on disk now."""
        return self.from_batches(self._batches(table), frames_in_rows=True) if frames_in_rows else self._lazily(table)

    def from_batches(self, batches: Iterable[np.ndarray], *, frames_in_rows: bool) -> Any:
        """Put batches into a temporary file, and return its traces."""
        return self._lazily((_slabs if frames_in_rows else _rows)(batches, self.scratch / f"{len(self._traces)}"))

    def save(self, recording: xr.Dataset) -> None:
        """Write a recording of these arrays."""
        import dask

        self._traces[0].check(recording["neuron"].values)
        # One block at a time bounds what is in memory; Zarr compresses its chunks on several threads anyway.
        with dask.config.set(scheduler="synchronous"):
            write_store(recording, self.store)
        seal(self.store)

    def _batches(self, table: Table) -> Iterator[np.ndarray]:
        n_rows, n_columns = table.shape
        for first, last in blocks_of(n_rows, n_columns):
            yield table.read(first, last)
            self.progress(READING, 4 * last * n_columns, 4 * n_rows * n_columns)

    def _lazily(self, table: Table) -> Any:
        import dask.array

        traces = _Traces(table, self._report)
        self._traces.append(traces)
        rows = rows_per_chunk(table.shape[1])  # whole chunks of the store: every block is read and written once
        rows *= max(1, BLOCK_BYTES // (rows * 4 * table.shape[1]))
        numpy = np.empty((0, 0), np.float32)
        lazy: Any = dask.array.from_array
        return lazy(traces, chunks=(rows, -1), name=False, fancy=False, meta=numpy)

    def _report(self) -> None:
        self.progress(WRITING, sum(traces.done for traces in self._traces), sum(traces.size for traces in self._traces))


class _Traces:
    """A table with neurons in rows, as dask takes it; looks at the values as they pass, as `make_recording` does in memory."""

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, table: Table, report: Callable[[], None]) -> None:
        self.table, self.report = table, report
        self.shape = table.shape
        self.size = 4 * table.shape[0] * table.shape[1]
        self.done = 0
        self._ids: np.ndarray | None = None
        self._unread, self._empty = np.ones(table.shape[0], bool), True

    def check(self, ids: np.ndarray) -> None:
        """Refuse infinite values, and nothing but NaN, when they are read; `ids` names the neurons in the message."""
        # A choice of suite2p's ROIs bears their numbers.
        self._ids = ids if ids.size == self.shape[0] else np.arange(self.shape[0])

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        first, last, _ = key[0].indices(self.shape[0])
        block = self.table.read(first, last)
        if self._ids is not None:
            self._look(block, slice(first, last), self._ids)
        self.done += block.nbytes
        self.report()
        return block[:, key[1]]

    def _look(self, block: np.ndarray, rows: slice, ids: np.ndarray) -> None:
        finite = np.isfinite(block)
        infinite = not finite.all() and bool(np.isinf(block).any())
        self._unread[rows] = False
        self._empty = self._empty and not finite.any()
        nothing = self._empty and not self._unread.any()
        if infinite or nothing:  # rare, so it may take long: what is wrong is counted over the whole
            check_values((self.table.read(*block) for block in blocks_of(*self.shape)), ids)


def _rows(batches: Iterable[np.ndarray], path: Path) -> _Stored:
    """Write rows as they come."""
    n_rows = n_columns = 0
    with path.open("wb") as file:
        for batch in batches:
            file.write(np.ascontiguousarray(batch).data)
            n_rows, n_columns = n_rows + len(batch), batch.shape[1]
    return _Stored(path, (n_rows, n_columns), n_columns)


def _slabs(batches: Iterable[np.ndarray], path: Path) -> _Stored:
    """Write rows as columns, a slab of so many at a time, which lie there column by column."""
    n_columns = slab_length = 0
    slab, filled, n_rows = np.empty((0, 0), np.float32), 0, 0
    with path.open("wb") as file:
        for batch in batches:
            if n_rows == 0:
                n_columns = batch.shape[1]
                slab_length = max(1, SLAB_BYTES // max(1, 4 * n_columns))
                slab = np.empty((n_columns, slab_length), np.float32)
            n_rows += len(batch)
            while len(batch):
                part, batch = batch[: slab_length - filled], batch[slab_length - filled :]
                slab[:, filled : filled + len(part)] = part.T
                filled += len(part)
                if filled == slab_length:
                    file.write(slab.data)
                    filled = 0
        file.write(np.ascontiguousarray(slab[:, :filled]).data)
    return _Stored(path, (n_columns, n_rows), max(1, slab_length))


class _Stored:
    """A temporary file of traces: slabs of `length` frames, in each of which a neuron's frames lie together."""

    def __init__(self, path: Path, shape: tuple[int, int], length: int) -> None:
        self.path, self.shape, self.length = path, shape, length

    def read(self, first: int, last: int) -> np.ndarray:
        """Return the traces of some neurons: a stretch of each slab."""
        n_neurons, n_frames = self.shape
        traces = np.empty((last - first, n_frames), np.float32)
        with self.path.open("rb") as file:
            for start in range(0, n_frames, self.length):
                length = min(self.length, n_frames - start)
                file.seek(4 * (start * n_neurons + first * length))
                stretch = np.fromfile(file, np.float32, (last - first) * length)
                traces[:, start : start + length] = stretch.reshape(last - first, length)
        return traces
