"""From an array of traces to a recording: labels, sampling rate, time and epochs, and the checks that every reader shares."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.schema import COORDINATES, GAP, SCHEMA_VERSION, CalciumError, frame_interval, record, var, warn

AGREEMENT = 0.01  # a given rate may differ from the one of the time stamps by so much
_PER_NEURON = ("x", "y", "is_cell", "cell_probability")


def make_recording(
    array: Any,
    *,
    sampling_rate: float | None = None,
    neuron: Any = None,
    time: Any = None,
    variable: str = "fluorescence",
    source: str = "",
) -> xr.Dataset:
    """Make a recording from traces.

    float32 and float64 stay what they are; everything else becomes float32. A dask array stays lazy: its values are not computed,
    so infinite values and all-NaN input are only refused in memory.

    Args:
        array: traces, neuron × frame: a NumPy or dask array, nested lists, or a DataArray with dims `neuron` and `frame` in any
            order, whose coordinates (`neuron`, `time`, `sampling_rate`, `x`, `y`, `is_cell`, `cell_probability`) are kept.
        sampling_rate: frames per second, Hz. Needed unless `time` is given.
        neuron: one id per neuron, unique integers or strings; 0, 1, 2, ... by default.
        time: one time per frame, s, increasing. The rate comes from its steps, and a pause of over 1 s starts a new epoch.
        variable: what the traces are: "fluorescence" (raw), or "dff" where they are ΔF/F already.
        source: where the traces came from, kept as an attribute.

    Returns:
        A Dataset with that variable, index coordinates `neuron` and `frame`, and coordinates `time` (s), `sampling_rate` (Hz)
        and, where there is more than one, `epoch`.

    Raises:
        CalciumError: the array is no neuron × frame array of at least one neuron and two frames; the rate is missing, not
            positive or contradicts `time`; ids are duplicated; lengths do not match; values are infinite or all NaN.

    >>> make_recording([[1, 2, 3], [4, 5, 6]], sampling_rate=4.8, neuron=["a", "b"]).sizes
    Frozen({'neuron': 2, 'frame': 3})
    """
    given: dict[str, Any] = {"neuron": neuron, "time": time, "sampling_rate": sampling_rate}
    kept: dict[str, np.ndarray] = {}
    if isinstance(array, xr.DataArray):
        array, given, kept = _unlabel(array, given)
    traces = _as_traces(array)
    n_neurons, n_frames = traces.shape
    ids = _as_ids(given["neuron"], n_neurons)
    if given["time"] is None:
        rate = as_rate(given["sampling_rate"])
        seconds, epochs = np.arange(n_frames) / rate, None
    else:
        seconds = _as_time(given["time"], n_frames)
        rate, epochs = _rate_and_epochs(seconds, given["sampling_rate"])
    if isinstance(traces, np.ndarray):
        check_values([traces], ids)

    coords = {
        "neuron": ("neuron", ids, COORDINATES["neuron"]),
        "frame": ("frame", np.arange(n_frames), COORDINATES["frame"]),
        "time": ("frame", seconds, COORDINATES["time"]),
        "sampling_rate": ((), rate, COORDINATES["sampling_rate"]),
    }
    if epochs is not None:
        coords["epoch"] = ("frame", epochs, COORDINATES["epoch"])
    # Step by step, so that the DataArray and the Dataset share the very same index.
    recording = xr.Dataset({variable: _declared(variable).wrap(traces)}).assign_coords(coords)
    readable = source.encode("utf-8", "replace").decode()  # a file's name may hold anything
    recording.attrs.update(source=readable, schema_version=SCHEMA_VERSION)
    recording = record(recording, "make_recording", variable=variable, sampling_rate=rate)
    return label_neurons(recording, kept)


def label_neurons(recording: xr.Dataset, labels: Mapping[str, Any]) -> xr.Dataset:
    """Add coordinates along `neuron` (x, y, is_cell, cell_probability) with their units and names."""
    return recording.assign_coords({name: ("neuron", values, COORDINATES[name]) for name, values in labels.items()})


def agreed_rate(given: Any, found: float, where: str) -> float:
    """Return the given sampling rate, or the one found where none is given; refuse two that contradict each other."""
    if given is None:
        return as_rate(found)
    rate = as_rate(given)
    if abs(rate / as_rate(found) - 1) > AGREEMENT:
        raise CalciumError(
            f"the sampling rate was given as {rate:g} Hz, but by {where} it is {found:.5g} Hz; leave it out to use that"
        )
    return rate


def check_orientation(orientation: str | None) -> None:
    """Refuse anything but "rows", "columns" or None."""
    if orientation not in (None, "rows", "columns"):
        raise CalciumError(f"orientation is 'rows' or 'columns' (where the neurons are), not {orientation!r}")


def warn_if_transposed(name: str, n_rows: int, n_columns: int) -> None:
    """Warn where rows, taken for neurons, outnumber columns: recordings have more frames than neurons."""
    if n_rows > n_columns:
        warn(
            f"{name} has {n_rows} rows and {n_columns} columns, and rows are taken for neurons; "
            "give orientation='columns' if neurons are in columns, or orientation='rows' to confirm"
        )


def _declared(variable: str) -> Any:
    if variable not in ("fluorescence", "dff"):
        raise CalciumError(f"traces are read as 'fluorescence' or as 'dff' (ΔF/F already), not as {variable!r}")
    return var(variable)


def _unlabel(array: xr.DataArray, given: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, np.ndarray]]:
    """Take a DataArray apart into plain traces and the coordinates that we know; arguments go before coordinates."""
    if set(array.dims) != {"neuron", "frame"}:
        raise CalciumError(
            f"the DataArray has dims {tuple(array.dims)}, but needs ('neuron', 'frame'); rename them with .rename()"
        )
    array = array.transpose("neuron", "frame")
    dims: dict[Hashable, tuple[str, ...]] = {"neuron": ("neuron",), "time": ("frame",), "sampling_rate": ()}
    coords = {str(name): array[name].values for name in dims if name in array.coords and array[name].dims == dims[name]}
    given = {name: coords.get(name) if value is None else value for name, value in given.items()}
    kept = {name: array[name].values for name in _PER_NEURON if name in array.coords and array[name].dims == ("neuron",)}
    return array.data, given, kept


def _as_traces(array: Any) -> Any:
    """Return a two-dimensional floating-point array, of NumPy or dask."""
    if not hasattr(array, "dask"):
        array = _as_numbers(array)
    if array.dtype.kind not in "biuf":
        raise CalciumError(f"traces must be real numbers, but the array holds {array.dtype}")
    check_shape(array.shape)
    native = array.dtype.newbyteorder("=")
    return array.astype(native if native in (np.float32, np.float64) else np.float32, copy=False)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse anything but at least one neuron × two frames."""
    if len(shape) != 2:
        raise CalciumError(
            f"traces must be a neuron × frame array (2 dimensions), but this one has {len(shape)}: shape {tuple(shape)}"
        )
    n_neurons, n_frames = shape
    if n_neurons < 1:
        raise CalciumError(f"the array has no neurons: its shape is {n_neurons} × {n_frames} (neuron × frame)")
    if n_frames < 2:
        raise CalciumError(
            f"a recording needs at least 2 frames, but the array is {n_neurons} × {n_frames} (neuron × frame); transpose it?"
        )


def _as_numbers(array: Any) -> np.ndarray:
    """Return a NumPy array; nested lists have no precision of their own, so they become float32."""
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(np.result_type(array.dtype, np.float32)), np.nan)
    try:
        numbers = np.asarray(array)
        return numbers.astype(np.float32) if numbers.dtype == object or isinstance(array, list | tuple) else numbers
    except (TypeError, ValueError):
        raise CalciumError("traces must be a neuron × frame array of numbers, all rows of one length; this is not") from None


def _as_ids(neuron: Any, n_neurons: int) -> np.ndarray:
    """Return unique ids, integers or strings."""
    if neuron is None:
        return np.arange(n_neurons)
    ids = np.asarray(neuron)
    if ids.shape != (n_neurons,):
        raise CalciumError(f"there are {n_neurons} neurons, but the neuron ids have shape {ids.shape}; give one id per neuron")
    if ids.dtype.kind in "iu":
        ids = ids.astype(np.int64)
    elif ids.dtype.kind in "UOT" and all(isinstance(name, str) for name in ids.tolist()):
        ids = ids.astype(str)
    else:
        raise CalciumError(f"neuron ids must be integers or strings, but these are {ids.dtype}")
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = ", ".join(map(repr, values[counts > 1][:5].tolist()))
        raise CalciumError(f"neuron ids must be unique, but {(counts > 1).sum()} of them occur more than once: {twice}")
    return ids


def as_rate(sampling_rate: Any) -> float:
    """Return a sampling rate as a number, Hz, or refuse it; a reader asks before it reads what takes long."""
    if sampling_rate is None:
        raise CalciumError("the sampling rate is missing; give sampling_rate= in Hz (frames per second)")
    try:
        rate = float(sampling_rate)
    except (TypeError, ValueError):
        raise CalciumError(f"the sampling rate must be a number in Hz, not {sampling_rate!r}") from None
    if not (np.isfinite(rate) and rate > 0):
        raise CalciumError(f"the sampling rate is {rate} Hz, but must be a positive number")
    return rate


def _as_time(time: Any, n_frames: int) -> np.ndarray:
    try:
        seconds = np.asarray(time, dtype=np.float64)
    except (TypeError, ValueError):
        raise CalciumError("times must be numbers, in seconds") from None
    if seconds.shape != (n_frames,):
        raise CalciumError(f"there are {n_frames} frames, but time has shape {seconds.shape}; give one time per frame")
    if not np.isfinite(seconds).all():
        raise CalciumError(
            f"time must be finite, but is {seconds[~np.isfinite(seconds)][0]} at frame {np.flatnonzero(~np.isfinite(seconds))[0]}"
        )
    steps = np.diff(seconds)
    if (steps <= 0).any():
        frame = int(np.argmax(steps <= 0))
        raise CalciumError(
            f"time must increase from frame to frame, but goes from {seconds[frame]:g} s at frame {frame} "
            f"to {seconds[frame + 1]:g} s; sort the frames"
        )
    return seconds


def _rate_and_epochs(seconds: np.ndarray, sampling_rate: Any) -> tuple[float, np.ndarray | None]:
    """Return the rate that the time stamps give (or the given one, if they agree), and each frame's epoch if there are several.

    The rate is that of the mean ordinary step, and ordinary is one up to 1.5 × the median: the median alone would take the
    rounding of the stamps for the rate (0.2 s for 4.8 Hz stamped to 0.1 s), the mean of all would count pauses and lost frames.
    """
    steps = np.diff(seconds)
    median = float(np.median(steps))
    rate = float(f"{1 / frame_interval(seconds):.9g}")  # time stamps carry no more digits; 10 Hz should read 10
    rate = agreed_rate(sampling_rate, rate, "the time stamps")
    starts = np.flatnonzero(steps > median + GAP) + 1
    if starts.size == 0:
        return rate, None
    epochs = np.zeros(seconds.size, dtype=np.int64)
    epochs[starts] = 1
    return rate, np.cumsum(epochs)


def check_values(blocks: Iterable[np.ndarray], ids: np.ndarray) -> None:
    """Refuse traces of which a value is infinite, or all are NaN; they come in blocks of neurons, in order."""
    first = None
    neurons = size = numbers = infinities = 0
    for block in blocks:
        finite = np.isfinite(block)
        n_finite = int(np.count_nonzero(finite))
        if n_finite < block.size:
            infinite = np.isinf(block)
            if first is None and infinite.any():
                neuron, frame = np.argwhere(infinite)[0]
                first = f"neuron {ids[neurons + neuron].item()!r}, frame {frame}"
            infinities += int(np.count_nonzero(infinite))
        neurons, size, numbers = neurons + len(block), size + block.size, numbers + n_finite
    if first is not None:
        raise CalciumError(
            f"traces must be finite or NaN, but {infinities} values are infinite, first at {first}; mark missing frames as NaN"
        )
    if numbers == 0:
        raise CalciumError(f"all {size} values are NaN; there is nothing to analyse")
