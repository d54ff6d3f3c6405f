"""How much memory an analysis may take, and how many neurons that is at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import numpy as np
import xarray as xr

from calcium_engine.io.store import is_trace
from calcium_engine.schema import CalciumError

SHARE = 0.25  # of the memory that is free, where no budget is given
WORKING = 2.5  # float64 values a sample that the steps need on their way, besides the traces that they make


def budget_of(memory: str | float | None) -> int:
    """Return a memory budget in bytes: a number of them, or a text such as "2GB" or "1.5GiB"; None is a quarter of what is free.

    >>> budget_of("2GB"), budget_of(1e6)
    (2000000000, 1000000)
    """
    import psutil
    from dask.utils import parse_bytes

    if memory is None:
        return int(SHARE * psutil.virtual_memory().available)
    try:
        budget = parse_bytes(memory)
    except (ValueError, TypeError):
        raise CalciumError(f'the memory budget is {memory!r}, but must be a number of bytes or a text such as "2GB"') from None
    if budget <= 0:
        raise CalciumError(f"the memory budget is {memory!r}, but must be positive")
    return budget


def resident() -> int:
    """Return how many bytes this process holds: the interpreter, its libraries, compiled kernels, and what was made so far."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def bytes_per_neuron(dtypes: Iterable[np.dtype], n_frames: int) -> int:
    """Return what a neuron takes while its block is worked on: all its traces, and what the steps need on their way."""
    return int(n_frames * (sum(dtype.itemsize for dtype in dtypes) + 8 * WORKING))


def memory_needed(recording: xr.Dataset) -> int:
    """Return about how many bytes it takes to analyse a recording as a whole: eight traces of float32 beside its own."""
    own = [array.dtype for array in recording.data_vars.values() if is_trace(array)]
    made = [np.dtype(np.float32)] * 8
    return recording.sizes["neuron"] * bytes_per_neuron([*own, *made], recording.sizes["frame"])


def neurons_at_a_time(budget: int, at_once: int, per_neuron: int, chunk: int, n_neurons: int) -> int:
    """Return how many neurons make a block: whole chunks of the store, as many as there is room for.

    Args:
        budget: bytes that the process may hold, the program included.
        at_once: how many blocks it works on at the same time.
        per_neuron: bytes that a neuron takes, see `bytes_per_neuron`.
        chunk: neurons in a chunk of the store.
        n_neurons: of the recording.

    Raises:
        CalciumError: there is no room for a single chunk.
    """
    held, smallest = resident(), min(chunk, n_neurons)
    room = (budget - held) // at_once
    if room < smallest * per_neuron:
        raise CalciumError(
            f"the memory budget of a process is {_megabytes(budget)}, but the program and what it was given hold "
            f"{_megabytes(held)} already, and each of {at_once} blocks at a time takes at least "
            f"{_megabytes(smallest * per_neuron)} ({smallest} neurons, a chunk of the store); give each process "
            f"{_megabytes(held + at_once * smallest * per_neuron)} or more (memory)"
        )
    return max(smallest, room // per_neuron // chunk * chunk)


def _megabytes(number: float) -> str:
    return f"{math.ceil(number / 1e6)} MB"
