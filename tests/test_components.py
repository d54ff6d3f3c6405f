"""Ensembles by independent components."""

import numpy as np
import pytest
from recordings import RATE

from calcium_engine import (
    CalciumError,
    MissingVariableError,
    compute_coactivity,
    find_ensemble_events,
    find_ensembles,
    make_recording,
)
from calcium_engine.coactivity import make_bins
from calcium_engine.components import activated, activation, apart, binned_activity, members, rotate, spectrum
from calcium_engine.membership import best_match
from calcium_engine.schema import var

GROUPS = (range(0, 12), range(10, 24), range(30, 42))
N, FRAMES = 60, 6000


def deconvolved(seed=0, groups=GROUPS, reliability=0.8):
    """A recording of sparse activity in which groups come together every 90 frames or so."""
    rng = np.random.default_rng(seed)
    activity = (rng.random((N, FRAMES)) < 0.01) * rng.gamma(2.0, 0.5, (N, FRAMES))
    for k, group in enumerate(groups):
        for frame in range(30 + 25 * k, FRAMES, 90):
            taking_part = [i for i in group if rng.random() < reliability]
            activity[taking_part, frame] += 1 + rng.random(len(taking_part))
    recording = make_recording(np.zeros((N, FRAMES), np.float32), sampling_rate=RATE, variable="dff")
    return recording.assign(deconvolved=var("deconvolved").wrap(activity.astype(np.float32)))


def with_ensemble_events(recording, **bins):
    made = compute_coactivity(recording, source="deconvolved", bin=2 / RATE, **bins)
    return find_ensemble_events(made, significance="percentile")


def planted(groups=GROUPS):
    return np.array([np.isin(np.arange(N), group) for group in groups])


@pytest.fixture(scope="module")
def found():
    return find_ensembles(with_ensemble_events(deconvolved()), method="ica", seed=1)


def test_planted_ensembles_come_back(found):
    assert best_match(planted(), found["is_core"].values) > 0.95
    assert found["ensemble_event_label"].attrs["n_components"] == 3
    assert (found["ensemble_stability"] > 0.8).all()
    assert (found["ensemble_activation_count"] >= 40).all()
    assert found["ensemble_weight"].dims == ("ensemble", "neuron")
    np.testing.assert_allclose((found["ensemble_weight"] ** 2).sum("neuron"), 1.0)


def test_events_carry_the_label_of_the_group_that_was_active(found):
    labels, times = found["ensemble_event_label"].values, found["ensemble_event_time"].values
    for row, core in enumerate(found["is_core"].values):
        k = int(planted()[:, core].sum(axis=1).argmax())
        frames = np.rint(times[labels == row + 1] * RATE - 0.5)
        near = np.min(np.abs(frames[:, None] - np.arange(30 + 25 * k, FRAMES, 90)), axis=1) <= 2
        assert near.mean() > 0.95


def test_the_evidence_is_the_spectrum_and_its_level(found):
    values, level = found["cut_score"].values, found["cut_reference"].values[0]
    assert (np.diff(values) <= 0).all() and (values > level).sum() == 3
    assert values.sum() == pytest.approx(N, rel=1e-3)  # the trace of a correlation matrix


@pytest.mark.parametrize("seed", range(5))
def test_independent_neurons_have_no_components(seed):
    made = find_ensembles(with_ensemble_events(deconvolved(seed, groups=())), method="ica")
    assert made.sizes["ensemble"] == 0
    assert made["ensemble_event_label"].attrs["n_components"] == 0


def test_overlapping_bins_are_thinned_for_the_spectrum():
    recording = deconvolved()
    bins = make_bins(recording, 2 / RATE, "sliding")
    kept = apart(bins)
    assert (np.diff(bins.first[kept]) == 2).all() and len(kept) == FRAMES // 2
    whole = make_bins(recording, 2 / RATE)
    assert len(apart(whole)) == len(whole.first)
    result = find_ensembles(with_ensemble_events(recording, binning="sliding"), method="ica", compare=False)
    assert best_match(planted(), result["is_core"].values) > 0.95
    assert result["ensemble_activation"].sizes["bin"] == len(bins.first)


def test_activation_is_that_of_pairs():
    rng = np.random.default_rng(0)
    weights, activity = rng.random((1, 5)), np.rint(rng.random((5, 7)) * 256)
    z, w = activity / 256, weights[0]
    expected = [sum(w[i] * w[j] * z[i, t] * z[j, t] for i in range(5) for j in range(5) if i != j) for t in range(7)]
    np.testing.assert_allclose(activation(weights, activity)[0], expected)


def test_a_neuron_that_does_nothing_weighs_nothing():
    recording = deconvolved()
    recording["deconvolved"][50] = 0.0
    activity = binned_activity(recording, make_bins(recording, 2 / RATE))
    assert not activity[50].any()
    vectors = spectrum(activity, 0).vectors
    weights = rotate(vectors, activity, 0)
    assert np.abs(weights[:, 50]).max() < 1e-9
    assert not members(weights)[:, 50].any()
    strength, over = activated(weights, activity, activity, 0)
    assert over.any(axis=1).all() and strength.shape == over.shape


def test_missing_frames_are_no_activity():
    recording = deconvolved()
    recording["deconvolved"][:, 100:110] = np.nan
    activity = binned_activity(recording, make_bins(recording, 2 / RATE))
    assert np.isfinite(activity).all()


def test_it_needs_deconvolved_activity():
    made = with_ensemble_events(deconvolved()).drop_vars("deconvolved")
    with pytest.raises(MissingVariableError, match="deconvolve"):
        find_ensembles(made, method="ica")


def test_both_methods_are_compared_in_words(found):
    attrs = found["ensemble_event_label"].attrs
    assert attrs["compared_method"] == "jaccard" and not attrs["methods_disagree"]
    assert "agree" in attrs["compared"] and "3 ensembles" in attrs["compared"]
    assert found["compared_is_core"].sizes["compared_ensemble"] == 3
    assert (found["compared_match"] > 0.8).all()
    alone = find_ensembles(found, compare=False)
    assert "compared" not in alone["ensemble_event_label"].attrs and "compared_is_core" not in alone


def test_methods_of_which_one_finds_nothing_disagree():
    few = find_ensembles(with_ensemble_events(deconvolved()), cut=1e-9)  # by Jaccard similarity: no two events are so alike
    attrs = few["ensemble_event_label"].attrs
    assert few.sizes["ensemble"] == 0 and few.sizes["compared_ensemble"] == 3
    assert attrs["methods_disagree"] and attrs["compared_best_match"] == 0 and "disagree" in attrs["compared"]


def test_too_many_neurons_are_refused(monkeypatch):
    made = with_ensemble_events(deconvolved())
    monkeypatch.setattr("calcium_engine.components.MOST_NEURONS", 10)
    with pytest.raises(CalciumError, match="at most 10"):
        find_ensembles(made, method="ica")


def test_a_single_coincidence_is_no_ensemble():
    recording = deconvolved(3, groups=())
    recording["deconvolved"][:12, 3000] = 20.0
    assert find_ensembles(with_ensemble_events(recording), method="ica").sizes["ensemble"] == 0


def test_weights_of_no_two_classes_have_few_members():
    weights = np.random.default_rng(0).standard_normal((20, 200))
    assert members(weights).mean() < 0.08
    weights[:, :80] += 20.0
    np.testing.assert_array_equal(members(weights), np.arange(200) < np.full((20, 1), 80))


def test_an_ensemble_without_ensemble_events_is_described_all_the_same():
    made = compute_coactivity(deconvolved(), source="deconvolved", bin=2 / RATE)
    result = find_ensembles(find_ensemble_events(made, min_neurons=40), method="ica")
    assert result.sizes["ensemble"] == 3 and result.sizes["ensemble_event"] == 0
    assert (result["ensemble_event_count"] == 0).all() and (result["transition_pvalue"] == 1).all()
