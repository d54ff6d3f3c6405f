"""Files and folders that are whole or absent: written beside their target under a hidden name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calcium_engine.io.integrity import is_recording
from calcium_engine.schema import CalciumError


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, what was written there becomes `path`.

    Whatever ends the block early (an error, Ctrl-C) removes the temporary and leaves `path` as it was. A process that is killed
    leaves at most a hidden `.name.*.partial` behind, never half a result under the final name.

    Args:
        path: the file or folder to make. Its parent must exist. A symbolic link is followed.
        overwrite: whether an existing `path` may be replaced. It is kept until the new one is complete.
        marker: the name of a file or folder that shows an existing folder to be one of ours (`zarr.json` for a store). A folder
            with other content is never replaced, so that `overwrite` with a mistyped path cannot delete a home directory.

    Yields:
        A path that does not exist yet, in the same parent: write a file there, or make it a folder.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False, or it is a folder that is not ours.
        FileNotFoundError: the parent folder does not exist.
        PermissionError: the parent folder cannot be written to.
        CalciumError: no space is left, or `path` lies inside a recording's store.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "numbers.txt") as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> [file.name for file in folder.iterdir()]
    ['numbers.txt']
    """
    target = Path(path).resolve()
    check_parent(target)
    refuse_to_replace(target, overwrite, marker)
    temporary = hidden(target, "partial")
    try:
        yield temporary
        refuse_to_replace(target, overwrite, marker)  # someone else may have been quicker
        swap(temporary, target)
    except OSError as error:
        _explain(error, target)
        raise
    finally:
        remove(temporary)


def check_parent(target: Path) -> None:
    """Refuse a target in a folder that does not exist, or inside a recording, which would no longer be whole."""
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {target.parent} does not exist; make it first, or choose another place for {target.name}"
        )
    for parent in target.resolve().parents:
        if is_recording(parent):
            raise CalciumError(f"{target} lies inside the store {parent}; choose a place outside of it")


def hidden(target: Path, suffix: str) -> Path:
    """Return a new hidden name beside a file or folder."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{suffix}")


def refuse_to_replace(target: Path, overwrite: bool, marker: str | None) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists already; choose another name, or ask for it to be overwritten (overwrite)")
    if marker is not None and not target.is_dir():
        raise FileExistsError(f"{target} is a file, which a folder does not replace; choose another name")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if marker is None or not (target / marker).exists():
        has_not = f" without '{marker}' in it" if marker else ""
        raise FileExistsError(
            f"{target} is a folder{has_not}, so it was not written here and is not overwritten; choose another name"
        )


def swap(temporary: Path, target: Path) -> None:
    """Put the new in the place of the old, which comes back if that fails."""
    if not target.exists() or not (target.is_dir() or temporary.is_dir()):
        temporary.replace(target)
        return
    # No portable call exchanges two folders: the old one steps aside for the moment of the second rename.
    aside = hidden(target, "old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; a writing thread that outlives Ctrl-C may need a second attempt."""
    for attempt in range(5):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not path.exists():
            return
        time.sleep(0.05 * (attempt + 1))


def _explain(error: OSError, target: Path) -> None:
    """Raise the same in the user's terms, where it was about writing here; other errors are not ours to explain."""
    about = [Path(str(name)) for name in (error.filename, error.filename2) if name is not None]
    if any(name.is_absolute() and not name.is_relative_to(target.parent) for name in about):
        return
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise PermissionError(f"no permission to write in {target.parent}; choose another folder for {target.name}") from error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise CalciumError(
            f"no space left in {target.parent} for {target.name}; nothing of it was kept: free some and run again"
        ) from error
