"""What `calcium info` tells of a store: its layout, its size, whether it is whole. Reads no traces unless asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from calcium_engine.blockwise.memory import budget_of, memory_needed
from calcium_engine.io.integrity import MARKER, ArrayOnDisk, arrays_of

READ_AT_MOST = 200e6  # bytes of traces that are read to count missing values without being asked to
_BLOCK = 64e6  # bytes that are read at a time


def needs(recording: xr.Dataset) -> str:
    """Say what the whole recording takes in memory, as it is and to be analysed."""
    whole, budget = memory_needed(recording), budget_of(None)
    blocks = (
        f", or {-(-whole // budget)} blocks within {shown_bytes(budget)}, a quarter of what is free" if whole > budget else ""
    )
    return f"{shown_bytes(recording.nbytes)} in memory as it is, {shown_bytes(whole)} to analyse at once{blocks}"


def missing(recording: xr.Dataset, name: str, *, check: bool) -> str:
    """Say how many values of a trace are missing, read block by block; nothing where there are many and nobody asked."""
    trace = recording[name]
    if trace.nbytes > READ_AT_MOST and not check:
        return f"not counted in {shown_bytes(trace.nbytes)} of {name}; --check counts them"
    rows = max(1, int(_BLOCK // max(1, trace[:1].nbytes)))
    found = sum(int(np.isnan(trace[first : first + rows].values).sum()) for first in range(0, len(trace), rows))
    return f"{100 * found / max(1, trace.size):.2f} % of {name}"


def layout(path: Path) -> dict[str, str]:
    """Say how a store lies on the disk: what its chunks hold, how they are compressed, what each variable takes."""
    if not (path / MARKER).is_file():
        return {}
    arrays = arrays_of(path)
    sizes = {array.folder.name: sum(array.sizes().values()) for array in arrays}
    total = sum(sizes.values())
    large = sorted((name for name in sizes if sizes[name] > 0.01 * total), key=lambda name: -sizes[name])
    others = total - sum(sizes[name] for name in large)
    parts = [f"{name} {shown_bytes(sizes[name])}" for name in large]
    parts += [f"{len(sizes) - len(large)} others {shown_bytes(others)}"] if len(sizes) > len(large) else []
    traces = [array for array in arrays if array.dims == ("neuron", "frame")]
    kinds = sorted({_kind(array) for array in traces})
    return {"chunks": "; ".join(kinds), "on disk": f"{shown_bytes(total)}: {', '.join(parts)}"}


def _kind(array: ArrayOnDisk) -> str:
    """Say how an array of traces is cut and compressed."""
    inner = array.codec_settings[0] if array.codecs[0] == "sharding_indexed" else None
    rows, frames = inner["chunk_shape"] if inner else array.chunks
    names = [codec["name"] for codec in inner["codecs"]] if inner else array.codecs
    settings = [codec.get("configuration", {}) for codec in inner["codecs"]] if inner else array.codec_settings
    words = [
        " ".join([name, *(str(setting[key]) for key in ("cname", "clevel", "level", "shuffle") if key in setting)])
        for name, setting in zip(names, settings, strict=True)
        if name != "bytes"
    ]
    shard = f" in shards of {array.chunks[0]}" if inner else ""
    return f"{rows} neurons × {frames} frames{shard}, {', '.join(words) or 'not compressed'}"


def shown_bytes(number: float) -> str:
    """Write a number of bytes with its unit.

    >>> shown_bytes(2_100_000)
    '2.1 MB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} bytes"
