"""Similarity and clustering of ensemble events beside SciPy, scikit-learn and BLAS: called by `speed.py --ensembles`.

Each event has 5 to 10 % of the neurons. Peers that take minutes are timed on some of the events and scaled by the number of
pairs, with which their time grows; the table says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cleaning_speed import in_turns
from common import SAMPLING_RATE, Stages, run_child, table
from plain import jaccard as blas_jaccard

SIZES = {(2000, 324): 2.0, (10000, 324): 1.3, (10000, 2000): 4.0}  # events, neurons: BLAS over ours
PAIRWISE = 100.0  # SciPy and scikit-learn over ours
PART = 1000  # events on which these two are timed
DIVIDED = 64  # rows of the product at a time
CLUSTERED = (10000, 324)
CHAIN = 1 / 1.5  # linkage alone over the whole chain
CUT = 0.8  # Jaccard distance
PLANTED = {"neurons": 324, "frames": 30000, "events": 2000, "ensembles": 20, "members": 24}
FOUND = 3.0  # seconds allowed
Add = Callable[[str, str, float, float, float | None], None]


def draw(n_events: int, n_neurons: int, seed: int = 0) -> np.ndarray:
    """Participation of neurons that are all alike, row by row, so that no large array is ever held beside it."""
    rng = np.random.default_rng(seed)
    raster = np.empty((n_events, n_neurons), bool)
    for row in raster:
        row[:] = rng.random(n_neurons) < rng.uniform(0.05, 0.10)
    return raster


def divided_in_place(participation: np.ndarray) -> np.ndarray:
    """The same product, divided in place a few rows at a time: what more care makes of it."""
    rows = participation.astype(np.float32)
    common = rows @ rows.T
    size = common.diagonal().copy()
    for first in range(0, len(common), DIVIDED):
        block = common[first : first + DIVIDED]
        block /= size[first : first + DIVIDED, None] + size - block
    return common


def pairwise_peers() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Those that take two rows at a time, as distances; scikit-learn where it is installed."""
    from scipy.spatial.distance import pdist

    peers = {"SciPy pdist": lambda rows: pdist(rows, "jaccard")}
    try:
        from sklearn.metrics import pairwise_distances
    except ImportError:
        print("scikit-learn is not installed: left out")
    else:
        peers["scikit-learn"] = lambda rows: pairwise_distances(rows, metric="jaccard")
    return peers


def _agree(participation: np.ndarray) -> None:
    from calcium_engine.kernels import jaccard_similarity

    few = participation[:200]
    ours = jaccard_similarity(few)
    pairs = ours[np.triu_indices(len(few), 1)]
    for name, peer in pairwise_peers().items():
        theirs = 1 - peer(few)
        if not np.allclose(theirs, pairs if theirs.ndim == 1 else ours):
            raise SystemExit(f"{name} says something else")
    if not all(np.allclose(peer(few), ours) for peer in (blas_jaccard, divided_in_place)):
        raise SystemExit("BLAS says something else")


def _similarity(repeats: int, add: Add) -> None:
    from calcium_engine.kernels import jaccard_similarity

    _agree(draw(200, 324))
    product = "float32 BLAS product and division"
    for (n_events, n_neurons), bar in SIZES.items():
        raster = draw(n_events, n_neurons)
        what = f"Jaccard similarity, {n_events} × {n_neurons}"
        few = max(2, repeats // 2) if n_events > 2000 else repeats
        run = partial(jaccard_similarity, raster)
        add(what, product, *in_turns(run, partial(blas_jaccard, raster), few), bar)
        add(what, f"{product} in place", *in_turns(run, partial(divided_in_place, raster), few), None)
        scale = n_events * (n_events - 1) / (PART * (PART - 1))
        for name, peer in pairwise_peers().items():
            ours, part = in_turns(run, partial(peer, raster[:PART]), max(2, repeats // 2))
            add(what, f"{name} (scaled from {PART} events)", ours, scale * part, PAIRWISE)
        smallest = partial(jaccard_similarity, raster, condensed=True, dtype=np.float32)
        add(f"{what}, condensed float32", product, *in_turns(smallest, partial(blas_jaccard, raster), few), None)


def chain(participation: np.ndarray) -> np.ndarray:
    """From participation to the cluster of each event."""
    from calcium_engine.clustering import distances, labels_at, make_tree

    return labels_at(make_tree(distances(participation), "average"), CUT)


def _clustering(repeats: int, add: Add) -> None:
    import fastcluster
    from scipy.cluster import hierarchy

    from calcium_engine.clustering import distances

    raster = draw(*CLUSTERED)
    distance = distances(raster)
    peers = {"SciPy's average linkage alone": hierarchy.linkage, "fastcluster's average linkage alone": fastcluster.linkage}
    what = f"similarity, linkage, labels, {CLUSTERED[0]} × {CLUSTERED[1]}"
    for name, linkage in peers.items():
        add(what, name, *in_turns(partial(chain, raster), partial(linkage, distance, "average"), max(2, repeats // 2)), CHAIN)


def planted(seed: int = 0) -> Any:
    """A recording whose 2000 ensemble events are found: ensembles of 24 neurons, of which 70 % take part, in sparse activity."""
    from bursty import with_events

    import calcium_engine as ce

    rng = np.random.default_rng(seed)
    raster = rng.random((PLANTED["neurons"], PLANTED["frames"] // 2)) < 0.004
    groups = np.array([rng.choice(len(raster), PLANTED["members"], replace=False) for _ in range(PLANTED["ensembles"])])
    apart = raster.shape[1] // PLANTED["events"]
    for k in range(PLANTED["events"]):
        group = groups[rng.integers(len(groups))]
        raster[group, k * apart] |= rng.random(len(group)) < 0.7
    rows, bins = np.nonzero(raster)
    recording = with_events(rows, 2 * bins, len(raster), PLANTED["frames"])
    return ce.find_ensemble_events(ce.compute_coactivity(recording, bin=2 / SAMPLING_RATE))


def _ensembles(repeats: int) -> dict[str, float]:
    """Seconds of the whole step: similarity, tree, null cut, core neurons, stability in ten pairs of halves."""
    import calcium_engine as ce

    recording = planted()
    if recording.sizes["ensemble_event"] != PLANTED["events"]:
        raise SystemExit(f"{PLANTED['events']} ensemble events were planted and {recording.sizes['ensemble_event']} found")
    spent = []
    for _ in range(1 + max(2, repeats // 2)):
        start = time.perf_counter()
        ce.find_ensembles(recording)
        spent.append(time.perf_counter() - start)
    what = f"find_ensembles, {PLANTED['events']} events × {PLANTED['neurons']} neurons"
    return {f"{what} (allowed {FOUND:g})": float(np.median(spent[1:]))}


# the peak beyond that of a process which does the same to a few rows
PEAK = """
import resource, sys
import numpy as np
from calcium_engine.kernels import jaccard_similarity
from ensembles_speed import draw
rows, condensed, dtype = int(sys.argv[1]), sys.argv[2] == "condensed", sys.argv[3]
raster = draw(10000, 2000)
jaccard_similarity(raster[:rows], condensed=condensed, dtype=dtype)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def _memory() -> dict[str, dict[str, float]]:
    """Size of the result and what is held beside it, in MB, of 10000 × 2000."""
    found = {}
    for shape in ("square", "condensed"):
        for dtype in ("float64", "float32"):
            # twice, since compiling takes memory of its own; the second run finds the compiled kernel in the cache
            few, all_rows = (min(float(run_child(PEAK, rows, shape, dtype)) for _ in range(2)) for rows in ("2", "10000"))
            pairs = 10000**2 if shape == "square" else 10000 * 9999 // 2
            size = pairs * np.dtype(dtype).itemsize / 2**20
            found[f"{shape}, {dtype}"] = {"result_mb": size, "beside_it_mb": all_rows - few - size}
    return found


def measure(repeats: int) -> dict[str, Any]:
    """Measure and print."""
    stages = Stages()
    memory = _memory()  # first: on Linux the peak of a child begins at what its parent held
    _similarity(repeats, stages.add)
    _clustering(repeats, stages.add)
    result: dict[str, Any] = {"time": stages.show()}
    result |= {"ensembles_s": _ensembles(repeats), "memory": memory}
    print()
    table(["", "s"], [[name, seconds] for name, seconds in result["ensembles_s"].items()])
    print()
    rows = [[name, peak["result_mb"], peak["beside_it_mb"]] for name, peak in memory.items()]
    table(["Jaccard similarity, 10000 × 2000, at its peak", "result, MB", "beside it, MB"], rows)
    return result
