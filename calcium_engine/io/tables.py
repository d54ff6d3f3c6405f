"""Tables of numbers on their way to traces: read in blocks of rows, and put together in memory here, or on disk in stream.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

BLOCK_BYTES = 2**24  # of float32, read at a time


class Table(Protocol):
    """Numbers in a file: `shape` is that of the file, and rows are what lies together in it, neurons or frames."""

    shape: tuple[int, int]

    def read(self, first: int, last: int) -> np.ndarray:
        """Return these rows as float32."""


class Arrays(Protocol):
    """How tables become the neuron × frame array of a recording, of NumPy or dask."""

    def from_table(self, table: Table, *, frames_in_rows: bool) -> Any:
        """Return the traces of a table that can be read from anywhere."""

    def from_batches(self, batches: Iterable[np.ndarray], *, frames_in_rows: bool) -> Any:
        """Return the traces of a table that comes row by row, in float32 batches of whole rows; how many shows at the end."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell how many bytes of `total` are done."""


class InMemory:
    """Traces as one NumPy array."""

    def from_table(self, table: Table, *, frames_in_rows: bool) -> np.ndarray:
        """Read it all, without a second copy on the way."""
        if not frames_in_rows:
            return table.read(0, table.shape[0])
        traces = np.empty(table.shape[::-1], np.float32)
        for first, last in blocks_of(*table.shape):
            traces[:, first:last] = table.read(first, last).T
        return traces

    def from_batches(self, batches: Iterable[np.ndarray], *, frames_in_rows: bool) -> np.ndarray:
        """Collect them."""
        parts = list(batches)
        if not frames_in_rows:
            return np.concatenate(parts)
        traces = np.empty((parts[0].shape[1], sum(map(len, parts))), np.float32)
        frame = 0
        for part in parts:
            traces[:, frame : frame + len(part)] = part.T
            frame += len(part)
        return traces

    def progress(self, stage: str, done: int, total: int) -> None:
        """Whoever reads into memory waits seconds."""


def blocks_of(n_rows: int, n_columns: int) -> list[tuple[int, int]]:
    """Return the first and the last row (exclusive) of each block."""
    step = max(1, BLOCK_BYTES // max(1, 4 * n_columns))
    return [(first, min(first + step, n_rows)) for first in range(0, n_rows, step)]


def as_float32(numbers: np.ndarray) -> np.ndarray:
    """Return numbers as float32; what it cannot hold becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)
