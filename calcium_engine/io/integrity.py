"""Whether a store is whole: what a finished one notes of itself, and what is wrong with one that is not."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calcium_engine.schema import CalciumError

MARKER = "zarr.json"  # what makes a folder a Zarr v3 store, and holds the metadata of a store or an array
ENTRY = "integrity"  # attribute of a finished store
UNFINISHED = "unfinished"  # attribute of one that is being made
DIGEST = "sha256"
_CHECKSUM_BYTES = 4  # crc32c, at the end of each chunk


@dataclass(frozen=True)
class ArrayOnDisk:
    """How an array lies in its folder."""

    folder: Path
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]  # of a file, which is a shard where there are any
    separator: str
    codecs: tuple[str, ...]
    digest: str  # of its metadata

    @classmethod
    def read(cls, folder: Path) -> ArrayOnDisk:
        """Read the metadata of an array."""
        text = (folder / MARKER).read_bytes()
        meta = json.loads(text)
        grid, keys = meta["chunk_grid"]["configuration"]["chunk_shape"], meta["chunk_key_encoding"].get("configuration", {})
        dims = tuple(map(str, meta.get("dimension_names") or ["value"] * len(meta["shape"])))
        codecs = tuple(codec["name"] for codec in meta["codecs"])
        separator = keys.get("separator", "/")
        return cls(folder, dims, tuple(meta["shape"]), tuple(grid), separator, codecs, hashlib.new(DIGEST, text).hexdigest())

    @property
    def has_checksums(self) -> bool:
        """Whether each chunk ends in its checksum."""
        return self.codecs[-1] == "crc32c"

    @property
    def keys(self) -> list[str]:
        """The files that hold its chunks, in order."""
        counts = (range(-(-length // chunk)) for length, chunk in zip(self.shape, self.chunks, strict=True))
        return [self.key(*place) for place in itertools.product(*counts)]

    def key(self, *place: int) -> str:
        """Return the file that holds one chunk, by its place along each dimension."""
        return self.separator.join(["c", *map(str, place)])

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each chunk file there is."""
        found: dict[str, int] = {}
        folders = [(self.folder, "")]
        while folders:
            folder, prefix = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                    else:
                        found[prefix + entry.name] = entry.stat().st_size
        return {key: found[key] for key in self.keys if key in found}

    def describe(self, key: str) -> str:
        """Say which chunk this is, and what it holds."""
        places = [int(part) for part in key.split(self.separator)[1:]]
        parts = [
            f"{dim} {place * chunk} to {min(length, (place + 1) * chunk) - 1}"
            for dim, place, chunk, length in zip(self.dims, places, self.chunks, self.shape, strict=True)
        ]
        holds = f" ({parts[0]}, counted from 0)" if parts else ""
        return f"chunk {self.folder.name}/{key}{holds} of '{self.folder.name}'"


def arrays_of(path: Path) -> list[ArrayOnDisk]:
    """Return the arrays of a store, by name."""
    with os.scandir(path) as entries:
        folders = sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return [ArrayOnDisk.read(folder) for folder in folders if (folder / MARKER).is_file()]


def chunk_fault(array: ArrayOnDisk, key: str, data: Any) -> str | None:
    """Say what is wrong with a chunk that carries a checksum; `data` is None where there is no file."""
    import google_crc32c

    if data is None:
        return f"{array.describe(key)} is missing"
    content, checksum = np.frombuffer(data, np.uint8)[:-_CHECKSUM_BYTES], np.frombuffer(data, np.uint8)[-_CHECKSUM_BYTES:]
    if google_crc32c.value(content).to_bytes(_CHECKSUM_BYTES, "little") != checksum.tobytes():
        return f"{array.describe(key)} is cut short or changed: its checksum does not agree"
    return None


def incomplete(path: Path, fault: str) -> CalciumError:
    """Return the error that tells of a fault, and what to do."""
    return CalciumError(
        f"{path} is not whole: {fault}. Copy it anew from where it came, or make it again; "
        f"calcium info {path.name} --check lists all that is wrong"
    )


def root_of(path: Path) -> dict[str, Any]:
    """Return the metadata of a store."""
    try:
        root = json.loads((path / MARKER).read_bytes())
        if not isinstance(root, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise CalciumError(f"{path} cannot be read as a recording: its {MARKER} is damaged: {error}") from error
    return root


def seal(path: str | os.PathLike[str]) -> None:
    """Note in a store what it is made of, so that it can be told to be whole; its mark of being unfinished goes.

    Args:
        path: the store. Every chunk of it must have been written.

    Raises:
        CalciumError: a chunk is missing.
    """
    path = Path(path)
    noted = {}
    for array in arrays_of(path):
        sizes = array.sizes()
        missing = next((key for key in array.keys if key not in sizes), None)
        if missing is not None:
            raise CalciumError(f"{path} cannot be finished: {array.describe(missing)} was not written")
        noted[array.folder.name] = _note(array, sizes)
    root = root_of(path)
    attributes = root.setdefault("attributes", {})
    attributes.pop(UNFINISHED, None)
    attributes[ENTRY] = {"digest": DIGEST, "arrays": noted}
    write_root(path, root)


def write_root(path: Path, root: dict[str, Any]) -> None:
    """Replace the metadata of a store, at once and on the disk."""
    beside = path / f".{MARKER}.partial"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(root, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path / MARKER)
    flush_folder(path)


def flush_folder(path: Path) -> None:
    """Have the names in a folder on the disk, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _note(array: ArrayOnDisk, sizes: dict[str, int]) -> dict[str, Any]:
    """Return what tells an array from one that is not whole, or another recording's."""
    # Two recordings of one size have the same metadata, but not the same checksum, nor the same size when compressed.
    first = array.folder / next(iter(sizes)) if sizes else None
    return {"chunks": len(sizes), "bytes": sum(sizes.values()), "metadata": array.digest, "first": _tail(first) if first else ""}


def _tail(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _CHECKSUM_BYTES))
        return opened.read().hex()


def check_quickly(path: Path, *, unfinished: bool = False) -> None:
    """Refuse a store that is half made, or that lacks something it noted of itself; reads no values."""
    attributes = root_of(path).get("attributes", {})
    if attributes.get(UNFINISHED) and not unfinished:
        raise CalciumError(
            f"{path} is half made: its analysis was interrupted; go on with --resume (resume=True), "
            "or make it anew with --overwrite"
        )
    fault = next(_quick_faults(path, attributes.get(ENTRY)), None)
    if fault:
        raise incomplete(path, fault)


def _quick_faults(path: Path, entry: Any) -> Iterator[str]:
    for name, noted in (entry or {}).get("arrays", {}).items():
        folder = path / name
        if not (folder / MARKER).is_file():
            yield f"'{name}' is missing: there is no {name}/{MARKER}"
            continue
        try:
            array = ArrayOnDisk.read(folder)
        except (ValueError, KeyError, TypeError) as error:
            yield f"the metadata of '{name}' is damaged: {name}/{MARKER}: {error}"
            continue
        if array.digest != noted["metadata"]:
            yield (
                f"the metadata of '{name}' ({name}/{MARKER}) and of the store ({MARKER}) do not belong together: "
                "one of the two is another recording's, or was changed"
            )
            continue
        yield from _quick_chunk_faults(array, noted)


def _quick_chunk_faults(array: ArrayOnDisk, noted: dict[str, Any]) -> Iterator[str]:
    name, sizes = array.folder.name, array.sizes()
    missing = [key for key in array.keys if key not in sizes]
    yield from (f"{array.describe(key)} is missing" for key in missing)
    if missing or _note(array, sizes) == noted:
        return
    damaged = [fault for key in sizes if (fault := chunk_fault(array, key, (array.folder / key).read_bytes()))]
    yield from damaged or [
        f"the values of '{name}' and the metadata of the store ({MARKER}) do not belong together: "
        "one of the two is another recording's, or was changed"
    ]
