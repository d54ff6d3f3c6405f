"""Events and deconvolution: every detector beside the default, on spikes recorded at the same time, and on simulations.

One setting of each detector for all: its default, with the indicator that was in the cells. How each measure is taken stands in
events_judges.py, how recordings are brought to a rate and a noise level in ground_truth.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from accuracy_figures import draw_events
from bootstrap import Measure, show
from common import table, write_json
from events_judges import (
    DETECTORS,
    SIZES,
    add_counts,
    by_neuron,
    correlations,
    counts,
    f1,
    judge_noise,
    judge_pairs,
    judge_shape,
    judge_simulated,
    median_f1,
    median_of_lists,
    share,
)
from ground_truth import SETS, clean, trials
from published_events import judge_published

import calcium_engine as ce

RATES, NOISE_LEVELS = (4.8, 7.5, 30.0), (1.0, 2.0, 3.0, 8.0)
SIMULATED = ((4.8, 2.0), (4.8, 6.0), (30.0, 1.0), (30.0, 2.0))
SHAPES = tuple((rate, snr) for rate in (4.8, 7.5, 30.0) for snr in (5.0, 10.0, 20.0))
PAIRS = ((30.0, 5.0, 0.5), (30.0, 10.0, 0.35), (4.8, 5.0, 1.0))
PRECISION = 0.9  # at which recall is compared
THRESHOLDS = np.arange(2.4, 7.0, 0.2)
UP = math.inf


def named(*what: Any) -> str:
    """A condition's name."""
    rate, *rest = what
    return f"{rate:g} Hz, " + ", ".join(rest)


def level(noise: float) -> str:
    """A noise level's name."""
    return f"ν {noise:g}"


def detection_measures(bars: dict[str, tuple[float, float]], onset: dict[str, tuple[float, float]]) -> dict[str, Measure]:
    """Return the measures of detection against spikes, still empty."""
    return {
        "f1": Measure("F1 of events, all neurons together", f1, bars, 3),
        "median_f1": Measure("F1 of events, median neuron", median_f1, {}, 3),
        "precision": Measure("precision", share, {}, 3),
        **{f"recall {name}": Measure(f"recall of groups of {name} spikes", share, {}, 3) for name in SIZES},
        "onset": Measure("onset, median distance from the first spike, frames", median_of_lists, onset),
    }


def judge_set(name: str, folder: Path, indicator: str, seed: int, draws: int) -> dict[str, Measure]:
    """Judge every detector, and deconvolution, on one data set at each rate and noise level."""
    bars = {named(4.8, level(1)): (0.72, UP), named(4.8, level(3)): (0.68, UP), named(30.0, level(3)): (0.66, UP)}
    anchors = {named(4.8, level(2)): (0.753, UP), named(7.5, level(2)): (0.789, UP), named(30.0, level(2)): (0.821, UP)}
    judged = name == "GCaMP6s"
    found = detection_measures(bars if judged else {}, {})
    found["deconvolution"] = Measure("correlation of deconvolution with spikes", median_of_lists, anchors if judged else {}, 3)
    sizes = (("1", 0.28), ("2-3", 0.65), ("4 or more", 0.85))
    for size, least in sizes:
        bar = {named(4.8, level(1)): (least, UP)} if judged else {}
        found[f"best recall {size}"] = Measure(f"recall of groups of {size} spikes at precision {PRECISION:g}", share, bar, 3)
    everything = list(trials(folder))
    for rate in RATES:
        for noise in NOISE_LEVELS:
            made = [(one, one.at(rate, noise, draws, np.random.default_rng([seed, i]))) for i, one in enumerate(everything)]
            kept = [(one.neuron, clean(recording)) for one, recording in made if recording is not None]
            if kept:
                print(f"{name}, {rate:g} Hz, ν {noise:g}: {len(kept)} recordings …", file=sys.stderr, flush=True)
                _judge_condition(found, named(rate, level(noise)), kept, indicator, rate, with_recall=(rate, noise) == (4.8, 1.0))
    return found


def _judge_condition(
    found: dict[str, Measure],
    condition: str,
    kept: list[tuple[str, xr.Dataset]],
    indicator: str,
    rate: float,
    *,
    with_recall: bool,
) -> None:
    neurons = [neuron for neuron, _ in kept]
    for method, how in DETECTORS.items():
        results = [counts(ce.detect_events(recording, indicator=indicator, **how)) for _, recording in kept]
        add_counts(found, method, condition, by_neuron(results, neurons), rate)
        if with_recall:
            best = by_neuron(_at_precision(kept, indicator, how), neurons)
            for size in SIZES:
                found[f"best recall {size}"].add(method, condition, best[f"hits {size}"], best[f"groups {size}"])
    results = [{"late": correlations(ce.deconvolve(recording, indicator=indicator))} for _, recording in kept]
    found["deconvolution"].add("AR(1) (default)", condition, by_neuron(results, neurons)["late"])


def _at_precision(kept: list[tuple[str, xr.Dataset]], indicator: str, how: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The counts at the lowest threshold at which the pooled precision is reached; at the highest of all if none reaches it."""
    results: list[dict[str, np.ndarray]] = []
    for threshold in THRESHOLDS:
        results = [counts(ce.detect_events(one, indicator=indicator, threshold=float(threshold), **how)) for _, one in kept]
        hits, events = (sum(one[key].sum() for one in results) for key in ("hits", "events"))
        if hits >= PRECISION * events:
            break
    return results


def judge_simulations(arguments: argparse.Namespace) -> dict[str, Measure]:
    """Judge what needs a known truth of another kind: white noise, planted transients, simulated recordings."""
    quick = arguments.quick
    seeds = range(arguments.first_seed, arguments.first_seed + (1 if quick else arguments.seeds))
    n = 24 if quick else 64
    onset_bars = {named(30.0, level(2)): (0, 1.0), named(4.8, level(2)): (0, 0.5)}
    found = detection_measures({}, onset_bars)
    noise_bars = {f"{rate:g} Hz": (0, 0.01) for rate in RATES}
    shapes = [named(rate, f"SNR {snr:g}") for rate, snr in SHAPES]
    found |= {
        "onset, as defined": Measure("onset, median distance from a fifth of the true rise, frames", median_of_lists, onset_bars),
        "deconvolution": Measure("correlation of deconvolution with spikes", median_of_lists, {}, 3),
        "false": Measure("events per neuron and minute of white noise", share, noise_bars, 4),
        "amplitude, bias": Measure("amplitude, median error, %", median_of_lists, dict.fromkeys(shapes, (-5.0, 5.0)), 1),
        "amplitude, error": Measure("amplitude, median size of the error, %", median_of_lists, {}, 1),
        "FWHM, bias": Measure("FWHM, median error, %", median_of_lists, dict.fromkeys(shapes, (-10.0, 10.0)), 1),
        "FWHM, error": Measure("FWHM, median size of the error, %", median_of_lists, {}, 1),
        "pairs": Measure("both of two transients found", share, {named(30.0, "SNR 5", "0.5 s apart"): (0.9, 1.0)}, 3),
    }
    for seed in seeds:
        print(f"simulations, seed {seed} …", file=sys.stderr, flush=True)
        for rate in RATES:
            judge_noise(rate, f"{rate:g} Hz", found, seed, 48 if quick else 324, 3000 if quick else 15000)
        for rate, snr in SHAPES:
            judge_shape(rate, snr, named(rate, f"SNR {snr:g}"), found, 4 * n, seed)
        for rate, snr, apart in PAIRS:
            judge_pairs(rate, snr, apart, named(rate, f"SNR {snr:g}", f"{apart:g} s apart"), found, 4 * n, seed)
        for rate, noise in SIMULATED:
            recording = ce.simulate_recording(
                n_neurons=n,
                n_frames=round(rate * 600),
                sampling_rate=rate,
                event_rate=6.0,
                noise_level=noise,
                n_ensembles=0,
                seed=seed,
            )
            judge_simulated(recording, named(rate, level(noise)), found)
    return found


def judge_reference() -> bool:
    """Hold deconvolution against a bounded least-squares solver on random traces (float32)."""
    from scipy.optimize import lsq_linear

    rng, decay, n = np.random.default_rng(0), 0.8, 120
    lag = np.subtract.outer(np.arange(n), np.arange(n))
    response = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0.0)
    traces = rng.normal(size=(50, n)).astype(np.float32)
    found = ce.kernels.nonnegative_deconvolution(traces, decay)
    plain = np.array([lsq_linear(response, row, bounds=(0, np.inf), method="bvls").x for row in traces.astype(float)])
    largest = float(np.abs(found[:, 1:] - plain[:, 1:]).max())
    print(f"\ndeconvolution against a plain solver, 50 random traces: largest difference {largest:.1e}, bar 1e-5")
    return largest <= 1e-5


def run(arguments: argparse.Namespace) -> bool:
    """Measure all, print the tables, write JSON and the figure; return whether the defaults meet their bars."""
    warnings.filterwarnings("ignore", category=UserWarning)
    judged = {"simulated": judge_simulations(arguments)}
    draws = 1 if arguments.quick else arguments.seeds
    if arguments.data is None:
        print("no recordings with known spikes: judged on simulations alone; --data DIR names their folder")
    for name, (folder, indicator) in SETS.items():
        if arguments.data is not None and (arguments.data / folder).is_dir():
            judged[name] = judge_set(name, arguments.data / folder, indicator, arguments.first_seed, draws)
            if arguments.quick:
                break
    met, plain = judge_reference(), {}
    summaries = {}
    for name, found in judged.items():
        print(f"\n\n== {name}")
        found = {key: measure for key, measure in found.items() if measure.parts}
        summaries[name] = {key: measure.summary() for key, measure in found.items()}
        for key, measure in found.items():
            met &= show(measure, summaries[name][key])
        plain[name] = {
            key: {method: {one: value._asdict() for one, value in row.items()} for method, row in summary.items()}
            for key, summary in summaries[name].items()
        }
    published = judge_published(arguments.data)
    table(["detector", "what it is compared by"], [[name, str(how or "the default")] for name, how in DETECTORS.items()])
    name = "accuracy_events_quick" if arguments.quick else "accuracy_events"
    print("written:", write_json(name, {"measures": plain, "published": published}))
    draw_events(judged, summaries, arguments.figure)
    print("drawn:", arguments.figure)
    return bool(met)
