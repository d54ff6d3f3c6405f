"""The tables of the report, as rows of plain text: what was done, who is in which ensemble, what it was computed with."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.report.population import UNSTABLE
from calcium_engine.report.words import has, number, several
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
    """Return who is in each ensemble and when it is active; None where there are no ensembles."""
    if not has(recording, "is_core", "ensemble_event_label") or not recording.sizes["ensemble"]:
        return None
    labels, times = recording["ensemble_event_label"].values, recording["ensemble_event_time"].values
    sizes, ids = recording["ensemble_event_size"].values, recording["neuron"].values
    rows = []
    for i, ensemble in enumerate(recording["ensemble"].values):
        when, stability = times[labels == ensemble], float(recording["ensemble_stability"].values[i])
        core = ids[recording["is_core"].values[i]]
        rows.append(
            [
                str(ensemble),
                f"{len(when):,}",
                number(float(recording["ensemble_rate"].values[i])),
                f"{when.min():,.1f}" if len(when) else "–",
                f"{when.max():,.1f}" if len(when) else "–",
                number(float(np.median(sizes[labels == ensemble]))) if len(when) else "–",
                "–" if np.isnan(stability) else f"{stability:.2f}{' (unstable)' if stability < UNSTABLE else ''}",
                f"{several(len(core), 'neuron')}: {', '.join(str(one) for one in core)}" if len(core) else "none",
            ]
        )
    return [
        "ensemble",
        "events",
        "per minute",
        "first (s)",
        "last (s)",
        "neurons in the median event",
        "stability",
        "core neurons",
    ], rows


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
