"""The steps on labelled recordings: laws, gaps, chunks, and inputs with nothing in them."""

import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE, run
from strategies import chunkings

from calcium_engine import kernels
from calcium_engine.analysis import analyze
from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.denoise import denoise
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.ensembles import find_ensembles
from calcium_engine.events import detect_events
from calcium_engine.features import compute_features
from calcium_engine.io import make_recording, open_recording, save_recording
from calcium_engine.neuropil import subtract_neuropil
from calcium_engine.noise import estimate_noise
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.schema import EVENT_FLAGS, VARIABLES, CalciumError, MissingVariableError
from calcium_engine.simulate import simulate_recording


def test_everything_made_is_declared_and_labelled(finished):
    _, result = finished
    made = set(result.data_vars)
    assert {"dff", "denoised", "event_onset", "coactivity", "participation", "membership"} <= made
    for name in made:
        declared = VARIABLES[name]
        assert result[name].dims == declared.dims
        assert result[name].dtype.kind in declared.kind
        assert result[name].attrs["units"] == declared.units
        for value in result[name].attrs.values():
            assert type(value) in (str, int, float, bool), (name, value)
    assert result.attrs["history"].count("\n") + 1 >= 9


def test_traces_stay_float32_and_missing_frames_stay_missing(finished, recording):
    _, result = finished
    missing = np.isnan(recording["fluorescence"])
    for name in ("dff", "detrended", "denoised"):
        assert result[name].dtype == np.float32
        np.testing.assert_array_equal(np.isnan(result[name]), missing)


@settings(max_examples=8)
@given(st.data())
def test_any_chunking_gives_the_identical_result(finished, recording, data):
    recipe, expected = finished
    blocks = data.draw(chunkings(recording.sizes["neuron"]))
    chunked = recording.chunk(neuron=blocks)
    found = run(chunked, recipe)
    assert found["dff"].chunks is not None
    xr.testing.assert_identical(found.compute(), expected)


def test_the_byte_order_of_another_machine_changes_nothing(finished, recording, tmp_path):
    recipe, expected = finished

    def swapped(name):
        return recording[name].dims, recording[name].values.astype(recording[name].dtype.newbyteorder()), recording[name].attrs

    other = recording.assign(fluorescence=swapped("fluorescence")).assign_coords(neuron=swapped("neuron"), time=swapped("time"))
    xr.testing.assert_identical(run(other, recipe), expected)
    xr.testing.assert_identical(open_recording(save_recording(other, tmp_path / "r.zarr")), recording)
    xr.testing.assert_identical(open_recording(save_recording(other.chunk(neuron=5), tmp_path / "s.zarr")), recording)
    bins = {"compute_coactivity.bin": 2 / RATE}
    blocks = analyze(other, recipe, settings=bins, out=tmp_path / "out.zarr")
    xr.testing.assert_identical(blocks, analyze(recording, recipe, settings=bins, out=tmp_path / "same.zarr"))


def test_building_a_graph_computes_nothing(recording):
    def refuse(dsk, keys, **kwargs):
        raise AssertionError("computed while the graph was built")

    chunked = recording.chunk(neuron=4)
    with dask.config.set(scheduler=refuse):
        result = compute_dff(estimate_baseline(chunked))
        result = estimate_noise(subtract_background(result))
        result = denoise(result)
    assert result["denoised"].chunks is not None


def test_traces_cut_along_time_are_refused_with_the_mend(recording):
    with pytest.raises(CalciumError, match=r"\.chunk\(frame=-1\)"):
        estimate_baseline(recording.chunk(frame=100))


def test_neurons_in_another_order_give_the_same_neurons(finished, recording):
    recipe, expected = finished
    order = np.random.default_rng(0).permutation(recording.sizes["neuron"])
    found = run(recording.isel(neuron=order), recipe)
    for name in ("dff", "detrended", "denoised", "active"):
        np.testing.assert_array_equal(found[name].sel(neuron=expected["neuron"]), expected[name])
    np.testing.assert_array_equal(found["coactivity"], expected["coactivity"])


STEPS_AND_THEIR_NEED = [
    (subtract_neuropil, "neuropil", "read_suite2p"),
    (compute_dff, "baseline", "estimate_baseline"),
    (estimate_noise, "dff", "compute_dff"),
    (subtract_background, "dff", "compute_dff"),
    (denoise, "dff", "compute_dff"),
    (detect_events, "dff", "compute_dff"),
    (compute_features, "event_neuron", "detect_events"),
    (compute_coactivity, "event_onset", "detect_events"),
    (find_ensemble_events, "coactivity", "compute_coactivity"),
    (compute_pairwise, "coactivity", "compute_coactivity"),
    (find_ensembles, "participation", "find_ensemble_events"),
]


@pytest.mark.parametrize(("step", "needed", "maker"), STEPS_AND_THEIR_NEED)
def test_a_step_without_its_input_names_what_makes_it(step, needed, maker):
    raw = make_recording(np.ones((2, 50), np.float32) * 100, sampling_rate=RATE)
    with pytest.raises(MissingVariableError, match=f"{needed}.*{maker}"):
        step(raw)


BAD_ARGUMENTS = [
    (estimate_baseline, {"window": 1e6}, "longer than the recording"),
    (estimate_baseline, {"window": -1.0}, "positive"),
    (estimate_baseline, {"method": "mode!"}, "masked, rolling_quantile, maximin, mode, auto, global_quantile"),
    (estimate_baseline, {"method": "global_quantile", "quantile": 8.0}, "0 to 1"),
    (subtract_background, {"method": "none"}, "masked, rolling_quantile, opening, highpass"),
    (subtract_background, {"method": "rolling_quantile", "quantile": -0.1}, "0 to 1"),
    (estimate_noise, {"method": "none"}, "auto, difference, below_mode, mad, psd, sd"),
    (denoise, {"method": "none"}, "swt, dwt"),
    (denoise, {"shrink": "none"}, "bayes, visu, sure"),
    (denoise, {"wavelet": "bior1.3"}, "orthogonal"),
    (denoise, {"levels": 0}, "1 to 12"),
    (detect_events, {"detector": "none"}, "pulse, template, noise, sd, ridge"),
    (detect_events, {"indicator": "GCaMP99"}, "GCaMP6s"),
    (detect_events, {"threshold": 0.0}, "positive"),
    (detect_events, {"false_positives_per_minute": -1.0}, "positive"),
    (compute_features, {"burst_interval": 0.0}, "positive"),
    (compute_coactivity, {"bin": 0.0}, "positive"),
    (compute_coactivity, {"bin": 1e9}, "shorter bin"),
    (find_ensemble_events, {"significance": "none"}, "fdr.*percentile.*fwer"),
    (find_ensemble_events, {"alpha": 1.5}, "between 0 and 1"),
    (find_ensemble_events, {"monte_carlo": -1}, "negative"),
    (find_ensembles, {"cut": "none"}, "null, pca_variance"),
    (find_ensembles, {"cut": 2.5}, "whole number"),
    (find_ensembles, {"linkage": "none"}, "average"),
    (find_ensembles, {"variance": 80.0}, "between 0 and 1"),
    (find_ensembles, {"min_events": 0}, "at least 1"),
]


@pytest.mark.parametrize(("step", "arguments", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_one_clear_error(step, arguments, message, finished):
    with pytest.raises(CalciumError, match=message):
        step(finished[1], **arguments)


@pytest.mark.parametrize("detector", ["pulse", "noise"])
def test_white_noise_keeps_the_false_positive_budget(detector):
    array = np.random.default_rng(6).normal(0, 0.1, (200, 6000)).astype(np.float32)
    made = estimate_noise(make_recording(array, sampling_rate=RATE, variable="dff"))
    budget = 0.1
    minutes = array.size / RATE / 60
    found = detect_events(made, detector=detector, false_positives_per_minute=budget).sizes["event"]
    # above the budget by no more than the estimate of the noise allows, and not far below it either
    assert 0.3 * budget * minutes < found < 1.4 * budget * minutes


def test_sd_rule_is_the_rule_to_the_letter(finished):
    _, result = finished
    found = detect_events(result, detector="sd", trace="denoised", threshold=2.0, min_dff=0.1)
    traces = result["denoised"].astype(np.float64)
    high = np.maximum(traces.mean("frame") + 2.0 * traces.std("frame"), 0.1)
    for neuron in result["neuron"].values:
        trace = kernels.fill_gaps(result["denoised"].sel(neuron=neuron).values[None])[0]
        over = trace > float(high.sel(neuron=neuron))
        peaks = np.round(found["event_peak_dff"].values[found["event_neuron"].values == neuron], 9)
        # each excursion over the threshold that ends by falling an SD below it holds an event, and each event lies in one
        assert (peaks > float(high.sel(neuron=neuron))).all()
        assert (len(peaks) > 0) == bool(over.any())
        assert set(peaks) <= set(np.round(trace[over].astype(np.float64), 9))


def test_events_lie_in_order_with_their_labels(finished):
    _, result = finished
    rows = [list(result["neuron"].values).index(neuron) for neuron in result["event_neuron"].values]
    assert rows == sorted(rows)
    assert (result["event_onset"] <= result["event_peak"]).all()
    assert (result["event_peak"] <= result["event_offset"]).all()
    assert (result["event_amplitude"] > 0).all()
    long = (result["event_flags"].values & EVENT_FLAGS["long"]) > 0
    np.testing.assert_array_equal(long, result["event_fwhm"].values > 5.0)
    # active frames are those within events
    total = int(result["active"].sum())
    spans = np.floor(result["event_offset"] * RATE) - np.ceil(result["event_onset"] * RATE) + 1
    assert total <= float(spans.sum()) + result.sizes["event"]


def test_two_epochs_are_two_recordings():
    whole = simulate_recording(n_neurons=6, n_frames=1200, seed=8)
    array = whole["fluorescence"].values
    time = np.concatenate([np.arange(600) / RATE, 500 + np.arange(600) / RATE])
    joined = run(make_recording(array, time=time))
    assert np.unique(joined["epoch"]).tolist() == [0, 1]
    halves = [make_recording(array[:, part], sampling_rate=RATE) for part in (slice(0, 600), slice(600, 1200))]
    for method in ("masked", "rolling_quantile"):
        parts = [estimate_baseline(half, method=method)["baseline"].values for half in halves]
        found = estimate_baseline(make_recording(array, time=time), method=method)["baseline"].values
        np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    # no event, interval or bin spans the gap
    assert not ((joined["event_onset"] < 200) & (joined["event_offset"] > 400)).any()
    assert float(joined["interval_median"].max()) < 200
    assert not ((joined["bin_time"] > 126) & (joined["bin_time"] < 499)).any()


# inputs with nothing in them


def _empty_cases():
    rng = np.random.default_rng(11)
    n = 700
    alive = 100 + rng.normal(0, 2, (3, n))
    gap = alive.copy()
    gap[1, 200:420] = np.nan
    one_missing = alive.copy()
    one_missing[2] = np.nan
    return {
        "silent": alive,
        "one neuron": alive[:1],
        "constant": np.full((3, n), 100.0),
        "zeros": np.zeros((3, n)),
        "long gap": gap,
        "a neuron without data": one_missing,
        "two frames": alive[:, :2],
        "three frames": alive[:, :3],
        "negative": alive - 200,
    }


@pytest.mark.parametrize("recipe", ["classical", "calibrated"])
@pytest.mark.parametrize("case", _empty_cases())
def test_nothing_to_find_is_an_empty_result_with_its_labels(case, recipe):
    array = _empty_cases()[case]
    made = make_recording(array, sampling_rate=RATE)
    short = {"estimate_baseline.window": 0.4, "subtract_background.window": 0.4} if array.shape[1] < 10 else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of|.*takes no window", UserWarning)
        result = analyze(made, recipe, settings=short)
    for name in ("event_neuron", "participation", "membership", "is_core", "similarity", "ensemble_stability"):
        assert result[name].dims == VARIABLES[name].dims
    assert result.sizes["ensemble"] == 0
    assert result.sizes["neuron"] == len(array)
    np.testing.assert_array_equal(np.isnan(result["dff"]), np.isnan(array))
    assert (result["event_count"].values == 0).all() or case in (
        "three frames",
        "silent",
        "long gap",
        "negative",
        "one neuron",
        "a neuron without data",
    )


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(2, 200), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_no_recording_is_too_odd_for_the_whole_path(n_neurons, n_frames, missing, seed):
    rng = np.random.default_rng(seed)
    array = rng.choice([1.0, 100.0]) * rng.normal(size=(n_neurons, n_frames)).astype(np.float32)
    array[rng.random(array.shape) < missing] = np.nan
    array[0, 0] = 1.0
    made = make_recording(array, sampling_rate=RATE)
    window = min(60.0, n_frames / RATE)
    for recipe in ("classical", "calibrated"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "bins of|.*takes no window", UserWarning)
            result = analyze(made, recipe, settings={"estimate_baseline.window": window, "subtract_background.window": window})
        np.testing.assert_array_equal(np.isnan(result["denoised"]), np.isnan(array))
        assert (result["event_onset"] <= result["event_offset"]).all()


# what selections and gaps must not do


def test_a_gap_in_all_neurons_makes_no_ensemble_event():
    recording = simulate_recording(n_neurons=80, n_frames=3000, n_ensembles=0, event_rate=10.0, seed=4)
    gap = recording.assign(fluorescence=recording["fluorescence"].where((recording["frame"] < 480) | (recording["frame"] > 494)))
    result = run(gap)
    after = (result["bin_time"] > 494 / RATE) & (result["bin_time"] < 498 / RATE)
    assert int(result["coactivity"].where(after, 0).max()) < result["is_coactive"].attrs["threshold"]
    assert result.sizes["ensemble_event"] <= 1
    unseen = (result["event_flags"].values & EVENT_FLAGS["onset_unseen"]) > 0
    assert unseen.any()  # some were under way when the gap ended


def test_events_outside_a_selection_are_refused(finished):
    half = finished[1].isel(frame=slice(0, 700))
    for step in (compute_features, compute_coactivity):
        with pytest.raises(CalciumError, match=r"outside the recording's time.*detect_events"):
            step(half)
    fewer = finished[1].isel(neuron=slice(0, 3))
    with pytest.raises(CalciumError, match="does not hold"):
        compute_features(fewer)


def test_epochs_follow_from_time_whatever_was_selected_or_joined(recording):
    cut = recording.isel(frame=np.r_[0:400, 900:1500])
    parts = [estimate_baseline(recording.isel(frame=part))["baseline"].values for part in (slice(0, 400), slice(900, 1500))]
    np.testing.assert_array_equal(estimate_baseline(cut)["baseline"], np.concatenate(parts, axis=1))
    later = recording.assign_coords(time=recording["time"] + 1e4)
    joined = run(xr.concat([recording, later], "frame", join="outer", coords="minimal", data_vars="minimal", compat="override"))
    assert not ((joined["event_onset"] < 2000) & (joined["event_offset"] > 2000)).any()


def test_every_second_frame_is_another_sampling_rate(recording):
    with pytest.raises(CalciumError, match=r"4.8 Hz, but frames are 0.4167 s apart .*assign_coords"):
        estimate_baseline(recording.isel(frame=slice(None, None, 2)))


@pytest.mark.parametrize("step", [estimate_noise, denoise, detect_events])
@pytest.mark.parametrize("trace", ["nope", "fluorescence"])
def test_only_traces_of_dff_can_be_named(step, trace, finished):
    with pytest.raises(CalciumError, match="choose one of dff, detrended, denoised"):
        step(finished[1], trace=trace)


@pytest.mark.parametrize("sigma", [0.05, 0.01])
def test_a_plateau_is_not_one_event_after_another(sigma):
    lag = np.arange(1200) / 10.0 - 60
    plateau = np.where(lag < 0, 0.0, np.where(lag < 20, 1.0, np.exp(-np.maximum(lag - 20, 0) / 1.25)))
    array = plateau + np.random.default_rng(0).normal(0, sigma, (20, 1200))
    made = denoise(estimate_noise(make_recording(array, sampling_rate=10.0, variable="dff")))
    assert detect_events(made).sizes["event"] / 20 < 4


def test_rerunning_a_step_drops_what_followed_from_it(finished):
    again = detect_events(finished[1], detector="noise")
    assert "coactivity" not in again
    assert "membership" not in again
    assert "event_rate" not in again
    assert "ensemble" not in again.coords
    assert "denoised" in again
    assert "find_ensembles(" not in again.attrs["history"]


def test_a_gap_cuts_an_event_off_as_an_epoch_does():
    frames = np.arange(600)
    lag = np.maximum(frames - 300, 0) / 12.5
    trace = np.where(frames >= 300, np.exp(-lag), 0.0) + np.random.default_rng(0).normal(0, 0.01, (3, 600))
    gap = trace.copy()
    gap[:, 303:350] = np.nan
    for array in (trace, gap):
        made = estimate_noise(make_recording(array, sampling_rate=10.0, variable="dff"))
        events = detect_events(made)
        near = np.abs(events["event_peak"].values - 30.0) < 0.3
        assert near.sum() == 3
        np.testing.assert_allclose(events["event_fwhm"].values[near], 0.05 + 1.25 * np.log(2), rtol=0.25)
        cut = (events["event_flags"].values[near] & (EVENT_FLAGS["edge"] | EVENT_FLAGS["fwhm_censored"])) > 0
        assert cut.all() == (array is gap)


def test_a_hole_cut_after_the_events_is_noticed(finished):
    with pytest.raises(CalciumError, match="outside the recording's time"):
        compute_coactivity(finished[1].isel(frame=np.r_[0:500, 1000:1500]), bin=2 / RATE)
    with pytest.raises(CalciumError, match=r"compute_coactivity\(\) again"):
        find_ensemble_events(finished[1].isel(bin=slice(0, 100)))


def test_features_do_not_depend_on_the_order_of_neurons_or_events(finished):
    _, result = finished
    expected = compute_features(result)
    order = np.random.default_rng(1).permutation(result.sizes["neuron"])
    for found in (compute_features(result.isel(neuron=order)), compute_features(result.isel(event=slice(None, None, -1)))):
        for name in ("amplitude_median", "interval_median", "burst_share", "fano_factor", "event_count"):
            np.testing.assert_array_equal(found[name].sel(neuron=expected["neuron"]), expected[name])


def test_times_of_few_digits_are_taken_and_times_that_go_back_are_not(recording):
    array = recording["fluorescence"].values
    coarse = make_recording(array, time=np.round(np.arange(array.shape[1]) / RATE, 1))
    assert run(coarse).sizes["event"] > 0
    twice = xr.concat([recording, recording], "frame", join="outer", coords="minimal", data_vars="minimal", compat="override")
    with pytest.raises(CalciumError, match="time does not go on after frame 1499"):
        estimate_baseline(twice)


def test_what_a_user_adds_stays_and_lost_attributes_do_no_harm(finished):
    _, result = finished
    added = result.assign_coords(stimulus=("stimulus", [1.0, 2.0]))
    again = compute_dff(added.drop_attrs())
    assert "stimulus" in again.coords
    assert "denoised" not in again
    with pytest.raises(CalciumError, match="more than once"):
        compute_features(result.isel(neuron=[0, 0, 1]))


def test_the_second_threshold_of_the_sd_rule_is_missed_in_units_of_sigma(recording):
    made = denoise(estimate_noise(compute_dff(estimate_baseline(recording), normalize="sigma")))
    with pytest.warns(UserWarning, match="give min_dff in σ"):
        detect_events(made, detector="sd")
    found = detect_events(made, detector="sd", min_dff=3.0)
    assert (found["event_peak_dff"] > 3.0).all()
    assert found["event_amplitude"].attrs["units"] == "sigma"
