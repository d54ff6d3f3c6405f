"""Detection of events beside the fastest peers, in turns in one process: called by `speed.py --events`.

Resting level and σ are given to both sides; the threshold is each detector's own. SciPy has no loop over rows. ssqueezepy, whose
ridges run through a whole trace and so do another job, needs no place in this environment: `peers_python` names the interpreter
of another one, of the same Python version, that has it (`pip install ssqueezepy`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cleaning_speed import clean, in_turns
from common import SAMPLING_RATE, table
from deconvolution_speed import add_environment, ours

RIDGE_ROWS = 4  # ssqueezepy is timed on so many, and what it takes is scaled up to all
BARS = {"noise": 5.0, "pulse": 5.0, "template": 1.0}  # peer over ours
Run = Callable[[], Any]
Row = tuple[str, str, str, Run, Run, float | None]


class Cleaned(NamedTuple):
    """What the detectors are given: the recording, its traces less their resting level, the traces to measure, the levels."""

    recording: Any
    traces: np.ndarray
    measured: np.ndarray
    levels: dict[str, Any]
    search: dict[str, Any]


def prepare(fluorescence: np.ndarray) -> Cleaned:
    """Clean as the calibrated recipe does, and set each detector's levels."""
    import calcium_engine as ce
    from calcium_engine.detectors import DETECTORS, levels_of
    from calcium_engine.events import search_of

    recording = clean(ce.make_recording(fluorescence, sampling_rate=SAMPLING_RATE))
    detrended, denoised = recording["detrended"].values, recording["denoised"].values
    noise = recording["noise"].values.astype(np.float64)
    how = {"indicator": "GCaMP6s", "min_dff": 0.0, "false_positives_per_minute": 0.01}
    search = {name: search_of(recording, {"detector": name, **how}) for name in DETECTORS}
    levels = {name: levels_of(detrended, denoised, noise, search[name]) for name in DETECTORS}
    traces = detrended - levels["pulse"].zero[:, None].astype(detrended.dtype)
    return Cleaned(recording, traces, denoised, levels, search)


def find(cleaned: Cleaned, detector: str) -> Any:
    """Events of a detector: where they are."""
    from calcium_engine.detectors import DETECTORS

    return DETECTORS[detector](cleaned.traces, cleaned.levels[detector], cleaned.search[detector])


def find_and_measure(cleaned: Cleaned, detector: str) -> Any:
    """Events of a detector, and all that is measured of them."""
    from calcium_engine.kernels import find_summits, measure_events

    search = cleaned.search[detector]
    offsets, peaks = find(cleaned, detector)
    summits = find_summits(cleaned.measured, search.reach, search.bounds, offsets, peaks)
    rest, tau = cleaned.levels[detector].rest, search.indicator.tau * search.rate
    return measure_events(cleaned.measured, rest, tau, search.bounds, offsets, summits)


def scipy_peaks(cleaned: Cleaned, detector: str, *, handed_over: bool = False) -> int:
    """Peaks over k σ of half that prominence, and their widths, row by row; how many.

    `handed_over`: the widths take the prominences from the search before, which is quicker and seldom done.
    """
    from scipy.signal import find_peaks, peak_widths

    count = 0
    for row, high in zip(cleaned.traces, cleaned.levels[detector].high, strict=True):
        peaks, found = find_peaks(row, height=high, prominence=0.5 * high)
        known = (found["prominences"], found["left_bases"], found["right_bases"])
        peak_widths(row, peaks, prominence_data=known if handed_over else None)
        count += len(peaks)
    return count


def template_of(cleaned: Cleaned) -> tuple[np.ndarray, int]:
    """Return the template detector's transient, and the frames before its onset."""
    from calcium_engine.detectors import BASE, TAIL

    indicator = cleaned.search["template"].indicator
    before, after = round(BASE * SAMPLING_RATE), round(TAIL * indicator.decay * SAMPLING_RATE)
    return indicator.shape(np.arange(-before, after) / SAMPLING_RATE), before


def rows_of(cleaned: Cleaned) -> list[Row]:
    """Stage, ours, peer, both as calls, and the ratio (peer over ours) to reach."""
    from scipy.signal import fftconvolve

    import calcium_engine as ce
    from calcium_engine.kernels import clements_bekkers

    peer = "SciPy find_peaks + peak_widths, row by row"
    rows: list[Row] = []
    for name in ("noise", "pulse"):
        measured = lambda name=name: find_and_measure(cleaned, name)  # noqa: E731
        rows.append((name, "find + measure", peer, measured, lambda name=name: scipy_peaks(cleaned, name), BARS[name]))
        quicker = lambda name=name: scipy_peaks(cleaned, name, handed_over=True)  # noqa: E731
        rows.append((name, "find + measure", f"{peer}, prominences handed over", measured, quicker, None))
    both = lambda: (ours(cleaned.traces), find_and_measure(cleaned, "pulse"))  # noqa: E731
    rows.append(("pulse", "deconvolution besides", peer, both, lambda: scipy_peaks(cleaned, "pulse"), None))
    shape, before = template_of(cleaned)
    kernel = shape[None, ::-1].astype(cleaned.traces.dtype)
    convolve = lambda: fftconvolve(cleaned.traces, kernel, mode="same", axes=1)  # noqa: E731
    rows.append(("template", "find", "SciPy fftconvolve", lambda: find(cleaned, "template"), convolve, BARS["template"]))
    bounds = cleaned.search["template"].bounds
    criterion = lambda: clements_bekkers(cleaned.traces, shape, before, bounds)  # noqa: E731
    rows.append(("template", "Clements-Bekkers alone", "SciPy fftconvolve", criterion, convolve, None))
    for name in cleaned.search:
        step = lambda name=name: ce.detect_events(cleaned.recording, detector=name)  # noqa: E731
        rows.append((name, "detect_events, all of it", peer, step, lambda: scipy_peaks(cleaned, "pulse"), None))
    return rows


def find_ssqueezepy(peers_python: str | Path | None) -> Callable[[np.ndarray, np.ndarray], Any] | None:
    """Return the wavelet transform at our widths and one ridge through it, of one row; say why if it is not there."""
    add_environment(peers_python)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ssqueezepy import cwt, extract_ridges
    except ImportError as error:
        print(f"ridge is left out: {error}; `pip install ssqueezepy` somewhere and name its interpreter as peers_python\n")
        return None

    def run(row: np.ndarray, scales: np.ndarray) -> Any:
        transform, scales = cwt(row, "gmw", scales=scales)
        return extract_ridges(transform, scales, penalty=2.0, n_ridges=1, bw=2)

    return run


def ridge_row(cleaned: Cleaned, peers_python: str | Path | None, repeats: int) -> tuple[str, str, float, float, str] | None:
    """Time our ridges of all rows, and ssqueezepy's of a few, scaled up to as many."""
    from calcium_engine.detectors import N_WIDTHS, WIDTHS

    run = find_ssqueezepy(peers_python)
    if run is None:
        return None
    some = cleaned.traces[:RIDGE_ROWS]
    scales = np.geomspace(*WIDTHS, N_WIDTHS) * SAMPLING_RATE
    peer = lambda: [run(row, scales) for row in some]  # noqa: E731
    mine, theirs = in_turns(lambda: find_and_measure(cleaned, "ridge"), peer, min(repeats, 3))
    share = len(cleaned.traces) / len(some)
    return "ridge", "find + measure", mine, theirs * share, f"ssqueezepy cwt + extract_ridges, {len(some)} rows × {share:g}"


def measure(traces: np.ndarray, repeats: int, peers_python: str | Path | None = None) -> dict[str, Any]:
    """Measure and print every detector on raw traces (neuron × frame), which are cleaned first."""
    cleaned = prepare(np.ascontiguousarray(traces, dtype=np.float32))
    result: dict[str, Any] = {"time": {}, "events": {}, "shape": list(traces.shape)}
    lines: list[list[Any]] = []

    def add(stage: str, what: str, mine: float, theirs: float, peer: str, bar: float | None) -> None:
        reached = "" if bar is None else "yes" if theirs / mine >= bar else "NO"
        lines.append([stage, what, 1000 * mine, 1000 * theirs, theirs / mine, bar or "", reached, peer])
        result["time"][f"{stage}: {what} / {peer}"] = {"ours_s": mine, "peer_s": theirs, "bar": bar}

    for stage, what, peer, run_ours, run_peer, bar in rows_of(cleaned):
        add(stage, what, *in_turns(run_ours, run_peer, repeats), peer, bar)
    ridge = ridge_row(cleaned, peers_python, repeats)
    if ridge is not None:
        add(*ridge, None)
    table(["stage", "ours", "ours, ms", "peer, ms", "peer/ours", "bar", "reached", "peer"], lines)
    result["events"] = {name: len(find(cleaned, name)[1]) for name in cleaned.search}
    result["events"]["SciPy"] = scipy_peaks(cleaned, "pulse")
    print("events found:", ", ".join(f"{name} {count}" for name, count in result["events"].items()), "\n")
    return result
