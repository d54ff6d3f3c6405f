"""Cleaning: bias and residual of F0, amplitudes kept, noise, denoising; every method beside the default.

Simulated GCaMP6s, 15000 frames, independent neurons, baselines that drift by 10 % and bleach by 10 %, shot noise. How each
measure is taken stands in accuracy_judges.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass

import numpy as np
import xarray as xr
from accuracy_figures import draw_cleaning
from accuracy_judges import (
    judge_activity,
    judge_backgrounds,
    judge_baselines,
    judge_denoising,
    judge_noise,
    judge_plateaus,
    judge_wave,
)
from accuracy_real import judge_real
from bootstrap import Measure, show
from common import write_json

import calcium_engine as ce

N_FRAMES = 15000


@dataclass(frozen=True)
class Condition:
    """A kind of recording."""

    rate: float  # Hz
    events: float  # per neuron and minute
    noise: float  # ν
    low_pass: float = 0.0  # frames

    def __str__(self) -> str:
        smoothed = ", low-passed" if self.low_pass else ""
        return f"{self.rate:g} Hz, {self.events:g}/min, ν {self.noise:g}{smoothed}"

    def simulate(self, n_neurons: int, seed: int) -> xr.Dataset:
        """Return a recording of this kind."""
        return ce.simulate_recording(
            n_neurons=n_neurons,
            n_frames=N_FRAMES,
            sampling_rate=self.rate,
            event_rate=self.events,
            noise_level=self.noise,
            low_pass=self.low_pass,
            n_ensembles=0,
            seed=seed,
        )


QUIET, BUSY, NOISY, NOISY_BUSY = Condition(4.8, 6, 2), Condition(4.8, 24, 2), Condition(4.8, 6, 6), Condition(4.8, 24, 6)
FAST, FAST_BUSY = Condition(30, 6, 2), Condition(30, 24, 2)
CLEAN = (QUIET, BUSY, NOISY, NOISY_BUSY, FAST, FAST_BUSY)
SMOOTHED = (Condition(4.8, 6, 2, low_pass=1), Condition(30, 6, 2, low_pass=1))
DENOISED = (Condition(4.8, 6, 3), Condition(30, 6, 3))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values))


def _decibels(before: np.ndarray, after: np.ndarray) -> float:
    return 10 * math.log10(before.sum() / after.sum())


def _median_of_all(lists: np.ndarray) -> float:
    return float(np.median(np.concatenate(lists)))


def measures() -> dict[str, Measure]:
    """Return all measures, still empty, with the bars of the defaults."""
    slow, fast = map(str, DENOISED)
    kept = {str(one): (0.97, 1.03) for one in (QUIET, BUSY, NOISY, NOISY_BUSY)}
    return {
        "bias": Measure("F0 bias, % of F0", _mean, {str(QUIET): (-1, 1), str(NOISY): (-2, 2)}),
        "residual": Measure("F0 residual SD, % of F0", _mean, {str(QUIET): (0, 1)}),
        "retention": Measure("amplitude retention, by F0", _mean, kept, 3),
        "background": Measure("amplitude retention, by background (F0: masked)", _mean, kept, 3),
        "wave": Measure("60 s wave removed, dB, by background (F0: masked)", _decibels, {str(QUIET): (20, math.inf)}),
        "plateau": Measure("share of a plateau left, by its length and the windows of masked F0 and background", _mean),
        "activity": Measure(f"by the time at rest, masked F0, {BUSY}", _mean),
        "noise": Measure(
            "σ over truth", _mean, {str(BUSY): (0, 1.15), **dict.fromkeys(map(str, (FAST, FAST_BUSY)), (0.98, 1.02))}, 3
        ),
        "gain": Measure("denoising gain, dB", _decibels, {slow: (4.9, math.inf), fast: (11.3, math.inf)}),
        "peaks": Measure("small peaks kept by denoising", _median_of_all, {slow: (0.85, math.inf), fast: (0.93, math.inf)}, 3),
    }


def run(arguments: argparse.Namespace) -> bool:
    """Measure all, print the tables, write JSON and the figure; return whether the defaults meet their bars."""
    n_neurons, n_seeds = (24, 1) if arguments.quick else (64, arguments.seeds)
    seeds = range(arguments.first_seed, arguments.first_seed + n_seeds)
    found = measures()
    for condition in (*CLEAN, *SMOOTHED, *DENOISED):
        print(f"{condition} …", file=sys.stderr, flush=True)
        for seed in seeds:
            recording = condition.simulate(n_neurons, seed)
            if condition in DENOISED:
                judge_denoising(recording, str(condition), found)
                continue
            cleaned = ce.compute_dff(ce.estimate_baseline(recording))
            judge_noise(cleaned, str(condition), found, condition.low_pass)
            if condition in CLEAN:
                judge_baselines(recording, str(condition), found)
                judge_backgrounds(cleaned, str(condition), found)
            if condition == BUSY:
                judge_activity(cleaned, found)
            if condition == QUIET:
                judge_wave(recording, cleaned, str(condition), found)
                judge_plateaus(recording, found)
    print(f"simulated: {n_neurons} neurons × {N_FRAMES} frames, seeds {seeds[0]} to {seeds[-1]}")
    summaries = {name: measure.summary() for name, measure in found.items()}
    met = [show(measure, summaries[name]) for name, measure in found.items()]
    real = judge_real(arguments.data)
    plain = {
        name: {method: {one: value._asdict() for one, value in row.items()} for method, row in summary.items()}
        for name, summary in summaries.items()
    }
    sizes = {"neurons": n_neurons, "frames": N_FRAMES, "seeds": list(seeds)}
    name = "accuracy_cleaning_quick" if arguments.quick else "accuracy_cleaning"
    print("written:", write_json(name, {**sizes, "simulated": plain, "real": real}))
    draw_cleaning(found, summaries, arguments.figure)
    print("drawn:", arguments.figure)
    return all(met)
