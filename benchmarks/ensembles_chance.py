"""Ensembles found among independent, bursty neurons, where there are none: by binning, rule of significance, method and cut."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import xarray as xr
from bursty import bursty_recording
from coactivity_bars import Bar
from common import table
from ensembles_methods import ALWAYS_CUT, OURS
from scipy.stats import binomtest
from workers import in_workers

import calcium_engine as ce
from calcium_engine.events import event_frames, event_rows
from calcium_engine.schema import var

BINNINGS, RULES = ("frames", "sliding"), ("fdr", "percentile")
LEAST = 0.95  # share of recordings in which nothing may be found
ANTI_CONSERVATIVE = "cuts without asking"
QUICK = {"n_neurons": 60, "n_frames": 3000}
Counts = dict[str, tuple[int, float]]  # by case: ensembles, components (NaN: none are counted)


def judge_bursty(seeds: range, *, quick: bool, workers: int) -> tuple[dict[str, Any], list[Bar]]:
    """Share of recordings without ensembles; the methods that ask whether there is anything to cut must reach LEAST."""
    print(f"{len(seeds)} recordings of independent neurons …", file=sys.stderr, flush=True)
    found = in_workers(_count, seeds, [quick] * len(seeds), workers=workers)
    rows, bars = [], []
    for case in found[0]:
        method, how = case
        numbers = np.array([one[case][0] for one in found])
        components = np.array([one[case][1] for one in found])
        nothing, n = int((numbers == 0).sum()), len(numbers)
        low, high = binomtest(nothing, n).proportion_ci(0.95, "exact")
        note = ANTI_CONSERVATIVE if method in ALWAYS_CUT else ""
        spurious = "-" if np.isnan(components).all() else float(components.mean())
        rows.append([method, how, n, nothing / n, low, high, float(numbers.mean()), spurious, note])
        if not note:
            bars.append(Bar("bursty", f"{method}, {how}: recordings without ensembles", nothing / n, math.inf, LEAST))
    print("\nindependent bursty neurons: share of recordings without ensembles, 95 % interval; how many are found")
    table(["method", "bins, rule", "recordings", "without", "low", "high", "ensembles, mean", "components, mean", ""], rows)
    return {"rows": rows}, bars


def with_activity(recording: xr.Dataset) -> xr.Dataset:
    """Add `deconvolved` activity to a recording of events: 1 in the frame of each onset."""
    activity = np.zeros((recording.sizes["neuron"], recording.sizes["frame"]), np.float32)
    activity[event_rows(recording), event_frames(recording, "onset")] = 1.0
    return recording.assign(deconvolved=var("deconvolved").wrap(activity))


def _count(seed: int, quick: bool) -> dict[tuple[str, str], tuple[int, float]]:
    """Ensembles and components of every method, by binning and rule."""
    recording = with_activity(bursty_recording(seed, **(QUICK if quick else {})))
    found = {}
    for binning in BINNINGS:
        counted = ce.compute_coactivity(recording, binning=binning)
        for rule in RULES:
            events = ce.find_ensemble_events(counted, significance=rule)
            for method, how in OURS.items():
                if how.get("method") == "ica" and rule != RULES[0]:
                    continue  # components do not ask which bins are significant
                labels = ce.find_ensembles(events, compare=False, **how)["ensemble_event_label"].attrs
                case = (method, binning if how.get("method") == "ica" else f"{binning}, {rule}")
                found[case] = (int(labels["n_ensembles"]), float(labels.get("n_components", np.nan)))
    return found
