"""Ensembles of real recordings, where no truth is known: numbers, sizes and stability by method, and what was published of one.

The published assemblies (Triplett et al. 2018, PLoS Comput Biol 14:e1006421) are what another algorithm found, not truth.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from coactivity_real import recordings
from common import table
from ensembles_chance import with_activity
from ensembles_methods import OURS

import calcium_engine as ce
from calcium_engine.coactivity import activity_of, joined
from calcium_engine.membership import best_match

PUBLISHED = {"zf_20151104": "population/zf_20151104-f1/zf_20151104-f1_assembly_assignments.csv"}
NAMES = ("zf1", "zf_20151104", "xsembles")
SHUFFLES = 1000
PATHS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of counting, and of calling bins
    "onsets, fdr": ({}, {}),
    "activity, percentile": ({"source": "deconvolved"}, {"significance": "percentile"}),
}


def judge_real(data: Path | None, seed: int) -> dict[str, Any]:
    """Print what every method finds in each recording, and how far that is what was published."""
    found: dict[str, Any] = {}
    for name, counted in recordings(data):
        if name not in NAMES:
            continue
        published = _published(data / PUBLISHED[name], counted.sizes["neuron"]) if data and name in PUBLISHED else None
        found[name] = _judge(name, counted, published, seed)
    return found


def _judge(name: str, counted: xr.Dataset, published: np.ndarray | None, seed: int) -> dict[str, Any]:
    """One recording, by every path that it allows."""
    rows = []
    spikes_known = "dff" not in counted and "fluorescence" in counted and name == "xsembles"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ready = with_activity(counted) if spikes_known else ce.deconvolve(counted)
        for path, (count, call) in PATHS.items():
            if count and spikes_known:
                continue  # a raster has one kind of activity
            binned = ce.compute_coactivity(ready, bin=float(counted["coactivity"].attrs["bin_s"]), **count)
            events = ce.find_ensemble_events(binned, **call)
            rows += [_row(path, method, events, how, published) for method, how in OURS.items()]
    print(f"\n{name}: {counted.sizes['neuron']} neurons, {counted.sizes['frame']} frames")
    header = ["path, method", "ensemble events", "ensembles", "assigned", "sizes", "stability", "over .5"]
    table([*header, *(["Best Match with published"] if published is not None else [])], rows)
    about: dict[str, Any] = {"rows": rows}
    if published is not None:
        about["published"] = _stands_out(counted, published, seed)
    return about


def _row(path: str, method: str, events: xr.Dataset, how: dict[str, Any], published: np.ndarray | None) -> list[Any]:
    result = ce.find_ensembles(events, compare=False, **how)
    sizes, stability = result["ensemble_size"].values, result["ensemble_stability"].values
    labels = result["ensemble_event_label"].values
    n = len(sizes)
    row = [
        f"{path}, {method}",
        len(labels),
        n,
        f"{100 * (labels > 0).mean():.0f} %" if len(labels) else "-",
        f"{sizes.min()} to {sizes.max()}, median {np.median(sizes):.0f}" if n else "-",
        float(stability.mean()) if n else "-",
        int((stability >= 0.5).sum()),
    ]
    return row if published is None else [*row, best_match(published, result["is_core"].values)]


def _published(path: Path, n_neurons: int) -> np.ndarray:
    """Read assemblies (assembly × neuron, bool) from a line each of neuron numbers, from 1."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    members = np.zeros((len(lines), n_neurons), dtype=bool)
    for row, line in zip(members, lines, strict=True):
        row[[int(number) - 1 for number in line.split(",")]] = True
    return members


def _stands_out(counted: xr.Dataset, published: np.ndarray, seed: int) -> dict[str, Any]:
    """Ask of each published assembly whether its members are active together more than when each is shifted by itself."""
    rows, bins = joined(activity_of(counted).in_bins())
    raster = np.zeros((counted.sizes["neuron"], counted.sizes["bin"]), dtype=np.int64)
    raster[rows, bins] = 1
    rng, result = np.random.default_rng(seed), []
    for members in published:
        own = raster[members]
        shuffled = [_pairs(np.array([np.roll(row, rng.integers(len(row))) for row in own])) for _ in range(SHUFFLES)]
        pvalue = (1 + sum(one >= _pairs(own) for one in shuffled)) / (1 + SHUFFLES)
        result.append([len(own), _pairs(own), float(np.mean(shuffled)), pvalue])
    beyond = [row for row in result if row[3] < 0.05 / len(result)]
    sizes = published.sum(axis=1)
    print(
        f"published: {len(published)} assemblies of {sizes.min()} to {sizes.max()} neurons (median {np.median(sizes):.0f}); in "
        f"{len(beyond)} of them the members' onsets fall into the same bin more often than under {SHUFFLES} circular shifts "
        f"(p < 0.05 / {len(published)}), {np.mean([row[1] / max(row[2], 1e-9) for row in result]):.1f} times as often on average"
    )
    return {"assemblies": result, "beyond_chance": len(beyond)}


def _pairs(raster: np.ndarray) -> int:
    """Pairs of neurons that are active in the same bin, over all bins."""
    count = raster.sum(axis=0)
    return int((count * (count - 1) // 2).sum())
