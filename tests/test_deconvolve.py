"""Deconvolution: kernels against their definitions and laws, the labelled step, and its score."""

import numpy as np
import pytest
import reference
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from strategies import chunkings, traces

from calcium_engine import compute_dff, estimate_baseline, make_recording, simulate_recording
from calcium_engine.deconvolve import deconvolve
from calcium_engine.indicators import INDICATORS
from calcium_engine.kernels import nonnegative_deconvolution, nonnegative_deconvolution_ar2
from calcium_engine.kernels.rising_deconvolution import peak_of_response
from calcium_engine.schema import CalciumError, MissingVariableError
from calcium_engine.score import score_deconvolution

DECAY, RISE = 0.9, 0.6
KERNELS = {
    "jump": (nonnegative_deconvolution, (DECAY,), lambda activity: lfilter([1], [1, -DECAY], activity)),
    "rise": (
        nonnegative_deconvolution_ar2,
        (DECAY, RISE),
        lambda activity: lfilter([1], [1, -DECAY - RISE, DECAY * RISE], activity),
    ),
}


@pytest.fixture(params=KERNELS)
def model(request):
    """A kernel with its factors, and the calcium of activity."""
    kernel, factors, calcium = KERNELS[request.param]
    return lambda array, **options: kernel(array, *factors, **options), calcium


def _noisy(n, seed=0, decay=DECAY, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return lfilter([1], [1, -decay], rng.random((3, n)) < 0.05).astype(dtype) + 0.3 * rng.normal(size=(3, n)).astype(dtype)


# kernels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95, 0.9997, 1.0])
def test_any_decay_agrees_with_the_definition(decay, dtype):
    array = _noisy(150, decay=min(decay, 0.99), dtype=dtype)
    found = nonnegative_deconvolution(array, decay)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, reference.nonnegative_deconvolution(array, decay), atol=1e-6)


@given(traces(), st.floats(0.0, 1.0), st.sampled_from([0.0, 0.2, 3.0]))
def test_missing_frames_and_penalties_agree_with_the_definition(array, decay, penalty):
    found = nonnegative_deconvolution(array, decay, penalty=penalty)
    expected = reference.nonnegative_deconvolution(array, decay, penalty)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.nanmax(np.abs(array), initial=1.0))


def test_a_bound_and_a_penalty_of_each_neuron_are_that_neurons():
    array = np.concatenate([_noisy(200), _noisy(200)])
    sizes = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 30.0])
    for option in ("penalty", "minimum_spike"):
        found = nonnegative_deconvolution(array, DECAY, **{option: sizes})
        for i, size in enumerate(sizes):
            alone = nonnegative_deconvolution(array[i : i + 1], DECAY, **{option: size})
            np.testing.assert_array_equal(found[i : i + 1], alone)


@given(traces(), st.floats(0.05, 3.0))
def test_no_jump_is_smaller_than_the_minimum(array, least):
    found = nonnegative_deconvolution(np.asarray(array, dtype=np.float64), DECAY, minimum_spike=least)
    assert (found[found > 0] >= least * (1 - 1e-9)).all()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(array))


def test_the_bound_keeps_what_is_over_it():
    planted = np.zeros((1, 100))
    planted[0, [20, 40, 60]] = 2.0, 0.5, 3.0
    found = nonnegative_deconvolution(lfilter([1], [1, -DECAY], planted), DECAY, minimum_spike=1.0)
    assert np.flatnonzero(found).tolist() == [20, 60]
    assert 1.9 < found[0, 20] < 2.2


def test_kernels_refuse_what_means_nothing():
    array = np.zeros((2, 5))
    for decay in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="factor from 0 to 1"):
            nonnegative_deconvolution(array, decay)
    for decay, rise in ((0.5, 0.5), (0.5, 0.7), (1.0, 0.5), (0.5, -0.1)):
        with pytest.raises(ValueError, match="0 ≤ rise < decay < 1"):
            nonnegative_deconvolution_ar2(array, decay, rise)
    for bad in (-1.0, np.nan, np.zeros(3)):
        with pytest.raises(ValueError, match="penalty must be"):
            nonnegative_deconvolution(array, 0.5, penalty=bad)
        with pytest.raises(ValueError, match="penalty must be"):
            nonnegative_deconvolution_ar2(array, 0.5, 0.1, penalty=bad)
    with pytest.raises(ValueError, match="minimum_spike must be"):
        nonnegative_deconvolution(array, 0.5, minimum_spike=-1.0)


def test_planted_spikes_come_back(model):
    deconvolved, calcium = model
    planted = np.zeros((1, 120))
    planted[0, [1, 10, 11, 30, 119]] = 1.0, 2.0, 1.0, 0.5, 0.7
    found = deconvolved(calcium(planted))
    np.testing.assert_allclose(found, planted, atol=1e-5)
    assert np.count_nonzero(found) == np.count_nonzero(planted)


def test_a_decaying_start_is_nobodys_activity(model):
    deconvolved, calcium = model
    before = np.zeros((1, 90))
    before[0, [3, 9, 25]] = 1.0, 2.0, 1.0
    for start in (25, 27, 40):  # at the last spike, in its rise, on its tail
        for penalty in (0.0, 0.05):
            found = deconvolved(np.ascontiguousarray(calcium(before)[:, start:]), penalty=penalty)
            np.testing.assert_array_equal(found, 0.0)


def test_scaling_scales_and_nothing_is_negative(model):
    deconvolved, _ = model
    array = _noisy(300)
    array[0, 50:60] = np.nan
    for penalty in (0.0, 0.2):
        found = deconvolved(array, penalty=penalty)
        assert (found[~np.isnan(found)] >= 0).all()
        np.testing.assert_allclose(deconvolved(1024.0 * array, penalty=1024.0 * penalty), 1024.0 * found, rtol=1e-9)
        np.testing.assert_allclose(deconvolved(1e-9 * array, penalty=1e-9 * penalty), 1e-9 * found, rtol=1e-3, atol=1e-15)
    np.testing.assert_array_equal(deconvolved(-np.abs(_noisy(50))), 0.0)


def test_a_penalty_takes_activity_away(model):
    deconvolved, _ = model
    totals = [deconvolved(_noisy(300), penalty=penalty)[:, 2:].sum() for penalty in (0.0, 0.1, 0.3, 1.0, 1000.0)]
    assert (np.diff(totals) < 0).all()
    assert totals[-1] == 0


def test_what_rose_in_a_gap_counts_after_it(model):
    deconvolved, calcium = model
    planted = np.zeros((1, 80))
    planted[0, [12, 30, 50, 51]] = 1.0, 2.0, 1.0, 3.0
    array = calcium(planted)
    expected = planted.copy()
    for start, stop in ((0, 3), (28, 33), (51, 52), (60, 64), (77, 80)):
        array[:, start:stop] = expected[:, start:stop] = np.nan
    expected[0, 33], expected[0, 52] = 2.0 * DECAY**3, 3.0 * DECAY
    np.testing.assert_allclose(deconvolved(array), expected, atol=2e-5)


def test_frames_that_are_missing_and_rows_that_are_empty(model):
    deconvolved, _ = model
    array = _noisy(40)
    array[0] = np.nan
    array[1, ::2] = np.nan
    array[2, :39] = np.nan
    found = deconvolved(array)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(array))
    assert found[2, 39] == 0
    for n in (1, 2, 3):
        assert np.isfinite(deconvolved(_noisy(n))).all()
    assert deconvolved(np.zeros((0, 5))).shape == (0, 5)
    assert deconvolved(np.zeros((2, 0))).shape == (2, 0)
    np.testing.assert_array_equal(deconvolved(np.zeros((1, 5))), 0.0)


def test_leading_missing_frames_do_not_matter(model):
    deconvolved, _ = model
    array = _noisy(60)
    later = np.concatenate([np.full((3, 7), np.nan), array, np.full((3, 2), np.nan)], axis=1)
    np.testing.assert_array_equal(deconvolved(later)[:, 7:-2], deconvolved(array))


def test_a_gap_has_no_weight_in_the_rise():
    # the calcium that activity leaves, where it can be seen, is the one best fit, whatever happened in the gap
    array = _noisy(70)[:1]
    array[0, [20, 21, 22, 40]] = np.nan
    valid = ~np.isnan(array[0])
    response = reference.rising_response(70, DECAY, RISE)[valid]
    from scipy.optimize import lsq_linear

    best = lsq_linear(response, array[0, valid], bounds=(0, np.inf), method="bvls", tol=1e-13, max_iter=700)
    found = nonnegative_deconvolution_ar2(array, DECAY, RISE)[0]
    np.testing.assert_allclose(found[2:20], best.x[2:20], atol=1e-6)
    settled = slice(44, 70)
    np.testing.assert_allclose(found[settled], best.x[settled], atol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
def test_the_rise_agrees_with_its_definition(seed, decay, share):
    array = _noisy(80, seed)
    found = nonnegative_deconvolution_ar2(array, decay, share * decay)
    np.testing.assert_allclose(found, reference.nonnegative_deconvolution_ar2(array, decay, share * decay), atol=2e-6)


@pytest.mark.parametrize(("decay", "rise"), [(0.85, 0.25), (0.953, 0.51), (0.98, 0.8)])
def test_the_rise_is_optimal_on_long_traces(decay, rise):
    from scipy.optimize import nnls

    n = 6000
    array = _noisy(n, decay=decay)
    for trace, activity in zip(array, nonnegative_deconvolution_ar2(array, decay, rise), strict=True):
        filtered = lfilter([1], [1, -decay - rise, decay * rise], activity)
        start = np.stack([decay ** np.arange(n), lfilter([1], [1, -decay - rise, decay * rise], np.eye(1, n)[0])], axis=1)
        residual = filtered + start @ nnls(start, trace - filtered)[0] - trace
        # what one more unit of activity at each frame would do to half the sum of squares: nothing, or harm
        gradient = lfilter([1], [1, -decay - rise, decay * rise], residual[::-1])[::-1]
        steady = 1 / ((1 - decay) * (1 - rise))
        assert gradient[2:].min() > -1e-5 * steady
        assert np.abs(gradient[2:] * activity[2:]).sum() < 1e-6 * np.sum(residual**2)


def test_without_a_rise_the_two_kernels_are_one():
    array = _noisy(400)
    array[0, 50:60] = np.nan
    np.testing.assert_allclose(
        nonnegative_deconvolution_ar2(array, DECAY, 0.0), nonnegative_deconvolution(array, DECAY), atol=1e-6
    )


@given(st.floats(0.01, 0.999), st.floats(0.0, 0.99))
def test_the_peak_of_a_response_is_its_largest_value(decay, share):
    rise = share * decay
    response = lfilter([1], [1, -decay - rise, decay * rise], np.eye(1, 4000)[0])
    assert peak_of_response(decay, rise) == pytest.approx(response.max(), rel=1e-6)


# the labelled step


def _recording(array, rate=10.0, **coords):
    recording = make_recording(np.asarray(array, dtype=np.float64), sampling_rate=rate).rename(fluorescence="dff")
    return recording.assign(dff=recording["dff"].assign_attrs(units="1")).assign_coords(coords)


def _planted(n=600, rate=10.0, tau=1.25, rise=None):
    """Noise of 1e-3, and transients whose peaks are 1, 2 and 0.5 high."""
    decay, grow = np.exp(-1 / (tau * rate)), np.exp(-1 / (rise * rate)) if rise else 0.0
    planted = np.zeros((2, n))
    planted[:, [100, 250, 251]] = 1.0, 2.0, 0.5
    calcium = lfilter([1], [1, -decay - grow, decay * grow], planted) / peak_of_response(decay, grow)
    return calcium + 1e-3 * np.random.default_rng(1).normal(size=planted.shape)


@pytest.mark.parametrize("rise", [None, 0.2])
def test_activity_is_in_units_of_peak_height(rise):
    array = _planted(rise=rise)
    recording = _recording(array + 0.3)  # a level of rest that is not 0
    found = deconvolve(recording, rise=rise, penalty=0.0)
    activity = found["deconvolved"]
    assert activity.dims == ("neuron", "frame")
    assert activity.attrs["units"] == "1"
    assert activity.attrs["tau"] == 1.25
    near = activity.values[:, 98:103].sum(axis=1), activity.values[:, 248:254].sum(axis=1)
    np.testing.assert_allclose(near, [[1.0, 1.0], [2.5, 2.5]], rtol=0.05)
    assert found.attrs["history"].splitlines()[-1].startswith("deconvolve(indicator='GCaMP6s', tau=1.25")
    assert ("rise=0.2" in found.attrs["history"]) is (rise is not None)
    assert "deconvolved" not in recording


def test_the_trace_and_its_units_are_those_of_detrended_or_dff():
    recording = _recording(_noisy(100))
    both = recording.assign(detrended=(2.0 * recording["dff"]).assign_attrs(units="sigma", made_by="subtract_background"))
    both = both.assign(denoised=both["dff"].assign_attrs(made_by="denoise"))
    assert deconvolve(both)["deconvolved"].attrs["trace"] == "detrended"
    assert deconvolve(both)["deconvolved"].attrs["units"] == "sigma"
    assert deconvolve(both, trace="dff")["deconvolved"].attrs["trace"] == "dff"
    np.testing.assert_allclose(deconvolve(both)["deconvolved"], 2.0 * deconvolve(both, trace="dff")["deconvolved"])
    with pytest.raises(MissingVariableError, match="dff"):
        deconvolve(recording.drop_vars("dff"))


def test_the_indicator_sets_the_decay_and_tau_overrides_it():
    recording = _recording(_noisy(300))
    fast = deconvolve(recording, indicator="gcamp6f")
    assert fast["deconvolved"].attrs["indicator"] == "GCaMP6f"
    xr.testing.assert_equal(fast["deconvolved"], deconvolve(recording, tau=0.7)["deconvolved"])
    assert not fast["deconvolved"].equals(deconvolve(recording)["deconvolved"])
    assert INDICATORS["GCaMP6m"].tau == 1.0


@pytest.mark.parametrize("rise", [None, 0.2])
def test_epochs_are_deconvolved_by_themselves(rise):
    array = _noisy(300)
    epoch = np.repeat([0, 1, 2], 100)
    joined = deconvolve(_recording(array, epoch=("frame", epoch)), rise=rise)["deconvolved"].values
    assert (joined[:, [0, 100, 200]] == 0).all()
    alone = deconvolve(_recording(array), rise=rise)["deconvolved"].values
    assert not np.array_equal(joined, alone)
    # what a jump down to another epoch's level leaves is nobody's activity
    tail = np.where(np.arange(300) >= 100, 5.0 * 0.92 ** (np.arange(300) - 100.0), 0.0)
    found = deconvolve(_recording(tail[None], epoch=("frame", epoch)), tau=-1 / (10 * np.log(0.92)))["deconvolved"].values
    assert found[:, 100:200].max() < 1e-6


@pytest.mark.parametrize("rise", [None, 0.2])
@settings(max_examples=5)
@given(chunks=chunkings(5))
def test_chunks_give_the_identical_result_and_compute_nothing(rise, chunks):
    array = np.concatenate([_noisy(200), _noisy(200)[:2]]).astype(np.float32)
    array[1, 40:60] = np.nan
    recording = make_recording(array, sampling_rate=10.0).rename(fluorescence="dff")
    lazy = deconvolve(recording.chunk(neuron=chunks, frame=-1), rise=rise)
    assert lazy["deconvolved"].chunks is not None
    whole = deconvolve(recording, rise=rise)
    assert whole["deconvolved"].dtype == np.float32
    xr.testing.assert_identical(lazy["deconvolved"].compute(), whole["deconvolved"])


def test_one_row_is_the_same_in_any_company():
    recording = _recording(_noisy(500))
    for options in ({}, {"rise": 0.2}, {"minimum_spike": 0.3, "penalty": 0.1}):
        whole = deconvolve(recording, **options)["deconvolved"]
        for i in range(3):
            xr.testing.assert_equal(deconvolve(recording.isel(neuron=[i]), **options)["deconvolved"], whole.isel(neuron=[i]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.0}, "tau is 0.0 s, but must be a positive"),
        ({"tau": np.inf}, "tau is inf s"),
        ({"rise": -0.1}, "rise is -0.1 s"),
        ({"rise": 1.25}, "must be the shorter one"),
        ({"rise": 0.3, "tau": 0.2}, "give a shorter rise or a longer tau"),
        ({"penalty": -1.0}, "penalty is -1.0, but must be 0 or a positive number"),
        ({"minimum_spike": np.nan}, "minimum_spike is nan"),
        ({"minimum_spike": 0.1, "rise": 0.2}, "leave one of them out"),
        ({"indicator": "GCaMP9"}, "unknown indicator 'GCaMP9'"),
        ({"trace": "fluorescence"}, "no trace of ΔF/F"),
    ],
)
def test_errors_say_what_would_do(options, message):
    with pytest.raises(CalciumError, match=message):
        deconvolve(_recording(_noisy(20)), **options)


# the score


def _with_spikes(activity, seconds, neurons, rate=10.0):
    recording = _recording(np.zeros_like(activity), rate)
    return recording.assign(
        deconvolved=recording["dff"].copy(data=activity),
        true_spike_neuron=("true_spike", np.asarray(neurons)),
        true_spike_time=("true_spike", np.asarray(seconds, dtype=float)),
    )


def test_perfect_activity_scores_1_and_none_scores_0():
    activity = np.zeros((4, 300))
    activity[0, [50, 200]], activity[1, 100], activity[3] = 1.0, 3.0, np.nan
    found = _with_spikes(activity, [5.0, 20.04, 10.0, 9.96, 10.0, 7.0, 8.0], [0, 0, 1, 1, 1, 2, 3])
    one = found.isel(neuron=[0, 1])
    score = score_deconvolution(one)
    assert score["deconvolution_correlation"] == pytest.approx(1.0)
    assert score["deconvolution_neurons"] == 2
    # nothing found in the third; the fourth has no frames to judge
    score = score_deconvolution(found.isel(neuron=[2, 3]))
    assert (score["deconvolution_correlation"], score["deconvolution_neurons"]) == (0.0, 1.0)
    nothing = score_deconvolution(found.isel(true_spike=[]))
    assert nothing["deconvolution_neurons"] == 0
    assert np.isnan([value for key, value in nothing.items() if key != "deconvolution_neurons"]).all()
    # scale and offset are nobody's concern
    assert score_deconvolution(one.assign(deconvolved=5.0 + 3.0 * one["deconvolved"])) == pytest.approx(score_deconvolution(one))


def test_a_frame_holds_the_spikes_within_half_a_frame():
    for seconds, frame in ((1.96, 20), (2.04, 20), (2.06, 21), (1.94, 19), (-0.04, 0)):
        activity = np.zeros((1, 60))
        activity[0, frame] = 1.0
        score = score_deconvolution(_with_spikes(activity, [seconds], [0]), sigma=0.05)
        assert score["deconvolution_correlation"] == pytest.approx(1.0)
    for seconds in (-0.06, 6.0):
        assert score_deconvolution(_with_spikes(activity, [seconds], [0]))["deconvolution_neurons"] == 0


def test_smoothing_keeps_to_epochs_and_passes_over_missing_frames():
    activity = np.zeros((1, 200))
    activity[0, [99, 150]] = 1.0
    spikes = _with_spikes(activity, [9.9, 15.0], [0, 0])
    assert score_deconvolution(spikes)["deconvolution_correlation"] == pytest.approx(1.0)
    cut = spikes.assign_coords(epoch=("frame", np.repeat([0, 1], 100)))
    assert score_deconvolution(cut)["deconvolution_correlation"] == pytest.approx(1.0)
    shifted = cut.assign(deconvolved=cut["deconvolved"].roll(frame=1))  # from the end of one epoch to the start of the next
    shifted_whole = shifted.drop_vars("epoch")
    worse, better = (score_deconvolution(each)["deconvolution_correlation"] for each in (shifted, shifted_whole))
    assert worse < better
    gap = spikes.assign(deconvolved=spikes["deconvolved"].where(np.abs(spikes["frame"] - 120) > 5))
    assert score_deconvolution(gap)["deconvolution_correlation"] == pytest.approx(1.0)


def test_truth_may_come_from_elsewhere_and_be_in_another_order():
    activity = np.zeros((3, 200))
    activity[[0, 1, 2], [50, 100, 150]] = 1.0
    found = _with_spikes(activity, [5.0, 10.0, 15.0], [0, 1, 2])
    truth = found[["true_spike_neuron", "true_spike_time"]].isel(true_spike=[2, 0, 1])
    bare = found.drop_vars(["true_spike_neuron", "true_spike_time"]).isel(neuron=[2, 0])
    score = score_deconvolution(bare, truth)
    assert score["deconvolution_correlation"] == pytest.approx(1.0)
    assert score["deconvolution_neurons"] == 2
    assert score_deconvolution(bare.chunk(neuron=1), truth) == score
    with pytest.raises(MissingVariableError, match="give `truth`"):
        score_deconvolution(bare)
    with pytest.raises(MissingVariableError, match="deconvolve"):
        score_deconvolution(bare.drop_vars("deconvolved"), truth)
    for sigma in (0.0, -1.0, np.nan):
        with pytest.raises(CalciumError, match="sigma"):
            score_deconvolution(bare, truth, sigma=sigma)


def test_a_simulation_is_recovered_about_as_well_as_recordings_are():
    simulated = simulate_recording(n_neurons=40, n_frames=3000, sampling_rate=7.5, seed=2)
    found = compute_dff(estimate_baseline(simulated))
    score = score_deconvolution(deconvolve(found))
    assert 0.5 < score["deconvolution_correlation"] < 1
    assert score["deconvolution_correlation_low"] <= score["deconvolution_correlation"] <= score["deconvolution_correlation_high"]
    assert score_deconvolution(deconvolve(found)) == score
    assert score["deconvolution_correlation"] > score_deconvolution(deconvolve(found, tau=30.0))["deconvolution_correlation"]
    everything = score_deconvolution(deconvolve(found, penalty=1e6))
    assert everything["deconvolution_correlation"] == 0
