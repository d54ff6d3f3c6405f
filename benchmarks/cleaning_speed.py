"""Each stage of cleaning beside the fastest peers, in turns in one process: called by `speed.py --cleaning`."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from common import SAMPLING_RATE, run_child, table

WINDOWS = (145, 289, 1441)
LEVELS = 3
Row = tuple[str, str, str, Callable[[], Any], Callable[[], Any], float | None]


def in_turns(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of each, run in turns after a warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for spent, run in zip(seconds, (ours, peer), strict=True):
            gc.collect()
            start = time.perf_counter()
            run()
            if turn:
                spent.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def scipy_quantile(traces: np.ndarray, window: int) -> np.ndarray:
    """Rolling 8 % quantile, row by row: the fastest that SciPy has."""
    from scipy.ndimage import percentile_filter

    return np.array([percentile_filter(row, 8, size=window, mode="reflect") for row in traces])


def scipy_maximin(traces: np.ndarray) -> np.ndarray:
    """Baseline by suite2p's rule: Gaussian of 10 frames, minimum and maximum over 60 s."""
    from scipy.ndimage import gaussian_filter, maximum_filter1d, minimum_filter1d

    window = round(60 * SAMPLING_RATE)
    smooth = gaussian_filter(traces, [0.0, 10.0])
    return np.asarray(maximum_filter1d(minimum_filter1d(smooth, window), window))


def soft(detail: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """BayesShrink of one band."""
    excess = np.mean(np.square(detail), axis=-1, keepdims=True) - sigma**2
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = np.where(excess > 0, sigma**2 / np.sqrt(np.maximum(excess, 0)), np.inf).astype(detail.dtype)
    return detail - np.clip(detail, -threshold, threshold)


def pywt_stationary(traces: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Stationary transform, thresholds, and back, through PyWavelets."""
    import pywt

    n = traces.shape[1]
    padded = np.pad(traces, [(0, 0), (0, -n % 2**LEVELS)], mode="symmetric")
    bands = pywt.swt(padded, "db2", level=LEVELS, axis=-1)
    return np.asarray(pywt.iswt([(smooth, soft(detail, sigma)) for smooth, detail in bands], "db2", axis=-1)[:, :n])


def pywt_decimated(traces: np.ndarray, sigma: np.ndarray, wavelet: str) -> np.ndarray:
    """Decimated transform, thresholds, and back, through PyWavelets, the rows shared among two threads."""
    import pywt

    def run(rows: slice) -> Any:
        smooth, *details = pywt.wavedec(traces[rows], wavelet, mode="symmetric", level=LEVELS, axis=-1)
        shrunk = [soft(detail, sigma[rows]) for detail in details]
        return pywt.waverec([smooth, *shrunk], wavelet, mode="symmetric", axis=-1)

    edges = [0, len(traces) // 2, len(traces)]
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(run, [slice(*edge) for edge in pairwise(edges)])))


def clean(recording: Any) -> Any:
    """Every step from raw traces to denoised ΔF/F, as the calibrated recipe has them."""
    import calcium_engine as ce

    cleaned = ce.subtract_background(ce.compute_dff(ce.estimate_baseline(recording)))
    return ce.denoise(ce.estimate_noise(cleaned))


def rows_of(traces: np.ndarray) -> list[Row]:
    """Stage, ours, peer, both as calls, and the ratio (peer over ours) to reach."""
    import pywt

    import calcium_engine as ce
    from calcium_engine import kernels

    recording = ce.make_recording(traces, sampling_rate=SAMPLING_RATE)
    noise = kernels.difference_quantile(traces, 2, 0.5) / (0.6745 * np.sqrt(6))
    sigma = noise[:, None].astype(traces.dtype)
    filters = {name: (np.array(pywt.Wavelet(name).rec_lo), np.array(pywt.Wavelet(name).rec_hi)) for name in ("db2", "sym4")}
    rows: list[Row] = []
    for window, bar in zip(WINDOWS, (4.0, 4.0, 5.5), strict=True):
        rows.append(
            (
                f"rolling quantile, {window} frames",
                "rolling_quantile",
                "SciPy percentile_filter, row by row",
                lambda window=window: kernels.rolling_quantile(traces, window, 0.08),
                lambda window=window: scipy_quantile(traces, window),
                bar,
            )
        )
    for wavelet in filters:
        stationary = lambda wavelet=wavelet: kernels.stationary_shrink(traces, noise, *filters[wavelet], LEVELS)  # noqa: E731
        decimated = lambda wavelet=wavelet: kernels.decimated_shrink(traces, noise, *filters[wavelet], LEVELS)  # noqa: E731
        peer = lambda wavelet=wavelet: pywt_decimated(traces, sigma, wavelet)  # noqa: E731
        rows.append((f"stationary shrinkage, {wavelet}", "swt", "PyWavelets wavedec, 2 threads", stationary, peer, 1.0))
        rows.append((f"decimated shrinkage, {wavelet}", "dwt", "PyWavelets wavedec, 2 threads", decimated, peer, 1.2))
        if wavelet == "db2":
            slow = lambda: pywt_stationary(traces, sigma)  # noqa: E731
            rows.append((f"stationary shrinkage, {wavelet}", "swt", "PyWavelets swt", stationary, slow, 15.0))
    rows.append(
        (
            "σ by second differences",
            "difference_quantile",
            "NumPy median of absolute differences",
            lambda: kernels.difference_quantile(traces, 2, 0.5),
            lambda: np.median(np.abs(np.diff(traces, n=2, axis=1)), axis=1),
            8.0,
        )
    )
    rows.append(
        (
            "masked baseline, whole step",
            "estimate_baseline",
            "maximin (suite2p's rule, SciPy)",
            lambda: ce.estimate_baseline(recording),
            lambda: scipy_maximin(traces),
            1.0,
        )
    )
    rows.append(
        (
            "raw to denoised ΔF/F",
            "five steps",
            "our rolling quantile alone, 289 frames",
            lambda: clean(recording),
            lambda: kernels.rolling_quantile(traces, 289, 0.08),
            1 / 12,
        )
    )
    return rows


# The most that NumPy arrays held at once beyond those before, in copies of the traces.
PEAK = """
import sys, tempfile, tracemalloc
import numpy as np
import pywt
import calcium_engine as ce
import cleaning_speed as speed
from calcium_engine import kernels

def stored(traces):
    with tempfile.TemporaryDirectory() as folder:
        ce.save_recording(ce.make_recording(traces, sampling_rate=speed.SAMPLING_RATE), folder + "/raw.zarr")
        raw = ce.open_recording(folder + "/raw.zarr", chunks={})
        tracemalloc.reset_peak()
        ce.save_recording(speed.clean(raw)[["denoised"]], folder + "/clean.zarr")
        return tracemalloc.get_traced_memory()[1]

def in_memory(run):
    def peak(traces):
        tracemalloc.reset_peak()
        kept = run(traces)
        return tracemalloc.get_traced_memory()[1]
    return peak

def kernel(traces):
    low, high = np.array(pywt.Wavelet("sym4").rec_lo), np.array(pywt.Wavelet("sym4").rec_hi)
    return kernels.decimated_shrink(traces, np.ones(len(traces)), low, high, speed.LEVELS)

what = {
    "stored": stored,
    "kept": in_memory(lambda traces: speed.clean(ce.make_recording(traces, sampling_rate=speed.SAMPLING_RATE))),
    "dwt": in_memory(kernel),
    "pywt": in_memory(lambda traces: speed.pywt_decimated(traces, np.ones((len(traces), 1), traces.dtype), "sym4")),
}[sys.argv[1]]
traces = np.random.default_rng(0).normal(100, 5, (int(sys.argv[2]), int(sys.argv[3]))).astype(np.float32)
what(traces[:64])  # compiled, imported
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
print((what(traces) - before) / traces.nbytes)
"""


def measure(traces: np.ndarray, repeats: int) -> dict[str, Any]:
    """Measure and print time and memory of every stage."""
    result: dict[str, Any] = {"time": {}, "memory": {}}
    lines = []
    for stage, ours, peer, run_ours, run_peer, bar in rows_of(traces):
        mine, theirs = in_turns(run_ours, run_peer, repeats)
        reached = "" if bar is None else "yes" if theirs / mine >= bar else "NO"
        lines.append([stage, 1000 * mine, 1000 * theirs, theirs / mine, bar or "", reached, peer])
        result["time"][f"{stage}: {ours} / {peer}"] = {"ours_s": mine, "peer_s": theirs, "bar": bar}
    table(["stage", "ours, ms", "peer, ms", "peer/ours", "bar", "reached", "peer"], lines)
    quantile = [line[1] for line in lines[: len(WINDOWS)]]
    print(f"rolling quantile at {WINDOWS[-1]} frames over that at {WINDOWS[0]}: {quantile[-1] / quantile[0]:.2f} (at most 1.2)\n")
    for name in ("stored", "kept", "dwt", "pywt"):
        result["memory"][name] = float(run_child(PEAK, name, *map(str, traces.shape)))
    memory = result["memory"]
    table(
        ["memory beyond the raw traces, in copies of them", "copies"],
        [
            ["raw to denoised, from store to store", memory["stored"]],
            ["raw to denoised, in memory, all five traces kept", memory["kept"]],
            ["decimated shrinkage", memory["dwt"]],
            ["decimated shrinkage, PyWavelets", memory["pywt"]],
        ],
    )
    return result
