"""Whether a store is whole: what a finished one notes of itself, and what is wrong with one that is not."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calcium_engine.schema import CalciumError

MARKER = "zarr.json"  # what makes a folder a Zarr v3 store, and holds the metadata of a store or an array
ENTRY = "integrity"  # attribute of a finished store
UNFINISHED = "unfinished"  # attribute of one that is being made
DIGEST = "sha256"
CHECKSUM_BYTES = 4  # crc32c, at the end of each chunk
_STRANGERS = f"and the metadata of the store ({MARKER}) do not belong together: one is another recording's, or was changed"
_NUMBERS = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float32", "float64"}


@dataclass(frozen=True)
class ArrayOnDisk:
    """How an array lies in its folder."""

    folder: Path
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]  # of a file, which is a shard where there are any
    separator: str
    dtype: np.dtype[Any]
    fill: Any
    codecs: tuple[str, ...]
    codec_settings: tuple[dict[str, Any], ...]
    digest: str  # of its metadata

    @classmethod
    def read(cls, folder: Path) -> ArrayOnDisk:
        """Read the metadata of an array."""
        text = (folder / MARKER).read_bytes()
        meta = json.loads(text)
        keys = meta["chunk_key_encoding"].get("configuration", {})
        return cls(
            folder=folder,
            dims=tuple(map(str, meta.get("dimension_names") or ["value"] * len(meta["shape"]))),
            shape=tuple(meta["shape"]),
            chunks=tuple(meta["chunk_grid"]["configuration"]["chunk_shape"]),
            separator=keys.get("separator", "/"),
            dtype=np.dtype(meta["data_type"]) if str(meta["data_type"]) in _NUMBERS else np.dtype(object),
            fill=meta["fill_value"],
            codecs=tuple(codec["name"] for codec in meta["codecs"]),
            codec_settings=tuple(codec.get("configuration", {}) for codec in meta["codecs"]),
            digest=hashlib.new(DIGEST, text).hexdigest(),
        )

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

    def data(self, key: str) -> bytes | None:
        """Return what a chunk file holds; None where there is none."""
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def place(self, key: str) -> tuple[int, ...]:
        """Return a chunk's place along each dimension, by its file."""
        return tuple(int(part) for part in key.split(self.separator)[1:])

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
        parts = [
            f"{dim} {place * chunk} to {min(length, (place + 1) * chunk) - 1}"
            for dim, place, chunk, length in zip(self.dims, self.place(key), self.chunks, self.shape, strict=True)
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
    if data is None:
        return f"{array.describe(key)} is missing"
    view = np.frombuffer(data, np.uint8)
    if checksum_of(view[:-CHECKSUM_BYTES]) != view[-CHECKSUM_BYTES:].tobytes():
        return f"{array.describe(key)} is cut short or changed: its checksum does not agree"
    return None


def checksum_of(data: Any) -> bytes:
    """Return the checksum that ends a chunk."""
    import google_crc32c

    checksum: int = google_crc32c.value(data)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")


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


def is_recording(path: Path) -> bool:
    """Tell whether a folder is the store of a recording, whole or not; a Zarr store of anything else is not."""
    try:
        attributes = root_of(path).get("attributes")
    except (OSError, CalciumError):
        return False
    return isinstance(attributes, dict) and "schema_version" in attributes


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
        opened.seek(max(0, file.stat().st_size - CHECKSUM_BYTES))
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
        array = _noted_array(path / name, noted)
        yield from [array] if isinstance(array, str) else _quick_chunk_faults(array, noted)


def _noted_array(folder: Path, noted: dict[str, Any] | None) -> ArrayOnDisk | str:
    """Return an array, or what is wrong with its metadata."""
    name = folder.name
    try:
        array = ArrayOnDisk.read(folder)
    except FileNotFoundError:
        return f"'{name}' is missing: there is no {name}/{MARKER}"
    except (ValueError, KeyError, TypeError) as error:
        return f"the metadata of '{name}' ({name}/{MARKER}) is damaged: {error}"
    if noted is not None and array.digest != noted["metadata"]:
        return f"the metadata of '{name}' ({name}/{MARKER}) {_STRANGERS}"
    return array


def _quick_chunk_faults(array: ArrayOnDisk, noted: dict[str, Any]) -> Iterator[str]:
    sizes = array.sizes()
    lost = [key for key in array.keys if key not in sizes]
    yield from (f"{array.describe(key)} is missing" for key in lost)
    if lost or _note(array, sizes) == noted:
        return
    damaged = [fault for key in sizes if (fault := chunk_fault(array, key, (array.folder / key).read_bytes()))]
    yield from damaged or [f"the values of '{array.folder.name}' {_STRANGERS}"]


@dataclass
class Examined:
    """What was read of a store, and what is wrong with it."""

    faults: list[str] = field(default_factory=list)
    variables: int = 0
    chunks: int = 0
    read: int = 0  # bytes


def check_store(path: str | os.PathLike[str]) -> list[str]:
    """Read every chunk of a store, one after the other, and say what is wrong.

    Args:
        path: the store.

    Returns:
        A line for each fault: the variable, the chunk, the neurons it holds. None where the store is whole. Stores of earlier
        versions carry no checksums: of these, only chunks that cannot be decoded are found.

    Raises:
        CalciumError: there is no store, or its own metadata cannot be read.

    >>> import tempfile
    >>> from calcium_engine.io import make_recording, save_recording
    >>> path = save_recording(make_recording([[1, 2], [3, 4]], sampling_rate=4.8), Path(tempfile.mkdtemp()) / "r.zarr")
    >>> check_store(path)
    []
    >>> (path / "fluorescence" / "c.0.0").unlink()
    >>> check_store(path)
    ["chunk fluorescence/c.0.0 (neuron 0 to 1, counted from 0) of 'fluorescence' is missing"]
    """
    return examine(path).faults


def examine(path: str | os.PathLike[str]) -> Examined:
    """Check a store as `check_store` does, and count what was read."""
    path = Path(path)
    if not (path / MARKER).is_file():
        raise CalciumError(f"{path} is not a Zarr v3 store; save_recording() writes one")
    attributes = root_of(path).get("attributes", {})
    noted = attributes.get(ENTRY, {}).get("arrays", {})
    examined = Examined(["it is half made: its analysis was interrupted"] if attributes.get(UNFINISHED) else [])
    with os.scandir(path) as entries:
        present = {entry.name for entry in entries if entry.is_dir() and (path / entry.name / MARKER).is_file()}
    for name in sorted(present | set(noted)):
        array = _noted_array(path / name, noted.get(name))
        if isinstance(array, str):
            examined.faults.append(array)
            continue
        examined.variables += 1
        faults = _chunk_faults(array, examined)
        if not faults and name in noted and _note(array, array.sizes()) != noted[name]:
            faults = [f"the values of '{name}' {_STRANGERS}"]
        examined.faults += faults
    return examined


def _chunk_faults(array: ArrayOnDisk, examined: Examined) -> list[str]:
    """Read the chunks of an array, and say what is wrong with them."""
    faults = []
    for key in array.keys:
        data = array.data(key)
        examined.chunks += data is not None
        examined.read += len(data or b"")
        faults.append(chunk_fault(array, key, data) if array.has_checksums else _undecodable(array, key))
    return [fault for fault in faults if fault]


def _undecodable(array: ArrayOnDisk, key: str) -> str | None:
    """Say why a chunk without a checksum cannot be decoded. One that is missing stands for the fill value."""
    import zarr

    try:
        opened = zarr.open_array(array.folder, mode="r")
        opened.get_block_selection(array.place(key)) if array.shape else opened[()]
    except Exception as error:  # whatever Zarr and its codecs raise
        return f"{array.describe(key)} cannot be decoded: {type(error).__name__}: {error}"
    return None
