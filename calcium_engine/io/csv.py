"""Text files of traces: any delimiter, with or without header, ids, time or Inscopix's cell status; gzipped or not.

The numbers go through pandas' C parser as one long column (delimiters become newlines, batch by batch): rows of 15000 columns
cost no more, and it adds nothing to an installation. Measured on 324 × 15000, with labels, checks and float32 traces at the
end, in units of the fastest reader's bare table: 1.4 where neurons are in rows and values have 6 digits (numpy.loadtxt 1,
polars 2.8, pandas as is 2.8), 0.7 with 17 digits (pandas as is 1, numpy.loadtxt 1.06, polars 1.4), and 2.5 where neurons are in
columns (pandas as is 1, numpy.loadtxt 1.4, polars 4.7).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.io.cells import Rows, ids_of
from calcium_engine.io.layout import Layout, delimiter_of, layout_of
from calcium_engine.io.lines import NotTrailingError, batches_of, first_lines, has_trailing, head_of, lines_of, tidy
from calcium_engine.io.recording import as_rate, check_orientation, label_neurons, make_recording, warn_if_transposed
from calcium_engine.io.tables import Arrays, InMemory
from calcium_engine.schema import CalciumError


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
    return scan_csv(path, InMemory(), sampling_rate=sampling_rate, orientation=orientation, variable=variable, neuron=neuron)


def scan_csv(
    path: str | os.PathLike[str],
    arrays: Arrays,
    *,
    sampling_rate: float | None = None,
    orientation: Literal["rows", "columns"] | None = None,
    variable: str = "fluorescence",
    neuron: object = None,
) -> xr.Dataset:
    """Do what `read_csv` does; `arrays` says how the traces are held."""
    check_orientation(orientation)
    try:
        text = _Text(Path(path), arrays, orientation, may_trail=True)
        traces = text.traces(arrays, sampling_rate)
    except NotTrailingError:  # seldom: the last cell is blank in all of the first rows
        text = _Text(Path(path), arrays, orientation, may_trail=False)
        traces = text.traces(arrays, sampling_rate)
    if orientation is None and text.layout.neurons_in is None:
        warn_if_transposed(text.name, *traces.shape)
    recording = make_recording(
        traces,
        sampling_rate=sampling_rate,
        neuron=text.ids() if neuron is None else neuron,
        time=text.times(),
        variable=variable,
        source=text.name,
    )
    return label_neurons(recording, {"is_cell": text.accepted()}) if text.layout.status and not text.in_rows else recording


class _Text:
    """A text file: what its head says, and what its rows hold besides traces."""

    def __init__(self, path: Path, arrays: Arrays, orientation: str | None, *, may_trail: bool) -> None:
        self.name = path.name
        self.batches = lines_of(path, arrays.progress)
        head, blank = head_of(self.batches, path.name)
        delimiter = delimiter_of(first_lines(head))
        if delimiter is None:
            raise CalciumError(
                f"{path.name} has one column, but traces need several: a row per neuron and a column per frame "
                "(or a column per neuron: orientation='columns'), parted by comma, semicolon, tab or blanks"
            )
        plain = tidy(head, delimiter, trailing=False)
        trailing = may_trail and has_trailing(plain, delimiter)
        plain = tidy(plain, delimiter, trailing)
        self.layout = layout = layout_of(first_lines(plain), delimiter)
        self.in_rows = _neurons_in(layout, orientation, path.name) == "rows"
        after = 0 if self.in_rows else int(layout.index_column) if layout.time_column is None else layout.time_column + 1
        self.rows = Rows(
            name=path.name,
            delimiter=delimiter,
            trailing=trailing,
            width=plain[: plain.index(b"\n")].count(delimiter.encode()) + 1,
            labelled=self.in_rows and layout.labelled_rows,
            time_column=layout.time_column,
            first_trace=after,
            first_row=1 + blank,
        )
        header = sum(len(line) + 1 for line in plain.split(b"\n", layout.header_rows)[: layout.header_rows])
        self.rows.check_lengths(plain[:header], 1 + blank)
        if header == len(plain):
            raise CalciumError(f"{path.name} has a header, but no rows of numbers below it")
        self._body = head.split(b"\n", layout.header_rows)[-1]
        self._labels: list[str] = []
        self._times: list[np.ndarray] = []

    def traces(self, arrays: Arrays, sampling_rate: float | None) -> Any:
        """Read the file to its end."""
        if self.layout.time_column is None:
            as_rate(sampling_rate)
        return arrays.from_batches(self._parsed(), frames_in_rows=not self.in_rows)

    def _parsed(self) -> Iterator[np.ndarray]:
        first_row = self.rows.first_row + self.layout.header_rows
        body, self._body = batches_of(self._body), b""  # a head of long lines is not held for longer than it takes
        for parsed in self.rows.parse(chain(body, self.batches), first_row):
            self._labels += parsed.labels
            self._times.append(parsed.times)
            yield parsed.traces

    def ids(self) -> np.ndarray | None:
        """Return what the file calls the neurons, if it does."""
        if self.in_rows:
            return ids_of(self._labels) if self.rows.labelled else None
        names = self.layout.names[self.rows.first_trace : self.rows.width]
        return ids_of(names) if self.layout.names else None

    def times(self) -> np.ndarray | None:
        """Return the time of each frame, s, if there is a time column."""
        return None if self.layout.time_column is None else np.concatenate(self._times) * self.layout.time_scale

    def accepted(self) -> np.ndarray:
        """Return which neurons Inscopix's second header row accepts."""
        return np.array([status == "accepted" for status in self.layout.status[self.rows.first_trace : self.rows.width]])


def _neurons_in(layout: Layout, orientation: str | None, name: str) -> str:
    if orientation == "rows" and layout.time_column is not None:
        column = layout.names[layout.time_column]
        raise CalciumError(
            f"{name} has a time column ({column!r}), so its neurons are in columns, not in rows; leave orientation out"
        )
    return orientation or layout.neurons_in or "rows"
