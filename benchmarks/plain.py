"""The classical recipe as a careful user would glue it from the fastest parts that exist: the script to beat.

No line of calcium_engine is in here. The parts were chosen by measuring them beside their rivals: polars for the file (NumPy
where it is not installed), SciPy's percentile filter row by row (its 2-D form takes seventy times as long), PyWavelets on blocks
of rows with two threads (it releases the GIL), SciPy's find_peaks and peak_widths, NumPy's bincount on sparse events (rolling a
dense matrix takes ten times as long), a float32 BLAS product for Jaccard, and fastcluster's average linkage.

    python benchmarks/plain.py FILE.csv --sampling-rate 4.8
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pywt
from fastcluster import linkage
from scipy import ndimage, signal, stats
from scipy.cluster.hierarchy import fcluster
from scipy.spatial.distance import squareform

try:
    import polars
except ImportError:
    polars = None

# the same numbers as in calcium_engine/recipes/classical.toml
F0_QUANTILE = 0.25
WINDOW, QUANTILE = 30.0, 0.08
WAVELET = "sym4"
SDS, MIN_DFF = 5.0, 0.10
BIN = 0.5
SHUFFLES, PERCENTILE, MIN_NEURONS = 1000, 99.0, 3
VARIANCE, MIN_EVENTS = 0.8, 5

THREADS = ThreadPoolExecutor(2)


def by_rows(function: Callable[[np.ndarray], np.ndarray], traces: np.ndarray) -> np.ndarray:
    """Run a function of blocks of rows on two threads."""
    return np.concatenate(list(THREADS.map(function, np.array_split(traces, min(16, len(traces))))))


def read(path: str | Path) -> np.ndarray:
    """Traces (neuron × frame, float32) from a CSV file without a header."""
    if polars is None:
        return np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    # a table of one column: polars spends most of its time on columns where there are 15000 of them
    text = Path(path).read_bytes().rstrip()
    n_neurons = text.count(b"\n") + 1
    column = polars.read_csv(text.replace(b",", b"\n"), has_header=False, schema={"x": polars.Float32})
    return column["x"].to_numpy().reshape(n_neurons, -1)


def row_quantile(traces: np.ndarray, quantile: float) -> np.ndarray:
    """Quantile of each row. (NumPy partitions fast at one rank only; its own quantile and median ask for two.)"""
    position = quantile * (traces.shape[1] - 1)
    rank = int(position)
    parted = np.partition(traces, rank, axis=1)
    lower, upper = parted[:, rank, None], parted[:, rank + 1 :].min(axis=1, keepdims=True)
    return lower + (upper - lower) * np.float32(position - rank)


def noise_of(traces: np.ndarray) -> np.ndarray:
    """σ of white noise in each trace, by the median absolute second difference."""
    bend = np.abs(traces[:, 2:] - 2 * traces[:, 1:-1] + traces[:, :-2])
    return row_quantile(bend, 0.5) / np.float32(0.6745 * 6**0.5)


def normalise(traces: np.ndarray) -> np.ndarray:
    """ΔF/F by the lower quartile of each trace, which is kept from coming near 0."""

    def rows(x: np.ndarray) -> np.ndarray:
        f0 = row_quantile(x, F0_QUANTILE)
        floor = np.maximum(3 * noise_of(x), np.float32(0.05) * row_quantile(x, 0.5))
        return (x - f0) / np.maximum(f0, floor)

    return by_rows(rows, traces)


def background(dff: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Rolling low quantile of each trace. (Two threads would gain nothing: the filter holds the GIL.)"""
    window = round(WINDOW * sampling_rate)
    out = np.empty_like(dff)
    for row, low in zip(dff, out, strict=True):
        ndimage.percentile_filter(row, 100 * QUANTILE, window, output=low, mode="reflect")
    return out


def denoise(traces: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Soft universal threshold on the wavelet coefficients of what is faster than about 2 s."""
    level = int(np.clip(np.log2(2 * sampling_rate), 2, 6))

    def rows(x: np.ndarray) -> np.ndarray:
        threshold = noise_of(x) * np.float32(np.sqrt(2 * np.log(x.shape[1])))
        coarse, *details = pywt.wavedec(x, WAVELET, mode="symmetric", level=level, axis=1)
        shrunk = [detail - np.clip(detail, -threshold, threshold) for detail in details]
        return pywt.waverec([coarse, *shrunk], WAVELET, mode="symmetric", axis=1)[:, : x.shape[1]]

    return by_rows(rows, traces)


EVENT = np.dtype([("neuron", int), ("peak", int), ("onset", float), ("offset", float), ("fwhm", float), ("amplitude", float)])


def find_events(traces: np.ndarray) -> np.ndarray:
    """Peaks over mean + 5 SD and over 0.10, a SD over the valleys between; onset and offset at a fifth of the prominence."""
    deviation = traces.std(axis=1, dtype=float)
    high = np.maximum(traces.mean(axis=1, dtype=float) + SDS * deviation, MIN_DFF)

    def block(neurons: np.ndarray) -> np.ndarray:
        found = [np.empty(0, EVENT)]
        for i in neurons:
            peaks, shape = signal.find_peaks(traces[i], height=high[i], prominence=deviation[i])
            bases = shape["prominences"], shape["left_bases"], shape["right_bases"]
            own = np.empty(len(peaks), EVENT)
            own["neuron"], own["peak"], own["amplitude"] = i, peaks, shape["prominences"]
            own["fwhm"] = signal.peak_widths(traces[i], peaks, 0.5, bases)[0]
            _, _, own["onset"], own["offset"] = signal.peak_widths(traces[i], peaks, 0.8, bases)
            found.append(own)
        return np.concatenate(found)

    return by_rows(block, np.arange(len(traces)))


def shifted_histogram(neuron: np.ndarray, bins: np.ndarray, n_neurons: int, n_bins: int, seed: int) -> np.ndarray:
    """How many bins of all circular shuffles together hold 0, 1, 2 ... neurons."""
    shifts = np.random.default_rng(seed).integers(0, n_bins, size=(SHUFFLES, n_neurons))
    per_neuron = np.bincount(neuron, minlength=n_neurons)
    pooled = np.zeros(n_neurons + 1, dtype=np.int64)
    for shift in shifts:
        # counting into two lengths and folding them is faster than a remainder
        twice = np.bincount(bins + np.repeat(shift, per_neuron), minlength=2 * n_bins)
        pooled += np.bincount(twice[:n_bins] + twice[n_bins:], minlength=n_neurons + 1)
    return pooled


def coactivity(events: np.ndarray, n_frames: int, sampling_rate: float) -> dict[str, np.ndarray]:
    """Which neuron has an onset in which bin (sparse), and how many have one in each bin."""
    width = max(1, round(BIN * sampling_rate))
    n_bins = n_frames // width
    at = np.floor(events["onset"] + 0.5).astype(int) // width
    kept = at < n_bins
    neuron, bins = np.divmod(np.unique(events["neuron"][kept] * n_bins + at[kept]), n_bins)
    return {"neuron": neuron, "bins": bins, "coactivity": np.bincount(bins, minlength=n_bins)}


def ensemble_events(found: dict[str, np.ndarray], n_neurons: int, seed: int) -> dict[str, Any]:
    """Runs of bins over the count that chance exceeds in one bin of a hundred: their peak bins, and who takes part."""
    count = found["coactivity"]
    null = shifted_histogram(found["neuron"], found["bins"], n_neurons, len(count), seed)
    threshold = int(np.searchsorted(np.cumsum(null), PERCENTILE / 100 * null.sum()))
    above = np.flatnonzero(count > threshold)
    runs = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1) if len(above) else []
    peak = np.array([run[np.argmax(count[run])] for run in runs], dtype=int)
    peak = peak[count[peak] >= MIN_NEURONS]
    event_of = np.full(len(count), -1)
    event_of[peak] = np.arange(len(peak))
    event = event_of[found["bins"]]
    participation = np.zeros((len(peak), n_neurons), dtype=bool)
    participation[event[event >= 0], found["neuron"][event >= 0]] = True
    return {"null": null, "threshold": threshold, "peak_bin": peak, "participation": participation}


def jaccard(participation: np.ndarray) -> np.ndarray:
    """Jaccard similarity of every pair of rows."""
    rows = participation.astype(np.float32)
    common = rows @ rows.T
    size = common.diagonal()
    return common / (size[:, None] + size[None, :] - common)


def core_neurons(own: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Which neurons take part in a cluster's events more often than their share of the population's activity explains."""
    hits = own.sum(axis=0)
    chance = np.minimum(own.sum(axis=1).mean() * activity, 1.0)
    return (stats.binom.sf(hits - 1, len(own), chance) < 0.01 / len(hits)) & (hits >= 0.3 * len(own))


def ensembles(participation: np.ndarray, activity: np.ndarray) -> dict[str, Any]:
    """Similarity, average linkage, as many clusters as principal components explain 80 % of the variance, core neurons."""
    n = len(participation)
    if n < 2:
        return {"similarity": np.ones((n, n)), "label": np.full(n, -1), "core": np.zeros((0, participation.shape[1]), dtype=bool)}
    similarity = jaccard(participation)
    tree = linkage(squareform(1 - similarity, checks=False), method="average")
    centred = participation - participation.mean(axis=0)
    variance = np.linalg.eigvalsh(centred @ centred.T if n <= centred.shape[1] else centred.T @ centred)[::-1].clip(0)
    n_components = int(np.searchsorted(np.cumsum(variance), VARIANCE * variance.sum())) + 1
    label = fcluster(tree, n_components, "maxclust")
    label = np.where(np.bincount(label)[label] >= MIN_EVENTS, label, -1)
    core = [core_neurons(participation[label == k], activity) for k in np.unique(label[label > 0])]
    core = np.array(core, dtype=bool).reshape(-1, participation.shape[1])
    return {"similarity": similarity, "tree": tree, "n_components": n_components, "label": label, "core": core}


def run_plain(source: str | Path | np.ndarray, sampling_rate: float, *, seed: int = 0) -> dict[str, Any]:
    """Run the recipe on a CSV file or on an array (neuron × frame); returns the results and `seconds`, the time of each stage."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with stage("read"):
        traces = source if isinstance(source, np.ndarray) else read(source)
    with stage("ΔF/F"):
        dff = normalise(traces)
    with stage("background"):
        slow = background(dff, sampling_rate)
        detrended = dff - slow
    with stage("denoise"):
        denoised = denoise(detrended, sampling_rate)
    with stage("events"):
        events = find_events(denoised)
    with stage("coactivity"):
        found = coactivity(events, traces.shape[1], sampling_rate)
    with stage("ensemble events"):
        together = ensemble_events(found, len(traces), seed)
    with stage("ensembles"):
        groups = ensembles(together["participation"], np.bincount(found["neuron"], minlength=len(traces)) / len(found["neuron"]))
    signals = {"traces": traces, "dff": dff, "background": slow, "denoised": denoised, "events": events}
    return {**signals, **found, **together, **groups, "seconds": seconds}


def main() -> None:
    """Run the script on a file and print the time of each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--sampling-rate", type=float, required=True)
    arguments = parser.parse_args()
    result = run_plain(arguments.path, arguments.sampling_rate)
    for name, seconds in result["seconds"].items():
        print(f"{name:20s} {1000 * seconds:7.1f} ms")
    print(f"{'total':20s} {1000 * sum(result['seconds'].values()):7.1f} ms")
    print(f"{len(result['events'])} events, {len(result['participation'])} ensemble events, {len(result['core'])} ensembles")


if __name__ == "__main__":
    main()
