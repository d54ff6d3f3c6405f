"""Nulls of coactivity on real recordings: the exact law against shuffles, and what the circular and the local null say."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from bursty import with_events
from coactivity_bars import Bar
from common import table

import calcium_engine as ce
from calcium_engine.coactivity import activity_of, joined

# File below the folder of data, and how it is read
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "zf1": ("population/zf1.ca2", {"sampling_rate": 2.1646}),
    "zf_20151104": (
        "population/zf_20151104-f1/zf_20151104-f1_activity_matrix.csv",
        {"sampling_rate": 2.2, "variable": "dff"},
    ),
    "Vader": ("population/Time_Series_Vader_R_2023_03_09_Raw.csv", {}),
}
RASTER = "population/xsembles_raster_example.mat"
RASTER_RATE = 10.0  # Hz; unknown, and of no matter to bins of one frame
STEPS = ("subtract_background", "estimate_noise", "denoise", "detect_events")
SHUFFLES = (1000, 20000)
NULLS, RULES = ("circular", "local"), ("percentile", "fdr")


def recordings(data: Path | None) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield name and recording, with its coactivity; say what is left out."""
    for name, (path, _) in {**FILES, "xsembles": (RASTER, {})}.items():
        if data is None or not (data / path).exists():
            print(f"real recordings: {path} left out; --data DIR names its folder", file=sys.stderr)
            continue
        made = _from_raster(data / path) if name == "xsembles" else _from_traces(data, name)
        if made is not None:
            yield name, made


@cache
def _from_traces(data: Path, name: str) -> xr.Dataset:
    path, how = FILES[name]
    recording = ce.read(data / path, **how)
    if "is_cell" in recording.coords:
        recording = recording.isel(neuron=recording["is_cell"].values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the traces, which are not judged here
        if "dff" not in recording:
            recording = ce.compute_dff(ce.estimate_baseline(recording))
        for step in STEPS:
            recording = getattr(ce, step)(recording)
        return ce.compute_coactivity(recording)


@cache
def _from_raster(path: Path) -> xr.Dataset | None:
    """A recording that holds nothing but the active frames of a binary raster, in bins of one frame."""
    try:
        import h5py
    except ImportError:
        print(f"real recordings: {path.name} left out, which h5py reads, and it is not installed", file=sys.stderr)
        return None
    with h5py.File(path) as file:
        raster = np.asarray(file["raster"]).T > 0
    return ce.compute_coactivity(with_events(*np.nonzero(raster), *raster.shape, rate=RASTER_RATE), bin=1 / RASTER_RATE)


def probabilities(counted: xr.Dataset) -> np.ndarray:
    """Share of active bins of each neuron."""
    rows, _ = joined(activity_of(counted).in_bins())
    return np.bincount(rows, minlength=counted.sizes["neuron"]) / counted.sizes["bin"]


def judge_real(data: Path | None, seed: int) -> tuple[dict[str, Any], list[Bar]]:
    """The threshold of the exact law and of shuffles, how far they are apart, and whether the nulls disagree."""
    rows, bars, said = [], [], {}
    for name, counted in recordings(data):
        row = [name, f"{counted.sizes['neuron']} × {counted.sizes['bin']}"]
        for shuffles in SHUFFLES:
            found = _quiet(counted, significance="percentile", monte_carlo=shuffles, seed=seed)["is_coactive"]
            how = found.attrs
            row += [how["total_variation"], f"{how['threshold']} / {how['exact_threshold']}"]
            differ = float(how["threshold"] != how["exact_threshold"])
            bars.append(Bar("A15", f"{name}, {shuffles} shuffles: threshold differs from the exact one", differ, 0.0))
        plain = {(null, rule): _quiet(counted, null=null, significance=rule)["is_coactive"] for null in NULLS for rule in RULES}
        said[name] = {rule: plain["circular", rule].attrs["comparison"] for rule in RULES}
        rows.append(
            [*row, *(int(one.sum()) for one in plain.values()), float(plain["circular", "percentile"].attrs["attained_alpha"])]
        )
    if rows:
        print("\nreal recordings, percentile rule; threshold sampled / exact; significant bins by null and rule")
        sampled = [f"{what}, {n} shuffles" for n in SHUFFLES for what in ("total variation", "threshold")]
        table(["", "neurons × bins", *sampled, *(f"{null}, {rule}" for null in NULLS for rule in RULES), "attained alpha"], rows)
        for name, sentences in said.items():
            print("\n".join(f"  {name}, {rule}: {sentence}" for rule, sentence in sentences.items()))
    return {"rows": rows, "sentences": said}, bars


def _quiet(counted: xr.Dataset, **how: Any) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the nulls disagree is printed
        return ce.find_ensemble_events(counted, **how)
