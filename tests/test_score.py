"""Scores of tiny recordings whose answers can be counted by hand."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from calcium_engine.schema import CalciumError, MissingVariableError, var
from calcium_engine.score import best_match, describe_recovery, score_ensembles, score_events, score_recovery
from calcium_engine.score.ensembles import _adjusted_rand
from calcium_engine.score.truth import match
from calcium_engine.simulate import simulate_recording


def recording_of(
    spikes=(),
    events=(),
    planted=(),
    participants=(),
    members=(),
    found=(),
    cores=(),
    neurons=("a", "b", "c", "d"),
    planted_labels=None,
    labels=None,
):
    """A recording of 100 s at 10 Hz; spikes and events are (neuron, time) pairs, sets are strings of neurons' letters."""

    def sets(rows):
        return np.array([[name in row for name in neurons] for row in rows], dtype=bool).reshape(len(rows), len(neurons))

    values = {
        "true_spike_neuron": np.array([neuron for neuron, _ in spikes], dtype="U1"),
        "true_spike_time": np.array([time for _, time in spikes], dtype=float),
        "event_neuron": np.array([neuron for neuron, _ in events], dtype="U1"),
        "event_onset": np.array([time for _, time in events], dtype=float),
        "true_ensemble_time": np.array(planted, dtype=float),
        "true_ensemble_label": np.array([1] * len(planted) if planted_labels is None else planted_labels, dtype=int),
        "true_participation": sets(participants),
        "true_member": sets(members),
        "ensemble_event_time": np.array(found, dtype=float),
        "ensemble_event_label": np.array([-1] * len(found) if labels is None else labels, dtype=int),
        "is_core": sets(cores),
    }
    coords = {"neuron": list(neurons), "frame": np.arange(1000), "time": ("frame", np.arange(1000) / 10), "sampling_rate": 10.0}
    return xr.Dataset({name: var(name).wrap(value) for name, value in values.items()}, coords=coords)


def test_each_group_of_spikes_is_found_by_the_event_nearest_to_it():
    spikes = [
        ("a", 10.0),
        ("a", 10.2),
        ("a", 10.45),
        ("a", 20.0),
        ("b", 10.0),
        ("c", 30.0),
        ("c", 30.1),
        ("c", 30.2),
        ("c", 30.3),
    ]
    events = [("a", 10.6), ("a", 10.1), ("b", 20.0), ("c", 29.6), ("d", 10.0)]
    scores = score_events(recording_of(spikes, events))
    # groups: a at 10 (3 spikes), a at 20 (1), b at 10 (1), c at 30 (4); found: a at 10 and c at 30
    expected = {
        "spike_groups": 4,
        "events": 5,
        "event_precision": 2 / 5,
        "event_recall": 2 / 4,
        "event_f1": 4 / 9,
        "event_recall_1": 0,
        "event_recall_2_3": 1,
        "event_recall_4": 1,
        "event_f1_median": 0.25,  # a 1/2, b 0, c 1, and d, which has an event alone, 0
        "onset_error": 0.25,  # a 0.1 late, c 0.4 early
        "onset_bias": -0.15,
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_every_score_has_its_interval_and_another_recording_may_hold_the_truth():
    truth = recording_of([("a", 10.0), ("b", 20.0), ("b", 40.0)])
    found = recording_of(found=[], events=[("a", 10.1), ("b", 20.2)])
    scores = score_events(found.drop_vars(["true_spike_time", "true_spike_neuron"]), truth)
    assert scores["event_recall"] == pytest.approx(2 / 3)
    assert scores["onset_error"] == pytest.approx(0.15)
    for name in ("event_precision", "event_recall", "event_f1", "event_f1_median", "onset_error", "onset_bias"):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]
    assert scores["event_recall_low"] < scores["event_recall_high"]
    np.testing.assert_equal(scores, score_events(found, truth))


def test_window_and_gap_are_the_users():
    recording = recording_of([("a", 10.0), ("a", 10.5)], [("a", 11.2)])
    assert score_events(recording)["spike_groups"] == 2
    one = score_events(recording, group_gap=0.6, window=(-0.1, 1.5))
    assert (one["spike_groups"], one["event_recall"]) == (1, 1)
    with pytest.raises(CalciumError, match="a later end"):
        score_events(recording, window=(1.0, 0.0))


@pytest.mark.parametrize(("lag", "right"), [(-0.6, 0), (-0.45, 1), (0.0, 1), (0.7, 1), (0.8, 0)])
def test_an_event_may_be_half_a_second_early_and_three_quarters_late(lag, right):
    scores = score_events(recording_of([("b", 50.0)], [("b", 50.0 + lag)]))
    assert scores["event_precision"] == scores["event_recall"] == right


def test_spikes_a_third_of_a_second_apart_are_two_groups():
    assert score_events(recording_of([("a", 10.0), ("a", 10.35)]))["spike_groups"] == 2
    assert score_events(recording_of([("a", 10.0), ("a", 10.25)]))["spike_groups"] == 1


def test_an_event_without_onset_finds_nothing():
    scores = score_events(recording_of([("a", 10.0)], [("a", math.nan), ("a", 10.0)]))
    assert (scores["event_precision"], scores["event_recall"]) == (0.5, 1.0)


def test_only_the_neurons_and_times_at_hand_count():
    recording = recording_of([("a", 10.0), ("b", 10.0), ("b", 80.0)], [("a", 10.0), ("b", 10.1)])
    scores = score_events(recording.isel(neuron=[1], frame=slice(0, 500)))
    assert (scores["spike_groups"], scores["events"], scores["event_f1"]) == (1, 1, 1)


def test_ensemble_events_count_within_a_second_and_from_three_neurons():
    scores = score_ensembles(
        recording_of(
            planted=[10, 20, 30, 40], participants=["abc", "abcd", "ab", "bcd"], members=["abcd"], found=[10.9, 21.2, 30, 60]
        )
    )
    # 20 is missed by 0.2 s, 30 is too small to be asked for but right when found, 60 is wrong
    assert scores["ensemble_events_planted"] == 3
    assert scores["ensemble_events"] == 4
    assert scores["ensemble_event_recall"] == pytest.approx(1 / 3)
    assert scores["ensemble_event_precision"] == pytest.approx(2 / 4)
    assert scores["ensemble_event_f1"] == pytest.approx(0.4)


def test_two_found_ensemble_events_cannot_share_a_planted_one():
    scores = score_ensembles(recording_of(planted=[10], participants=["abc"], members=["abc"], found=[9.8, 10.1]))
    assert (scores["ensemble_event_recall"], scores["ensemble_event_precision"]) == (1, 0.5)


def test_cores_are_compared_with_members():
    scores = score_ensembles(recording_of(members=["abc", "d"], cores=["ab", "abcd"]))
    # Jaccard: abc with ab 2/3, with abcd 3/4; d with ab 0, with abcd 1/4
    assert scores["best_match"] == pytest.approx(1 - ((1 / 4 + 3 / 4) + (1 / 3 + 1 / 4)) / 4)
    assert scores["core_f1"] == pytest.approx((6 / 7 + 2 / 5) / 2)
    assert (scores["ensembles_planted"], scores["ensembles"]) == (2, 2)


@pytest.mark.parametrize(
    ("planted", "found", "rand"),
    [
        ([1, 1, 2, 2], [0, 0, 1, 1], 1.0),
        ([1, 1, 2, 2], [7, 7, -1, -1], 1.0),  # names of groups mean nothing
        ([1, 1, 2, 2], [0, 0, 0, 0], 0.0),
        ([1, 1, 2, 2], [0, 1, 2, 3], 0.0),
        # 2 pairs together in one, 2 in the other, none in both, of 6: (0 - 4/6) / (2 - 4/6)
        ([1, 1, 2, 2], [0, 1, 0, 1], -0.5),
        # 2 together in the planted, 1 in the found, that one in both: (1 - 2/6) / (3/2 - 2/6)
        ([1, 1, 2, 2], [0, 0, -1, 1], 4 / 7),
        # 6 of 15 and 4 of 15, 4 in both: (4 - 24/15) / (5 - 24/15)
        ([1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, -1], 12 / 17),
        ([1, 1, 1], [0, 0, 0], math.nan),  # one group each: chance could not do worse
        ([1, 2, 3], [0, 1, 2], math.nan),
        ([1], [0], math.nan),
        ([], [], math.nan),
    ],
)
def test_labels_of_events_are_compared_as_groups(planted, found, rand):
    when = 10.0 * np.arange(len(planted)) + 5
    scores = score_ensembles(
        recording_of(planted=when, planted_labels=planted, participants=["abc"] * len(when), found=when + 0.4, labels=found)
    )
    assert scores["event_label_rand"] == pytest.approx(rand, nan_ok=True)


def test_only_events_that_are_right_have_labels_to_compare():
    scores = score_ensembles(
        recording_of(
            planted=[10, 20, 30, 40, 50],
            planted_labels=[1, 1, 2, 2, 1],
            participants=["abc"] * 5,
            found=[40.3, 10.2, 20.1, 29.5, 60, 70],  # in any order; the last two are none, and 50 is missed
            labels=[1, 0, 0, 1, 0, 1],
        )
    )
    assert scores["event_label_rand"] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=25), st.randoms())
def test_labels_agree_as_the_pairs_of_events_do(events, random):
    """Count all pairs; the expectation is the mean over all orders of one labelling, which shuffles come close to."""
    one, other = (np.array([event[k] for event in events], dtype=int) for k in (0, 1))
    pair = np.triu_indices(len(events), 1)
    same_one, same_other = ((labels[:, None] == labels)[pair] for labels in (one, other))
    rand = _adjusted_rand(one, other)
    assert rand == pytest.approx(_adjusted_rand(other, one), nan_ok=True)
    order = random.sample(range(len(events)), len(events))
    assert rand == pytest.approx(_adjusted_rand(one[order], other[order]), nan_ok=True)
    if len(same_one) and (same_one.any() or same_other.any()) and not (same_one.all() and same_other.all()):
        chance = same_one.mean() * same_other.mean()
        most = (same_one.mean() + same_other.mean()) / 2
        assert rand == pytest.approx(((same_one & same_other).mean() - chance) / (most - chance))
    else:
        assert math.isnan(rand)


def test_another_recording_may_hold_the_planted_ensembles():
    truth = recording_of(
        planted=[10, 20, 30], planted_labels=[1, 2, 1], participants=["abc", "abd", "abc"], members=["abc", "abd"]
    )
    found = recording_of(found=[10.3, 20, 30], labels=[0, 1, 0], cores=["abc", "abd"])
    bare = found.drop_vars([name for name in found.data_vars if name.startswith("true_")])
    scores = score_ensembles(bare, truth)
    assert scores["best_match"] == scores["event_label_rand"] == scores["ensemble_event_f1"] == 1
    assert scores == score_ensembles(found, truth) == score_ensembles(bare, truth.isel(neuron=[2, 0, 3, 1]))
    with pytest.raises(MissingVariableError, match=r"true_ensemble_time.*truth"):
        score_ensembles(bare)


@pytest.mark.parametrize(
    ("neurons", "says"),
    [("abce", "4 and 4 neurons.*3 have the same id .not 'd'"), ("abc", "3 and 4"), ("abcde", "5 and 4.*4 have")],
)
def test_the_truth_must_be_about_the_same_neurons(neurons, says):
    with pytest.raises(CalciumError, match=says):
        score_ensembles(recording_of(), recording_of(neurons=tuple(neurons)))
    with pytest.raises(CalciumError, match="truth is no recording"):
        score_ensembles(recording_of(), "truth.zarr")


@pytest.mark.parametrize(
    ("members", "cores", "match", "core"),
    [
        ([], [], math.nan, math.nan),
        (["abc"], [], 0, 0),
        ([], ["abc"], 0, math.nan),
        (["abc"], [""], 0, 0),
        (["abc"], ["abc"], 1, 1),
    ],
)
def test_nothing_planted_or_nothing_found(members, cores, match, core):
    scores = score_ensembles(recording_of(members=members, cores=cores))
    assert (scores["best_match"], scores["core_f1"]) == pytest.approx((match, core), nan_ok=True)


def test_empty_recordings_score_nan_and_can_be_described():
    scores = score_recovery(recording_of())
    assert math.isnan(scores["event_f1"]) and math.isnan(scores["ensemble_event_f1"]) and math.isnan(scores["best_match"])
    assert "nan" not in describe_recovery(scores)
    assert "none to judge" in describe_recovery(scores)
    missed = score_recovery(recording_of(spikes=[("a", 1.0)], planted=[5], participants=["abc"], members=["abc"]))
    assert (missed["event_recall"], missed["event_f1"], missed["ensemble_event_f1"], missed["best_match"]) == (0, 0, 0, 0)
    wrong = score_recovery(recording_of(events=[("a", 1.0)], found=[5], cores=["abc"]))
    assert (wrong["event_precision"], wrong["event_f1"], wrong["ensemble_event_f1"], wrong["best_match"]) == (0, 0, 0, 0)


def perfect(recording):
    """The recording as a flawless analysis would have left it: the truth under the names of the results."""
    first = np.unique(np.stack([recording.true_spike_neuron.values, recording.true_spike_time.values]), axis=1)
    return recording.assign(
        event_neuron=var("event_neuron").wrap(first[0].astype(int)),
        event_onset=var("event_onset").wrap(first[1]),
        ensemble_event_time=var("ensemble_event_time").wrap(recording.true_ensemble_time.values),
        ensemble_event_label=var("ensemble_event_label").wrap(recording.true_ensemble_label.values - 1),
        is_core=var("is_core").wrap(recording.true_member.values),
    )


def test_a_flawless_analysis_of_a_simulated_recording_is_perfect():
    # one spike an event, and rare ones, so that hardly two share a group
    simulated = simulate_recording(
        n_neurons=60, n_frames=3000, spikes_per_event=1, event_rate=0.5, n_ensembles=2, ensemble_rate=0.5
    )
    scores = score_recovery(perfect(simulated))
    assert scores["event_recall"] == scores["ensemble_event_recall"] == scores["ensemble_event_precision"] == 1
    assert scores["best_match"] == scores["core_f1"] == scores["event_label_rand"] == 1
    assert scores["event_precision"] > 0.99
    text = describe_recovery(scores)
    assert "2 found for 2 planted" in text and "Best Match 1.00" in text


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("true_spike_time", "simulate_recording"),
        ("event_onset", "detect_events"),
        ("is_core", "find_ensembles"),
        ("ensemble_event_label", "find_ensembles"),
        ("true_ensemble_label", "simulate_recording"),
    ],
)
def test_what_is_missing_is_named_with_its_maker(missing, says):
    with pytest.raises(MissingVariableError, match=f"{missing}.*{says}"):
        score_recovery(recording_of().drop_vars(missing))


times = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=12)


@given(times, times)
def test_matching_agrees_with_the_obvious_way(truth, found):
    """Pick the nearest pair left, again and again; times in steps of 0.1 s, ends of the window between the steps."""
    window = (-0.55, 0.75)
    truth_row, truth_time = (np.array([pair[k] for pair in truth], dtype=float) for k in (0, 1))
    found_row, found_time = (np.array([pair[k] for pair in found], dtype=float) for k in (0, 1))
    true_hit, found_hit = (partner >= 0 for partner in match(truth_time / 10, truth_row, found_time / 10, found_row, window))
    lags = found_time[None, :] / 10 - truth_time[:, None] / 10
    allowed = (found_row[None, :] == truth_row[:, None]) & (lags > window[0]) & (lags < window[1])
    assert true_hit.sum() == found_hit.sum()
    assert not (true_hit & ~allowed.any(axis=1)).any()
    # no allowed pair is left with both sides free
    assert not allowed[np.ix_(~true_hit, ~found_hit)].any()
    # with all lags distinct the greedy choice is unique
    distances = np.abs(lags[allowed]).round(6)
    if len(np.unique(distances)) == len(distances):
        expected = np.zeros(len(truth), dtype=bool)
        left = np.where(allowed, np.abs(lags), np.inf)
        while np.isfinite(left).any():
            i, j = np.unravel_index(left.argmin(), left.shape)
            expected[i], left[i, :], left[:, j] = True, np.inf, np.inf
        assert np.array_equal(true_hit, expected)


@given(st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=4), st.randoms())
def test_best_match_is_one_for_the_same_sets_in_any_order_and_symmetric(family, random):
    rows = np.array([[k in members for k in range(6)] for members in family])
    shuffled = rows[random.sample(range(len(rows)), len(rows))]
    assert best_match(rows, shuffled) == pytest.approx(1)
    assert best_match(rows, rows[:1]) == pytest.approx(best_match(rows[:1], rows))
    assert 0 <= best_match(rows, ~rows) <= 1
