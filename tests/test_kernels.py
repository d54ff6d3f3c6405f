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


def test_rolling_quantile_of_long_traces_is_exact():
    array = np.random.default_rng(0).normal(size=(2, 9001)).astype(np.float32)
    array[0, 4000:4500] = np.nan
    np.testing.assert_array_equal(kernels.rolling_quantile(array, 301, 0.08), reference.rolling_quantile(array, 301, 0.08))


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


def test_masked_baseline_agrees_with_its_definition():
    rng = np.random.default_rng(2)
    start = np.tile(100.0 + 0.01 * np.arange(1500), (3, 1))
    array = start + rng.normal(size=start.shape)
    array[0, 300:340] += 30.0
    array[1, 700:705] = np.nan
    noise = np.ones(3)
    how = {"threshold": 2.5, "dilation": 5, "sigma": 40.0}
    found, coverage = kernels.masked_baseline(array, start, noise, **how)
    # pooling frames before the Gaussian costs less than a tenth of the noise of the mean itself
    np.testing.assert_allclose(found, reference.masked_baseline(array, start, noise, **how), atol=0.05)
    assert (coverage > 0.4).all()


def test_masked_baseline_tells_where_it_saw_nothing():
    array = np.zeros((1, 400))
    array[0, 100:300] = 50.0
    _, coverage = kernels.masked_baseline(array, array * 0, np.ones(1), threshold=2.5, dilation=2, sigma=10.0)
    assert (coverage[0, 150:250] < 0.01).all()
    assert (coverage[0, :60] > 0.99).all()
    # half of a symmetric window is left at the edge of what is masked
    assert abs(coverage[0, 98] - 0.5) < 0.06


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
    return offsets, *kernels.measure_events(array, 0.0 * ones, tau, 2, bounds, offsets, peaks)


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
    arguments = (6.0, 2, np.array([0, array.shape[1]]), offsets, peaks)
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
    np.testing.assert_array_equal(found, reference.shifted_coactivity(raster, shuffles, seed))
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


def test_poisson_binomial_keeps_its_far_tail():
    n, p = 60, 1e-3
    law = kernels.poisson_binomial_pmf(np.full(n, p))
    from math import comb

    exact = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    np.testing.assert_allclose(law, exact, rtol=1e-11, atol=0)
    assert 0 < law[-1] < 1e-170


@given(rasters(max_bins=200))
def test_jaccard_agrees_with_its_definition(raster):
    found = kernels.jaccard_similarity(raster)
    np.testing.assert_allclose(found, reference.jaccard_similarity(raster), atol=1e-15)
    np.testing.assert_array_equal(found, found.T)


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
