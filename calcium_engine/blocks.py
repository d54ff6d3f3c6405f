"""The only bridge from plain arrays to labelled ones, in memory or chunked with dask; the only file that says `axis`.

Every per-neuron computation is a function of blocks of whole traces, neuron × frame, C-contiguous. A row's result never depends
on the other rows of its block, so any chunking over neurons gives the identical result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.schema import CalciumError, epoch_bounds, sampling_rate

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
            f"'{array.name}' is chunked along 'frame' into {len(chunks['frame'])} pieces, but this step needs whole traces; rechunk with .chunk(frame=-1)"
        )


def _by_epoch(function: Rows, bounds: np.ndarray, n_traces: int) -> Rows:
    """Run a function of traces on each epoch by itself, so that no window or filter reaches across a gap."""

    def run(*arguments: Any) -> np.ndarray:
        traces = [np.ascontiguousarray(a) for a in arguments[:n_traces]]
        rest = [np.ascontiguousarray(a) for a in arguments[n_traces:]]
        if len(bounds) == 2:
            return np.asarray(function(*traces, *rest))
        parts = [
            function(*(np.ascontiguousarray(t[:, start:stop]) for t in traces), *rest)
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
        ]
        return np.concatenate(parts, axis=-1)

    return run


def along_frame(
    function: Rows, recording: xr.Dataset, *traces: xr.DataArray, per_neuron: Sequence[xr.DataArray] = (), dtype: Any = None
) -> xr.DataArray:
    """Map traces (neuron × frame) to a trace, epoch by epoch.

    `function(*traces, *per_neuron)` takes C-contiguous blocks of neuron × frame arrays and neuron-long vectors, and returns a
    neuron × frame array.
    """
    for trace in traces:
        _whole_traces(trace)
    return xr.apply_ufunc(
        _by_epoch(function, epoch_bounds(recording), len(traces)),
        *traces,
        *per_neuron,
        input_core_dims=[["frame"]] * len(traces) + [[]] * len(per_neuron),
        output_core_dims=[["frame"]],
        dask="parallelized",
        output_dtypes=[dtype or traces[0].dtype],
        dask_gufunc_kwargs={"output_sizes": {"frame": recording.sizes["frame"]}},
    )


def over_frame(
    function: Rows, *traces: xr.DataArray, per_neuron: Sequence[xr.DataArray] = (), dtypes: Sequence[Any] = (np.float64,)
) -> Any:
    """Reduce whole traces (neuron × frame) to one value or several per neuron; returns one array for each of `dtypes`."""
    for trace in traces:
        _whole_traces(trace)

    def run(*arguments: Any) -> Any:
        return function(*(np.ascontiguousarray(a) for a in arguments))

    return xr.apply_ufunc(
        run,
        *traces,
        *per_neuron,
        input_core_dims=[["frame"]] * len(traces) + [[]] * len(per_neuron),
        output_core_dims=[[] for _ in dtypes],
        dask="parallelized",
        output_dtypes=list(dtypes),
    )
