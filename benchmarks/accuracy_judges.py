"""How cleaning is judged: each method on a simulated recording, against the truth that was planted in it.

* F0 bias: mean over neurons and frames of (F0 found − F0) / F0, in %; residual: its SD over time, mean over neurons.
* Amplitude retention: the slope of estimated on true ΔF/F by least squares over all frames, with an intercept, for each neuron;
  mean over neurons. A neuron without a transient has none.
* σ over truth: mean over neurons of the σ that estimate_noise finds in ΔF/F (default F0) over that of the planted noise at rest.
  Shot noise grows with the root of the expected fluorescence E, so its SD at rest is that of (F − E) / √(E · F0) in all frames:
  busy neurons hardly rest, and leaving them out would flatter.
* Denoising, of (F − F0) / F0 with the true F0: gain = 10 log10 of the squared error before over that after, summed over neurons;
  peaks kept = median of denoised over true ΔF/F in the peak frames of true transients under 0.3 that have no other one from 3 s
  before to 2 s after.
* Slow wave: a sine of 60 s and 5 % of F0 is added to F, and the same cleaning done with and without it; by how many dB its power
  falls from one to the other, summed over neurons. Plateaus of 1 ΔF/F likewise: mean left of them, over their length.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from bootstrap import Measure

import calcium_engine as ce
from calcium_engine.schema import var

SMALL, BEFORE, AFTER = 0.3, 3.0, 2.0  # ΔF/F; s around a transient without another one
RESTING = 0.02  # ΔF/F under which a neuron rests
WAVE, PERIOD = 0.05, 60.0  # share of F0; s

# The default comes first in each.
BASELINES: dict[str, dict[str, Any]] = {
    "masked (default)": {},
    "rolling 8 %": {"method": "rolling_quantile"},
    "rolling 8 %, corrected": {"method": "rolling_quantile", "bias_correction": True},
    "rolling median, 180 s": {"method": "rolling_quantile", "quantile": 0.5, "window": 180.0},
    "maximin": {"method": "maximin"},
    "mode": {"method": "mode"},
    "auto": {"method": "auto"},
    "global 8 %": {"method": "global_quantile"},
}
BACKGROUNDS: dict[str, dict[str, Any] | None] = {
    "masked (default)": {},
    "rolling 8 %": {"method": "rolling_quantile"},
    "opening": {"method": "opening"},
    "high-pass": {"method": "highpass"},
    "none": None,
}
NOISES: dict[str, dict[str, Any]] = {
    "auto (default)": {},
    "difference": {"method": "difference"},
    "below_mode": {"method": "below_mode"},
    "mad": {"method": "mad"},
    "psd": {"method": "psd"},
    "sd": {"method": "sd"},
}
DENOISINGS: dict[str, dict[str, Any]] = {
    "swt bayes (default)": {},
    "swt visu": {"shrink": "visu"},
    "swt sure": {"shrink": "sure"},
    "dwt bayes": {"method": "dwt"},
    "dwt visu": {"method": "dwt", "shrink": "visu"},
}
WINDOWS: dict[str, tuple[float, float]] = {  # of F0 and background
    "60 s, 20 s (default)": (60.0, 20.0),
    "60 s, 60 s": (60.0, 60.0),
    "180 s, 120 s": (180.0, 120.0),
}
PLATEAUS = (10, 20, 30, 60, 120)  # s
REST = {"≥ 30 % of the time": (0.3, 1.01), "10 to 30 %": (0.1, 0.3), "2 to 10 %": (0.02, 0.1), "under 2 %": (0.0, 0.02)}
ACTIVITY = ("F0 bias, %", "amplitude retention", "flagged saturated_activity, %")


def truth(recording: xr.Dataset, name: str) -> np.ndarray:
    """Return what was planted, in double precision."""
    return recording[f"true_{name}"].values.astype(np.float64)


def retention(recording: xr.Dataset, trace: xr.DataArray) -> np.ndarray:
    """Return each neuron's slope of estimated on true ΔF/F; NaN without a transient."""
    true = truth(recording, "dff")
    true -= true.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray((true * trace.values).sum(axis=1) / (true**2).sum(axis=1))


def judge_baselines(recording: xr.Dataset, condition: str, found: dict[str, Measure]) -> None:
    """Compare each method's F0, and the ΔF/F that follows from it."""
    true = truth(recording, "baseline")
    for method, options in BASELINES.items():
        cleaned = ce.compute_dff(ce.estimate_baseline(recording, **options))
        error = 100 * (cleaned["baseline"].values / true - 1)
        found["bias"].add(method, condition, error.mean(axis=1))
        found["residual"].add(method, condition, error.std(axis=1))
        found["retention"].add(method, condition, retention(recording, cleaned["dff"]))


def judge_backgrounds(cleaned: xr.Dataset, condition: str, found: dict[str, Measure]) -> None:
    """Compare what the background methods leave of transients."""
    for method, options in BACKGROUNDS.items():
        found["background"].add(method, condition, retention(cleaned, _without_background(cleaned, options)))


def _without_background(cleaned: xr.Dataset, options: dict[str, Any] | None) -> xr.DataArray:
    return cleaned["dff"] if options is None else ce.subtract_background(cleaned, **options)["detrended"]


def plant(recording: xr.Dataset, dff: np.ndarray) -> xr.Dataset:
    """Return the recording with ΔF/F added to all neurons."""
    planted = recording["fluorescence"] + recording["true_baseline"] * xr.DataArray(dff, dims="frame")
    return recording.assign(fluorescence=planted.astype(np.float32))


def judge_wave(recording: xr.Dataset, cleaned: xr.Dataset, condition: str, found: dict[str, Measure]) -> None:
    """Plant the slow wave, clean again, and compare what is left of it."""
    phase = 2 * np.pi / PERIOD * recording["time"].values
    waved = ce.compute_dff(ce.estimate_baseline(plant(recording, WAVE * np.sin(phase))))
    whole = int(phase[-1] / (2 * np.pi)) * round(PERIOD * float(recording["sampling_rate"]))
    turns = np.exp(-1j * phase[:whole])
    for method, options in BACKGROUNDS.items():
        left = (_without_background(waved, options) - _without_background(cleaned, options)).values[:, :whole]
        power = np.abs(left @ turns / whole * 2) ** 2
        found["wave"].add(method, condition, np.full(len(power), WAVE**2), power)


def judge_plateaus(recording: xr.Dataset, found: dict[str, Measure]) -> None:
    """Plant plateaus of 1 ΔF/F in the middle, clean again, and compare what windows leave of them."""
    middle = recording.sizes["frame"] // 2
    for method, windows in WINDOWS.items():
        before = _cleaned(recording, *windows)
        for seconds in PLATEAUS:
            inside = slice(middle, middle + round(seconds * float(recording["sampling_rate"])))
            plateau = np.zeros(recording.sizes["frame"])
            plateau[inside] = 1.0
            left = (_cleaned(plant(recording, plateau), *windows) - before).values[:, inside]
            found["plateau"].add(method, f"{seconds} s", left.mean(axis=1))


def _cleaned(raw: xr.Dataset, baseline_window: float, background_window: float) -> xr.DataArray:
    dff = ce.compute_dff(ce.estimate_baseline(raw, window=baseline_window))
    return ce.subtract_background(dff, window=background_window)["detrended"]


def judge_noise(cleaned: xr.Dataset, condition: str, found: dict[str, Measure], low_pass: float) -> None:
    """Compare each method's σ of ΔF/F."""
    from scipy.ndimage import gaussian_filter1d

    baseline = truth(cleaned, "baseline")
    expected = baseline * (1 + truth(cleaned, "dff"))
    if low_pass:
        expected = gaussian_filter1d(expected, low_pass, axis=1)
    true = ((cleaned["fluorescence"].values - expected) / np.sqrt(expected * baseline)).std(axis=1)
    for method, options in NOISES.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*low_passed_input")  # what some of these are for
            sigma = ce.estimate_noise(cleaned, **options)["noise"].values
        found["noise"].add(method, condition, sigma / true)


def judge_activity(cleaned: xr.Dataset, found: dict[str, Measure]) -> None:
    """Sort the neurons by how much of the time they rest, and look at each sort: F0, amplitudes, and how many are flagged."""
    resting = (truth(cleaned, "dff") < RESTING).mean(axis=1)
    bias = 100 * (cleaned["baseline"].values / truth(cleaned, "baseline") - 1).mean(axis=1)
    values = (bias, retention(cleaned, cleaned["dff"]), 100.0 * cleaned["saturated_activity"].values)
    for name, (least, most) in REST.items():
        sort = (resting >= least) & (resting < most)
        if not sort.any():
            continue
        for column, value in zip(ACTIVITY, values, strict=True):
            found["activity"].add(name, column, value[sort])


def judge_denoising(recording: xr.Dataset, condition: str, found: dict[str, Measure]) -> None:
    """Compare the denoised ΔF/F of each method, F0 being known."""
    true = truth(recording, "dff")
    dff = recording["fluorescence"].values / truth(recording, "baseline") - 1
    noisy = ce.estimate_noise(recording.assign(dff=var("dff").wrap(dff.astype(np.float32))))
    peaks = [_isolated_peaks(row, float(recording["sampling_rate"])) for row in true]
    before = ((dff - true) ** 2).mean(axis=1)
    for method, options in DENOISINGS.items():
        denoised = ce.denoise(noisy, **options)["denoised"].values
        found["gain"].add(method, condition, before, ((denoised - true) ** 2).mean(axis=1))
        kept = np.empty(len(true), dtype=object)
        for i, at in enumerate(peaks):
            kept[i] = denoised[i, at] / true[i, at]
        found["peaks"].add(method, condition, kept)


def _isolated_peaks(true: np.ndarray, rate: float) -> np.ndarray:
    """Return the frames of the peaks of small transients that are far from any other."""
    from scipy.signal import find_peaks

    at = find_peaks(true, height=0.02)[0]
    apart = np.diff(at) / rate
    alone = np.concatenate([[True], apart > BEFORE]) & np.concatenate([apart > AFTER, [True]])
    return at[alone & (true[at] < SMALL)]
