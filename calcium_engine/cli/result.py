"""The folder that a run makes: the recording with its results, the recipe, tables, figures and the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from calcium_engine import plot
from calcium_engine.analysis import analyze, labelled
from calcium_engine.blockwise import analyze_in_blocks
from calcium_engine.blockwise.cluster import cluster
from calcium_engine.blockwise.memory import budget_of, memory_needed
from calcium_engine.blockwise.notes import discard, in_use, state_of, unfinished, working_in
from calcium_engine.blockwise.run import telling_of_disk
from calcium_engine.cli.progress import INPUT, Stages
from calcium_engine.io import open_recording, save_recording
from calcium_engine.io.atomic import check_parent, replacing, swap
from calcium_engine.recipe import Recipe
from calcium_engine.report import write_report
from calcium_engine.report.ensembles import with_power
from calcium_engine.tables import TABLES as STEMS
from calcium_engine.tables import write_tables

STORE = "recording.zarr"
RECIPE = "recipe.toml"
TABLES = "tables"
FIGURES = "figures"
REPORT = "report.html"
RESULTS = "results"  # in the unfinished folder
_WRITING = (STORE, TABLES, FIGURES, REPORT)


@dataclass(frozen=True)
class Scale:
    """What the command line says about a recording that is larger than memory; nothing, as a rule."""

    memory: str | None = None
    keep: tuple[str, ...] | None = None
    resume: bool = False
    workers: int | None = None
    scheduler: str | None = None

    def asks_for_blocks(self, recording: xr.Dataset) -> bool:
        """Tell whether the analysis goes block by block: where any of this is said, or it would not fit into memory."""
        return self != Scale() or memory_needed(recording) > budget_of(None)


def make_result(
    load: Callable[[], xr.Dataset],
    out: Path,
    recipe: Recipe,
    *,
    settings: Mapping[str, Any],
    indicator: str | None = None,
    seed: int | None = None,
    figures: bool = True,
    overwrite: bool = False,
    quiet: bool = False,
    scale: Scale = Scale(),
) -> xr.Dataset:
    """Load a recording, analyse it and write everything into a new folder, which is whole or absent; return the recording.

    Block by block, what is not finished yet stands in a folder of that name and `.unfinished`.
    """
    if not _is_finished(out, scale):
        check_target(out, overwrite)
    recipe.with_settings(settings)  # a mistake is told before any work is done
    check_parent(out)
    if unfinished(out).exists() and not scale.resume and (not overwrite or in_use(unfinished(out))):
        raise FileExistsError(f"{unfinished(out)}: {state_of(unfinished(out))}")
    with Stages(quiet, len(_WRITING)) as stages:
        stages.show(INPUT, 0, len(recipe.steps))
        given = load()
        fitted = recipe.fitted_to(given, settings=settings, indicator=indicator, seed=seed)
        given = labelled(given, fitted, indicator)
        if scale.asks_for_blocks(given):
            return _in_blocks(given, fitted, out, scale, stages, figures=figures, overwrite=overwrite)
        with replacing(out, overwrite=overwrite, marker=STORE) as folder:
            folder.mkdir()
            recording = analyze(given.load(), fitted, progress=stages.show)
            steps = len(fitted.for_recording(given))
            stages.show("ensemble_power", steps, steps)
            recording = with_power(recording)
            stages.show(STORE, steps, steps)
            save_recording(recording, folder / STORE)
            _write_all(lambda: recording, folder, stages, steps, figures=figures)
    if overwrite:
        discard(unfinished(out))  # what an interrupted run left
    return recording


def _is_finished(out: Path, scale: Scale) -> bool:
    """Tell whether there is nothing left to resume."""
    return scale.resume and (out / STORE).is_dir() and not (unfinished(out) / RESULTS).exists()


def _in_blocks(
    given: xr.Dataset, recipe: Recipe, out: Path, scale: Scale, stages: Stages, *, figures: bool, overwrite: bool
) -> xr.Dataset:
    """Analyse block by block in the unfinished folder, which keeps what is done; what is complete takes its place."""
    if _is_finished(out, scale):
        recording = analyze_in_blocks(given, recipe, out / STORE, keep=scale.keep, resume=True)
        discard(unfinished(out))
        return recording
    with _kept_at_least(out), telling_of_disk(out), working_in(unfinished(out)) as notes:
        results = notes.folder / RESULTS
        if not scale.resume:
            shutil.rmtree(results, ignore_errors=True)
        results.mkdir(exist_ok=True)
        with cluster(scale.workers, scale.scheduler, scale.memory) as memory:
            analyze_in_blocks(
                given,
                recipe,
                results / STORE,
                keep=scale.keep,
                memory=memory,
                resume=scale.resume,
                progress=stages.show,
                last=with_power,
            )
        for name in (TABLES, FIGURES):
            shutil.rmtree(results / name, ignore_errors=True)
        # opened anew for each: what was read is held
        _write_all(lambda: open_recording(results / STORE), results, stages, stages.steps, figures=figures)
        check_target(out, overwrite)
        swap(results, out.resolve())
        notes.remove()
    return open_recording(out / STORE)


@contextmanager
def _kept_at_least(out: Path) -> Iterator[None]:
    """Let whoever stops an analysis know what is left of it."""
    try:
        yield
    except BaseException as ending:
        if not isinstance(ending, Exception) and unfinished(out).exists():
            ending.add_note(f"what is done is kept in {unfinished(out)}: go on with --resume")
        raise


def _write_all(recording: Callable[[], xr.Dataset], folder: Path, stages: Stages, steps: int, *, figures: bool) -> None:
    """Write recipe, tables, figures and report beside the store."""
    (folder / RECIPE).write_text(recording().attrs["recipe"], encoding="utf-8")
    stages.show(TABLES, steps + 1, steps)
    write_tables(recording(), folder / TABLES)
    stages.show(FIGURES, steps + 2, steps)
    if figures:
        plot.write_figures(recording(), folder / FIGURES)
    stages.show(REPORT, steps + 3, steps)
    write_report(recording(), folder / REPORT, figures=folder / FIGURES if figures else {})


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it is to be overwritten and holds nothing but what a run wrote."""
    if not out.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists; choose another folder with --out, or replace it with --overwrite")
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file, and results are a folder; choose another name with --out")
    known = {out / name for name in (STORE, RECIPE, TABLES, FIGURES, REPORT)}
    known |= {out / TABLES / f"{stem}.csv" for stem in STEMS} | {out / FIGURES / f"{stem}.png" for stem in plot.FIGURES}
    entries = [*out.iterdir(), *(out / TABLES).glob("*"), *(out / FIGURES).glob("*")]
    foreign = sorted(str(entry.relative_to(out)) for entry in entries if entry not in known)
    if foreign:
        raise FileExistsError(f"{out} holds {foreign[0]!r}, which no run wrote, so it is not overwritten; choose another --out")


def summary(recording: xr.Dataset) -> str:
    """Say in one line what was found."""
    minutes = recording.sizes["frame"] / float(recording["sampling_rate"]) / 60
    found = [
        f"{recording.sizes[dim]} {name if recording.sizes[dim] == 1 else name + 's'}"
        for dim, name in (("event", "event"), ("ensemble_event", "ensemble event"), ("ensemble", "ensemble"))
        if dim in recording.dims
    ]
    neurons = recording.sizes["neuron"]
    return f"{neurons} neuron{'s' * (neurons != 1)}, {minutes:.1f} min: {', '.join(found) or 'no events were sought'}"
