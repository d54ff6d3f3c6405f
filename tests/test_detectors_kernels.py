"""Pulses, templates and the measurement of events: against their definitions, and the laws that hold for every input."""

from itertools import pairwise

import numpy as np
import pytest
import reference_events as reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import traces

import calcium_engine as ce
from calcium_engine import kernels

DECAY = 0.8
CLIMBING = {"climb": 1.5, "share": 0.05, "reach": 1, "around": 2}


@st.composite
def continuous(draw, **how):
    """Traces in which no two sums are equal, so that rounding decides nothing; float64, some with transients."""
    array = draw(traces(**how))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = np.array(array, np.float64, order="C") / 10 + rng.normal(size=array.shape)
    for row in array:
        for at in rng.integers(0, len(row), rng.integers(0, 3)):
            row[at:] += rng.uniform(2, 8) * rng.uniform(0.6, 0.9) ** np.arange(len(row) - at)
    return array.astype(draw(st.sampled_from([np.float64, np.float32])))


@st.composite
def epochs(draw, n):
    return np.unique([0, *(min(draw(st.integers(0, 80)), n) for _ in range(draw(st.integers(0, 2)))), n])


def rows(found):
    offsets, *columns = found
    return [[column[start:stop] for column in columns] for start, stop in pairwise(offsets)]


def pulses(array, k=3.0, decay=DECAY, bounds=None, noise=1.0, **how):
    sigma = noise * np.ones(len(array))
    bounds = np.array([0, array.shape[1]]) if bounds is None else bounds
    return kernels.find_pulses(array, sigma, decay, k * sigma, bounds, **how)


def noisy(shape=(6, 3000), seed=0):
    """White noise of SD 1 with transients in it, float32."""
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape)
    for row in array:
        for at in rng.integers(0, shape[1] - 20, shape[1] // 100):
            row[at:] += rng.uniform(2, 12) * rng.uniform(0.7, 0.9) ** np.arange(shape[1] - at)
    return array.astype(np.float32)


@given(
    st.data(),
    continuous(max_frames=45),
    st.floats(1.0, 4.0),
    st.sampled_from([0.5, 0.8, 0.95]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.5]),
)
def test_pulses_agree_with_their_definition(data, array, k, decay, reach, around, climb):
    bounds = data.draw(epochs(array.shape[1]))
    how = {"climb": climb, "share": climb / 30, "reach": reach, "around": around}
    for trace, (frames, sizes) in zip(array, rows(pulses(array, k, decay, bounds, **how)), strict=True):
        expected = reference.find_pulses(trace, 1.0, decay, k, bounds, **how)
        assert frames.tolist() == [frame for frame, _ in expected]
        np.testing.assert_allclose(sizes, [size for _, size in expected], rtol=1e-4)


@given(traces(max_frames=80), st.floats(0.5, 5.0), st.integers(1, 4), st.integers(1, 4))
def test_every_pulse_is_worth_the_threshold_whatever_the_trace(array, k, reach, around):
    before = array.copy()
    for frames, sizes in rows(pulses(array, k, climb=1.0, reach=reach, around=around)):
        assert (sizes >= k * (1 - 1e-6)).all()
        assert (np.diff(frames) > 0).all()
        assert ((frames > 0) & (frames < array.shape[1])).all()
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("z", [3.5, 3.99, 4.04, 6.0, 100.0])
def test_a_planted_decay_is_found_where_its_squares_exceed_the_threshold(z):
    n, at, sigma = 200, 80, 0.3
    response = np.where(np.arange(n) >= at, DECAY ** np.maximum(np.arange(n) - at, 0.0), 0.0)
    trace = z * sigma * response / np.linalg.norm(response)
    _, frames, sizes = pulses(trace[None], 4.0, noise=sigma)
    assert frames.tolist() == ([at] if z > 4 else [])
    # what comes later than two time constants, with 1.8 % of the squares, need not be looked at
    np.testing.assert_allclose(sizes, [z] if z > 4 else [], rtol=0.0092)


@pytest.mark.parametrize("gap", [2, 3, 5, 20, 100])
def test_two_planted_decays_are_two_and_the_second_is_worth_what_the_first_would_not_explain(gap):
    response = 5.0 * DECAY ** np.arange(300)
    trace = np.zeros(300)
    trace[60:] += response[:240]
    trace[60 + gap :] += response[: 240 - gap]
    _, frames, sizes = pulses(trace[None], 4.0)
    assert frames.tolist() == [60, 60 + gap]
    # the less of the first is looked at, the less certain its decay under the second
    most = np.linalg.norm(response) * np.sqrt(1 - DECAY ** (2 * gap))
    assert 0.9 * most < sizes[1] <= most * (1 + 1e-6)
    if gap <= 5:  # no further apart than a transient takes to its peak
        assert pulses(trace[None], 4.0, reach=gap)[1].tolist() == [60]


@pytest.mark.parametrize("height", [10.0, 30.0, 100.0])
def test_a_tail_that_is_longer_than_the_indicators_is_one_event(height):
    rng = np.random.default_rng(0)
    n, at = 300, 80
    tail = np.where(np.arange(n) >= at, height * DECAY ** ((np.arange(n) - at) / 3.0), 0.0)
    assert pulses(tail[None], 4.3, **CLIMBING)[1].tolist() == [at]
    array = rng.normal(size=(200, n)) + tail
    more = len(pulses(array, 4.3, **CLIMBING)[1]) - len(array), len(pulses(array, 4.3)[1]) - len(array)
    # noise climbs here and there
    assert more[0] < 0.5 * len(array)
    assert more[0] < 0.25 * more[1]


def test_white_noise_gives_as_few_pulses_as_the_normal_law_has_it():
    noise = np.random.default_rng(1).standard_normal((200, 15000), dtype=np.float32)
    counts = {k: len(pulses(noise, k, **CLIMBING)[1]) for k in (3.2, 3.6, 4.0)}
    assert counts[4.0] > 30
    for low, high in ((3.2, 3.6), (3.6, 4.0)):
        assert counts[low] / counts[high] == pytest.approx(np.exp((high**2 - low**2) / 2), rel=0.35)


@pytest.mark.parametrize("scale", [0.25, 1024.0])
def test_scaling_traces_and_noise_scales_nothing_but_amplitudes(scale):
    array = noisy()
    plain, scaled = pulses(array, **CLIMBING), pulses(scale * array, noise=scale, **CLIMBING)
    assert len(plain[1]) > 100
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(one, other)
    bounds, rest = np.array([0, array.shape[1]]), np.zeros(len(array))
    columns, flags = kernels.measure_events(array, rest, 6.0, bounds, *plain[:2])
    larger, same = kernels.measure_events(scale * array, rest, 6.0, bounds, *plain[:2])
    np.testing.assert_array_equal(flags, same)
    for name, column in columns.items():
        factor = scale if name in ("amplitude", "peak_value", "area", "climb") else 1.0
        np.testing.assert_allclose(larger[name], factor * column, rtol=1e-12)


def test_a_row_knows_nothing_of_the_others_and_an_epoch_nothing_of_the_next():
    array, bounds, order = noisy(), np.array([0, 1000, 1001, 2200, 3000]), np.array([4, 2, 0, 5, 1, 3])
    array[1, 500:520] = np.nan
    shape = DECAY ** np.arange(10.0)

    def run(part, edges):
        found = pulses(part, bounds=edges, **CLIMBING)
        columns, flags = kernels.measure_events(part, np.zeros(len(part)), 6.0, edges, *found[:2])
        fit = kernels.matched_filter(part, shape, 2, edges), kernels.clements_bekkers(part, shape, 2, edges)
        return rows((found[0], *found[1:], *columns.values(), flags)), fit

    whole, fit = run(array, bounds)
    permuted, permuted_fit = run(array[order], bounds)
    for row, place in enumerate(order):
        np.testing.assert_array_equal(permuted[row], whole[place])
    np.testing.assert_array_equal(np.array(permuted_fit), np.array(fit)[:, order])
    pieces = [run(np.ascontiguousarray(array[:, a:b]), np.array([0, b - a])) for a, b in pairwise(bounds)]
    in_frames = [0, *(2 + kernels.events.COLUMNS.index(name) for name in ("onset", "peak", "offset"))]
    for row in range(len(array)):
        parts = [np.array(found[row]) for found, _ in pieces]
        for part, start in zip(parts, bounds[:-1], strict=True):
            part[in_frames] += start
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole[row], rtol=1e-9)
    np.testing.assert_allclose(np.concatenate([np.array(fits) for _, fits in pieces], axis=2), fit, rtol=1e-4, atol=1e-5)


@given(st.data(), continuous(max_frames=60), st.integers(3, 12), st.integers(0, 4))
def test_fits_of_a_template_agree_with_their_definition(data, array, length, before):
    bounds = data.draw(epochs(array.shape[1]))
    shape = DECAY ** np.arange(length) + 0.1 * np.cos(np.arange(length))
    for name, scale in (("matched_filter", 1.0), ("clements_bekkers", np.sqrt(length))):
        found = getattr(kernels, name)(array, shape, min(before, length - 1), bounds)
        assert found.dtype == array.dtype
        expected = getattr(reference, name)(array, shape, min(before, length - 1), bounds)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * scale)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(array))


def test_the_matched_filter_of_white_noise_has_sd_1_and_that_of_a_level_is_0():
    shape, bounds = DECAY ** np.arange(15.0), np.array([0, 20000])
    noise = np.random.default_rng(2).standard_normal((20, 20000), dtype=np.float32)
    fit = kernels.matched_filter(noise, shape, 2, bounds)
    assert fit.std() == pytest.approx(1.0, abs=0.01)
    level = kernels.matched_filter(np.full((1, 20000), 3.0), shape, 2, bounds)
    np.testing.assert_allclose(level[:, 20:-20], 0.0, atol=1e-12)
    # the template itself is as large as its norm
    planted = np.zeros((1, 100))
    planted[0, 40:55] = shape
    fit = kernels.matched_filter(planted, shape, 0, np.array([0, 100]))
    assert fit.argmax() == 40
    assert fit.max() == pytest.approx(np.linalg.norm(shape - shape.mean()))


def test_the_criterion_of_clements_and_bekkers_is_a_pure_number():
    array = noisy().astype(np.float64)
    shape, bounds = DECAY ** np.arange(12.0), np.array([0, array.shape[1]])
    found = kernels.clements_bekkers(array, shape, 2, bounds)
    np.testing.assert_allclose(kernels.clements_bekkers(1000.0 * array, shape, 2, bounds), found, rtol=1e-6, atol=1e-9)
    assert (kernels.clements_bekkers(np.zeros((2, 50)), shape, 2, np.array([0, 50])) == 0).all()


@pytest.mark.parametrize("shape", [[1.0], [2.0, 2.0, 2.0]])
def test_a_template_that_fits_everything_is_refused(shape):
    with pytest.raises(ValueError, match="not all alike"):
        kernels.matched_filter(np.zeros((1, 9)), np.array(shape), 0, np.array([0, 9]))


def some_frames(data, array, *, twice=False):
    """Frames of each row, in order, flat, and their offsets."""
    frames = [sorted(data.draw(st.lists(st.integers(0, array.shape[1] - 1), max_size=7, unique=not twice))) for _ in array]
    return frames, np.cumsum([0, *map(len, frames)]), np.array([frame for row in frames for frame in row], np.int64)


@given(st.data(), continuous(max_frames=60), st.integers(1, 4))
def test_summits_agree_with_their_definition(data, array, reach):
    bounds = data.draw(epochs(array.shape[1]))
    frames, offsets, flat = some_frames(data, array)
    expected = [reference.find_summits(trace, reach, bounds, row) for trace, row in zip(array, frames, strict=True)]
    assert kernels.find_summits(array, reach, bounds, offsets, flat).tolist() == [top for row in expected for top in row]


@given(st.data(), continuous(max_frames=60), st.floats(-1, 1))
def test_measurements_agree_with_their_definition(data, array, rest):
    bounds = data.draw(epochs(array.shape[1]))
    frames, offsets, flat = some_frames(data, array)
    columns, flags = kernels.measure_events(array, np.full(len(array), rest), 6.0, bounds, offsets, flat)
    names = {"compound": 1, "fwhm_censored": 4, "edge": 8, "onset_unseen": 16}
    each = (reference.measure_events(trace, rest, 6.0, bounds, row) for trace, row in zip(array, frames, strict=True))
    expected = [event for events in each for event in events]
    for name in columns:
        wanted = [event.get(name, np.nan) for event in expected]
        np.testing.assert_allclose(columns[name], wanted, rtol=1e-6, atol=1e-6, err_msg=name)
    large = columns["amplitude"] > 0
    wanted = np.array([sum(names[flag] for flag in event["flags"]) for event in expected], int)
    np.testing.assert_array_equal(flags[large], wanted[large])


@given(st.data(), traces(max_frames=60), st.integers(1, 4))
def test_onset_peak_and_offset_are_in_order_and_in_their_epoch_wherever_peaks_are_said_to_be(data, array, reach):
    array = np.ascontiguousarray(array)
    bounds = data.draw(epochs(array.shape[1]))
    _, offsets, flat = some_frames(data, array, twice=True)
    flat = kernels.find_summits(array, reach, bounds, offsets, flat) if data.draw(st.booleans()) else flat
    columns, _ = kernels.measure_events(array, np.zeros(len(array)), 6.0, bounds, offsets, flat)
    assert (columns["onset"] <= columns["peak"]).all()
    assert (columns["peak"] <= columns["offset"]).all()
    epoch = np.searchsorted(bounds, flat, side="right") - 1
    assert (columns["onset"] >= bounds[epoch]).all()
    assert (columns["offset"] <= bounds[epoch + 1] - 1).all()
    valid = columns["amplitude"] > 0
    assert (columns["fwhm"][valid] >= 0).all()


@given(traces(max_frames=60), st.floats(-1, 2), st.floats(-1, 2), st.integers(1, 3))
def test_peaks_are_over_their_threshold_even_where_a_run_is_said_to_end_above_it(array, high, low, shortest):
    ones = np.ones(len(array))
    offsets, peaks = kernels.find_peaks(array, high * ones, low * ones, ones, shortest, np.array([0, array.shape[1]]))
    for trace, (frames,) in zip(array, rows((offsets, peaks)), strict=True):
        assert (trace[frames] > high).all()
        assert (np.diff(frames) > 0).all()


def sd_rule(trace, k, least):
    """Peaks of the runs over mean + k SD and `least`, event by event: one more for each valley of one SD between two of them."""
    deviation = trace.std()
    over = trace > max(trace.mean() + k * deviation, least)
    peaks = []
    for start in np.flatnonzero(over & ~np.concatenate([[False], over[:-1]])):
        stop = start
        while stop < len(trace) and over[stop]:
            stop += 1
        top = bottom = start
        for t in range(start, stop):
            if top is not None:
                if trace[t] > trace[top]:
                    top = t
                if trace[t] < trace[top] - deviation:
                    peaks.append(top)
                    top, bottom = None, t
            else:
                bottom = t if trace[t] < trace[bottom] else bottom
                if trace[t] > trace[bottom] + deviation:
                    top = t
        if top is not None:
            peaks.append(top)
    return peaks


@pytest.mark.parametrize(("k", "least"), [(5.0, None), (2.0, 0.5)])
def test_the_sd_rule_is_what_it_says_event_by_event(recording, k, least):
    filled = recording.assign(fluorescence=recording["fluorescence"].interpolate_na("frame", fill_value="extrapolate"))
    cleaned = ce.compute_dff(ce.estimate_baseline(filled))
    cleaned = ce.estimate_noise(ce.subtract_background(cleaned))
    found = ce.detect_events(cleaned, detector="sd", threshold=k, min_dff=least)
    rate, total = float(cleaned["sampling_rate"]), 0
    for neuron, trace in zip(cleaned["neuron"].values, cleaned["detrended"].values.astype(np.float64), strict=True):
        expected = sd_rule(trace, k, 0.1 if least is None else least)
        here = found["event_neuron"].values == neuron
        # a parabola moves a peak by no more than half a frame
        assert np.count_nonzero(here) == len(expected)
        np.testing.assert_allclose(found["event_peak"].values[here] * rate, expected, atol=0.501)
        total += len(expected)
    assert total > 50
