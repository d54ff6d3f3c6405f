"""Every kernel against its plain definition, and the laws that hold for every input."""

from itertools import pairwise

import numpy as np
import pytest
import reference
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from strategies import rasters, traces

from calcium_engine import kernels


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_kernel_agrees_with_its_definition(name, data):
    kernel, definition, missing, exact = CASES[name]
    array = data.draw(traces(missing=missing, min_frames=2))
    before = array.copy()
    found, expected = kernel(np.asarray(array)), definition(np.asarray(array))
    if exact:
        np.testing.assert_array_equal(found, expected)
    else:
        scale = np.nanmax(np.abs(array), initial=1.0)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * scale)
    np.testing.assert_array_equal(array, before)
    assert found.dtype == (np.float64 if found.ndim == 1 else array.dtype)


@given(traces())
def test_moments_agree_with_their_definition(array):
    found, expected = np.stack(kernels.row_moments(array), axis=1), reference.row_moments(array)
    constant = expected[:, 2] < 1e-9 * np.abs(expected[:, 1])  # what rounding leaves of a constant row has no skewness
    np.testing.assert_allclose(found[:, :3], expected[:, :3], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[~constant, 3], expected[~constant, 3], rtol=1e-6, atol=1e-9)


@given(traces(), st.integers(1, 90), st.floats(0, 1))
def test_rolling_quantile_of_any_window_is_exact(array, window, quantile):
    found = kernels.rolling_quantile(array, window, quantile)
    np.testing.assert_array_equal(found, reference.rolling_quantile(array, window, quantile))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rolling_quantile_of_long_traces_is_exact(dtype):
    array = np.random.default_rng(0).normal(size=(5, 9001)).astype(dtype)
    array[0, 4000:4500] = np.nan
    # values that crowd in a small part of their range: a large offset beside zeros and infinities, and the same with two digits
    array[1] += 30000
    array[2] = 30000 + array[2].round(2)
    array[1:3, ::50] = 0.0
    array[2, ::70] = np.inf
    array[3] *= 10.0 ** np.arange(-30, 30)[np.arange(9001) % 60]
    array[4] = 1.0
    for quantile in (0.08, 0.5):
        found = kernels.rolling_quantile(array, 301, quantile)
        np.testing.assert_array_equal(found, reference.rolling_quantile(array, 301, quantile))


@pytest.mark.parametrize("window", [1, 2, 145, 300])
def test_rolling_quantile_is_scipys(window):
    from scipy.ndimage import percentile_filter

    array = np.random.default_rng(1).normal(size=(2, 300)).astype(np.float32)
    # quarters, whose ranks neither of the two rounds
    for quantile in (0.0, 0.25, 0.5, 1.0):
        expected = [percentile_filter(row, 100 * quantile, size=window, mode="reflect") for row in array]
        np.testing.assert_array_equal(kernels.rolling_quantile(array, window, quantile), expected)


def test_a_row_without_a_quantile_is_nan_and_a_wrong_one_is_refused():
    array = np.arange(12.0).reshape(2, 6)
    found = kernels.rolling_quantile(array, 3, np.array([np.nan, 0.5]))
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], kernels.rolling_quantile(array, 3, 0.5)[1])
    for window, quantile in ((0, 0.5), (3, -0.1), (3, [0.5, 1.1])):
        with pytest.raises(ValueError, match="quantiles from 0 to 1"):
            kernels.rolling_quantile(array, window, quantile)


def _crowded(dtype):
    """Rows whose values are in a small part of their range, or few, or missing: what sorting by upper bits leaves most to do."""
    array = np.random.default_rng(2).normal(size=(5, 4001)).astype(dtype)
    array[0, 2000:2500] = np.nan
    array[1] += 30000
    array[1, ::50] = 0.0
    array[2] = array[2].round(1)
    array[3] = 1.0
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_modes_of_long_rows_agree_with_their_definition(dtype):
    array = _crowded(dtype)
    found, expected = kernels.spread_below_mode(array), reference.spread_below_mode(array)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(kernels.window_mode(array, 289, 72), reference.window_mode(array, 289, 72))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_quantiles_of_long_rows_are_exact(order, dtype):
    array = _crowded(dtype)
    for quantile in (0.0, 0.08, 0.5, 0.999, 1.0):
        found, expected = (
            room.difference_quantile(array, order, quantile) if order else room.row_quantile(array, quantile)
            for room in (kernels, reference)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_the_median_of_differences_is_numpys():
    array = np.random.default_rng(3).normal(size=(3, 5000)).astype(np.float32)
    found = kernels.difference_quantile(array, 2, 0.5).astype(np.float32)
    np.testing.assert_array_equal(found, np.median(np.abs(np.diff(array, n=2, axis=1)), axis=1))


@given(traces(), st.integers(1, 200), st.integers(1, 30))
def test_modes_of_windows_agree_with_their_definition(array, window, step):
    found = kernels.window_mode(array, window, step)
    np.testing.assert_array_equal(found, reference.window_mode(array, window, step))
    assert found.dtype == array.dtype


@given(traces(max_frames=200), st.floats(-1, 3), st.integers(1, 3))
def test_correlation_below_a_level_agrees_with_its_definition(array, level, lag):
    levels = np.linspace(level, 3 * level, len(array))
    found, pairs = kernels.correlation_below(array, levels, lag)
    expected, count = reference.correlation_below(array, levels, lag)
    np.testing.assert_array_equal(pairs, count)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(traces(), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_rolling_quantile_is_monotone_and_within_its_window(array, window, first, second):
    low, high = sorted((first, second))
    lower, upper = kernels.rolling_quantile(array, window, low), kernels.rolling_quantile(array, window, high)
    valid = ~np.isnan(lower)
    assert (lower[valid] <= upper[valid]).all()
    least, most = kernels.rolling_quantile(array, window, 0.0), kernels.rolling_quantile(array, window, 1.0)
    assert ((least <= lower) & (upper <= most))[valid].all()


@given(traces(), st.integers(1, 30), st.sampled_from([0.5, 2.0, 8.0]), st.integers(-50, 50))
def test_rolling_quantile_follows_scale_and_offset(array, window, scale, offset):
    # powers of two and whole numbers that the values' rounding leaves exact in float64
    array = np.asarray(array, dtype=np.float64).round(3)
    found = kernels.rolling_quantile(scale * array + offset, window, 0.2)
    np.testing.assert_array_equal(found, scale * kernels.rolling_quantile(array, window, 0.2) + offset)


@pytest.mark.parametrize("shrink", [kernels.stationary_shrink, kernels.decimated_shrink])
def test_shrinkage_of_one_row_knows_nothing_of_others_and_is_the_same_in_single_precision(shrink):
    array = np.random.default_rng(7).normal(size=(5, 1200))
    array[:, 400:420] += 4.0
    array[2, 700] = np.nan
    low, high = np.array([1.0, 1.0]) / np.sqrt(2), np.array([1.0, -1.0]) / np.sqrt(2)
    found = shrink(array, np.ones(5), low, high, 4)
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 1, 3, 4]]).all()
    np.testing.assert_array_equal(shrink(array[3:4], np.ones(1), low, high, 4), found[3:4])
    single = shrink(array.astype(np.float32), np.ones(5), low, high, 4)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, atol=1e-5)


def test_masked_baseline_agrees_with_its_definition():
    rng = np.random.default_rng(2)
    slow = np.tile(100.0 + 0.01 * np.arange(1500), (3, 1))
    array = slow + rng.normal(size=slow.shape)
    array[0, 300:340] += 30.0
    array[1, 700:705] = np.nan
    height = np.full(3, 2.5 / np.sqrt(5))
    how = {"box": 5, "before": 2, "after": 5, "sigma": 40.0}
    found, coverage = kernels.masked_baseline(array, kernels.pool(slow, 5), height, start_width=5, **how)
    # pooling frames before the Gaussian costs less than the noise of the mean itself
    np.testing.assert_allclose(found, reference.masked_baseline(array, slow, height, **how), atol=0.1)
    assert (coverage > 0.4).all()


def test_masked_baseline_tells_where_it_saw_nothing():
    array = np.zeros((1, 400))
    array[0, 100:300] = 50.0
    how = {"start_width": 1, "box": 1, "before": 2, "after": 2, "sigma": 10.0}
    _, coverage = kernels.masked_baseline(array, array * 0, np.full(1, 2.5), **how)
    assert (coverage[0, 150:250] < 0.01).all()
    assert (coverage[0, :60] > 0.99).all()
    # half of a symmetric window is left at the edge of what is masked
    assert abs(coverage[0, 98] - 0.5) < 0.06


@given(traces(), st.integers(1, 70))
def test_pools_agree_with_their_definition(array, width):
    np.testing.assert_allclose(kernels.pool(array, width), reference.pool(array.astype(float), width), rtol=1e-5, atol=1e-4)


@given(traces(max_frames=120), st.floats(-1, 2), st.floats(0, 2), st.integers(1, 4), st.integers(0, 60))
def test_peaks_agree_with_their_definition(array, high, separation, shortest, cut):
    array = np.ascontiguousarray(array)
    n = array.shape[1]
    bounds = np.unique([0, min(cut, n), n])
    levels = [np.full(len(array), level) for level in (high, high - separation, separation)]
    offsets, peaks = kernels.find_peaks(array, *levels, shortest, bounds)
    for i, trace in enumerate(array.astype(np.float64)):
        expected = reference.find_peaks(trace, high, high - separation, separation, shortest, bounds)
        assert peaks[offsets[i] : offsets[i + 1]].tolist() == expected


def _events(array, bounds=None, tau=6.0, **levels):
    array = np.ascontiguousarray(array)
    bounds = np.array([0, array.shape[1]]) if bounds is None else bounds
    ones = np.ones(len(array))
    offsets, peaks = kernels.find_peaks(array, ones * levels.get("high", 1.0), ones * 0.1, ones * 0.5, 1, bounds)
    return offsets, *kernels.measure_events(array, 0.0 * ones, tau, bounds, offsets, peaks)


@given(traces(max_frames=120))
def test_events_are_ordered_in_themselves_and_among_each_other(array):
    offsets, columns, _ = _events(array)
    keep = columns["amplitude"] > 0
    assert (columns["onset"][keep] <= columns["peak"][keep]).all()
    assert (columns["peak"][keep] <= columns["offset"][keep]).all()
    assert (columns["fwhm"][keep] >= 0).all()
    for first, last in pairwise(offsets):
        assert (np.diff(columns["peak"][first:last]) > 0).all()


@given(traces(max_frames=120, missing=False), st.sampled_from([0.25, 2.0, 1024.0]))
def test_scaling_a_trace_scales_amplitudes_and_nothing_else(array, scale):
    array = np.asarray(array, dtype=np.float64)
    ones = np.ones(len(array))
    offsets, peaks = kernels.find_peaks(array, ones, ones * 0.1, ones * 0.5, 1, np.array([0, array.shape[1]]))
    arguments = (6.0, np.array([0, array.shape[1]]), offsets, peaks)
    plain, flags = kernels.measure_events(array, 0 * ones, *arguments)
    scaled, scaled_flags = kernels.measure_events(scale * array, 0 * ones, *arguments)
    for name in plain:
        factor = scale if name in ("amplitude", "peak_value", "area", "climb") else 1.0
        np.testing.assert_allclose(scaled[name], factor * plain[name], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(flags, scaled_flags)


def _transients(n, times, tau=6.0, amplitude=2.0):
    frames = np.arange(n)
    return sum(np.where(frames >= t, amplitude * np.exp(-(frames - t) / tau), 0.0) for t in times)


def test_a_lone_transient_is_measured_as_its_formula_says():
    tau, at = 6.0, 50
    _, columns, flags = _events(_transients(200, [at], tau)[None])
    assert flags.tolist() == [0]
    event = {name: values[0] for name, values in columns.items()}
    assert event["amplitude"] == pytest.approx(2.0)
    assert event["onset"] == pytest.approx(at - 0.8)
    # straight lines between frames lie over the convex decay: by less than 2 % here
    assert event["fwhm"] == pytest.approx(0.5 + tau * np.log(2), rel=0.02)
    assert event["offset"] == pytest.approx(at + tau * np.log(5), rel=0.02)
    assert event["decay"] == pytest.approx(tau, rel=0.1)
    assert event["rise"] == pytest.approx(0.6)


def test_stacked_transients_are_separate_and_measured_over_the_tail():
    offsets, columns, flags = _events(_transients(200, [50, 56, 62])[None])
    assert offsets.tolist() == [0, 3]
    np.testing.assert_allclose(columns["amplitude"], 2.0, rtol=0.02)
    assert (flags & 1).tolist() == [0, 1, 1]
    assert (columns["offset"][:-1] <= columns["onset"][1:]).all()


def test_a_cut_off_width_is_continued_and_flagged():
    tau = 6.0
    _, columns, flags = _events(_transients(200, [50, 53], tau)[None])
    assert flags[0] & 4
    assert columns["fwhm"][0] == pytest.approx(0.5 + tau * np.log(2), rel=0.1)


def test_no_event_reaches_across_an_epoch():
    trace = _transients(100, [48], tau=20.0)[None]
    _, columns, flags = _events(trace, bounds=np.array([0, 50, 100]), tau=20.0)
    assert columns["offset"][0] <= 49
    assert flags[0] & 8


@given(rasters(), st.integers(1, 6), st.integers(0, 2**32))
def test_shifted_coactivity_agrees_with_rolling_a_dense_raster(raster, shuffles, seed):
    rows, bins = np.nonzero(raster)
    offsets = np.searchsorted(rows, np.arange(len(raster) + 1))
    found = kernels.shifted_coactivity(bins, offsets, raster.shape[1], shuffles, seed)
    expected = reference.shifted_coactivity(raster, shuffles, seed)
    np.testing.assert_array_equal(found, expected[:, : found.shape[1]])
    assert not expected[:, found.shape[1] :].any()
    counts = np.arange(found.shape[1])
    assert (found.sum(axis=1) == raster.shape[1]).all()
    assert (found @ counts == raster.sum()).all()  # no event is lost or gained


def test_shifts_are_uniform():
    shifts = np.array([reference.shift(7, s, n, 20) for s in range(200) for n in range(100)])
    counts = np.bincount(shifts, minlength=20)
    # chi-square with 19 degrees of freedom: 43.8 is its 99.9th percentile
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8


@given(st.lists(st.floats(0, 1), max_size=9))
def test_poisson_binomial_is_the_sum_over_all_outcomes(probabilities):
    law = kernels.poisson_binomial_pmf(np.array(probabilities))
    np.testing.assert_allclose(law, reference.poisson_binomial_pmf(probabilities), atol=1e-12)
    np.testing.assert_allclose(kernels.poisson_binomial_sf(np.array(probabilities)), np.cumsum(law[::-1])[::-1], atol=1e-12)
    single = kernels.poisson_binomial_sf(np.array(probabilities), 1)
    assert single.shape == ()
    assert single == pytest.approx(law[1:].sum(), abs=1e-12)


def test_poisson_binomial_keeps_its_far_tail():
    n, p = 60, 1e-3
    law = kernels.poisson_binomial_pmf(np.full(n, p))
    from math import comb

    exact = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    np.testing.assert_allclose(law, exact, rtol=1e-11, atol=0)
    assert 0 < law[-1] < 1e-170


def test_pools_of_a_deconvolution_rebuild_the_best_calcium():
    rng = np.random.default_rng(3)
    activity = kernels.nonnegative_deconvolution(rng.normal(size=(5, 400)), 0.9)
    assert (activity >= 0).all()
    planted = np.zeros((1, 50))
    planted[0, [10, 11, 30]] = 1.0, 2.0, 0.5
    calcium = np.zeros_like(planted)
    for t in range(1, 50):
        calcium[0, t] = 0.9 * calcium[0, t - 1] + planted[0, t]
    np.testing.assert_allclose(kernels.nonnegative_deconvolution(calcium, 0.9), planted, atol=1e-12)
