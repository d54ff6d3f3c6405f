"""The tables of the report, as rows of plain text: what was done, who is in which ensemble, what it was computed with."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.plot.identity import UNSTABLE
from calcium_engine.report.words import has, number
from calcium_engine.schema import VARIABLES

Table = tuple[list[str], list[list[str]]]
_LIBRARIES = ("numpy", "numba", "scipy", "xarray", "PyWavelets", "matplotlib")


def steps_table(recording: xr.Dataset) -> Table:
    """Return what was done, in order: each step, its parameters, and what it made.

    The history says what was run; a recording without one is read from its recipe, and one without either from the parameters
    that its variables carry.
    """
    made: dict[str, list[str]] = {}
    carried: dict[str, dict[str, Any]] = {}
    for name, variable in VARIABLES.items():
        if name in recording.variables:
            made.setdefault(variable.made_by, []).append(name)
            attrs = {k: v for k, v in recording[name].attrs.items() if k not in ("units", "long_name", "made_by")}
            carried.setdefault(variable.made_by, {}).update(attrs)
    steps = _from_history(recording) or _from_recipe(recording) or [(name, _parameters(carried[name])) for name in made]
    rows = [[step, parameters or "–", ", ".join(made.get(step, [])) or "–"] for step, parameters in steps]
    return ["step", "with", "made"], rows


def _from_history(recording: xr.Dataset) -> list[tuple[str, str]]:
    lines = str(recording.attrs.get("history", "")).splitlines()
    found = [line.partition("(") for line in lines if line.strip()]
    return [(name.strip(), _shorter(rest.strip().removesuffix(")"))) for name, _, rest in found]


def _from_recipe(recording: xr.Dataset) -> list[tuple[str, str]]:
    try:
        steps = tomllib.loads(str(recording.attrs.get("recipe", ""))).get("step", [])
    except tomllib.TOMLDecodeError:
        return []
    return [
        (str(step.get("use", "?")), _parameters({k: v for k, v in step.items() if k not in ("use", "when")})) for step in steps
    ]


def _parameters(values: dict[str, Any]) -> str:
    return _shorter(", ".join(f"{key}={value!r}" for key, value in values.items()))


def _shorter(parameters: str) -> str:
    """Round numbers of many digits: the exact ones are in the recording."""
    return re.sub(r"\d+\.\d{6,}(e[+-]\d+)?", lambda match: f"{float(match[0]):.4g}", parameters)


def ensembles_table(recording: xr.Dataset) -> Table | None:
    """Return who is in each ensemble, how often it is active and how sure that is; None where there are no ensembles."""
    if not has(recording, "is_core", "ensemble_event_label") or not recording.sizes["ensemble"]:
        return None
    other = str(recording["ensemble_event_label"].attrs.get("compared_method", "the other method"))
    heads = ["ensemble", "core neurons", "peripheral", "events", "per minute", "stability", "match", "completion", "W (p)"]
    heads += [f"nearest of {other}", "ids of core neurons"]
    return heads, [_ensemble_row(recording, i) for i in range(recording.sizes["ensemble"])]


def _ensemble_row(recording: xr.Dataset, i: int) -> list[str]:
    def known(name: str, digits: str = ".2f") -> str:
        value = float(recording[name].values[i]) if has(recording, name) else np.nan
        return format(value, digits) if np.isfinite(value) else "–"

    ensemble, labels = recording["ensemble"].values[i], recording["ensemble_event_label"].values
    core = recording["is_core"].values[i]
    peripheral = f"{int(recording['is_peripheral'].values[i].sum()):,}" if has(recording, "is_peripheral") else "–"
    match = recording["ensemble_event_match"].values[labels == ensemble] if has(recording, "ensemble_event_match") else []
    match = np.asarray(match, dtype=float)[np.isfinite(match)]
    unstable = recording["ensemble_stability"].values[i] < UNSTABLE
    order, chance = known("recruitment_consistency"), known("recruitment_pvalue", ".2g")
    return [
        str(ensemble),
        f"{int(core.sum()):,}",
        peripheral,
        f"{int((labels == ensemble).sum()):,}",
        number(float(recording["ensemble_rate"].values[i])),
        known("ensemble_stability") + " (unstable)" * bool(unstable),
        f"{np.median(match):.2f}" if match.size else "–",
        known("pattern_completion"),
        f"{order} ({chance})" if chance != "–" else order,
        known("compared_match"),
        ", ".join(str(one) for one in recording["neuron"].values[core]) or "none",
    ]


def software_table(recording: xr.Dataset, date: str) -> Table:
    """Return versions, seeds and date: what it takes to make the same report again."""
    from calcium_engine import __version__  # here, since the package is still importing its parts when it imports this one

    rows = [["report written", date], ["calcium_engine", __version__], ["Python", platform.python_version()]]
    for library in _LIBRARIES:
        try:
            rows.append([library, metadata.version(library)])
        except metadata.PackageNotFoundError:
            continue
    for name in ("is_coactive", "ensemble_event_label"):
        if has(recording, name) and "seed" in recording[name].attrs:
            rows.append([f"seed of {VARIABLES[name].made_by}", str(recording[name].attrs["seed"])])
    if "recipe_name" in recording.attrs:
        rows.append(["recipe", str(recording.attrs["recipe_name"])])
    return ["what", "value"], rows
