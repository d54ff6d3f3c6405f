"""From lines of text to numbers, on several threads and in order."""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calcium_engine.io.layout import QUOTED_DELIMITER
from calcium_engine.io.lines import decode, tidy
from calcium_engine.io.tables import as_float32
from calcium_engine.schema import CalciumError

LONG_ROW = 64  # cells; rows from there on are counted one by one
PIECE_BYTES = 2**22  # a row may be longer than what is good to parse at once
WORKERS = min(4, os.cpu_count() or 1)  # each takes 16 MB
AHEAD_BYTES = 2**25  # of text that is parsed or waits for it


class Parsed(NamedTuple):
    """What some lines hold."""

    traces: np.ndarray  # float32, row by row
    labels: list[str]  # of the rows, if they have such
    times: np.ndarray  # float64, as they are written, if there are any


@dataclass(frozen=True)
class Rows:
    """What the rows of a text file are made of."""

    name: str  # of the file
    delimiter: str
    trailing: bool  # a delimiter ends every line
    width: int  # cells
    labelled: bool  # the first cell is an id
    time_column: int | None
    first_trace: int  # the column
    first_row: int  # its number, counted from 1 as an editor counts

    def parse(self, lines: Iterable[bytes], row: int) -> Iterator[Parsed]:
        """Yield what batches of lines hold, in order; the first is the row of that number."""
        waiting: deque[tuple[int, Future[Parsed]]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:  # pandas parses without holding the interpreter's lock
            for batch in lines:
                waiting.append((len(batch), pool.submit(self._parse, batch, row)))
                row += batch.count(b"\n")
                while len(waiting) > WORKERS or (len(waiting) > 1 and sum(size for size, _ in waiting) > AHEAD_BYTES):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()

    def check_lengths(self, batch: bytes, row: int) -> None:
        """Refuse rows whose number of cells is not the first's; the batch begins with the row of that number."""
        characters = np.frombuffer(batch, np.uint8)
        marks = characters == ord(self.delimiter)
        ends = np.flatnonzero(characters == ord("\n"))
        if self.width > LONG_ROW:
            starts = np.concatenate([[0], ends])[:-1]
            if all(np.count_nonzero(marks[first:last]) == self.width - 1 for first, last in zip(starts, ends, strict=True)):
                return
        elif (np.diff(np.searchsorted(np.flatnonzero(marks), ends), prepend=0) == self.width - 1).all():
            return
        for number, line in enumerate(batch.splitlines(), row):
            cells = line.count(self.delimiter.encode()) + 1
            if cells != self.width:
                found = f"has {cells} cells" if line.strip() else "is empty"
                raise CalciumError(
                    f"{self.name}: row {number} {found}, but row {self.first_row} has {self.width} cells; "
                    "all rows must be of one length"
                )
        raise AssertionError("rows of unequal length, but none found")

    def _parse(self, batch: bytes, row: int) -> Parsed:
        batch = tidy(batch, self.delimiter, self.trailing)
        self.check_lengths(batch, row)
        labels: list[str] = []
        if self.labelled:
            parted = [line.partition(self.delimiter.encode()) for line in batch.splitlines()]
            labels = [decode(label).replace(QUOTED_DELIMITER, self.delimiter).strip() for label, _, _ in parted]
            batch = b"\n".join(rest for _, _, rest in parted) + b"\n"
        values = self._values(batch, row)
        times = values[:, [] if self.time_column is None else self.time_column].ravel()
        return Parsed(as_float32(values[:, self.first_trace :]), labels, times)

    def _values(self, batch: bytes, row: int) -> np.ndarray:
        """Return a batch's numbers, row by row."""
        # A comma that parts cells can only be a decimal one inside quotes; any other comma is a decimal one.
        batch = batch.replace(b"," if self.delimiter != "," else QUOTED_DELIMITER.encode(), b".")
        columns = self.width - int(self.labelled)
        flat = batch.replace(self.delimiter.encode(), b"\n")
        try:
            # Times need all their digits.
            numbers = [
                _numbers(piece) if self.time_column is not None else as_float32(_numbers(piece)) for piece in _pieces(flat)
            ]
            return (numbers[0] if len(numbers) == 1 else np.concatenate(numbers)).reshape(-1, columns)
        except ValueError:
            cells = flat.split(b"\n")[:-1]
            index = _first_text(cells)
            place = f"row {row + index // columns}, column {index % columns + 1 + int(self.labelled)}"
            found = decode(cells[index]).strip()[:40]
            raise CalciumError(f"{self.name}: {place} holds {found!r}, where a number belongs") from None


def ids_of(labels: Iterable[str]) -> np.ndarray:
    """Return ids as integers where all are written as such (007 is a name), or else as strings."""
    found = tuple(labels)
    return np.array(found, dtype=np.int64 if all(re.fullmatch(r"0|[1-9]\d{0,17}", label) for label in found) else str)


def _pieces(flat: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(flat):
        stop = flat.find(b"\n", start + PIECE_BYTES) + 1 or len(flat)
        yield flat[start:stop]
        start = stop


def _numbers(flat: bytes) -> np.ndarray:
    """Parse one number a line; an empty line is NaN."""
    import pandas as pd

    frame = pd.read_csv(
        io.BytesIO(flat),
        header=None,
        names=["number"],
        index_col=False,
        dtype=np.float64,
        skip_blank_lines=False,
        skipinitialspace=b" " in flat,  # costs a quarter more
        quoting=3,  # quotes are gone already; one that is left over is no number
    )
    return frame["number"].to_numpy()


def _first_text(cells: list[bytes]) -> int:
    """Return the first of these cells that is no number, found by halving."""
    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _numbers(b"\n".join(cells[low:middle]) + b"\n")
            low = middle
        except ValueError:
            high = middle
    return low
