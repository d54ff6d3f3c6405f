"""A Zarr store that says in the user's terms what is wrong with a chunk that is read. Imports Zarr, so it is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from calcium_engine.io.integrity import MARKER, ArrayOnDisk, chunk_fault, incomplete

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer


class CheckedStore(LocalStore):
    """A local store that refuses chunks which are missing or damaged, where the array carries checksums."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._arrays: dict[str, ArrayOnDisk | None] = {}

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Return what is kept under a key, if it is whole."""
        data = await super().get(key, prototype, byte_range)
        name, _, chunk = key.partition("/")
        if chunk.startswith("c") and byte_range is None:
            self._check(name, chunk, data)
        return data

    def _check(self, name: str, chunk: str, data: Buffer | None) -> None:
        if name not in self._arrays:
            self._arrays[name] = ArrayOnDisk.read(self.root / name) if (self.root / name / MARKER).is_file() else None
        array = self._arrays[name]
        if array is None or not array.has_checksums:
            return
        fault = chunk_fault(array, chunk, None if data is None else data.as_numpy_array())
        if fault:
            raise incomplete(self.root, fault)
