"""How a text file of numbers is laid out: what parts its cells, which rows head it, what its columns are.

Everything here looks at the first lines only, and at the words in them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD_LINES = 4  # two header rows, and two to see what follows them
HEAD_CELLS = 10_000  # what they begin with says enough: a row of a million numbers is no header
HEAD_CHARACTERS = 2**16
QUOTED_DELIMITER = "\x1f"  # stands for a delimiter inside quotes

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_MISSING = {"", "na", "n/a", "#n/a", "null", "none", "<na>"}
_TIME = re.compile(r"(time(stamps?)?|t|sec(onds?|s)?)(?![a-z0-9])", re.IGNORECASE)
_TIME_UNIT = re.compile(
    r"(?<![a-z])(?:(?P<us>us|µs|microsec\w*)|(?P<ms>ms|msec\w*|millisec\w*)|(?P<min>min|minutes?))(?![a-z])", re.IGNORECASE
)
_TIME_SCALE = {"us": 1e-6, "ms": 1e-3, "min": 60.0}
_FRAME_INDEX = re.compile(r"(unnamed: 0|(frame|sample|slice)?s?[ _]?(index|id|no|nr|number|#)?)\.?", re.IGNORECASE)
_NEURON_ID = re.compile(r"(neuron|cell|roi|unit|component)?s?[ _]?(index|id|no|nr|number|name|label|#)?\.?", re.IGNORECASE)
_NEURON_NAME = re.compile(r"(neuron|cell|roi|unit|component|mean|c|n)[ _#.-]*\d+", re.IGNORECASE)
_STATUS = {"accepted", "rejected", "undecided"}


@dataclass(frozen=True)
class Layout:
    """What the head of a file says about the rest."""

    header_rows: int
    names: tuple[str, ...] = ()  # one per column, if there is a header
    status: tuple[str, ...] = ()  # accepted or rejected, one per column, in Inscopix's files
    time_column: int | None = None
    time_scale: float = 1.0  # s per unit of the time column
    neurons_in: str | None = None  # "rows" or "columns", where the header says so
    labelled_rows: bool = False  # the first column holds names, not values
    index_column: bool = False  # the first column would be frame numbers, if neurons are in columns


def delimiter_of(lines: Sequence[str]) -> str | None:
    """Return what parts the cells of these lines (comma, semicolon, tab or blank), or None if there is one column."""
    # The last line is the one most likely to be numbers: a header may hold anything.
    for line in reversed([_start_of(line) for line in lines]):
        for candidate in (";", "\t"):
            if candidate in line:
                return candidate
        words = line.split()
        if "," in line and not _parted_by_blanks(words):
            return ","
        if len(words) > 1:
            return " "
    return None


def _start_of(line: str) -> str:
    """Return a line without quoted text; of a long one, whole words from its start."""
    start = line if len(line) <= HEAD_CHARACTERS else (line[:HEAD_CHARACTERS].rsplit(None, 1) or [""])[0]
    return re.sub(r'"[^"]*"', "x", start)


def _parted_by_blanks(words: Sequence[str]) -> bool:
    """Whether the commas in a line are decimal ones: numbers, perhaps after an id, with no comma beside a blank."""
    if len(words) < 2 or any(word != word.strip(",") for word in words):
        return False
    first, *rest = words
    decimal = any("," in word for word in rest) or _NUMBER.fullmatch(first) is not None
    return decimal and all(is_number(word) for word in rest)


def hide_quotes(line: str, delimiter: str) -> str:
    """Remove quotes, and hide the delimiters inside them."""
    return re.sub(r'"([^"\n]*)"', lambda quoted: quoted[1].replace(delimiter, QUOTED_DELIMITER), line)


def cells_of(line: str, delimiter: str, limit: int | None = None) -> list[str]:
    """Split a line without quotes into stripped cells, or into the first so many."""
    parts = line.split(delimiter) if limit is None else line.split(delimiter, limit)[:limit]
    cells = [cell.strip() for cell in parts]
    return [cell.replace(QUOTED_DELIMITER, delimiter) for cell in cells] if QUOTED_DELIMITER in line else cells


def is_number(cell: str) -> bool:
    """Whether a cell holds a number or says that one is missing."""
    return cell.lower() in _MISSING or _NUMBER.fullmatch(cell) is not None


def layout_of(lines: Sequence[str], delimiter: str) -> Layout:
    """Read the first lines of a file, without quotes."""
    rows = [cells_of(line, delimiter, HEAD_CELLS) for line in lines]
    if not _is_header(rows[0]):
        return Layout(0, labelled_rows=_all_text(row[0] for row in rows))
    names = cells_of(lines[0], delimiter)
    names[0] = names[0].lstrip("# ")  # numpy.savetxt marks its header so
    status: tuple[str, ...] = ()
    if len(rows) > 1 and _is_status(rows[1]):
        status = tuple(cell.lower() for cell in cells_of(lines[1], delimiter))
        names[0] = names[0] or rows[1][0]
    n_header = 2 if status else 1
    body = rows[n_header:]

    time_column = next((column for column, name in enumerate(names[:3]) if _TIME.match(name)), None)
    if time_column is not None and not all(_FRAME_INDEX.fullmatch(name) for name in names[:time_column]):
        time_column = None
    index_column = time_column is None and _FRAME_INDEX.fullmatch(names[0]) is not None
    named = names[1:] if index_column else names
    in_columns = time_column is not None or status or all(_NEURON_NAME.match(name) for name in named)
    labelled = bool(body) and (_NEURON_ID.fullmatch(names[0]) is not None or _all_text(row[0] for row in body))
    return Layout(
        n_header,
        tuple(names),
        status,
        time_column,
        _seconds_per_unit(names[time_column]) if time_column is not None else 1.0,
        "columns" if in_columns else None,
        labelled,
        index_column,
    )


def _is_header(row: Sequence[str]) -> bool:
    """Whether the first row heads the columns: mostly words, or frame numbers or times behind a corner."""
    text = [not is_number(cell) for cell in row]
    if 2 * sum(text) > len([cell for cell in row if cell]):
        return True
    corner = any(words.fullmatch(row[0]) for words in (_NEURON_ID, _FRAME_INDEX)) or _TIME.match(row[0]) is not None
    if text[0] and not corner:
        return False  # the id of a first neuron
    if any(text[1:]) or "" in row[1:] or len(row) < 3:
        return False
    if not corner and (len(row) < 10 or row[0] not in ("0", "1")):
        return False
    numbers = [float(cell.replace(",", ".")) for cell in row[1 if corner else 0 :]]
    steps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    if not corner:
        # Numbers over numbers: only a count over all columns, from 0 or 1, is no trace.
        return all(step == 1 for step in steps)
    return steps != [] and steps[0] > 0 and all(abs(step - steps[0]) <= 0.02 * steps[0] for step in steps)


def _is_status(row: Sequence[str]) -> bool:
    return len(row) > 1 and all(cell.lower() in _STATUS for cell in row[1:])


def _all_text(cells: Iterable[str]) -> bool:
    found = list(cells)
    return bool(found) and not any(is_number(cell) for cell in found)


def _seconds_per_unit(name: str) -> float:
    unit = _TIME_UNIT.search(name)
    return _TIME_SCALE[unit.lastgroup] if unit and unit.lastgroup else 1.0
