"""A23 and A24: ensembles planted in simulated recordings; the calibrated recipe on the whole, and on the two halves."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np
import xarray as xr
from bootstrap import Measure, show
from coactivity_bars import Bar
from ensembles_methods import ICA
from workers import in_workers

import calcium_engine as ce
from calcium_engine.membership import best_match

STANDARD = "standard"
BASE: dict[str, Any] = {
    "n_neurons": 324,
    "n_frames": 15000,
    "sampling_rate": 4.8,
    "indicator": "GCaMP6s",
    "noise_level": 3.0,
    "reliability": 0.7,
}
CONDITIONS: dict[str, dict[str, Any]] = {
    STANDARD: {},
    "reliability .3": {"reliability": 0.3},
    "reliability .5": {"reliability": 0.5},
    "reliability 1": {"reliability": 1.0},
    "10 members": {"ensemble_size": 10},
    "16 members": {"ensemble_size": 16},
    "40 members": {"ensemble_size": 40},
    "jitter 0": {"jitter": 0.0},
    "jitter .2 s": {"jitter": 0.2},
    "jitter .3 s": {"jitter": 0.3},
    "order .5 s": {"order": 0.5},
    "order 1 s": {"order": 1.0},
    "overlap 0": {"ensemble_overlap": 0.0},
    "overlap .25": {"ensemble_overlap": 0.25},
    "overlap .5": {"ensemble_overlap": 0.5},
}
QUICK = ("standard", "reliability .3", "10 members", "overlap .5")
CORE, EVENT, HALVES = "core F1", "ensemble-event F1", "split-half Best Match"
BARS = {("A23", CORE): 0.90, ("A23", EVENT): 0.85, ("A24", HALVES): 0.85}
MEASURES = (CORE, EVENT, "Best Match", HALVES, "ensembles found (of 6)", "core F1, ica", "Best Match, ica")


def conditions_of(given: str, *, quick: bool) -> list[str]:
    """Names of the conditions that are asked for; where none is, all or the few of a quick run.

    >>> conditions_of("standard,order 1 s", quick=False)
    ['standard', 'order 1 s']
    """
    names = given.split(",") if given else list(QUICK if quick else CONDITIONS)
    if unknown := [name for name in names if name not in CONDITIONS]:
        raise SystemExit(f"no condition {', '.join(unknown)}; there are {', '.join(CONDITIONS)}")
    return names


def judge_simulated(seeds: range, names: list[str], *, workers: int) -> tuple[dict[str, Any], list[Bar]]:
    """Scores of the recipe by what is planted; the standard recording has bars."""
    jobs = [(name, seed) for name in names for seed in seeds]
    print(f"{len(jobs)} simulated recordings …", file=sys.stderr, flush=True)
    scores = in_workers(_judge, *zip(*jobs, strict=True), workers=workers)
    table = Measure(f"ensembles of simulated recordings, {len(seeds)} of each, by what is planted", _mean)
    for (name, _), score in zip(jobs, scores, strict=True):
        for what in MEASURES:
            table.add(name, what, np.array([score[what]]))
    found = table.summary()
    show(table, found)
    asked = BARS.items() if STANDARD in names else ()
    bars = [Bar(bar, f"{STANDARD}: {what}", found[STANDARD][what].value, math.inf, least) for (bar, what), least in asked]
    return {
        "scores": [{"condition": name, "seed": seed, **score} for (name, seed), score in zip(jobs, scores, strict=True)]
    }, bars


def _mean(scores: np.ndarray) -> float:
    """Mean of the recordings that have the score; none has, where neither half of any shows an ensemble."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else math.nan


def _judge(name: str, seed: int) -> dict[str, float]:
    """Score the whole recording, and compare what its two halves show, each read by itself."""
    planted = ce.simulate_recording(**{**BASE, **CONDITIONS[name]}, seed=seed)
    found = _analyze(planted)
    score = ce.score_ensembles(found)
    middle = planted.sizes["frame"] // 2
    halves = [
        _analyze(planted[["fluorescence"]].isel(frame=part))["is_core"].values
        for part in (slice(None, middle), slice(middle, None))
    ]
    by_ica = ce.score_ensembles(ce.find_ensembles(found, method=ICA, compare=False))
    return {
        CORE: score["core_f1"],
        EVENT: score["ensemble_event_f1"],
        "Best Match": score["best_match"],
        HALVES: best_match(*halves),
        "ensembles found (of 6)": score["ensembles"],
        "core F1, ica": by_ica["core_f1"],
        "Best Match, ica": by_ica["best_match"],
    }


def _analyze(recording: xr.Dataset) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ce.analyze(recording, "calibrated")
