"""How events and deconvolution are judged; every function adds what neurons contribute to the measures.

* Spikes with gaps of up to 0.3 s are a group; an event finds the nearest one whose first spike is from 0.75 s before to 0.5 s
  after its onset, each at most one (calcium_engine.score_events).
* Onset: distance from the group's first spike, in frames; in simulations also from where the transient without noise crosses a
  fifth of its rise, which is how an onset is defined.
* Planted: the transient of one action potential, at a random place between two frames, in white noise of which its peak is a
  multiple (SNR); amplitude and FWHM over those that the frames show without noise.
* Deconvolution: correlation with the spikes of a recording, both smoothed by a Gaussian of 0.2 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bootstrap import Measure
from ground_truth import clean

import calcium_engine as ce
from calcium_engine.indicators import get_indicator
from calcium_engine.score.truth import match, spike_groups

WINDOW = (-0.5, 0.75)  # s, as score_events has it
# The default comes first.
DETECTORS: dict[str, dict[str, Any]] = {
    "pulse (default)": {},
    "template": {"detector": "template"},
    "ridge": {"detector": "ridge"},
    "noise": {"detector": "noise"},
    "Clements-Bekkers": {"detector": "template", "criterion": "clements_bekkers"},
    "sd": {"detector": "sd"},
}
SIGMA = 0.05  # ΔF/F, of the noise around planted transients
SIZES = {"1": (1, 1), "2-3": (2, 3), "4 or more": (4, np.inf)}  # spikes of a group


def f1(hits: np.ndarray, groups: np.ndarray, events: np.ndarray) -> float:
    """F1 of all neurons together."""
    return float(2 * hits.sum() / max(groups.sum() + events.sum(), 1))


def median_f1(hits: np.ndarray, groups: np.ndarray, events: np.ndarray) -> float:
    """F1 of the median neuron."""
    return float(np.median(2 * hits / np.maximum(groups + events, 1)))


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of all neurons together."""
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")


def median_of_lists(lists: np.ndarray) -> float:
    """Median of all values of all neurons."""
    values = np.concatenate([np.asarray(one, float) for one in lists]) if len(lists) else np.zeros(0)
    return float(np.nanmedian(values)) if values.size else float("nan")


def lists_of(rows: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Values as a list a neuron."""
    out = np.empty(n, dtype=object)
    for i in range(n):
        out[i] = values[rows == i]
    return out


def counts(found: xr.Dataset) -> dict[str, np.ndarray]:
    """Hits, groups (also by size) and events of each neuron, and how late the hits are (s)."""
    n = found.sizes["neuron"]
    time, row, spikes = spike_groups(found, found)
    event_row = found.indexes["neuron"].get_indexer(found["event_neuron"].values)
    onset = found["event_onset"].values
    partner, _ = match(time, row, onset, event_row, WINDOW)
    hit = partner >= 0
    out = {
        "hits": np.bincount(row[hit], minlength=n),
        "groups": np.bincount(row, minlength=n),
        "events": np.bincount(event_row, minlength=n),
        "late": lists_of(row[hit], onset[partner[hit]] - time[hit], n),
    }
    for name, (least, most) in SIZES.items():
        of_size = (spikes >= least) & (spikes <= most)
        out |= {f"hits {name}": np.bincount(row[hit & of_size], minlength=n)}
        out |= {f"groups {name}": np.bincount(row[of_size], minlength=n)}
    return out


def add_counts(found: dict[str, Measure], method: str, condition: str, parts: dict[str, np.ndarray], rate: float) -> None:
    """Add one recording's, or one set's, counts to the measures of detection."""
    three = parts["hits"], parts["groups"], parts["events"]
    found["f1"].add(method, condition, *three)
    found["median_f1"].add(method, condition, *three)
    found["precision"].add(method, condition, parts["hits"], parts["events"])
    for name in SIZES:
        found[f"recall {name}"].add(method, condition, parts[f"hits {name}"], parts[f"groups {name}"])
    frames = np.empty(len(parts["late"]), dtype=object)
    frames[:] = [np.abs(one) * rate for one in parts["late"]]
    found["onset"].add(method, condition, frames)


def by_neuron(results: list[dict[str, np.ndarray]], neurons: list[str]) -> dict[str, np.ndarray]:
    """Pool the recordings of each neuron, and the draws of their noise."""
    names = list(dict.fromkeys(neurons))
    pooled: dict[str, np.ndarray] = {}
    for key in results[0]:
        values = [[one[key] for one, who in zip(results, neurons, strict=True) if who == name] for name in names]
        if key == "late":
            pooled[key] = np.empty(len(names), dtype=object)
            pooled[key][:] = [np.concatenate([draw for one in own for draw in one]) for own in values]
        else:
            pooled[key] = np.array([np.sum(np.concatenate(own)) for own in values])
    return pooled


def judge_noise(rate: float, condition: str, found: dict[str, Measure], seed: int, n_neurons: int, n_frames: int) -> None:
    """False events per minute in white noise, all estimates made as in a recording."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal((n_neurons, n_frames), dtype=np.float32)
    recording = ce.denoise(ce.estimate_noise(ce.make_recording(noise, sampling_rate=rate, variable="dff")))
    minutes = np.full(n_neurons, n_frames / rate / 60.0)
    for method, how in DETECTORS.items():
        events = ce.detect_events(recording, **how)
        row = events.indexes["neuron"].get_indexer(events["event_neuron"].values)
        found["false"].add(method, condition, np.bincount(row, minlength=n_neurons), minutes)


def judge_simulated(recording: xr.Dataset, condition: str, found: dict[str, Measure]) -> None:
    """Detection and deconvolution in a simulated recording."""
    rate = float(recording["sampling_rate"])
    cleaned = clean(ce.compute_dff(ce.estimate_baseline(recording)))
    for method, how in DETECTORS.items():
        events = ce.detect_events(cleaned, **how)
        add_counts(found, method, condition, counts(events), rate)
        if method == next(iter(DETECTORS)):
            found["onset, as defined"].add(method, condition, _late_by_crossing(events))
    found["deconvolution"].add("AR(1) (default)", condition, correlations(ce.deconvolve(cleaned)))


def correlations(found: xr.Dataset) -> np.ndarray:
    """Correlation of deconvolution with spikes, a list a neuron."""
    n = found.sizes["neuron"]
    each = [ce.score_deconvolution(found.isel(neuron=[i]))["deconvolution_correlation"] for i in range(n)]
    return lists_of(np.arange(n), np.array(each), n)


def _late_by_crossing(events: xr.Dataset) -> np.ndarray:
    """How far (frames) each onset that finds a group lies from where the true ΔF/F rises through a fifth of its way."""
    rate, n = float(events["sampling_rate"]), events.sizes["neuron"]
    time, row, _ = spike_groups(events, events)
    event_row = events.indexes["neuron"].get_indexer(events["event_neuron"].values)
    onset = events["event_onset"].values
    partner, _ = match(time, row, onset, event_row, WINDOW)
    late = []
    reach = int(np.ceil(rate))
    for group in np.flatnonzero(partner >= 0):
        true, start = events["true_dff"].values[row[group]], max(int(time[group] * rate), 0)
        rise = true[start : start + reach]
        if len(rise) < 2:
            late.append(np.nan)
            continue
        top = int(np.argmax(rise))
        level = rise[0] + 0.2 * (rise[top] - rise[0])
        above = int(np.argmax(rise > level)) if top else 0
        at = above - 1 + (level - rise[above - 1]) / (rise[above] - rise[above - 1]) if above else 0.0
        late.append(abs(onset[partner[group]] * rate - start - at))
    return lists_of(row[partner >= 0], np.array(late), n)


def planted(rate: float, snr: float, n: int, seed: int, apart: float | None = None) -> tuple[xr.Dataset, np.ndarray, np.ndarray]:
    """A minute of white noise for each neuron, with one transient in its middle, or two; their onsets; their shape on a grid."""
    indicator, rng = get_indicator("GCaMP6s"), np.random.default_rng(seed)
    frames, within = np.arange(round(60 * rate)), (np.arange(16) + 0.5) / 16 - 0.5
    onset = 30.0 + rng.uniform(0, 1 / rate, n)
    traces = rng.normal(0, SIGMA, (n, len(frames)))
    for delay in (0.0,) if apart is None else (0.0, apart):
        at = (frames[:, None] + within) / rate
        for i in range(n):
            traces[i] += snr * SIGMA * indicator.shape(at - onset[i] - delay).mean(axis=1)
    fine = np.linspace(-1 / rate, 8 * indicator.decay, 20_001)
    shape = indicator.shape(fine[:, None] + within / rate).mean(axis=1)
    recording = ce.make_recording(traces.astype(np.float32), sampling_rate=rate, variable="dff")
    return ce.denoise(ce.estimate_noise(recording)), onset, np.stack([fine, shape])


def judge_shape(rate: float, snr: float, condition: str, found: dict[str, Measure], n: int, seed: int) -> None:
    """Errors of amplitude, FWHM and onset of transients that were planted alone."""
    recording, onset, (fine, shape) = planted(rate, snr, n, seed)
    above = fine[shape >= shape.max() / 2]
    for method, how in DETECTORS.items():
        if method == "sd":
            continue  # its threshold is another one in every trace
        events = ce.detect_events(recording, **how)
        row = events.indexes["neuron"].get_indexer(events["event_neuron"].values)
        near = np.abs(events["event_onset"].values - onset[row]) < 0.6
        amplitude = events["event_amplitude"].values[near] / (snr * SIGMA * shape.max()) - 1
        fwhm = events["event_fwhm"].values[near] / (above[-1] - above[0]) - 1
        for name, error in {"amplitude": amplitude, "FWHM": fwhm}.items():
            found[f"{name}, bias"].add(method, condition, lists_of(row[near], 100 * error, n))
            found[f"{name}, error"].add(method, condition, lists_of(row[near], 100 * np.abs(error), n))


def judge_pairs(rate: float, snr: float, apart: float, condition: str, found: dict[str, Measure], n: int, seed: int) -> None:
    """Share of pairs of transients of which both are found, each within a frame and a quarter second of its place."""
    recording, onset, _ = planted(rate, snr, n, seed, apart)
    for method, how in DETECTORS.items():
        if method == "sd":
            continue
        events = ce.detect_events(recording, **how)
        row = events.indexes["neuron"].get_indexer(events["event_neuron"].values)
        partner, _ = match(
            np.repeat(onset, 2) + np.tile([0.0, apart], n),
            np.repeat(np.arange(n), 2),
            events["event_onset"].values,
            row,
            (-0.25 - 1 / rate, 0.25 + 1 / rate),
        )
        both = (partner >= 0).reshape(n, 2).all(axis=1)
        found["pairs"].add(method, condition, both.astype(float), np.ones(n))
