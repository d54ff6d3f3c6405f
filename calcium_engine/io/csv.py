"""Text files of traces: any delimiter, with or without header, ids, time or Inscopix's cell status; gzipped or not.

The numbers go through pandas' C parser as one long column (delimiters become newlines, batch by batch): rows of 15000 columns
cost no more, and it adds nothing to an installation. Measured on 324 × 15000, with labels, checks and float32 traces at the
end, in units of the fastest reader's bare table: 1.4 where neurons are in rows and values have 6 digits (numpy.loadtxt 1,
polars 2.8, pandas as is 2.8), 0.7 with 17 digits (pandas as is 1, numpy.loadtxt 1.06, polars 1.4), and 2.5 where neurons are in
columns (pandas as is 1, numpy.loadtxt 1.4, polars 4.7).
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.io.layout import HEAD_LINES, QUOTED_DELIMITER, Layout, cells_of, delimiter_of, hide_quotes, layout_of
from calcium_engine.io.recording import check_orientation, label_neurons, make_recording, warn_if_transposed
from calcium_engine.schema import CalciumError

LONG_ROW = 64  # cells; rows from there on are counted one by one
BATCH_BYTES = 2**21  # text parsed at a time: the copies that parsing makes stay small


def read_csv(
    path: str | os.PathLike[str],
    *,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str = "fluorescence",
    neuron: object = None,
) -> xr.Dataset:
    """Read traces from a text file: cells parted by comma, semicolon, tab or blanks, perhaps gzipped.

    A header row and a column of ids are recognised, likewise a decimal comma (where the comma parts no cells), Inscopix's second
    header row (accepted or rejected: `is_cell`), quotes, a byte order mark and a delimiter at the end of every line. Blank cells
    are NaN. Where the header names a time column (`time`, `Time (ms)`, ...), neurons are in columns and the rate comes from it.

    Args:
        path: the file.
        sampling_rate: frames per second, Hz. Needed unless there is a time column, which it must not contradict.
        orientation: "rows" or "columns", where the neurons are. By default what the header says, and rows if it says nothing.
        variable: what the traces are: "fluorescence" (raw), or "dff" where they are ΔF/F already.
        neuron: ids that replace those of the file.

    Returns:
        A recording with float32 traces.

    Raises:
        FileNotFoundError: there is no such file.
        CalciumError: the file is empty, of one column or no text; rows have unequal lengths; a cell is no number (the message
            names its row and column); or what `make_recording` refuses.

    Warns:
        UserWarning: there are more rows than columns, and neither `orientation` nor the header says where the neurons are.
    """
    check_orientation(orientation)
    path = Path(path)
    text, skipped = _text_of(path)
    lines = _head(text)
    delimiter = delimiter_of([re.sub(r'"[^"]*"', "x", line) for line in lines])
    if delimiter is None:
        raise CalciumError(
            f"{path.name} has one column, but traces need several: a row per neuron and a column per frame "
            "(or a column per neuron: orientation='columns'), parted by comma, semicolon, tab or blanks"
        )
    text = _tidy(text, delimiter)
    layout = layout_of([cells_of(line, delimiter) for line in _head(text)])
    neurons_in = _orientation(layout, orientation, path)
    in_rows = neurons_in == "rows"
    # times need all their digits
    dtype = np.float32 if in_rows else np.float64
    values, labels = _Table(path, text, delimiter, layout.header_rows, skipped, in_rows and layout.labelled_rows, dtype).parse()
    if orientation is None and layout.neurons_in is None:
        warn_if_transposed(path.name, *values.shape)
    if in_rows:
        ids = labels if neuron is None else neuron
        return make_recording(values, sampling_rate=sampling_rate, neuron=ids, variable=variable, source=path.name)
    return _from_columns(values, layout, sampling_rate, variable, neuron, path)


def _from_columns(
    values: np.ndarray, layout: Layout, sampling_rate: float | None, variable: str, neuron: object, path: Path
) -> xr.Dataset:
    """Make a recording of a table with a column per neuron, after perhaps frame numbers and times."""
    first = layout.time_column + 1 if layout.time_column is not None else int(layout.index_column)
    time = values[:, layout.time_column] * layout.time_scale if layout.time_column is not None else None
    names = _ids(layout.names[first : values.shape[1]]) if layout.names else None
    recording = make_recording(
        np.ascontiguousarray(values[:, first:].T, dtype=np.float32),
        sampling_rate=sampling_rate,
        neuron=names if neuron is None else neuron,
        time=time,
        variable=variable,
        source=path.name,
    )
    if not layout.status:
        return recording
    return label_neurons(
        recording, {"is_cell": np.array([status == "accepted" for status in layout.status[first : values.shape[1]]])}
    )


def _orientation(layout: Layout, orientation: str | None, path: Path) -> str:
    if orientation == "rows" and layout.time_column is not None:
        name = layout.names[layout.time_column]
        raise CalciumError(
            f"{path.name} has a time column ({name!r}), so its neurons are in columns, not in rows; leave orientation out"
        )
    return orientation or layout.neurons_in or "rows"


def _text_of(path: Path) -> tuple[bytes, int]:
    """Return the file's text, lines ended by plain newlines, no blank lines at its ends, and how many it had at its start."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    text = path.read_bytes()
    if text[:2] == b"\x1f\x8b":
        import gzip

        try:
            text = gzip.decompress(text)
        except (OSError, EOFError, zlib.error) as error:
            raise CalciumError(f"{path.name} is a damaged gzip file: {error}") from None
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CalciumError(f"{path.name} is text in UTF-16; save it as UTF-8")
    if b"\0" in text:
        raise CalciumError(
            f"{path.name} is no text file (it holds zero bytes); read() takes text, .npy, Zarr stores and suite2p folders"
        )
    text = text.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if text[-1:] != b"\n" or text[-2:].isspace():
        text = text.rstrip(b"\n ") + b"\n"
    if not text or text.isspace():
        raise CalciumError(f"{path.name} is empty")
    start = len(text) - len(text.lstrip(b"\n"))
    return text[start:] if start else text, start


def _head(text: bytes) -> list[str]:
    """Return the first lines, without looking at the rest."""
    lines: list[str] = []
    start = 0
    while len(lines) < HEAD_LINES and start < len(text):
        stop = text.index(b"\n", start)
        lines.append(_decode(text[start:stop]))
        start = stop + 1
    return lines


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # a µ from a spreadsheet of before UTF-8


def _tidy(text: bytes, delimiter: str) -> bytes:
    """Remove quotes, make blanks single, and drop a delimiter that ends every line."""
    if b'"' in text:
        text = hide_quotes(_decode(text), delimiter).encode()
    mark = delimiter.encode()
    if delimiter == " ":
        text = _shrink(_shrink(_shrink(text, b"  ", b" "), b"\n ", b"\n"), b" \n", b"\n").lstrip(b" ")
    elif text.endswith(mark + b"\n") and text.count(mark + b"\n") == text.count(b"\n"):
        text = text.replace(mark + b"\n", b"\n")
    return text


def _shrink(text: bytes, long: bytes, short: bytes) -> bytes:
    while long in text:
        text = text.replace(long, short)
    return text


def _ids(labels: tuple[str, ...]) -> np.ndarray:
    """Return ids as integers where all are written as such (007 is a name), or else as strings."""
    return np.array(labels, dtype=np.int64 if all(re.fullmatch(r"0|[1-9]\d{0,17}", label) for label in labels) else str)


class _Table:
    """A file's text and its layout; parses the body batch by batch."""

    def __init__(
        self, path: Path, text: bytes, delimiter: str, header_rows: int, skipped: int, labelled: bool, dtype: type
    ) -> None:
        self.path, self.text, self.delimiter = path, text, delimiter
        self.mark = delimiter.encode()
        self.skipped, self.labelled = skipped, labelled
        self.dtype = dtype
        # A comma that parts cells can only be a decimal one inside quotes; any other comma is a decimal one.
        quoted = QUOTED_DELIMITER.encode()
        self.decimal_comma = b"," if delimiter != "," else quoted if quoted in text else b""
        self.body = 0
        for _ in range(header_rows):
            self.body = text.index(b"\n", self.body) + 1
        if self.body == len(text):
            raise CalciumError(f"{path.name} has a header, but no rows of numbers below it")
        self.width = text.count(self.mark, 0, text.index(b"\n")) + 1

    def parse(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the body's numbers, row by row, and the ids in its first column, if it has such."""
        self._check_lengths(self.text[: self.body], 0)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # pandas parses without holding the interpreter's lock
            parts = list(pool.map(self._parse_batch, self._batches()))
        labels = tuple(label for _, own in parts for label in own)
        return np.concatenate([values for values, _ in parts]), _ids(labels) if self.labelled else None

    def _parse_batch(self, lines: slice) -> tuple[np.ndarray, list[str]]:
        """Return the numbers and the ids of some whole lines."""
        batch = self.text[lines]
        self._check_lengths(batch, lines.start)
        labels: list[str] = []
        if self.labelled:
            parted = [line.partition(self.mark) for line in batch.splitlines()]
            labels = [_decode(label).replace(QUOTED_DELIMITER, self.delimiter).strip() for label, _, _ in parted]
            batch = b"\n".join(rest for _, _, rest in parted) + b"\n"
        return self._values(batch, lines.start).astype(self.dtype, copy=False), labels

    def _batches(self) -> Iterator[slice]:
        """Yield where some megabytes of whole lines lie."""
        start = self.body
        while start < len(self.text):
            stop = self.text.find(b"\n", start + BATCH_BYTES) + 1 or len(self.text)
            yield slice(start, stop)
            start = stop

    def _row(self, start: int) -> int:
        """Return the number of the row that starts there, counted from 1 as an editor counts."""
        return 1 + self.skipped + self.text.count(b"\n", 0, start)

    def _check_lengths(self, batch: bytes, start: int) -> None:
        """Refuse rows whose number of cells is not the first's; `start` is where the batch lies."""
        characters = np.frombuffer(batch, np.uint8)
        marks = characters == self.mark[0]
        ends = np.flatnonzero(characters == ord("\n"))
        if self.width > LONG_ROW:
            starts = np.concatenate([[0], ends])[:-1]
            if all(np.count_nonzero(marks[first:last]) == self.width - 1 for first, last in zip(starts, ends, strict=True)):
                return
        elif (np.diff(np.searchsorted(np.flatnonzero(marks), ends), prepend=0) == self.width - 1).all():
            return
        for number, line in enumerate(batch.splitlines(), self._row(start)):
            cells = line.count(self.mark) + 1
            if cells != self.width:
                found = f"has {cells} cells" if line.strip() else "is empty"
                raise CalciumError(
                    f"{self.path.name}: row {number} {found}, but row {1 + self.skipped} has {self.width} cells; "
                    "all rows must be of one length"
                )
        raise AssertionError("rows of unequal length, but none found")

    def _values(self, batch: bytes, start: int) -> np.ndarray:
        """Return a batch's numbers, row by row; `start` is where it lies."""
        if self.decimal_comma:
            batch = batch.replace(self.decimal_comma, b".")
        columns = self.width - int(self.labelled)
        flat = batch.replace(self.mark, b"\n")
        try:
            return _numbers(flat).reshape(-1, columns)
        except ValueError:
            cells = flat.split(b"\n")[:-1]
            index = _first_text(cells)
            place = f"row {self._row(start) + index // columns}, column {index % columns + 1 + int(self.labelled)}"
            found = _decode(cells[index]).strip()[:40]
            raise CalciumError(f"{self.path.name}: {place} holds {found!r}, where a number belongs") from None


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
