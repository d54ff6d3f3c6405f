"""suite2p's output folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.io.npy import NpyTable, header_of, load_numbers
from calcium_engine.io.recording import agreed_rate, as_rate, check_shape, label_neurons, make_recording
from calcium_engine.io.tables import Arrays, InMemory
from calcium_engine.io.unpickle import load_objects, numbers_in
from calcium_engine.schema import CalciumError, var


def read_suite2p(
    folder: str | os.PathLike[str], *, sampling_rate: float | None = None, accepted_only: bool = False
) -> xr.Dataset:
    """Read what suite2p wrote about one plane: F, and as far as they are there Fneu, spks, iscell, stat and ops.

    `stat` and `ops` are pickles; they are read without running anything in them.

    Args:
        folder: the folder of a plane (`plane0`), or the `suite2p` folder around a single one.
        sampling_rate: frames per second, Hz. By default `fs` of ops, which it must not contradict.
        accepted_only: whether to leave out the ROIs that were not accepted as cells. Neurons keep suite2p's ROI numbers.

    Returns:
        A recording with `fluorescence`, `neuropil`, `spikes_suite2p`, and coordinates `is_cell`, `cell_probability`, `x`, `y`
        (pixels).

    Raises:
        FileNotFoundError: there is no such folder.
        CalciumError: it holds no plane, or several (the message lists them); files do not fit each other; a pickle asks for
            anything beyond arrays and plain containers; the sampling rate is missing or contradicts ops.
    """
    return scan_suite2p(folder, InMemory(), sampling_rate=sampling_rate, accepted_only=accepted_only)


def scan_suite2p(
    folder: str | os.PathLike[str], arrays: Arrays, *, sampling_rate: float | None = None, accepted_only: bool = False
) -> xr.Dataset:
    """Do what `read_suite2p` does; `arrays` says how the traces are held."""
    plane = find_plane(Path(folder))
    shape = header_of(plane / "F.npy").shape
    check_shape(shape)
    rate = as_rate(_rate(plane, sampling_rate))
    labels = {**_cells(plane, shape[0]), **_positions(plane, shape[0])}
    source = f"{plane.resolve().parent.name}/{plane.resolve().name}"
    recording = make_recording(_traces(plane / "F.npy", arrays, shape), sampling_rate=rate, source=source)
    for name, file in (("neuropil", "Fneu.npy"), ("spikes_suite2p", "spks.npy")):
        if (plane / file).exists():
            recording = recording.assign({name: var(name).wrap(_traces(plane / file, arrays, shape))})
    recording = label_neurons(recording, labels)
    return _accepted(recording) if accepted_only else recording


def _traces(path: Path, arrays: Arrays, shape: tuple[int, ...]) -> Any:
    _check_fit(header_of(path).shape, shape, path.name)
    table = NpyTable(path)
    return arrays.from_table(table, frames_in_rows=table.fortran_order)


def find_plane(folder: Path) -> Path:
    """Return the folder of the only plane in a suite2p folder, or say what is there instead."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    for place in (folder, folder / "suite2p"):
        if (place / "F.npy").is_file():
            return place
        planes = sorted(file.parent for file in place.glob("plane*/F.npy"))
        if len(planes) > 1:
            names = ", ".join(str(plane) for plane in planes)
            raise CalciumError(f"{place} holds {len(planes)} planes; read one of them: {names}")
        if planes:
            return planes[0]
    raise CalciumError(f"{folder} is no suite2p folder: it holds neither F.npy nor plane0/F.npy")


def _rate(plane: Path, sampling_rate: float | None) -> float | None:
    if not (plane / "ops.npy").exists():
        return sampling_rate
    ops = _dictionaries(plane / "ops.npy")[0]
    if "fs" not in ops:
        return sampling_rate
    return agreed_rate(sampling_rate, _numbers(ops["fs"], 1, "ops.npy", "fs")[0], "ops.npy")


def _cells(plane: Path, n_neurons: int) -> dict[str, np.ndarray]:
    if not (plane / "iscell.npy").exists():
        return {}
    iscell = load_numbers(plane / "iscell.npy")
    if iscell.ndim != 2 or iscell.shape[1] != 2:
        raise CalciumError(f"iscell.npy has shape {iscell.shape}, but needs two columns: accepted, and its probability")
    _check_fit(iscell.shape, (n_neurons, 2), "iscell.npy")
    return {"is_cell": iscell[:, 0] > 0.5, "cell_probability": iscell[:, 1].astype(np.float64)}


def _positions(plane: Path, n_neurons: int) -> dict[str, np.ndarray]:
    if not (plane / "stat.npy").exists():
        return {}
    rois = _dictionaries(plane / "stat.npy")
    if len(rois) != n_neurons:
        raise CalciumError(f"stat.npy has {len(rois)} ROIs, but F.npy has {n_neurons} neurons")
    if not all("med" in roi for roi in rois):
        return {}
    centres = np.array([_numbers(roi["med"], 2, "stat.npy", "med") for roi in rois])
    return {"x": centres[:, 1], "y": centres[:, 0]}


def _dictionaries(path: Path) -> list[dict[str, Any]]:
    found = load_objects(path)
    if not found or not all(isinstance(entry, dict) for entry in found):
        raise CalciumError(f"{path.name} does not hold the dictionaries that suite2p writes")
    return found


def _numbers(value: Any, length: int, file: str, key: str) -> list[float]:
    try:
        numbers = numbers_in(value)
    except Exception:  # a pickle may have put anything there
        numbers = []
    if len(numbers) != length:
        raise CalciumError(f"{file}: '{key}' does not hold {length} number{'s' if length > 1 else ''}")
    return numbers


def _check_fit(found: tuple[int, ...], needed: tuple[int, ...], file: str) -> None:
    if found != needed:
        raise CalciumError(f"{file} has shape {found}, but F.npy asks for {needed}")


def _accepted(recording: xr.Dataset) -> xr.Dataset:
    if "is_cell" not in recording.coords:
        raise CalciumError("there is no iscell.npy, so nothing says which ROIs are accepted; read them all")
    keep = recording["is_cell"].values
    if not keep.any():
        raise CalciumError(f"none of the {keep.size} ROIs is accepted as a cell; read them all, or curate them in suite2p")
    return recording.isel(neuron=np.flatnonzero(keep))
