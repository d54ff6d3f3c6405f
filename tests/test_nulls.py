"""The law of coactivity by chance: exact, against every shift that there is, and sampled."""

from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from recordings import RATE, poisson_events, with_events

from calcium_engine import kernels
from calcium_engine.coactivity import activity_of, compute_coactivity, joined
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.nulls import Null, exact_null, make_scheme
from calcium_engine.schema import CalciumError
from calcium_engine.shuffles import rarest, sampled_null
from calcium_engine.significance import judge

FRAME = 1 / RATE


def _recording(raster, epochs=(), binning="frames", frames=1.0, **how):
    """Coactivity of events at the frames of a raster, epochs beginning at these frames."""
    rows, at = np.nonzero(raster)
    made = with_events(*raster.shape, rows, at)
    if len(epochs):
        made = made.assign_coords(epoch=("frame", np.searchsorted(epochs, np.arange(raster.shape[1]), side="right")))
    return compute_coactivity(made, bin=frames * FRAME, binning=binning, **how)


def _tails(chances, n_counts):
    laws = np.array([reference.poisson_binomial_pmf(column) for column in chances.T])
    tails = np.cumsum(laws[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([tails, np.zeros((len(tails), n_counts))], axis=1)[:, :n_counts]


@st.composite
def cases(draw):
    """A small raster with epochs, bins of some kind, and a null."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_frames = draw(st.integers(12, 40))
    raster = rng.random((draw(st.integers(1, 5)), n_frames)) < draw(st.sampled_from([0.03, 0.2, 0.6]))
    epochs = draw(st.sampled_from([(), (7,), (4, 9)]))
    binning, frames = draw(st.sampled_from([("frames", 1.0), ("frames", 3.0), ("edges", 1.0), ("edges", 2.4), ("sliding", 2.0)]))
    null = draw(st.sampled_from(["circular", "epochs", "local", "train_dither"]))
    least = draw(st.integers(0, 1)) if null in ("circular", "epochs") else 0
    return raster, epochs, binning, frames, null, least, draw(st.integers(1, 9))


@given(cases())
def test_the_exact_law_is_that_of_all_shifts(case):
    raster, epochs, binning, frames, null, least, reach = case
    recording = _recording(raster, epochs, binning, frames)
    activity = activity_of(recording)
    assume(not least or np.diff(activity.bins.rings)[np.diff(activity.bins.rings) > 0].min() >= 4)  # too few to shift to
    per_place = (frames if binning == "frames" else 1) * FRAME
    choice = {"null": "circular", "surrogate": "train_dither"} if null == "train_dither" else {"null": null}
    scheme = make_scheme(recording, activity, min_shift=least * per_place, reach=reach * per_place, **choice)
    places = np.zeros((len(raster), activity.bins.rings[-1]), bool)
    places[activity.rows, activity.places] = True
    rings = activity.bins.rings if null in ("epochs", "local") else activity.bins.rings[[0, -1]]
    expected = reference.chances(
        places, rings, activity.bins.places, activity.bins.place_widths, null, scheme.least, scheme.reach
    )
    found = exact_null(activity, scheme, int(recording["coactivity"].max()))
    np.testing.assert_allclose(found.expected, expected.sum(axis=0), atol=1e-9)
    n_counts = found.tails.shape[1]
    np.testing.assert_allclose(found.tails[found.group][:, :-1], _tails(expected, n_counts)[:, :-1], atol=1e-12)
    assert found.law.sum() == pytest.approx(1)


@pytest.mark.parametrize("count", ["neurons", "events"])
def test_the_law_of_neurons_shifted_together_and_of_events_is_that_of_all_shifts(count):
    raster = np.random.default_rng(3).random((4, 11)) < 0.3
    recording = _recording(raster, frames=1.0, count=count).assign_coords(plane=("neuron", ["a", "b", "a", "c"]))
    recording = recording.assign(event_onset=("event", recording["event_onset"].values))
    activity = activity_of(recording)
    scheme = make_scheme(recording, activity, shift_together="plane")
    groups = [raster[[0, 2]], raster[[1]], raster[[3]]]
    law = np.zeros(9)
    for a in range(11):
        for b in range(11):
            for c in range(11):
                rolled = [np.roll(group, d, axis=1) for group, d in zip(groups, (a, b, c), strict=True)]
                law += np.bincount(np.concatenate(rolled).sum(axis=0), minlength=9)
    found = exact_null(activity, scheme, 4).law
    np.testing.assert_allclose(found[:9], law / law.sum(), atol=1e-12)


def test_events_of_a_neuron_count_each():
    rows, frames = np.array([0, 0, 1]), np.array([4, 5, 4])
    made = with_events(3, 20, rows, frames)
    assert compute_coactivity(made, bin=2 * FRAME)["coactivity"].values[2] == 2
    assert compute_coactivity(made, bin=2 * FRAME, count="events")["coactivity"].values[2] == 3


SCHEMES = [
    {},
    {"null": "epochs"},
    {"null": "local", "reach": 5.0},
    {"min_shift": 3.0},
    {"surrogate": "permutation"},
    {"surrogate": "isi"},
    {"surrogate": "train_dither", "reach": 5.0},
]


@pytest.fixture(scope="module")
def bursty():
    made = poisson_events(30, 1200, 0.01, 8)
    return made.assign_coords(epoch=("frame", np.arange(1200) // 700))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("binning", ["frames", "edges", "sliding"])
def test_shuffles_follow_the_exact_law(binning, scheme, bursty):
    recording = compute_coactivity(bursty, bin=2.4 * FRAME if binning == "edges" else 2 * FRAME, binning=binning)
    result = find_ensemble_events(recording, significance="percentile", monte_carlo=3000, seed=2, **scheme)
    assert result["is_coactive"].attrs["total_variation"] < 3e-3
    exact = find_ensemble_events(recording, significance="percentile", **scheme)
    # every bin by itself: 3000 draws of a count whose SD is about 1
    np.testing.assert_allclose(result["coactivity_expected"], exact["coactivity_expected"], atol=0.12)


def test_dithered_events_fall_anywhere_within_reach(bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    result = find_ensemble_events(
        recording, surrogate="event_dither", reach=10 * 2 * FRAME, monte_carlo=4000, significance="percentile"
    )
    rows, bins = joined(activity_of(recording).in_bins())
    n_bins, chance = recording.sizes["bin"], np.zeros((30, recording.sizes["bin"]))
    for row, at in zip(rows, bins, strict=True):
        chance[row, np.arange(at - 10, at + 11) % n_bins] += 1
    expected = (1 - (1 - 1 / 21) ** chance).sum(axis=0)
    np.testing.assert_allclose(result["coactivity_expected"], expected, atol=0.12)


@pytest.mark.parametrize("scheme", [*SCHEMES, {"surrogate": "event_dither"}], ids=str)
def test_shuffles_do_not_depend_on_threads_or_the_order_of_neurons(scheme, bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    shuffled = recording.isel(neuron=np.random.default_rng(0).permutation(30))
    before = numba.get_num_threads()
    found = []
    for threads, one in ((before, recording), (1, recording), (before, shuffled)):
        numba.set_num_threads(threads)
        result = find_ensemble_events(one, significance="percentile", monte_carlo=150, seed=4, **scheme)
        found.append(result["coactivity_null_sampled"].values)
    numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_more_events_than_bins_can_be_permuted():
    frames = np.arange(12)
    made = with_events(2, 12, np.zeros(12, int), frames)
    recording = compute_coactivity(made, bin=6 * FRAME, count="events")
    result = find_ensemble_events(recording, surrogate="permutation", significance="percentile", monte_carlo=200)
    assert result["coactivity_expected"].values == pytest.approx([6, 6])


def test_both_ways_of_counting_shifts_agree(monkeypatch):
    raster = np.random.default_rng(5).random((70, 131)) < np.linspace(0, 0.9, 70)[:, None]
    rows, bins = np.nonzero(raster)
    offsets = np.searchsorted(rows, np.arange(71))
    found = []
    for weight in (0.0, 1e9):
        monkeypatch.setattr(kernels.shifts, "WORD_IN_EVENTS", weight)
        found.append(kernels.shifted_coactivity(bins, offsets, 131, 20, 6))
    np.testing.assert_array_equal(*found)


def _decimal_law(probabilities):
    law = [Decimal(1)]
    for p in map(Decimal, probabilities.tolist()):
        law = [a * (1 - p) + b * p for a, b in zip([*law, Decimal(0)], [Decimal(0), *law], strict=True)]
    return law


def test_tails_keep_their_precision():
    probabilities = np.minimum(np.random.default_rng(1).lognormal(-4, 1, 150), 1)
    with localcontext() as context:
        context.prec = 50
        law = _decimal_law(probabilities)
        tails = [sum(law[k:], Decimal(0)) for k in range(len(law))]
        found = kernels.poisson_binomial_pmf(probabilities), kernels.poisson_binomial_sf(probabilities)
        for exact, ours in zip((law, tails), found, strict=True):
            error = [abs(Decimal(f) / e - 1) for e, f in zip(exact, ours.tolist(), strict=True) if e > Decimal("1e-280")]
            assert len(error) > 80
            assert max(error) < 1e-13


@given(st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(-1, 8))
def test_laws_of_many_bins_are_those_of_each(rows, count):
    rows = np.array(rows)
    laws = kernels.poisson_binomial_pmf(rows)
    for row, law in zip(rows, laws, strict=True):
        np.testing.assert_array_equal(law, kernels.poisson_binomial_pmf(row))
    tails = np.concatenate([kernels.poisson_binomial_sf(rows), np.zeros((len(rows), 3))], axis=1)
    np.testing.assert_allclose(kernels.poisson_binomial_sf(rows, count), tails[:, max(count, 0)], rtol=1e-12)


def test_probabilities_out_of_range_are_refused():
    for bad in ([1.5], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            kernels.poisson_binomial_pmf(np.array(bad))
    with pytest.raises(ValueError, match="single number"):
        kernels.poisson_binomial_pmf(0.5)
    assert kernels.poisson_binomial_sf(np.array([0.5]), np.uint64(2**64 - 1)) == 0
    with pytest.raises(ValueError, match="whole numbers"):
        kernels.poisson_binomial_sf(np.array([0.5]), 1.5)


def test_a_law_of_very_many_neurons_is_that_of_its_moments():
    probabilities = np.full(100_000, 0.03)
    law = kernels.poisson_binomial_pmf(probabilities)
    counts = np.arange(len(law))
    assert law.sum() == pytest.approx(1, abs=4e-11)  # four roundings of each neuron
    assert law @ counts == pytest.approx(3000)
    assert law @ (counts - 3000.0) ** 2 == pytest.approx(3000 * 0.97)


def test_bins_of_unequal_width_get_a_null_each(bursty):
    recording = compute_coactivity(bursty, bin=2.4 * FRAME, binning="edges")
    result = find_ensemble_events(recording, significance="percentile")
    wide = result["bin_frames"].values == 3
    expected = result["coactivity_expected"].values
    assert len(np.unique(expected.round(9))) == 2
    assert (expected[wide] > expected[~wide].max()).all()


def test_familywise_is_the_largest_count_over_shuffles(bursty):
    recording = compute_coactivity(bursty.drop_vars("epoch"), bin=2 * FRAME)
    activity = activity_of(recording)
    scheme = make_scheme(recording, activity)
    null = exact_null(activity, scheme, int(recording["coactivity"].max()))
    least = rarest(activity, scheme, null, 400, 1)
    histograms = kernels.shifted_coactivity(activity.places, activity.offsets, recording.sizes["bin"], 400, 1, keys=scheme.keys)
    largest = [int(np.flatnonzero(row).max()) for row in histograms]
    np.testing.assert_allclose(least, null.tails[0, largest], rtol=1e-12)
    counts = recording["coactivity"].values
    verdict = judge(null, counts, "fwer", 0.05, least)
    for count in range(null.tails.shape[1]):
        p = (1 + np.count_nonzero(np.array(largest) >= count)) / 401
        assert (p <= 0.05) == (count >= verdict.thresholds[0])
    assert judge(null, counts, "fwer", 0.05).thresholds[0] == np.argmax(null.tails[0] <= 0.05 / len(counts))


def test_the_sampled_p_is_never_zero(bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    result = find_ensemble_events(recording, monte_carlo=20, significance="percentile")
    assert result["coactivity_pvalue"].min() >= 1 / (1 + 20 * recording.sizes["bin"])


def test_thresholds_beyond_all_counts_let_nothing_pass():
    null = Null(np.zeros(3, int), np.array([[1.0, 0.5, 0.2]]), np.array([[1.0, 0.5, 0.2]]), exact=True)
    verdict = judge(null, np.array([0, 1, 2]), "fwer", 0.05)
    assert not verdict.significant.any()
    assert verdict.attained.tolist() == [0, 0, 0]


def test_the_local_null_takes_no_common_drift_for_synchrony():
    rng = np.random.default_rng(2)
    rate = 0.01 * (1 + 0.9 * np.sin(2 * np.pi * np.arange(12000) / (120 * RATE)))
    rows, frames = np.nonzero(rng.random((200, 12000)) < rate)
    recording = compute_coactivity(with_events(200, 12000, rows, frames), bin=2 * FRAME)
    with pytest.warns(UserWarning, match="circular and the local null disagree.*null='local'"):
        circular = find_ensemble_events(recording)
    local = find_ensemble_events(recording, null="local")
    assert circular["is_coactive"].sum() > 20
    assert local["is_coactive"].sum() <= 1
    assert circular["is_coactive"].attrs["nulls_disagree"]
    np.testing.assert_array_equal(circular["comparison_is_coactive"], local["is_coactive"])
    np.testing.assert_array_equal(circular["comparison_threshold"], local["coactivity_threshold"])
    np.testing.assert_array_equal(local["comparison_is_coactive"], circular["is_coactive"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"null": "none"}, "one of 'circular', 'local', 'epochs'"),
        ({"surrogate": "none"}, "event_dither"),
        ({"surrogate": "event_dither"}, "no exact law.*monte_carlo=1000"),
        ({"null": "local", "surrogate": "isi"}, "goes with 'circular' or 'epochs'"),
        ({"null": "local", "min_shift": 3.0}, "min_shift"),
        ({"min_shift": 1e6}, "at most a quarter"),
        ({"min_shift": -1.0}, "0 or more"),
        ({"reach": 0.0}, "positive"),
        ({"shift_together": "plane"}, "no coordinate of neurons"),
        ({"min_neurons": 0}, "at least 1"),
        ({"monte_carlo": 1.5}, "whole number"),
        ({"null": None}, "one of 'circular'"),
        ({"significance": None}, "one of 'fdr'"),
    ],
)
def test_choices_that_cannot_be_are_one_clear_error(arguments, message, bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    with pytest.raises(CalciumError, match=message):
        find_ensemble_events(recording, **arguments)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_the_law_of_lively_neurons_is_not_cut_short(density):
    raster = np.random.default_rng(0).random((300, 80)) < density
    recording = _recording(raster)
    result = find_ensemble_events(recording, significance="percentile", null="local", reach=10 * FRAME)
    chances = raster.mean(axis=1)
    threshold = int(np.argmax(kernels.poisson_binomial_sf(chances) <= 0.01))
    steady = find_ensemble_events(recording, significance="percentile")
    assert steady["is_coactive"].attrs["threshold"] == threshold
    assert steady["is_coactive"].attrs["attained_alpha"] == pytest.approx(kernels.poisson_binomial_sf(chances)[threshold])
    for one in (steady, result):
        np.testing.assert_allclose(one["coactivity_expected"].mean(), chances.sum(), rtol=0.02)
    assert steady["coactivity_null"].values[-1] < 1e-15


def test_coactivity_of_other_events_is_refused(bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    few = recording.isel(event=slice(0, 50))
    half = recording.isel(neuron=slice(0, 15), event=np.flatnonzero(recording["event_neuron"].values < 15))
    for other in (few, half, recording.isel(bin=slice(None, None, -1))):
        with pytest.raises(CalciumError, match=r"not that of this recording.*compute_coactivity"):
            find_ensemble_events(other)


@pytest.mark.parametrize("binning", ["frames", "edges", "sliding"])
def test_a_bin_longer_than_anything_is_refused_at_once(binning, bursty):
    for seconds in (1e9, 1e300):
        with pytest.raises(CalciumError, match="shorter bin"):
            compute_coactivity(bursty, bin=seconds, binning=binning)


def test_neurons_of_no_group_are_refused(bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME).assign_coords(plane=("neuron", np.r_[np.nan, np.arange(29.0)]))
    with pytest.raises(CalciumError, match="missing for some neurons"):
        find_ensemble_events(recording, shift_together="plane")


def test_too_few_shuffles_are_warned_of(bursty):
    recording = compute_coactivity(bursty, bin=2 * FRAME)
    with pytest.warns(UserWarning, match=r"with 100 shuffles no bin's p-value.*monte_carlo=0"):
        find_ensemble_events(recording, null="local", monte_carlo=100)


@pytest.mark.parametrize("source", ["peak", "active"])
def test_sources_of_activity(source):
    table = {"event_neuron": [0, 0, 1, 2], "event_onset": [2.0, 10.2, 11.0, 1.0], "event_peak": [3.2, 11.0, 11.4, 1.0]}
    table |= {"event_offset": [6.0, 13.5, 11.4, 1.0], "event_flags": [0, 0, 0, 16]}
    made = with_events(3, 20, np.zeros(4, int), np.zeros(4, int))
    seconds = {name: np.array(frames) * FRAME for name, frames in table.items() if name not in ("event_neuron", "event_flags")}
    made = made.assign({name: ("event", values) for name, values in ({**table, **seconds}).items()})
    result = compute_coactivity(made, bin=2 * FRAME, source=source)
    # frames 3, 11, 11 are the peaks; active: 2 to 6, 11 to 13 and 11, and 1, which was under way but is active
    expected = {"peak": [0, 1, 0, 0, 0, 2, 0, 0, 0, 0], "active": [1, 1, 1, 1, 0, 2, 1, 0, 0, 0]}[source]
    assert result["coactivity"].values.tolist() == expected


def test_sampled_nulls_of_a_permuted_recording_and_of_a_part_share_their_shifts(bursty):
    recording = compute_coactivity(bursty.drop_vars("epoch"), bin=2 * FRAME)
    activity, part = activity_of(recording), recording.isel(neuron=[4, 9])
    keys = make_scheme(recording, activity).keys
    assert make_scheme(part, activity, shift_together=None).keys.tolist() == keys[[4, 9]].tolist()
    named = make_scheme(recording.assign_coords(neuron=[f"C{i:02}" for i in range(30)]), activity).keys
    assert len(set(named.tolist())) == 30
    assert sampled_null(activity, make_scheme(recording, activity), 5, 0, 12).tails.shape == (1, 12)
