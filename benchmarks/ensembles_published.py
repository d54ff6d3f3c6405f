"""Assemblies planted as published: Best Match of every method at each point and along each series; what is found with none."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from bootstrap import Measure, show
from coactivity_bars import Bar
from common import table
from ensembles_conditions import SERIES, bins_of
from ensembles_methods import ICA, NULL, judge_run
from workers import in_workers

BARS = {  # least Best Match
    ("A19", "default"): {NULL: 0.98, ICA: 0.98},
    ("A20", "noise"): {NULL: 0.85, ICA: 0.94},
    ("A20", "duration"): {NULL: 0.80, ICA: 0.96},
    ("A20", "rate"): {NULL: 0.45, ICA: 0.92},
}
ALLOWED = 1 / 40  # share of recordings without assemblies in which the defaults may find one
Runs = list[dict[str, Any]]


def judge_published(names: Sequence[str], seeds: range, *, workers: int) -> tuple[dict[str, Any], list[Bar]]:
    """Simulate and judge; print Best Match, numbers found and seconds by point and method, and Best Match along each series."""
    found: dict[str, Runs] = {}
    for name in names:
        print(f"{len(seeds)} recordings of {name} …", file=sys.stderr, flush=True)
        found[name] = in_workers(judge_run, [name] * len(seeds), seeds, workers=workers)
    points = {name: runs for name, runs in found.items() if name not in SERIES}
    planted = {name: runs for name, runs in points.items() if name != "none"}
    _show_points(planted)
    for name in found:
        if name in SERIES:
            _show_series(name, found[name])
    bars = [
        Bar(bar, f"{name}, {method}", _mean(found[name], method, "best_match"), math.inf, least)
        for (bar, name), methods in BARS.items()
        if name in found
        for method, least in methods.items()
    ]
    if "none" in found:
        bars += _judge_none(found["none"])
    if points:
        _show_seconds(points)
    return {"runs": found, "series": {name: series_of(name, found[name]) for name in found if name in SERIES}}, bars


def values_of(runs: Runs, method: str, what: str) -> np.ndarray:
    """One value a recording."""
    return np.array([run["methods"][method][what] for run in runs], dtype=float)


def _mean(runs: Runs, method: str, what: str) -> float:
    return float(values_of(runs, method, what).mean())


def measure_of(columns: dict[str, Runs], what: str = "best_match") -> Measure:
    """Mean of every method in each column; intervals by drawing recordings anew."""
    measure = Measure("Best Match", lambda scores: float(np.mean(scores)))
    for column, runs in columns.items():
        for method in runs[0]["methods"] if runs else ():
            measure.add(method, column, values_of(runs, method, what))
    return measure


def _show_points(points: dict[str, Runs]) -> None:
    if not points:
        return
    measure = measure_of(points)
    show(measure, measure.summary())
    rows = [
        [
            method,
            *(f"{_mean(runs, method, 'found'):.1f} of {np.mean([r['planted'] for r in runs]):.0f}" for runs in points.values()),
        ]
        for method in next(iter(points.values()))[0]["methods"]
    ]
    print("\nassemblies found, mean over recordings")
    table(["", *points], rows)


def _by_bin(name: str, runs: Runs) -> dict[str, Runs]:
    """Sort the recordings of a series by the bin that its parameter is in; bins of none are left out."""
    sorted_runs = {}
    for low, high in bins_of(SERIES[name]):
        inside = [run for run in runs if low <= run["value"] < high or (run["value"] == high == SERIES[name].most)]
        if inside:
            sorted_runs[_words(name, low, high)] = inside
    return sorted_runs


def _words(name: str, low: float, high: float) -> str:
    if SERIES[name].whole:
        low, high = math.ceil(low), math.ceil(high) - 1
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _show_series(name: str, runs: Runs) -> None:
    measure = measure_of(_by_bin(name, runs))
    measure.name = f"{name}: Best Match by {SERIES[name].label}"
    show(measure, measure.summary())


def series_of(name: str, runs: Runs) -> dict[str, list[list[float]]]:
    """For the figure: by method, mean parameter, Best Match and its interval in each bin."""
    by_bin = _by_bin(name, runs)
    at = {column: float(np.mean([run["value"] for run in inside])) for column, inside in by_bin.items()}
    return {
        method: [[at[column], found.value, found.low, found.high] for column, found in row.items()]
        for method, row in measure_of(by_bin).summary().items()
    }


def _judge_none(runs: Runs) -> list[Bar]:
    """A21 and A22: what is found where no assembly is planted."""
    rows = []
    for method in runs[0]["methods"]:
        n, components = values_of(runs, method, "found"), values_of(runs, method, "components")
        rows.append([method, len(n), int((n > 0).sum()), n.mean(), "-" if np.isnan(components).all() else components.mean()])
    print(f"\nno assembly planted: what is found in {len(runs)} recordings")
    table(["", "recordings", "with any", "ensembles, mean", "components, mean"], rows)
    most = max(1, math.floor(ALLOWED * len(runs))) if len(runs) > 1 else 0
    bars = [
        Bar(
            "A21", f"none planted, {method}: recordings with ensembles", float((values_of(runs, method, "found") > 0).sum()), most
        )
        for method in (NULL, ICA)
    ]
    spurious = float((values_of(runs, ICA, "components") > 0).sum())
    return [*bars, Bar("A22", f"none planted, {ICA}: recordings with components over the level", spurious, most)]


def _show_seconds(points: dict[str, Runs]) -> None:
    """Print what a recording takes, in a process of one thread."""
    names = list(points)
    rows = [
        [what, *(float(np.mean([run["seconds"][what] for run in points[name]])) for name in names)]
        for what in points[names[0]][0]["seconds"]
    ]
    rows += [[method, *(_mean(points[name], method, "seconds") for name in names)] for method in points[names[0]][0]["methods"]]
    print("\nseconds a recording, one thread")
    table(["", *names], rows)
