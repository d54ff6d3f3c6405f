"""Where assemblies are planted: the publication's standard recording, points beside it, and its series; and how they are read.

Mölter, Avitan & Goodhill 2018 (BMC Biology 16:143) compared methods on simulated fluorescence in which one thing at a time is
changed. A name in the singular is a point; a plural is a series, in which one parameter is drawn anew for each recording.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import calcium_engine as ce

POINTS: dict[str, dict[str, Any]] = {
    "default": {},
    "noise": {"noise": 2.0},
    "duration": {"duration": 900.0},
    "rate": {"event_multiplier": 3.0},
    "none": {"n_assemblies": 0},
}
KINDS = ("small", "medium", "large")
HALF_LIFE = 1.0  # s, where a series does not change it
OVERLAP_WIDTH = 0.05  # of the range of overlaps that is aimed at
BIN = 0.5  # s
REST = 0.01  # quantile of a trace that is taken for rest


class Series(NamedTuple):
    """One parameter, uniform between two ends: what it is called on an axis, and what a value means to the simulator."""

    label: str
    least: float
    most: float
    arguments: Callable[[float], dict[str, Any]]
    whole: bool = False


SERIES: dict[str, Series] = {
    "tilings": Series("rings of cells", 5, 12, lambda v: {"degree": int(v)}, True),
    "assemblies": Series("assemblies", 1, 20, lambda v: {"n_assemblies": int(v)}, True),
    "kinds": Series("small, medium, large", 0, 2, lambda v: {"kind": KINDS[int(v)]}, True),
    "overlaps": Series(
        "mean overlap", OVERLAP_WIDTH / 2, 0.35 - OVERLAP_WIDTH / 2, lambda v: {"overlap": (v - 0.025, v + 0.025)}
    ),
    "durations": Series("duration (s)", 60, 7200, lambda v: {"duration": v}),
    "intervals": Series("frame interval (s)", 0.1, 0.5, lambda v: {"sampling_rate": 1 / v}),
    "half-lives": Series("half-life (s)", 0.05, 2, lambda v: {"half_life": v}),
    "event-rates": Series("events per s", 0, 0.01, lambda v: {"event_rate": v}),
    "multipliers": Series("firing rate while on (multiple)", 1, 26, lambda v: {"event_multiplier": v}),
    "noises": Series("noise SD (spikes)", 0, 8, lambda v: {"noise": v}),
    "saturations": Series("saturation (spikes)", 1, 1000, lambda v: {"saturation": v}),
}


def draw(name: str, seed: int) -> tuple[float, dict[str, Any]]:
    """Return the parameter's value (NaN for a point) and the simulator's arguments of this recording."""
    if name in POINTS:
        return math.nan, {**POINTS[name], "seed": seed}
    series = SERIES[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    value = float(rng.integers(series.least, series.most + 1)) if series.whole else rng.uniform(series.least, series.most)
    return value, {**series.arguments(value), "seed": seed}


def bins_of(series: Series, n_bins: int = 5) -> list[tuple[float, float]]:
    """Cut a series' range into bins, whose last edge is inside; whole numbers lie in the middle of their part of the range."""
    if series.whole and series.most - series.least < n_bins:
        values = np.arange(series.least, series.most + 1)
        return [(v - 0.5, v + 0.5) for v in values]
    ends = (series.least - 0.5, series.most + 0.5) if series.whole else (series.least, series.most)
    edges = np.linspace(*ends, n_bins + 1)
    return list(pairwise(edges))


def read_activity(simulated: xr.Dataset, arguments: Mapping[str, Any]) -> xr.Dataset:
    """From fluorescence to candidates of ensemble events: the path that all methods share.

    The surrogate has no baseline and no drift, and its cells fire at 1 to 6 Hz: they never rest. So nothing is taken off (a
    masked baseline and background follow the activity itself), and the lowest samples are rest. On seeds below 8, Best Match of
    the null cut under rate, noise and duration was .23, .88, .84 with a masked baseline; .32, .89, .85 without; .62, .86, .88
    with the lowest samples for rest, too.
    """
    light = simulated["fluorescence"].values
    mean = np.maximum(light.mean(axis=1, keepdims=True), 1e-12)
    rate = float(simulated["sampling_rate"])
    recording = ce.make_recording(light / mean, sampling_rate=rate, variable="dff")
    recording = ce.deconvolve(recording, tau=arguments.get("half_life", HALF_LIFE) / math.log(2), rest_quantile=REST)
    recording = ce.compute_coactivity(recording, bin=BIN, source="deconvolved")
    return ce.find_ensemble_events(recording, significance="percentile")


def in_bins(recording: xr.Dataset, name: str) -> np.ndarray:
    """Mean of a trace in whole bins (neuron × bin), for the peers."""
    traces = np.nan_to_num(recording[name].values.astype(np.float64))
    width = max(1, round(BIN * float(recording["sampling_rate"])))
    n_bins = traces.shape[1] // width
    return np.asarray(traces[:, : n_bins * width].reshape(len(traces), n_bins, width).mean(axis=2))
