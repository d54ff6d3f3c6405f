"""Recordings to be had from the network, fetched once and checked."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

from calcium_engine.io.atomic import replacing
from calcium_engine.schema import CalciumError

INTRO_NAME = "Fluorescent Data.csv"
INTRO_URL = "https://raw.githubusercontent.com/Connor-Beck/Calcium-image-processing-intro/main/data/Fluorescent%20Data.csv"
INTRO_BLOB = "bc8d09762bcc29e3445bc0df6304491a433dd5cb"
TIMEOUT_S = 30


def fetch_intro(*, cache: str | os.PathLike[str] | None = None, url: str | None = None, blob: str = INTRO_BLOB) -> Path:
    """Fetch the example recording of Connor Beck's introduction to calcium imaging (MIT licence), unless it is there already.

    Args:
        cache: the folder to keep it in; the user's cache folder by default.
        url: another place to fetch it from.
        blob: the id that git gives its content, against which what comes is checked.

    Returns:
        The path of the CSV file.

    Raises:
        CalciumError: the network does not answer, or what came is not that file. Nothing is kept then.
    """
    import pooch

    folder = Path(cache) if cache is not None else Path(pooch.os_cache("calcium_engine"))
    target = folder / INTRO_NAME
    if target.is_file() and git_blob_id(target.read_bytes()) == blob:
        return target
    content = _download(url or INTRO_URL)
    found = git_blob_id(content)
    if found != blob:
        raise CalciumError(f"{url or INTRO_URL} sent another file than expected (git blob {found}, not {blob}); nothing was kept")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(target, overwrite=True) as temporary:
        temporary.write_bytes(content)
    return target


def git_blob_id(content: bytes) -> str:
    """Return the id under which git keeps this content.

    >>> git_blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _download(url: str) -> bytes:
    import pooch

    content = io.BytesIO()
    try:
        pooch.HTTPDownloader(timeout=TIMEOUT_S)(url, content, None)
    except (OSError, ValueError) as error:  # whatever requests raises is one of these
        # A server's answer says what is wrong; a connection that failed says it in a paragraph of internals.
        reason = str(error) if getattr(error, "response", None) is not None else type(error).__name__
        raise CalciumError(f"{url} could not be fetched ({reason}); check the network and try again") from None
    return content.getvalue()
