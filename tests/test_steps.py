"""The steps on labelled recordings: laws, gaps, chunks, and inputs with nothing in them."""

import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import chunkings

from calcium_engine import kernels
from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background, subtract_neuropil
from calcium_engine.coactivity import compute_coactivity, find_ensemble_events
from calcium_engine.denoise import denoise
from calcium_engine.ensembles import find_ensembles
from calcium_engine.events import detect_events
from calcium_engine.features import compute_features
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.recipe import analyze
from calcium_engine.schema import EVENT_FLAGS, VARIABLES, CalciumError, MissingVariableError
from calcium_engine.simulate import simulate_recording

RATE = 4.8


@pytest.fixture(scope="module")
def recording():
    return simulate_recording(n_neurons=12, n_frames=1500, n_ensembles=2, ensemble_rate=4.0, missing_frames=9, seed=5)


def run(recording, recipe="calibrated", **settings):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of", UserWarning)
        return analyze(recording, recipe, settings={key.replace("__", "."): value for key, value in settings.items()})


@pytest.fixture(scope="module", params=["classical", "calibrated"])
def finished(request, recording):
    return request.param, run(recording, request.param)


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
    (estimate_baseline, {"method": "mode!"}, "masked, rolling_quantile, global_quantile"),
    (estimate_baseline, {"method": "global_quantile", "quantile": 8.0}, "0 to 1"),
    (subtract_background, {"method": "none"}, "masked, rolling_quantile"),
    (subtract_background, {"quantile": -0.1}, "0 to 1"),
    (estimate_noise, {"method": "none"}, "auto, difference, below_mode"),
    (denoise, {"method": "none"}, "swt, dwt"),
    (denoise, {"shrink": "none"}, "bayes, visu"),
    (denoise, {"wavelet": "bior1.3"}, "orthogonal"),
    (denoise, {"levels": 0}, "1 to 12"),
    (detect_events, {"detector": "none"}, "pulse, noise, sd"),
    (detect_events, {"indicator": "GCaMP99"}, "GCaMP6s"),
    (detect_events, {"threshold": 0.0}, "positive"),
    (detect_events, {"false_positives_per_minute": -1.0}, "positive"),
    (compute_features, {"burst_interval": 0.0}, "positive"),
    (compute_coactivity, {"bin": 0.0}, "positive"),
    (compute_coactivity, {"bin": 1e9}, "shorter bin"),
    (find_ensemble_events, {"significance": "none"}, "fdr, percentile"),
    (find_ensemble_events, {"alpha": 1.5}, "between 0 and 1"),
    (find_ensemble_events, {"shuffles": -1}, "negative"),
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


def _with_events(n_neurons, n_frames, rows, frames):
    """A recording that holds nothing but event onsets."""
    made = make_recording(np.zeros((n_neurons, n_frames), np.float32), sampling_rate=RATE, variable="dff")
    table = {"event_neuron": made["neuron"].values[rows], "event_onset": made["time"].values[frames]}
    table["event_flags"] = np.zeros(len(rows), int)
    return made.assign({name: VARIABLES[name].wrap(values) for name, values in table.items()})


def _poisson_events(n_neurons, n_frames, rate_per_frame, seed, burst=3):
    """A recording with events only: independent bursty neurons."""
    rng = np.random.default_rng(seed)
    rows, frames = np.nonzero(rng.random((n_neurons, n_frames)) < rng.lognormal(np.log(rate_per_frame), 0.5, n_neurons)[:, None])
    extra = rng.geometric(1 / burst, len(rows))
    pairs = {(r, f + 3 * k) for r, f, n in zip(rows, frames, extra, strict=True) for k in range(n) if f + 3 * k < n_frames}
    rows, frames = np.array(sorted(pairs)).T
    return _with_events(n_neurons, n_frames, rows, frames)


def test_events_under_way_when_the_recording_begins_do_not_coincide():
    tail = np.exp(-np.arange(600) / 6.0) + np.random.default_rng(0).normal(0, 0.02, (10, 600))
    made = estimate_noise(make_recording(tail, sampling_rate=RATE, variable="dff"))
    result = compute_coactivity(detect_events(made, detector="noise"), bin=2 / RATE)
    assert result.sizes["event"] >= 10
    assert result["coactivity"].values[0] == 0


def test_coactivity_counts_each_neuron_once_a_bin():
    made = _poisson_events(20, 1000, 0.02, 0)
    with pytest.warns(UserWarning, match=r"whole bins of 2 frames .*bin=0.417"):
        result = compute_coactivity(made)
    frames = np.rint(made["event_onset"].values * RATE).astype(int)
    expected = [len(set(made["event_neuron"].values[frames // 2 == b])) for b in range(500)]
    assert result["coactivity"].values.tolist() == expected
    assert result["coactivity"].attrs["bin_width_s"] == pytest.approx(2 / RATE)
    np.testing.assert_allclose(result["bin_time"][:2], [0.5 / RATE, 2.5 / RATE])


def test_shuffles_and_the_exact_law_agree():
    made = compute_coactivity(_poisson_events(60, 6000, 0.004, 1), bin=2 / RATE)
    exact = find_ensemble_events(made, significance="percentile")
    sampled = find_ensemble_events(made, significance="percentile", shuffles=1000, seed=3)
    distance = 0.5 * float(np.abs(exact["coactivity_null"] - sampled["coactivity_null"]).sum())
    assert distance < 2e-3
    assert exact["is_coactive"].attrs["threshold"] == sampled["is_coactive"].attrs["threshold"]
    assert exact["coactivity_expected"][0] == pytest.approx(float(made["coactivity"].mean()))
    # counts above the 99th percentile, to the letter
    counts = np.repeat(np.arange(61), np.rint(sampled["coactivity_null"].values * 1000 * 3000).astype(int))
    np.testing.assert_array_equal(
        sampled["is_coactive"], sampled["coactivity"] > np.percentile(counts, 99, method="inverted_cdf")
    )


def test_false_discovery_rule_is_benjamini_hochberg():
    from scipy.stats import false_discovery_control

    made = compute_coactivity(_poisson_events(60, 3000, 0.004, 2), bin=2 / RATE)
    onset = made["event_onset"].values.copy()
    onset[::9] = 100.0
    made = compute_coactivity(made.assign(event_onset=("event", onset)), bin=2 / RATE)
    result = find_ensemble_events(made)
    np.testing.assert_array_equal(result["is_coactive"], false_discovery_control(result["coactivity_pvalue"].values) <= 0.05)
    assert result["is_coactive"].any()


def test_share_of_significant_bins_is_the_attained_alpha():
    from scipy.stats import binom

    inside = 0
    for seed in range(20):
        made = compute_coactivity(_poisson_events(100, 6000, 0.003, 100 + seed), bin=2 / RATE)
        result = find_ensemble_events(made, significance="percentile", shuffles=200, seed=seed)
        attrs = result["is_coactive"].attrs
        low, high = binom.interval(0.99, attrs["n_tests"], attrs["attained_alpha"])
        inside += low <= int(result["is_coactive"].sum()) <= high
    assert inside >= 17  # 20 · 0.99 are expected; fewer than 17 come about less than once in a thousand


def test_touching_bins_are_one_ensemble_event_at_its_peak():
    bins = {0: (20, 50), 1: (20, 50), 2: (20, 51), 3: (21, 51), 4: (21, 51), 5: (21, 51), 6: (21,), 7: (90,)}
    pairs = [(n, b) for n, own in bins.items() for b in own]
    rows, frames = np.array([n for n, _ in pairs]), np.array([2 * b for _, b in pairs])
    made = _with_events(8, 200, rows, frames)
    result = find_ensemble_events(compute_coactivity(made, bin=2 / RATE), significance="percentile")
    assert result["ensemble_event_size"].values.tolist() == [4, 4]
    assert np.flatnonzero(result["participation"][0]).tolist() == [3, 4, 5, 6]
    np.testing.assert_allclose(result["ensemble_event_time"], [(42.5) / RATE, (102.5) / RATE])
    np.testing.assert_allclose(result["ensemble_event_duration"], 4 / RATE)


GROUPS = [range(0, 12), range(12, 24), range(24, 36)]


@pytest.fixture(scope="module")
def planted():
    """Three ensembles of 12 neurons, 90 % reliable, in sparse private activity."""
    rng = np.random.default_rng(7)
    raster = rng.random((60, 3000)) < 0.003
    for k, group in enumerate(GROUPS):
        for b in range(40 + 20 * k, 3000, 97):
            raster[list(group), b] |= rng.random(12) < 0.9
    rows, bins = np.nonzero(raster)
    return find_ensemble_events(compute_coactivity(_with_events(60, 6000, rows, 2 * bins), bin=2 / RATE))


@pytest.mark.parametrize("cut", ["null", 3, 0.7])
def test_planted_ensembles_come_back(cut, planted):
    result = find_ensembles(planted, cut=cut)
    cores = {tuple(np.flatnonzero(core)) for core in result["is_core"].values}
    assert cores == {tuple(group) for group in GROUPS}
    assert (result["ensemble_stability"] > 0.8).all()
    assert result["ensemble_event_count"].values.sum() == np.count_nonzero(result["ensemble_event_label"] > 0)
    assert result["ensemble_rate"].values[0] == pytest.approx(result["ensemble_event_count"].values[0] / (6000 / RATE / 60))


def test_pca_cut_leaves_as_many_clusters_as_components_explain_the_variance(planted):
    from scipy.cluster.hierarchy import fcluster

    result = find_ensembles(planted, cut="pca_variance", variance=0.6, min_events=1)
    participation = result["participation"].values.astype(float)
    singular = np.linalg.svd(participation - participation.mean(axis=0), compute_uv=False) ** 2
    share = singular / singular.sum()
    np.testing.assert_allclose(result["explained_variance"].values[: len(share)], share[: result.sizes["component"]], atol=1e-8)
    wanted = int(np.argmax(np.cumsum(share) >= 0.6)) + 1
    clusters = fcluster(result["linkage"].values, result["ensemble_event_label"].attrs["cut_distance"], "distance")
    # merges at one height cannot be told apart: then there are fewer
    heights = result["linkage"].values[:, 2]
    tied = np.count_nonzero(heights == heights[len(heights) - wanted]) > 1
    assert clusters.max() == wanted or tied


def test_ensembles_that_are_one_are_merged():
    rng = np.random.default_rng(9)
    participation = np.zeros((40, 30), bool)
    participation[:, :10] = rng.random((40, 10)) < 0.6
    from calcium_engine.ensembles import Clustering, _cluster, _tree

    tree = _tree(kernels.jaccard_similarity(participation), "average")
    split = Clustering("average", 0.45, 3, np.full(30, 1 / 30), 0.01 / 30)
    assert _cluster(participation, tree, split).max() == 1


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
        warnings.filterwarnings("ignore", "bins of", UserWarning)
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
            warnings.filterwarnings("ignore", "bins of", UserWarning)
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
