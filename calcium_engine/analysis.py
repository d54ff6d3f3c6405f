"""A recipe on a recording: in memory, or block by block into a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from calcium_engine.indicators import get_indicator
from calcium_engine.recipe import Progress, Recipe, load_recipe, run_step
from calcium_engine.schema import CalciumError, native


def analyze(
    recording: xr.Dataset,
    recipe: str | Path | Mapping[str, Any] | Recipe = "calibrated",
    *,
    settings: Mapping[str, Any] | None = None,
    indicator: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
    out: str | os.PathLike[str] | None = None,
    keep: Sequence[str] | None = None,
    memory: str | float | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> xr.Dataset:
    """Run a recipe: from raw traces to events, ensemble events and ensembles.

    Without `out`, everything is made in memory. With it, the recording may be larger than memory: blocks of neurons are read
    one after another, all steps that look at single neurons run on each, what is kept is written, and the steps that look at
    the population run on events, to the same bits. Where a client of a Dask cluster is in use (`distributed.Client`), its
    workers share the blocks; they must see the same files.

    Args:
        recording: dims neuron and frame, as `read`, `open_recording`, `make_recording` or `simulate_recording` give it.
        recipe: a name, the path of a .toml file or a mapping; see `load_recipe`. "calibrated" makes the choices that measure
            best, "classical" the field's usual ones.
        settings: "step.argument" -> value, changes to the recipe, such as {"detect_events.min_dff": 0.2}.
        indicator: the calcium indicator, for every step that depends on it; by default the recording's own where it names one.
        seed: for every step that draws random numbers; by default the recipe's.
        progress: called before each step with its name, its 0-based place and the number of steps; with `out`, also after each
            block with what is done, the number of blocks and steps behind, and that of all.
        out: the Zarr store to make, whole or absent. What is not finished yet stands beside it under that name and
            `.unfinished`, a store that is valid at every moment.
        keep: with `out`: names of variables to keep, and of groups: "events", "features", "retention", "coactivity",
            "ensemble_events", "ensembles". By default everything but traces that only lead to the next one
            (`fluorescence_corrected`, `baseline`, `background`).
        memory: with `out`: what the process may hold, program included, as bytes or a text such as "2GB"; by default a quarter of
            what is free. On a cluster: what each worker may hold; by default half of its limit.
        resume: with `out`: go on where an interrupted run of the same recipe on the same recording stopped. Its finished blocks
            are read and compared with what they were made of, and done again only if that changed.
        overwrite: with `out`: replace a store that exists, once the new one is complete, and what was interrupted.

    Returns:
        A new Dataset with the results, or with `out` the new store, opened; `attrs["recipe"]` is the TOML of what ran,
        `attrs["recipe_name"]` its name.

    Raises:
        MissingVariableError: a step was asked for before the variable that it reads exists.
        FileExistsError: `out` exists, or an interrupted run of it, and neither `resume` nor `overwrite` says what to do.
        CalciumError: see `load_recipe`, and each step; the memory is not enough for the smallest block; another process makes
            `out`; what was interrupted was another analysis.
    """
    if not isinstance(recording, xr.Dataset):
        raise CalciumError(
            f"analyze() takes a recording, an xarray.Dataset, not a {type(recording).__name__}; see make_recording()"
        )
    recording = native(recording)
    chosen = load_recipe(recipe).fitted_to(recording, settings=settings, indicator=indicator, seed=seed)
    result = labelled(recording, chosen, indicator)
    if out is not None:
        from calcium_engine.blockwise import analyze_in_blocks

        return analyze_in_blocks(
            result, chosen, Path(out), keep=keep, memory=memory, resume=resume, overwrite=overwrite, progress=progress
        )
    if keep is not None or memory is not None or resume or overwrite:
        raise CalciumError("keep, memory, resume and overwrite are about the store that out= makes; give out, or leave them out")
    steps = chosen.for_recording(recording)
    for i, step in enumerate(steps):
        if progress is not None:
            progress(step.use, i, len(steps))
        result = run_step(step, result)
    return result


def labelled(recording: xr.Dataset, recipe: Recipe, indicator: str | None = None) -> xr.Dataset:
    """Note in the recording's attributes what it is analysed with."""
    kind = indicator or recording.attrs.get("indicator")
    known = {"indicator": get_indicator(kind).name} if kind else {}
    return recording.assign_attrs(recipe=recipe.to_toml(), recipe_name=recipe.name, **known)
