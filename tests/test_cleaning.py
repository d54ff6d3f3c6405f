"""From raw fluorescence to clean ΔF/F."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE

from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background, subtract_neuropil
from calcium_engine.denoise import denoise
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.schema import VARIABLES, CalciumError


def test_neuropil_ratio_out_of_range_and_what_it_does():
    rng = np.random.default_rng(0)
    array = rng.normal(100, 1, (2, 300))
    cloud = rng.normal(50, 5, (2, 300))
    made = make_recording(array + 0.7 * (cloud - 50), sampling_rate=RATE)
    made = made.assign(neuropil=VARIABLES["neuropil"].wrap(cloud))
    corrected = subtract_neuropil(made)["fluorescence_corrected"]
    assert abs(float(corrected.mean()) - 100) < 0.5  # F keeps its level
    np.testing.assert_allclose(corrected, array, atol=0.7 * 1.0)
    with pytest.raises(CalciumError, match="0 to 2"):
        subtract_neuropil(made, ratio=7)


@settings(max_examples=10)
@given(
    st.sampled_from([0.5, 2.0, 4.0]), st.integers(-40, 400), st.sampled_from(["masked", "rolling_quantile", "global_quantile"])
)
def test_baseline_follows_scale_and_offset(recording, scale, offset, method):
    doubles = recording.astype(np.float64)
    moved = doubles.assign(fluorescence=scale * doubles["fluorescence"] + offset)
    expected = scale * estimate_baseline(doubles, method=method)["baseline"] + offset
    found = estimate_baseline(moved, method=method)["baseline"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def _slow(n, period_s):
    return np.sin(2 * np.pi * np.arange(n) / RATE / period_s)


def _transients(n, times):
    lag = np.arange(n) - np.array(times)[:, None]
    return np.where(lag >= 0, np.exp(-np.maximum(lag, 0) / 6.0), 0.0).sum(axis=0)


def test_masked_baseline_ignores_transients_and_follows_drift():
    n = 6000
    rng = np.random.default_rng(1)
    drift = 100 + 8 * _slow(n, 600)
    transients = 60 * _transients(n, range(100, n, 150))
    array = np.array([drift + transients + rng.normal(0, 2, n) for _ in range(4)])
    baseline = estimate_baseline(make_recording(array, sampling_rate=RATE))["baseline"].values
    error = (baseline - drift) / drift
    assert abs(error.mean()) < 0.01
    assert error.std() < 0.015


@pytest.mark.parametrize(
    ("method", "window", "amplitude", "period"), [("rolling_quantile", 30.0, 0.3, 240), ("masked", 60.0, 0.2, 600)]
)
def test_background_goes_and_transients_stay(method, window, amplitude, period):
    n = 6000
    rng = np.random.default_rng(2)
    transient = _transients(n, range(200, n, 300))
    slow = amplitude * _slow(n, period)
    dff = (slow + transient + rng.normal(0, 0.03, n))[None]
    made = make_recording(dff, sampling_rate=RATE, variable="dff")
    detrended = subtract_background(made, method=method, window=window)["detrended"].values[0]
    quiet = transient < 0.01
    # the slow wave falls to a tenth or less; the peaks keep their height over what is around them
    assert np.std(detrended[quiet]) < 0.1 * np.std(slow) + 0.03
    height = np.mean([detrended[t] - detrended[t - 10 : t].mean() for t in range(200, n, 300)])
    assert height == pytest.approx(1.0, abs=0.05)


def test_floored_neurons_stay_finite_and_are_marked():
    rng = np.random.default_rng(3)
    array = np.stack([rng.normal(100, 2, 2000), rng.normal(0, 2, 2000), np.zeros(2000)])
    result = compute_dff(estimate_baseline(make_recording(array, sampling_rate=RATE)))
    assert np.isfinite(result["dff"]).all()
    assert result["f0_floored"].values.tolist() == [False, True, True]
    assert (result["dff"].values[2] == 0).all()


@pytest.mark.parametrize(("rate", "tolerance"), [(4.8, 0.08), (30.0, 0.03)])
def test_noise_of_white_noise_is_its_sd(rate, tolerance):
    array = np.random.default_rng(4).normal(0, 0.05, (20, 10000))
    result = estimate_noise(make_recording(array, sampling_rate=rate, variable="dff"))
    assert float(result["noise"].mean()) == pytest.approx(0.05, rel=tolerance)
    # nu by its definition: the median difference of white noise is 0.954 of its SD
    assert float(result["noise_level"].mean()) == pytest.approx(100 * 0.954 * 0.05 / np.sqrt(rate), rel=0.02)


def test_denoising_takes_noise_and_leaves_transients():
    n = 4000
    clean = _transients(n, range(50, n, 100))
    noisy = clean + np.random.default_rng(5).normal(0, 0.15, n)
    made = estimate_noise(make_recording(noisy[None], sampling_rate=RATE, variable="dff"))
    for method, shrink in (("swt", "bayes"), ("swt", "visu"), ("dwt", "bayes"), ("dwt", "visu")):
        denoised = denoise(made, method=method, shrink=shrink)["denoised"].values[0]
        gain = np.mean((noisy - clean) ** 2) / np.mean((denoised - clean) ** 2)
        assert gain > (1.5 if shrink == "bayes" else 0.5), (method, shrink)
