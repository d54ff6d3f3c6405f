"""The folder of an analysis that is not finished: its plan, its lock, the store that it makes, and a record of each block.

It stands beside the store to be made, under that name and `.unfinished`, so that the store itself is whole or absent.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import xarray as xr
from filelock import FileLock, Timeout
from xarray.backends import BackendArray
from xarray.core import indexing

from calcium_engine.io.atomic import replacing
from calcium_engine.schema import CalciumError

SUFFIX = ".unfinished"
PLAN, LOCK, OWNER, BLOCKS, COLUMNS = "plan.json", "lock", "owner.json", "blocks", "columns"
Plan = dict[str, Any]


def unfinished(target: Path) -> Path:
    """Return the folder in which a target is made."""
    target = target.resolve()  # workers may be in another folder, '.' has no name, and a link stays a link
    return target.with_name(target.name + SUFFIX)


@contextmanager
def working_in(folder: Path) -> Iterator[Notes]:
    """Make the folder, if it is not there, and hold its lock; a process that dies lets go of it.

    What ends before there is anything to go on with leaves no folder behind.

    Raises:
        CalciumError: another process holds it.
    """
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CalciumError(f"{folder} is being written{_by(folder)}; wait for it, or stop it first") from None
    try:
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        _write_text(folder / OWNER, json.dumps(owner))
        yield Notes(folder)
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        kept = any(next(folder.glob(pattern), None) for pattern in (PLAN, f"*/*/{PLAN}", "*/*/zarr.json"))
        lock.release()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove an unfinished analysis, if there is one.

    Raises:
        CalciumError: a process is at work in it.
    """
    if folder.is_dir():
        with working_in(folder) as notes:
            notes.remove()


def in_use(folder: Path) -> bool:
    """Tell whether a process is at work in the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written to
        return False


def state_of(folder: Path) -> str:
    """Say how far an unfinished analysis is, and what to do with it.

    Args:
        folder: of the analysis, or around the one folder that is.
    """
    inner = next(folder.glob(f"*/*{SUFFIX}/{PLAN}"), folder / PLAN).parent
    notes = Notes(inner)
    plan, done = notes.plan(), notes.done()
    if plan is None:
        far = "nothing is kept yet" if inner == folder else "its blocks are done"
    else:
        sizes = np.diff(plan["edges"])
        neurons = int(sizes[sorted(done)].sum())
        far = f"{len(done)} of {len(sizes)} blocks done, {neurons} of {plan['shape'][0]} neurons"
    if in_use(folder):
        return f"{far}; being written{_by(folder)}"
    return f"{far}; interrupted: go on with --resume (resume=True), or begin anew with --overwrite (overwrite=True)"


def _by(folder: Path) -> str:
    """Say who holds the lock, and for how long."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        minutes = (time.time() - owner["since"]) / 60
        return f" by process {owner['process']} on {owner['host']}, for {minutes:.0f} min"
    except (OSError, ValueError, KeyError):  # it has just begun, or just ended
        return " by another process"


class Notes:
    """What is known of an unfinished analysis."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which `working_in` made."""
        self.folder = folder

    @property
    def store(self) -> Path:
        """The store that is being made."""
        return self.folder / "recording.zarr"

    def plan(self) -> Plan | None:
        """Return the plan; None where there is none yet."""
        try:
            plan: Plan = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
            if not (isinstance(plan, dict) and {"edges", "shape"} <= plan.keys()):
                raise ValueError("no plan")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CalciumError(f"{self.folder / PLAN} is damaged; begin anew with --overwrite (overwrite=True)") from error
        return plan

    def begin(self, plan: Plan) -> None:
        """Write the plan; the store must be laid out before."""
        _write_text(self.folder / PLAN, json.dumps(plan, indent=1))

    def clear(self) -> None:
        """Remove all but the lock."""
        (self.folder / PLAN).unlink(missing_ok=True)  # first: without it, nothing of the rest counts
        for name in (BLOCKS, COLUMNS, self.store.name):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder: what was made in it has found its place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def done(self) -> set[int]:
        """Return the numbers of the finished blocks."""
        return {int(path.stem) for path in (self.folder / BLOCKS).glob("*.npz")}

    def keep(self, block: int, record: xr.Dataset) -> None:
        """Keep the small results of a block, which is finished thereby."""
        self._path(block).parent.mkdir(exist_ok=True)
        save_small(record, self._path(block))

    def recall(self, block: int) -> xr.Dataset | None:
        """Return the small results of a block; None where it is not finished."""
        try:
            return load_small(self._path(block))
        except (FileNotFoundError, BadZipFile, EOFError, ValueError, KeyError):
            return None  # never written, or a name whose content was lost with the power

    def joined(self, n_blocks: int) -> xr.Dataset:
        """Return the small results of all blocks as one, with the attributes of the first.

        Events, which may be too many to hold, are read from the disk where they are looked at.
        """
        columns = self.folder / COLUMNS
        parts: dict[str, list[xr.Variable]] = {}
        attrs: dict[str, Any] = {}
        shutil.rmtree(columns, ignore_errors=True)
        columns.mkdir()
        for block in range(n_blocks):
            record = self.recall(block)
            if record is None:
                raise CalciumError(f"{self._path(block)} is gone; make it again with --resume (resume=True)")
            attrs = attrs or record.attrs
            for name, variable in record.variables.items():
                if variable.dims == ("event",):
                    with (columns / str(name)).open("ab") as file:
                        file.write(np.ascontiguousarray(variable.values).view(np.uint8).data)
                    variable = variable[:0]
                parts.setdefault(str(name), []).append(variable)
        return xr.Dataset({name: _together(variables, columns / name) for name, variables in parts.items()}, attrs=attrs)

    def _path(self, block: int) -> Path:
        return self.folder / BLOCKS / f"{block:06d}.npz"


def same_plan(old: Plan, new: Plan) -> None:
    """Refuse to go on with a plan that another recording, recipe or version made.

    Raises:
        CalciumError: naming what differs.
    """
    for key in new:
        if key != "edges" and old.get(key) != new.get(key):
            raise CalciumError(
                f"what was interrupted had another {key} ({_short(old.get(key))}, now {_short(new.get(key))}), so it cannot be "
                "gone on with; ask for the same, or begin anew with --overwrite (overwrite=True)"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def save_small(dataset: xr.Dataset, path: Path) -> None:
    """Save a small Dataset as a .npz file, whole or not at all, and on the disk when this returns."""
    about = {str(name): [list(variable.dims), variable.attrs] for name, variable in dataset.variables.items()}
    text = json.dumps({"variables": about, "coords": [str(name) for name in dataset.coords], "attrs": dataset.attrs})
    arrays = {f"v{i}": variable.values for i, variable in enumerate(dataset.variables.values())}
    with replacing(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, **{"about": np.array(text)} | arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def load_small(path: Path) -> xr.Dataset:
    """Load what `save_small` saved."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        variables = {
            name: (tuple(dims), file[f"v{i}"], attrs) for i, (name, (dims, attrs)) in enumerate(about["variables"].items())
        }
    coords = {name: variables.pop(name) for name in about["coords"]}
    return xr.Dataset(variables, coords, about["attrs"])


def _together(parts: list[xr.Variable], column: Path) -> xr.Variable:
    """Join what blocks left of one variable."""
    first = parts[0]
    if column.exists():
        return xr.Variable(first.dims, indexing.LazilyIndexedArray(Column(column, first.dtype)), first.attrs)
    along = next((dim for dim in ("neuron", "block") if dim in first.dims), None)
    return xr.Variable.concat(parts, along) if along else first  # type: ignore[no-untyped-call]


class Column(BackendArray):
    """A column of events on the disk, read anew whenever it is looked at."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype = path, dtype
        self.shape = (path.stat().st_size // dtype.itemsize,)

    def __getitem__(self, key: Any) -> Any:
        """Return some of the values, as xarray asks for them."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        part = key[0]
        if isinstance(part, slice) and part.step in (None, 1):
            start, stop, _ = part.indices(self.shape[0])
            return np.fromfile(self.path, self.dtype, max(0, stop - start), offset=start * self.dtype.itemsize)
        return np.fromfile(self.path, self.dtype)[part]


def _write_text(path: Path, text: str) -> None:
    with replacing(path, overwrite=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
