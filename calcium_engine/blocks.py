"""The only bridge from plain arrays to labelled ones, in memory or chunked with dask; the only file that says `axis`.

Every per-neuron computation is a function of blocks of whole traces, neuron × frame, C-contiguous. A row's result never depends
on the other rows of its block, so any chunking over neurons gives the identical result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.kernels._jit import threads
from calcium_engine.schema import CalciumError, epoch_bounds, sampling_rate

BLOCK_BYTES = 2**21  # of one trace variable that a function of rows handles at a time

Rows = Callable[..., Any]


def frames_of(seconds: float, recording: xr.Dataset, *, least: int = 1) -> int:
    """Return a duration in whole frames, at least `least`."""
    return max(least, round(seconds * sampling_rate(recording)))


def window_of(seconds: float, recording: xr.Dataset, what: str) -> int:
    """Return a window in frames; raise where it is not positive or longer than the recording."""
    duration = recording.sizes["frame"] / sampling_rate(recording)
    if not (np.isfinite(seconds) and seconds > 0):
        raise CalciumError(f"{what} is {seconds} s, but must be a positive number of seconds")
    if seconds > duration:
        raise CalciumError(f"{what} is {seconds:g} s, longer than the recording ({duration:g} s); give a shorter one")
    return frames_of(seconds, recording)


def _whole_traces(array: xr.DataArray) -> None:
    """Refuse traces cut along time: a window at a cut would see nothing of its neighbour."""
    chunks = dict(zip(array.dims, array.chunks or (), strict=False))
    if len(chunks.get("frame", (0,))) > 1:
        raise CalciumError(
            f"'{array.name}' is chunked along 'frame' into {len(chunks['frame'])} pieces, but this step needs whole traces; "
            "rechunk with .chunk(frame=-1)"
        )


def _rows_at_a_time(n: int, row_bytes: int, workers: int) -> int:
    """Return how many of n rows to handle at a time, so that they stay in the cache and every worker has some."""
    return max(1, min(BLOCK_BYTES // max(1, row_bytes), -(-n // workers)))


def _in_blocks(function: Rows) -> Rows:
    """Run a function of rows on a few of them at a time, on all threads.

    What it needs on the way stays in the cache, whatever the number of rows; and a thread that is held up by another program
    holds up its own block alone, where kernels that share their rows among threads would wait for it at the end of each.
    """

    def run(*arguments: np.ndarray) -> Any:
        n, workers = len(arguments[0]), threads()
        rows = _rows_at_a_time(n, arguments[0][:1].nbytes, workers)
        if n <= rows:
            return function(*(np.ascontiguousarray(a) for a in arguments))

        def block(first: int) -> tuple[np.ndarray, ...]:
            results = function(*(np.ascontiguousarray(a[first : first + rows]) for a in arguments))
            return results if isinstance(results, tuple) else (results,)

        out: tuple[np.ndarray, ...] = ()
        starts = range(0, n, rows)
        with ThreadPoolExecutor(workers) as pool:
            for first, results in zip(starts, pool.map(block, starts) if workers > 1 else map(block, starts), strict=True):
                out = out or tuple(np.empty((n, *result.shape[1:]), result.dtype) for result in results)
                for whole, result in zip(out, results, strict=True):
                    whole[first : first + rows] = result
        return out if len(out) > 1 else out[0]

    return run


def _by_epoch(function: Rows, bounds: np.ndarray, n_traces: int) -> Rows:
    """Run a function of traces on each epoch by itself, so that no window or filter reaches across a gap."""

    def run(*arguments: Any) -> Any:
        traces, rest = arguments[:n_traces], arguments[n_traces:]
        if len(bounds) == 2:
            return function(*traces, *rest)
        parts = [function(*(np.ascontiguousarray(t[:, start:stop]) for t in traces), *rest) for start, stop in pairwise(bounds)]
        if isinstance(parts[0], tuple):
            return np.concatenate([part[0] for part in parts], axis=-1), np.sum([part[1] for part in parts], axis=0)
        return np.concatenate(parts, axis=-1)

    return run


def along_frame(
    function: Rows, recording: xr.Dataset, *traces: xr.DataArray, per_neuron: Sequence[xr.DataArray] = (), counted: bool = False
) -> Any:
    """Map traces (neuron × frame) to a trace, epoch by epoch.

    `function(*traces, *per_neuron)` takes C-contiguous blocks of neuron × frame arrays and neuron-long vectors, and returns a
    neuron × frame array; with `counted`, also a neuron-long vector of numbers (float64), which are added over the epochs.
    """
    for trace in traces:
        _whole_traces(trace)
    return xr.apply_ufunc(
        _in_blocks(_by_epoch(function, epoch_bounds(recording), len(traces))),
        *traces,
        *per_neuron,
        input_core_dims=[["frame"]] * len(traces) + [[]] * len(per_neuron),
        output_core_dims=[["frame"], []] if counted else [["frame"]],
        dask="parallelized",
        output_dtypes=[traces[0].dtype, np.float64] if counted else [traces[0].dtype],
        dask_gufunc_kwargs={"output_sizes": {"frame": recording.sizes["frame"]}},
    )


def over_frame(
    function: Rows, *traces: xr.DataArray, per_neuron: Sequence[xr.DataArray] = (), dtypes: Sequence[Any] = (np.float64,)
) -> Any:
    """Reduce whole traces (neuron × frame) to one value or several per neuron; returns one array for each of `dtypes`."""
    for trace in traces:
        _whole_traces(trace)

    return xr.apply_ufunc(
        _in_blocks(function),
        *traces,
        *per_neuron,
        input_core_dims=[["frame"]] * len(traces) + [[]] * len(per_neuron),
        output_core_dims=[[] for _ in dtypes],
        dask="parallelized",
        output_dtypes=list(dtypes),
    )


def gather(function: Rows, *traces: xr.DataArray, per_neuron: Sequence[xr.DataArray] = ()) -> list[Any]:
    """Compute `function(*traces, *per_neuron)` on each block of neurons; return the results in the neurons' order.

    For results whose size is not known beforehand. In-memory traces are cut into a few rows at a time, on all threads; chunked
    ones are computed together.
    """
    for trace in traces:
        _whole_traces(trace)
    arrays = [*traces, *per_neuron]

    def run(*block: xr.DataArray) -> Any:
        return function(*(np.ascontiguousarray(array.values) for array in block))

    if not any(array.chunks for array in arrays):
        n, workers = traces[0].sizes["neuron"], threads()
        rows = _rows_at_a_time(n, traces[0][:1].nbytes, workers)
        blocks = [[array.isel(neuron=slice(first, first + rows)) for array in arrays] for first in range(0, max(n, 1), rows)]
        if workers == 1 or len(blocks) == 1:
            return [run(*block) for block in blocks]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda block: run(*block), blocks))
    from dask.base import compute
    from dask.delayed import delayed

    sizes = next(array.chunksizes["neuron"] for array in arrays if array.chunks)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    pieces = [slice(int(start), int(stop)) for start, stop in pairwise(edges)]
    tasks = [delayed(run)(*(array.isel(neuron=piece) for array in arrays)) for piece in pieces]
    return list(compute(*tasks))  # type: ignore[no-untyped-call]


def mark_rows(like: xr.DataArray, edges: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> xr.DataArray:
    """Mark stretches of frames, both ends included; row i's are entries `edges[i]:edges[i + 1]`. Chunked where `like` is."""

    def run(_: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        marked = np.zeros((len(first), like.sizes["frame"]), bool)
        for row, (start, stop) in enumerate(zip(first, last, strict=True)):
            for k in range(start, stop):
                marked[row, starts[k] : stops[k] + 1] = True
        return marked

    first, last = (xr.DataArray(part, dims="neuron", coords={"neuron": like["neuron"]}) for part in (edges[:-1], edges[1:]))
    marked: xr.DataArray = xr.apply_ufunc(
        run,
        like,
        first,
        last,
        input_core_dims=[["frame"], [], []],
        output_core_dims=[["frame"]],
        dask="parallelized",
        output_dtypes=[bool],
        dask_gufunc_kwargs={"output_sizes": {"frame": like.sizes["frame"]}},
    )
    return marked
