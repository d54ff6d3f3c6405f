"""The methods and cuts that are compared, and what one recording says of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ensembles_peers as peers
import numpy as np
import xarray as xr
from ensembles_conditions import draw, in_bins, read_activity

import calcium_engine as ce
from calcium_engine.membership import best_match

NULL, ICA = "jaccard, null", "ica"
OURS: dict[str, dict[str, Any]] = {
    NULL: {},
    ICA: {"method": "ica"},
    "jaccard, pca_variance": {"cut": "pca_variance"},
    "jaccard, pca_shift": {"cut": "pca_shift"},
    "jaccard, silhouette": {"cut": "silhouette"},
    "jaccard, gap": {"cut": "gap"},
    "jaccard, contrast, Ward": {"cut": "contrast", "linkage": "ward"},
}
# Cuts that part events whether or not there is anything to part, as their documentation says
ALWAYS_CUT = ("jaccard, pca_variance", "jaccard, silhouette", "jaccard, contrast, Ward")
MP_DFF = "peer: ICA, Marchenko-Pastur, ΔF/F"
MP_ACTIVITY = "peer: ICA, Marchenko-Pastur, activity"
PEERS: dict[str, tuple[str, Callable[[np.ndarray, int], np.ndarray]]] = {
    "peer: PCA 80 %, average": ("deconvolved", peers.pca_clusters),
    "peer: contrast, Ward": ("deconvolved", peers.ward_contrast),
    MP_DFF: ("dff", peers.marchenko_pastur),
    MP_ACTIVITY: ("deconvolved", peers.marchenko_pastur),
}


def find_all(recording: xr.Dataset) -> dict[str, tuple[np.ndarray, float, float]]:
    """Members (ensemble × neuron), seconds and number of components (NaN: none are counted) of every method."""
    found = {}
    for name, how in OURS.items():
        start = time.perf_counter()
        result = ce.find_ensembles(recording, compare=False, **how)
        n_components = float(result["ensemble_event_label"].attrs.get("n_components", np.nan))
        found[name] = (result["is_core"].values, time.perf_counter() - start, n_components)
    for name, (trace, rule) in PEERS.items():
        given = in_bins(recording, trace)
        start = time.perf_counter()
        members = rule(given, 0)
        n_components = float(len(members)) if rule is peers.marchenko_pastur else np.nan
        found[name] = (members, time.perf_counter() - start, n_components)
    return found


def judge_run(name: str, seed: int) -> dict[str, Any]:
    """Simulate one recording of a point or series, and score every method: Best Match, number found, components, seconds."""
    value, arguments = draw(name, seed)
    start = time.perf_counter()
    simulated = ce.simulate_assemblies(**arguments)
    ready = time.perf_counter()
    recording = read_activity(simulated, arguments)
    seconds = {"simulation": ready - start, "fluorescence to ensemble events": time.perf_counter() - ready}
    planted = simulated["true_member"].values
    methods = {}
    for method, (members, took, n_components) in find_all(recording).items():
        score = best_match(planted, members)
        methods[method] = {"best_match": score, "found": len(members), "components": n_components, "seconds": took}
    return {
        "seed": seed,
        "value": value,
        "planted": len(planted),
        "ensemble_events": recording.sizes["ensemble_event"],
        "seconds": seconds,
        "methods": methods,
    }
