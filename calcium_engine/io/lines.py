"""The lines of a text file, gzipped or not, some megabytes at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from calcium_engine.io.layout import HEAD_LINES, hide_quotes
from calcium_engine.schema import CalciumError

BATCH_BYTES = 2**21  # the copies that parsing makes stay small
LINE_BYTES = 2**22
_GZIP = b"\x1f\x8b"
_MATLAB = b"MATLAB 5.0"


class NotTrailingError(Exception):
    """The first lines end in a delimiter and a later one does not, so it parts off a blank cell."""


def lines_of(path: Path, progress: Callable[[str, int, int], None]) -> Iterator[bytes]:
    """Yield whole lines, ended by plain newlines, in batches; blank lines at the end of the file are left out."""
    unfinished: list[bytes] = []
    for chunk in _chunks(path, progress):
        unfinished.append(chunk)
        if b"\n" not in chunk:
            continue
        text = b"".join(unfinished)
        # Lines are whole up to the last newline; blank ones are held back, for they may be the file's last.
        end = text.rindex(b"\n")
        written = len(text[:end].rstrip(b"\n ")) if text[max(0, end - 1) : end] in (b"", b"\n", b" ") else end
        stop = text.index(b"\n", written) + 1 if written else 0
        if stop:
            yield text[:stop]
        unfinished = [text[stop:]]
    rest = b"".join(unfinished).rstrip(b"\n ")
    if rest:
        yield rest + b"\n"


def head_of(batches: Iterator[bytes], name: str) -> tuple[bytes, int]:
    """Take the first lines and what comes with them; return them, and how many blank lines were before."""
    text = b""
    for batch in batches:
        text += batch
        if text.count(b"\n") - _blank_lines(text) >= HEAD_LINES:
            break
    if not text or text.isspace():
        raise CalciumError(f"{name} is empty")
    blank = _blank_lines(text)
    return text[blank:], blank


def first_lines(text: bytes) -> list[str]:
    """Return the first lines as text; of those after the first, which may name all columns, no more than tells what they are."""
    lines: list[str] = []
    start = 0
    while len(lines) < HEAD_LINES and start < len(text):
        stop = text.index(b"\n", start)
        lines.append(decode(text[start : min(stop, start + LINE_BYTES) if lines else stop]))
        start = stop + 1
    return lines


def batches_of(text: bytes) -> Iterator[bytes]:
    """Yield whole lines in batches, as `lines_of` does."""
    start = 0
    while start < len(text):
        stop = text.find(b"\n", start + BATCH_BYTES) + 1 or len(text)
        yield text[start:stop]
        start = stop


def decode(raw: bytes) -> str:
    """Return bytes as text."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # a µ from a spreadsheet of before UTF-8


def has_trailing(text: bytes, delimiter: str) -> bool:
    """Whether a delimiter ends every line."""
    return delimiter != " " and text.count(delimiter.encode() + b"\n") == text.count(b"\n")


def tidy(text: bytes, delimiter: str, trailing: bool) -> bytes:
    """Remove quotes, make blanks single, and drop the delimiter that ends every line, if `trailing`."""
    if b'"' in text:
        text = hide_quotes(decode(text), delimiter).encode()
    if delimiter == " ":
        return _shrink(_shrink(_shrink(text, b"  ", b" "), b"\n ", b"\n"), b" \n", b"\n").lstrip(b" ")
    if not trailing:
        return text
    if not has_trailing(text, delimiter):
        raise NotTrailingError
    return text.replace(delimiter.encode() + b"\n", b"\n")


def _chunks(path: Path, progress: Callable[[str, int, int], None]) -> Iterator[bytes]:
    """Yield a file's text as it comes, with plain newlines."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as raw:
        start = raw.read(len(_MATLAB))
        raw.seek(0)
        _refuse_binary(start, path.name)
        file = gzip.GzipFile(fileobj=raw) if start.startswith(_GZIP) else raw
        is_first = True
        try:
            while chunk := file.read(BATCH_BYTES):
                while chunk.endswith(b"\r") and (more := file.read(1)):  # the newline of \r\n may be next
                    chunk += more
                if is_first:
                    _refuse_binary(chunk, path.name)
                    chunk, is_first = chunk.removeprefix(b"\xef\xbb\xbf"), False
                if b"\0" in chunk:
                    raise CalciumError(
                        f"{path.name} is no text file (it holds zero bytes); "
                        "read() takes text, .npy, HDF5, Zarr stores and suite2p folders"
                    )
                yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
                progress("reading", raw.tell(), size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CalciumError(f"{path.name} is a damaged gzip file: {error}") from None


def _refuse_binary(start: bytes, name: str) -> None:
    """Say what to do about files that are known from their first bytes."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CalciumError(f"{name} is text in UTF-16; save it as UTF-8")
    if start.startswith(_MATLAB):
        raise CalciumError(f"{name} is a MATLAB file of an older version; save it in MATLAB with save(..., '-v7.3')")


def _blank_lines(text: bytes) -> int:
    return len(text) - len(text.lstrip(b"\n"))


def _shrink(text: bytes, long: bytes, short: bytes) -> bytes:
    while long in text:
        text = text.replace(long, short)
    return text
