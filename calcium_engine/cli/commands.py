"""The commands: each takes the parsed arguments and calls functions that anyone can call."""

from __future__ import annotations

import textwrap
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments, parse_scalar
from calcium_engine.blockwise.notes import SUFFIX, state_of, unfinished
from calcium_engine.cli.progress import Bytes
from calcium_engine.cli.result import REPORT, STORE, Scale, make_result, summary
from calcium_engine.cli.stored import layout, missing, needs, shown_bytes
from calcium_engine.indicators import get_indicator
from calcium_engine.io import convert_recording, fetch_intro, open_recording, read, save_recording
from calcium_engine.io.atomic import replacing
from calcium_engine.io.integrity import MARKER, examine
from calcium_engine.recipe import load_recipe, recipe_names, recipe_text
from calcium_engine.schema import CalciumError, MissingVariableError, masked_frames, not_kept, record
from calcium_engine.score import describe_recovery, score_recovery
from calcium_engine.simulate import simulate_recording

DEMO_FOLDER = Path("calcium_demo")
DOWNLOADS: dict[str, Callable[[], Path]] = {"intro": fetch_intro}


def run(arguments: Namespace) -> None:
    """Analyse a recording."""
    indicator = get_indicator(arguments.indicator).name if arguments.indicator else None
    _analyse(
        arguments,
        lambda: _cells(_read(arguments), arguments.cells),
        arguments.out,
        overwrite=arguments.overwrite,
        indicator=indicator,
        scale=Scale(arguments.memory, arguments.keep, arguments.resume, arguments.workers, arguments.scheduler),
    )


def _cells(recording: xr.Dataset, which: str) -> xr.Dataset:
    """Take the neurons that the input accepts as cells, where it says so: what was rejected can make ensembles of its own."""
    if which == "all" or "is_cell" not in recording.coords or recording["is_cell"].values.all():
        return recording
    accepted, of = int(recording["is_cell"].sum()), recording.sizes["neuron"]
    if accepted == 0:
        raise CalciumError(f"none of the {of} neurons is accepted as a cell; --cells all takes them all the same")
    print(f"{accepted} of {of} neurons are accepted as cells and analysed; --cells all takes all")
    return record(recording.isel(neuron=recording["is_cell"].values), "accepted_cells", accepted=accepted, of=of)


def demo(arguments: Namespace) -> None:
    """Simulate a recording, analyse it, and compare with the truth."""
    out = arguments.out or DEMO_FOLDER
    seed = arguments.seed or 0
    recording = _analyse(
        arguments,
        lambda: simulate_recording(n_neurons=arguments.neurons, n_frames=arguments.frames, seed=seed),
        out,
        overwrite=arguments.overwrite or arguments.out is None,
    )
    try:
        print(describe_recovery(score_recovery(recording)))
    except MissingVariableError as error:  # a recipe of the user's own may stop before ensembles
        print(f"not compared with the planted truth: {error}")


def simulate(arguments: Namespace) -> None:
    """Write a simulated recording as Zarr, CSV or NPY."""
    out: Path = arguments.out
    writers = {".zarr": _write_zarr, ".csv": _write_csv, ".npy": _write_npy}
    if out.suffix not in writers:
        raise CalciumError(f"{out} has no suffix that names a format; end it in {', '.join(writers)}")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or replace it with --overwrite")
    settings = {key: parse_scalar(value) for key, value in arguments.settings}
    check_arguments(simulate_recording, settings)
    options: dict[str, Any] = {
        "n_neurons": arguments.neurons,
        "n_frames": arguments.frames,
        "sampling_rate": arguments.sampling_rate,
        "indicator": arguments.indicator,
        "seed": arguments.seed,
        **settings,
    }
    recording = simulate_recording(**options)
    writers[out.suffix](recording, out, arguments.overwrite)
    print(f"{out}: {_size(recording)}")


def info(arguments: Namespace) -> None:
    """Say what a recording holds, and with --check whether its store is whole: exit code 1 where it is not."""
    given: Path = arguments.input
    folder = given if given.suffix == SUFFIX else unfinished(given)
    if folder.is_dir() and (folder == given or not given.exists()):
        print(f"{folder} is not finished: {state_of(folder)}")
        return
    path = _input(arguments)
    whole = _whole(path) if arguments.check else ""
    recording = _read(arguments)
    name = "fluorescence" if "fluorescence" in recording else "dff"
    lines = {
        "source": recording.attrs.get("source", ""),
        "recording": _size(recording),
        "indicator": recording.attrs.get("indicator", ""),
        "epochs": str(_epochs(recording)),
        "missing": missing(recording, name, check=arguments.check) if name in recording else "",
        "cells": f"{int(recording['is_cell'].sum())} accepted" if "is_cell" in recording.coords else "",
        "variables": ", ".join(map(str, recording.data_vars)),
        **layout(path),
        "needs": needs(recording),
        "whole": whole,
        "recipe": recording.attrs.get("recipe_name", ""),
        "not kept": ", ".join(not_kept(recording)),
        "found": summary(recording).partition(": ")[2] if "event" in recording.dims else "",
        "history": str(recording.attrs.get("history", "")),
    }
    for key, text in lines.items():
        for i, line in enumerate(text.splitlines()):
            print(textwrap.fill(line, 120, initial_indent=f"{'' if i else key + ':':<11}", subsequent_indent=" " * 13))


def _whole(path: Path) -> str:
    """Read every chunk of a store; say how much there is, or list what is wrong and end."""
    if not (path / MARKER).is_file():
        raise CalciumError(f"{path} is not a store, so there is nothing to check; calcium convert makes one of it")
    examined = examine(path)
    if examined.faults:
        print("\n".join(examined.faults))
        raise SystemExit(1)
    return f"{examined.variables} variables, {examined.chunks} chunks, {shown_bytes(examined.read)} read"


def _epochs(recording: xr.Dataset) -> int:
    """Count the epochs; masked stretches are none."""
    if "epoch" not in recording.coords:
        return 1
    return len(np.unique(recording["epoch"].values[~masked_frames(recording)]))


def convert(arguments: Namespace) -> None:
    """Convert a recording to a Zarr store, however large it is."""
    out: Path = arguments.out
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"{out} exists; choose another name, or replace it with --overwrite")
    with Bytes(arguments.quiet) as bar:
        convert_recording(_input(arguments), out, overwrite=arguments.overwrite, progress=bar.show, **_reading(arguments))
    print(f"{out}: {_size(open_recording(out))}")


def recipes(arguments: Namespace) -> None:
    """List the recipes, or print one."""
    if arguments.name is not None:
        shipped = arguments.name in recipe_names()
        print(recipe_text(arguments.name) if shipped else load_recipe(arguments.name).to_toml(), end="")
        return
    for name in recipe_names():
        print(f"{name:<12} {load_recipe(name).description}")


def fetch(arguments: Namespace) -> None:
    """Download a public recording."""
    path = DOWNLOADS[arguments.name]()
    print(f'{path}\nanalyse it with: calcium run "{path}" --sampling-rate 4.8 --out {arguments.name}')


def _analyse(
    arguments: Namespace,
    load: Callable[[], xr.Dataset],
    out: Path,
    *,
    overwrite: bool,
    indicator: str | None = None,
    scale: Scale = Scale(),  # noqa: B008  (it cannot be changed)
) -> xr.Dataset:
    recording = make_result(
        load,
        out,
        load_recipe(arguments.recipe),
        settings=dict(arguments.settings),
        indicator=indicator,
        seed=arguments.seed,
        figures=arguments.figures,
        overwrite=overwrite,
        quiet=arguments.quiet,
        scale=scale,
    )
    print(f"{summary(recording)}\nreport: {out / REPORT}")
    return recording


def _read(arguments: Namespace) -> xr.Dataset:
    """Read the input as the arguments say."""
    return read(_input(arguments), **_reading(arguments))


def _input(arguments: Namespace) -> Path:
    """Return what to read; the folder of an earlier run stands for its recording."""
    path: Path = arguments.input
    return path / STORE if (path / STORE).is_dir() else path


def _reading(arguments: Namespace) -> dict[str, Any]:
    return {
        "sampling_rate": arguments.sampling_rate,
        "orientation": arguments.orientation,
        "variable": arguments.input_is,
        "dataset": arguments.dataset,
    }


def _size(recording: xr.Dataset) -> str:
    frames, rate = recording.sizes["frame"], float(recording["sampling_rate"])
    return f"{recording.sizes['neuron']} neurons × {frames} frames at {rate:g} Hz ({frames / rate / 60:.1f} min)"


def _write_zarr(recording: xr.Dataset, out: Path, overwrite: bool) -> None:
    save_recording(recording, out, overwrite=overwrite)


def _write_csv(recording: xr.Dataset, out: Path, overwrite: bool) -> None:
    """Write a column per neuron after a column of times, so that the file carries its own sampling rate."""
    table = recording["fluorescence"].transpose("frame", "neuron").to_pandas()
    table.index = [f"{time:.12g}" for time in recording["time"].values]
    with replacing(out, overwrite=overwrite) as temporary:
        table.to_csv(temporary, index_label="time (s)", float_format="%.6g", lineterminator="\n")


def _write_npy(recording: xr.Dataset, out: Path, overwrite: bool) -> None:
    with replacing(out, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        np.save(file, recording["fluorescence"].transpose("neuron", "frame").values)
