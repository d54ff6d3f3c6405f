"""From fluorescence to ΔF/F: baselines, their flags, normalisation and slow background."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE, transients
from strategies import chunkings

from calcium_engine.baseline import BACKGROUNDS, BASELINES, compute_dff, estimate_baseline, subtract_background
from calcium_engine.denoise import denoise
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.schema import CalciumError, recorded_calls
from calcium_engine.simulate import simulate_recording


def _slow(n, period_s):
    return np.sin(2 * np.pi * np.arange(n) / RATE / period_s)


def _found(array, rate=RATE, **how):
    return estimate_baseline(make_recording(array, sampling_rate=rate), **how)


# laws, for every method


@settings(max_examples=20)
@given(st.sampled_from([0.5, 2.0, 4.0]), st.integers(-40, 400), st.sampled_from(list(BASELINES)))
def test_baseline_follows_scale_and_offset(recording, scale, offset, method):
    doubles = recording.astype(np.float64).isel(neuron=slice(0, 3))
    moved = doubles.assign(fluorescence=scale * doubles["fluorescence"] + offset)
    expected = scale * estimate_baseline(doubles, method=method)["baseline"] + offset
    found = estimate_baseline(moved, method=method)["baseline"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@settings(max_examples=12)
@given(st.data(), st.sampled_from(list(BASELINES)), st.sampled_from(list(BACKGROUNDS)))
def test_every_method_gives_the_same_in_any_chunks(recording, data, baseline, background):
    blocks = data.draw(chunkings(recording.sizes["neuron"]))
    whole, cut = (
        subtract_background(compute_dff(estimate_baseline(made, method=baseline)), method=background)
        for made in (recording, recording.chunk(neuron=blocks))
    )
    xr.testing.assert_identical(cut.compute(), whole)


@pytest.mark.parametrize("method", [name for name, method in BASELINES.items() if method.local])
def test_every_local_method_works_epoch_by_epoch(recording, method):
    parts = [recording.isel(frame=part) for part in (slice(0, 600), slice(600, None))]
    time = np.concatenate([parts[0]["time"], parts[1]["time"] + 100.0])
    joined = make_recording(recording["fluorescence"].values, time=time)
    expected = [estimate_baseline(part, method=method)["baseline"].values for part in parts]
    np.testing.assert_array_equal(estimate_baseline(joined, method=method)["baseline"], np.concatenate(expected, axis=1))


@pytest.mark.parametrize("method", BASELINES)
def test_every_method_knows_a_level_beside_missing_samples(recording, method):
    result = estimate_baseline(recording, method=method)
    assert np.isfinite(result["baseline"]).all()
    assert result["baseline"].dtype == np.float32
    missing = np.isnan(recording["fluorescence"])
    assert missing.any()
    np.testing.assert_array_equal(np.isnan(compute_dff(result)["dff"]), missing)


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
@settings(max_examples=10)
def test_quantiles_are_monotone(recording, first, second, local):
    method = "rolling_quantile" if local else "global_quantile"
    low, high = sorted((first, second))
    lower, upper = (estimate_baseline(recording, method=method, quantile=q)["baseline"] for q in (low, high))
    assert (lower <= upper).all()


@pytest.mark.parametrize("method", [*BASELINES, "highpass", "opening"])
def test_a_constant_trace_is_its_own_level(method):
    array = np.full((2, 800), 7.0)
    if method in BASELINES:
        found = _found(array, method=method)["baseline"]
    else:
        dff = make_recording(array, sampling_rate=RATE, variable="dff")
        found = subtract_background(dff, method=method)["background"]
    np.testing.assert_allclose(found, 7.0, rtol=1e-9)


# what the level is worth


@pytest.mark.parametrize(("rate", "noise"), [(4.8, 2.0), (4.8, 6.0), (30.0, 2.0), (30.0, 0.3)])
def test_masked_baseline_neither_sinks_with_noise_nor_rises_with_activity(rate, noise):
    made = simulate_recording(
        n_neurons=12, n_frames=8000, sampling_rate=rate, n_ensembles=0, event_rate=6.0, noise_level=noise, seed=20
    )
    result = estimate_baseline(made)
    error = (result["baseline"] / made["true_baseline"] - 1.0).values
    assert abs(error.mean()) < 0.01
    assert error.std(axis=1).mean() < 0.006 + 0.003 * noise
    dff, truth = compute_dff(result)["dff"].values, made["true_dff"].values
    slope = [np.polyfit(x, y, 1)[0] for x, y in zip(truth, dff, strict=True) if x.any()]
    assert np.median(slope) == pytest.approx(1.0, abs=0.03)
    assert result["saturated_activity"].mean() <= 0.25


def test_activity_of_half_a_minute_is_not_taken_for_baseline():
    n = 4000
    time = np.arange(n) / RATE
    plateau = (np.abs((time % 250) - 125) < 15).astype(float)
    array = 100 * (1 + plateau) + np.random.default_rng(0).normal(0, 4, (4, n))
    baseline = _found(array)["baseline"].values
    assert np.abs(baseline / 100 - 1).max() < 0.05


def test_bias_correction_lifts_a_quantile_of_noise_to_its_mean():
    array = np.random.default_rng(0).normal(100, 5, (10, 6000))
    for method in ("rolling_quantile", "global_quantile"):
        plain = float(_found(array, method=method)["baseline"].mean())
        corrected = float(_found(array, method=method, bias_correction=True)["baseline"].mean())
        assert plain == pytest.approx(100 - 1.405 * 5, abs=0.3)
        assert corrected == pytest.approx(100, abs=0.3)


@pytest.mark.parametrize("method", ["maximin", "mode", "auto"])
def test_the_other_rules_find_the_level_of_quiet_cells(method):
    made = simulate_recording(n_neurons=8, n_frames=4000, n_ensembles=0, event_rate=1.0, noise_level=2.0, seed=21)
    error = (estimate_baseline(made, method=method)["baseline"] / made["true_baseline"] - 1.0).values
    assert abs(error.mean()) < 0.03
    assert error.std(axis=1).mean() < 0.05


@pytest.mark.parametrize(
    ("method", "window", "amplitude", "period"),
    [("rolling_quantile", 30.0, 0.3, 240), ("masked", 60.0, 0.2, 600), ("masked", 20.0, 0.05, 60), ("opening", 30.0, 0.3, 240)],
)
def test_background_goes_and_transients_stay(method, window, amplitude, period):
    n = 6000
    transient = transients(n, range(200, n, 300))
    slow = amplitude * _slow(n, period)
    dff = (slow + transient + np.random.default_rng(2).normal(0, 0.03, n))[None]
    made = make_recording(dff, sampling_rate=RATE, variable="dff")
    detrended = subtract_background(made, method=method, window=window)["detrended"].values[0]
    quiet = transient < 0.01
    # the slow wave falls to a tenth or less; the peaks keep their height over what is around them
    assert np.std(detrended[quiet]) < 0.1 * np.std(slow) + 0.033
    height = np.mean([detrended[t] - detrended[t - 10 : t].mean() for t in range(200, n, 300)])
    assert height == pytest.approx(1.0, abs=0.05)


def test_a_highpass_costs_amplitude_as_it_says():
    made = simulate_recording(n_neurons=8, n_frames=4000, n_ensembles=0, event_rate=6.0, noise_level=1.0, seed=22)
    dff = made["true_dff"]
    left = subtract_background(made.assign(dff=dff), method="highpass")["detrended"].values
    slope = np.median([np.polyfit(x, y, 1)[0] for x, y in zip(dff.values, left, strict=True)])
    assert 0.6 < slope < 0.85


# flags


def test_flags_say_who_drifts_and_who_bleaches():
    n = 6000
    time = np.arange(n) / RATE
    levels = [np.ones(n), 1 + 0.2 * _slow(n, 400), np.exp(-time / 2000), np.exp(-time / 1500) * (1 + 0.3 * _slow(n, 300))]
    array = 100 * np.array(levels) + np.random.default_rng(0).normal(0, 2, (4, n))
    for method in ("masked", "rolling_quantile", "global_quantile"):
        result = _found(array, method=method)
        assert result["drifting"].values.tolist() == [False, True, False, True]
        assert result["bleaching"].values.tolist() == [False, False, True, True]
        assert np.isnan(result["bleaching_tau"].values[:2]).all()
        assert float(result["bleaching_tau"][2]) == pytest.approx(2000, rel=0.05)


def test_edges_are_marked_at_every_end_of_an_epoch():
    array = np.random.default_rng(0).normal(100, 2, (1, 1000))
    time = np.arange(1000) / 10.0
    time[600:] += 50.0
    edge = estimate_baseline(make_recording(array, time=time), window=20.0)["baseline_edge"].values
    expected = np.zeros(1000, bool)
    for part in (slice(0, 100), slice(500, 700), slice(900, 1000)):
        expected[part] = True
    np.testing.assert_array_equal(edge, expected)
    assert not _found(array, method="global_quantile")["baseline_edge"].any()


def test_cells_that_hardly_rest_are_marked():
    n = 6000
    rng = np.random.default_rng(5)
    array = 100 * np.array([1 + transients(n, np.sort(rng.integers(0, n, count))) for count in (60, 3000)])
    result = _found(array + rng.normal(0, 3, array.shape))
    assert result["saturated_activity"].values.tolist() == [False, True]


def test_floored_neurons_stay_finite_and_are_marked():
    rng = np.random.default_rng(3)
    array = np.stack([rng.normal(100, 2, 2000), rng.normal(0, 2, 2000), np.zeros(2000)])
    result = compute_dff(_found(array))
    assert np.isfinite(result["dff"]).all()
    assert result["f0_floored"].values.tolist() == [False, True, True]
    assert (result["dff"].values[2] == 0).all()


def test_units_of_sigma_need_no_baseline_to_divide_by():
    rng = np.random.default_rng(3)
    array = np.stack([rng.normal(100, 2, 2000), rng.normal(0, 5, 2000), np.zeros(2000)])
    result = compute_dff(_found(array), normalize="sigma")
    assert not result["f0_floored"].any()
    np.testing.assert_allclose(result["dff"].std("frame"), [1, 1, 0], atol=0.1)
    clean = denoise(estimate_noise(subtract_background(result)))
    assert {clean[name].attrs["units"] for name in ("dff", "background", "detrended", "denoised", "noise")} == {"sigma"}


# arguments


def test_arguments_of_other_methods_are_warned_of_and_change_nothing(recording):
    with pytest.warns(UserWarning, match=r"'masked' takes no quantile: quantile=0.2 changes nothing"):
        found = estimate_baseline(recording, quantile=0.2)
    xr.testing.assert_identical(found, estimate_baseline(recording))


def test_smoothing_must_be_a_duration(recording):
    with pytest.raises(CalciumError, match=r"smoothing is -1.0 s.*to the window"):
        estimate_baseline(recording, method="maximin", smoothing=-1.0)


def test_the_history_repeats_the_calls(recording):
    first = subtract_background(compute_dff(estimate_baseline(recording, method="maximin", window=40.0)), method="opening")
    steps = {"estimate_baseline": estimate_baseline, "compute_dff": compute_dff, "subtract_background": subtract_background}
    again = recording
    for name, arguments in recorded_calls(first):
        if name in steps:
            again = steps[name](again, **arguments)
    xr.testing.assert_identical(again, first)


# inputs that are not as they seem


@pytest.mark.parametrize(("smoothed", "noise"), [(1.0, 2.0), (1.0, 6.0), (2.0, 4.0)])
def test_a_trace_that_was_smoothed_keeps_its_baseline_and_its_rest(smoothed, noise):
    made = simulate_recording(
        n_neurons=12,
        n_frames=6000,
        sampling_rate=30.0,
        event_rate=0.5,
        n_ensembles=0,
        noise_level=noise,
        low_pass=smoothed,
        seed=3,
    )
    result = estimate_baseline(made)
    assert abs(float((result["baseline"] / made["true_baseline"]).mean()) - 1.0) < 0.02
    assert result["saturated_activity"].mean() < 0.1
    with pytest.warns(UserWarning, match="low_passed_input"):
        assert estimate_noise(compute_dff(result))["low_passed_input"].mean() > 0.7


def test_one_short_busy_epoch_does_not_mark_a_neuron():
    array = np.random.default_rng(0).normal(100, 2, (3, 6000))
    array[:, 5940:] += 100 * np.exp(-np.arange(60) / 30.0)
    time = np.arange(6000) / RATE + 50.0 * (np.arange(6000) >= 5940)
    made = make_recording(array, time=time)
    with pytest.warns(UserWarning, match=r"1 of 2 epochs are shorter than the window of 60 s"):
        assert not estimate_baseline(made)["saturated_activity"].any()


@pytest.mark.parametrize("rate", [10.0, 60.0, 100.0])
def test_the_floor_does_not_rise_with_the_frame_rate(rate):
    made = simulate_recording(
        n_neurons=4, n_frames=6000, sampling_rate=rate, noise_level=6.0, event_rate=1.0, n_ensembles=0, drift=0.0, bleaching=0.0
    )
    assert not compute_dff(estimate_baseline(made))["f0_floored"].any()


def test_sigma_is_that_of_the_noise_whatever_bleaches():
    array = 100 * np.exp(-np.arange(6000) / 4000) + np.random.default_rng(0).normal(0, 3, (4, 6000))
    result = compute_dff(_found(array), normalize="sigma")
    assert float(result["dff"].std()) == pytest.approx(1.0, rel=0.03)
