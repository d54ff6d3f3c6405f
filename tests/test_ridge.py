"""Ridges of wavelet coefficients: against their definition, and the laws that hold for every input."""

from itertools import pairwise

import numba
import numpy as np
import pytest
import reference_ridge as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import traces

from calcium_engine.kernels.ridge import wavelet_ridges

WIDTHS = np.geomspace(1.2, 12.0, 11)


@st.composite
def continuous(draw, **how):
    """Traces in which no two coefficients are equal, so that rounding decides nothing, and σ of each; float64, compiled once."""
    array = draw(traces(**how))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = np.array(array, np.float64, order="C") + 0.1 * rng.normal(size=array.shape)
    return array, rng.uniform(0.3, 2.0, len(array))


def bumps(n, *planted):
    """One trace: Gaussian bumps of (frame, full width at half height, height)."""
    t = np.arange(n)
    return sum(height * np.exp(-4 * np.log(2) * ((t - frame) / width) ** 2) for frame, width, height in planted)[None]


def walk(array, noise=None, widths=WIDTHS, **how):
    noise = np.ones(len(array)) if noise is None else noise
    return wavelet_ridges(array, noise, widths, np.array([0, array.shape[1]]), **how)


def rows(found):
    offsets, *columns = found
    return [[column[start:stop] for column in columns] for start, stop in pairwise(offsets)]


def noisy(shape=(6, 2000), seed=0, dtype=np.float64):
    """White noise of SD 1 with a transient in every 200 frames."""
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape)
    for i, row in enumerate(array):
        for frame in range(50, shape[1], 200):
            row += bumps(shape[1], (frame + rng.integers(0, 60), 2.0 + i, 6.0))[0]
    return array.astype(dtype)


@settings(max_examples=40)
@given(continuous(max_frames=100), st.sampled_from([0.1, 1.0, 3.0]), st.integers(1, 5), st.integers(0, 100), st.integers(1, 11))
def test_ridges_agree_with_their_definition(drawn, least, shortest, cut, step):
    array, noise = drawn
    widths = WIDTHS[::step]
    bounds = np.array([0, min(cut, array.shape[1]), array.shape[1]])
    found = wavelet_ridges(array, noise, widths, bounds, shortest=shortest, least=least)
    expected = reference.wavelet_ridges(array, noise, widths, bounds, shortest=shortest, least=least)
    np.testing.assert_array_equal(np.diff(found[0]), [len(row) for row in expected])
    flat = np.array([ridge for row in expected for ridge in row]).reshape(-1, 3)
    np.testing.assert_array_equal(found[1], flat[:, 0])
    np.testing.assert_allclose(found[2], flat[:, 1], rtol=1e-9)
    np.testing.assert_allclose(found[3], flat[:, 2], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ridges_of_long_traces_agree_with_their_definition(dtype):
    array, widths = 1000.0 + noisy((2, 1500), dtype=dtype), np.geomspace(7.5, 75.0, 11)
    array[1, 400:403] = np.nan
    array[1, 900] = np.inf
    bounds = np.array([0, 700, 1500])
    found = rows(wavelet_ridges(array, np.array([1.0, 0.5]), widths, bounds, least=1.0))
    for row, expected in zip(found, reference.wavelet_ridges(array, [1.0, 0.5], widths, bounds, least=1.0), strict=True):
        peaks, strength, width = np.array(expected).T
        assert len(peaks) > 10
        np.testing.assert_array_equal(row[0], peaks)
        np.testing.assert_allclose(row[1], strength, rtol=1e-4)
        np.testing.assert_allclose(row[2], width)


def test_widths_far_apart_are_missed_and_walked_to_as_defined():
    # so sparse that a ridge often misses a width, and that two end at the same frame
    array, widths = np.random.default_rng(4).normal(size=(12, 350)), np.geomspace(1.0, 40.0, 8)
    found = rows(walk(array, widths=widths, shortest=1, least=0.1))
    expected = reference.wavelet_ridges(array, np.ones(12), widths, np.array([0, 350]), shortest=1, least=0.1)
    for row, ridges in zip(found, expected, strict=True):
        np.testing.assert_array_equal(row[0], [ridge[0] for ridge in ridges])
        np.testing.assert_allclose(np.transpose(row[1:]), [ridge[1:] for ridge in ridges], rtol=1e-9)


@given(continuous(missing=False), st.sampled_from([0.25, 3.0, 1000.0]), st.floats(-10, 10), st.floats(-1, 1))
def test_a_scale_of_trace_and_noise_and_a_level_change_nothing(drawn, scale, level, least):
    array, noise = drawn
    found, scaled = (walk(a, s, least=abs(least)) for a, s in ((array, noise), (scale * (array + level), scale * noise)))
    np.testing.assert_array_equal(scaled[0], found[0])
    np.testing.assert_array_equal(scaled[1], found[1])
    np.testing.assert_allclose(scaled[2], found[2], rtol=1e-6)


@given(continuous(max_neurons=5), st.randoms(use_true_random=False))
def test_neurons_know_nothing_of_one_another(drawn, random):
    array, noise = drawn
    order = list(range(len(array)))
    random.shuffle(order)
    found, shuffled = rows(walk(array, noise, least=0.5)), rows(walk(array[order], noise[order], least=0.5))
    for position, neuron in enumerate(order):
        np.testing.assert_array_equal(shuffled[position], found[neuron])


@given(continuous(missing=False, min_frames=3, max_frames=100), st.integers(1, 98))
def test_a_missing_frame_and_an_epochs_edge_part_a_trace_alike(drawn, cut):
    array, noise = drawn
    cut = min(cut, array.shape[1] - 2)
    halves = array[:, :cut], array[:, cut + 1 :]
    left, right = (rows(walk(half, noise, least=0.5)) for half in halves)
    array[:, cut] = np.nan
    together = np.concatenate(halves, axis=1)
    gap = walk(array, noise, least=0.5)
    edge = wavelet_ridges(together, noise, WIDTHS, np.array([0, cut, together.shape[1]]), least=0.5)
    for found, first in ((gap, cut + 1), (edge, cut)):
        for row, before, after in zip(rows(found), left, right, strict=True):
            np.testing.assert_array_equal(row[0], [*before[0], *(after[0] + first)])
            np.testing.assert_array_equal(row[1:], np.concatenate([before[1:], after[1:]], axis=1))


@given(continuous(), st.floats(0.1, 4))
def test_what_comes_back_is_in_order_and_over_the_least(drawn, least):
    array, noise = drawn
    for (peaks, strength, width), row in zip(rows(walk(array, noise, least=least)), array, strict=True):
        assert (np.diff(peaks) > 0).all()
        assert np.isfinite(row[peaks]).all()
        assert (strength > least).all()
        assert np.isin(width, WIDTHS).all()


@given(st.integers(100, 300), st.floats(2.0, 9.0), st.floats(3.0, 100.0))
def test_a_bump_is_one_ridge_at_its_place_and_of_its_width(frame, full, height):
    _, peaks, strength, width = walk(bumps(400, (frame, full, height)), least=0.5)
    assert peaks.tolist() == [frame]
    assert abs(np.log(width[0] / full)) < np.log(1.3)
    # at the best of all widths, 5^(5/4) / 9 of what the bump's own shape would answer
    matched = height * np.sqrt(full * np.sqrt(np.pi / 8 / np.log(2)))
    assert 0.82 * matched < strength[0] < 0.832 * matched


@pytest.mark.parametrize("apart", [4, 6, 10, 20])
def test_bumps_several_widths_apart_are_ridges_of_their_own(apart):
    _, peaks, strength, _ = walk(bumps(300, (150, 3.0, 10.0), (150 + 3 * apart, 3.0, 8.0)), least=3.0)
    assert peaks.tolist() == [150, 150 + 3 * apart]
    assert (strength > 9.0).all()


def test_a_bump_at_an_edge_is_half_seen():
    whole, half = walk(bumps(300, (150, 5.0, 20.0))), walk(bumps(150, (-0.5, 5.0, 20.0)))
    assert half[1].tolist() == [0]
    assert half[2][0] == pytest.approx(whole[2][0] / np.sqrt(2), rel=0.05)


def test_what_has_no_ridges_gets_none():
    for level in (0.0, 0.1, 30000.3):
        assert len(walk(np.full((2, 50), level, np.float64), least=0.0)[1]) == 0
    for shape in ((2, 1), (2, 0), (0, 20)):
        offsets, *columns = walk(np.ones(shape, np.float64), least=0.0)
        assert offsets.tolist() == [0] * (shape[0] + 1)
        assert [len(column) for column in columns] == [0, 0, 0]
    array = noisy((4, 500))
    array[0] = np.nan
    offsets = walk(array, np.array([1.0, 0.0, np.nan, 1.0]))[0]
    assert offsets[3] == 0
    assert offsets[4] > 0


def test_a_slow_line_has_no_ridges_but_where_it_is_reflected():
    array = 0.01 * np.arange(400, dtype=np.float64)[None]
    peaks = walk(array, least=1e-3)[1]
    assert ((peaks < 60) | (peaks > 340)).all()


def test_white_noise_has_weak_ridges_at_edges_as_elsewhere():
    array = np.random.default_rng(1).normal(size=(400, 600)).astype(np.float64)
    _, peaks, strength, _ = walk(array, least=0.0)
    assert np.mean(strength > 4.5) < 0.001
    assert np.count_nonzero(strength > 4.0) < 3e-4 * array.size
    rate = np.bincount(peaks[strength > 3.0], minlength=600)
    assert rate[:12].sum() + rate[-12:].sum() < 2.0 * 24 * rate[100:500].mean()
    # in epochs much shorter than the wavelets, too
    short = wavelet_ridges(array, np.ones(400), WIDTHS, np.arange(0, 601, 20), least=4.0)
    assert len(short[1]) < 5e-4 * array.size


def test_threads_and_the_layout_of_an_array_change_nothing():
    array = noisy((130, 300))
    found = walk(array)
    assert len(found[1]) > 200
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = walk(np.asfortranarray(array))
    finally:
        numba.set_num_threads(threads)
    for column, expected in zip(alone, found, strict=True):
        np.testing.assert_array_equal(column, expected)


def test_wrong_widths_and_a_negative_least_are_refused():
    array = noisy((1, 50))
    for widths in ([], [0.0, 1.0], [2.0, 1.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="ascend from above 0"):
            walk(array, widths=np.array(widths))
    with pytest.raises(ValueError, match="0 or more"):
        walk(array, least=-1.0)
