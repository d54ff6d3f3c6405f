"""Coactivity, its null, ensemble events and ensembles."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, poisson_events, run, with_events

from calcium_engine.clustering import distances, labels_at, make_tree
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.ensembles import find_ensembles
from calcium_engine.events import detect_events
from calcium_engine.features import _medians, compute_features
from calcium_engine.io import make_recording
from calcium_engine.membership import Chance, settle
from calcium_engine.noise import estimate_noise
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.report.ensembles import about_ensembles
from calcium_engine.simulate import simulate_recording


def test_events_under_way_when_the_recording_begins_do_not_coincide():
    tail = np.exp(-np.arange(600) / 6.0) + np.random.default_rng(0).normal(0, 0.02, (10, 600))
    made = estimate_noise(make_recording(tail, sampling_rate=RATE, variable="dff"))
    result = compute_coactivity(detect_events(made, detector="noise"), bin=2 / RATE)
    assert result.sizes["event"] >= 10
    assert result["coactivity"].values[0] == 0


def test_coactivity_counts_each_neuron_once_a_bin():
    made = poisson_events(20, 1000, 0.02, 0)
    with pytest.warns(UserWarning, match=r"whole bins of 2 frames .*bin=0.417"):
        result = compute_coactivity(made)
    frames = np.rint(made["event_onset"].values * RATE).astype(int)
    expected = [len(set(made["event_neuron"].values[frames // 2 == b])) for b in range(500)]
    assert result["coactivity"].values.tolist() == expected
    assert result["coactivity"].attrs["bin_width_s"] == pytest.approx(2 / RATE)
    np.testing.assert_allclose(result["bin_time"][:2], [0.5 / RATE, 2.5 / RATE])


def test_shuffles_and_the_exact_law_agree():
    made = compute_coactivity(poisson_events(60, 6000, 0.004, 1), bin=2 / RATE)
    exact = find_ensemble_events(made, significance="percentile")
    sampled = find_ensemble_events(made, significance="percentile", monte_carlo=1000, seed=3)
    distance = 0.5 * float(np.abs(exact["coactivity_null"] - sampled["coactivity_null_sampled"]).sum())
    assert distance < 2e-3
    assert exact["is_coactive"].attrs["threshold"] == sampled["is_coactive"].attrs["threshold"]
    assert exact["coactivity_expected"][0] == pytest.approx(float(made["coactivity"].mean()))
    # counts above the 99th percentile, to the letter
    law = sampled["coactivity_null_sampled"]
    counts = np.repeat(law["count"].values, np.rint(law.values * 1000 * 3000).astype(int))
    np.testing.assert_array_equal(
        sampled["is_coactive"], sampled["coactivity"] > np.percentile(counts, 99, method="inverted_cdf")
    )


def test_false_discovery_rule_is_benjamini_hochberg():
    from scipy.stats import false_discovery_control

    made = compute_coactivity(poisson_events(60, 3000, 0.004, 2), bin=2 / RATE)
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
        made = compute_coactivity(poisson_events(100, 6000, 0.003, 100 + seed), bin=2 / RATE)
        result = find_ensemble_events(made, significance="percentile", monte_carlo=200, seed=seed)
        attrs = result["is_coactive"].attrs
        low, high = binom.interval(0.99, attrs["n_tests"], attrs["attained_alpha"])
        inside += low <= int(result["is_coactive"].sum()) <= high
    assert inside >= 17  # 20 · 0.99 are expected; fewer than 17 come about less than once in a thousand


def test_family_wise_errors_are_few_under_shuffles_of_either_null():
    found = {"circular": 0, "local": 0}
    for seed in range(10):
        made = compute_coactivity(poisson_events(60, 3000, 0.004, 300 + seed), bin=2 / RATE)
        for null in found:
            result = find_ensemble_events(made, null=null, significance="fwer", monte_carlo=200, seed=seed)
            found[null] += bool(result["is_coactive"].any())
    assert max(found.values()) <= 3  # each with probability 0.05 at most; more than 3 come about once in a thousand


def test_family_wise_without_an_exact_law_is_the_largest_count_of_each_shuffle():
    made = compute_coactivity(poisson_events(60, 3000, 0.004, 300), bin=2 / RATE)
    result = find_ensemble_events(made, significance="fwer", surrogate="event_dither", monte_carlo=100, seed=1)
    thresholds = result["coactivity_threshold"].values
    assert (thresholds == thresholds[0]).all()
    assert 0 < result["is_coactive"].attrs["expected_false_bins"] <= 0.15  # 0.05 recordings with about one bin each, sampled


def test_touching_bins_are_one_ensemble_event_at_its_peak():
    bins = {0: (20, 50), 1: (20, 50), 2: (20, 51), 3: (21, 51), 4: (21, 51), 5: (21, 51), 6: (21,), 7: (90,)}
    pairs = [(n, b) for n, own in bins.items() for b in own]
    rows, frames = np.array([n for n, _ in pairs]), np.array([2 * b for _, b in pairs])
    made = with_events(8, 200, rows, frames)
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
    return find_ensemble_events(compute_coactivity(with_events(60, 6000, rows, 2 * bins), bin=2 / RATE))


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

    clusters = labels_at(make_tree(distances(participation), "average"), 0.45)
    assert clusters.max() > 1
    assert settle(participation, clusters, 3, Chance(np.full(30, 1 / 30), 0.01 / 30, 30)).max() == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_medians_of_all_rows_at_once_are_those_of_each(seed, dtype):
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(20, size=rng.integers(60)))
    values = rng.normal(size=len(rows)).astype(dtype)
    values[rng.random(len(rows)) < 0.2] = np.nan
    own = [values[(rows == row) & ~np.isnan(values)] for row in range(20)]
    expected = [float(np.median(one)) if len(one) else np.nan for one in own]
    np.testing.assert_array_equal(_medians(rows, values, 20), expected)


def test_ensembles_of_many_neurons_say_that_the_other_method_was_not_tried(monkeypatch, recording):
    made = run(recording)
    monkeypatch.setattr("calcium_engine.ensembles.COMPARED_WORK", 1.0)
    alone = find_ensembles(made)
    said = alone["ensemble_event_label"].attrs["compared"]
    assert said.startswith("The other method, 'ica', was not tried: of 12 neurons in")
    assert "compared_is_core" not in alone
    assert said in about_ensembles(alone)


def test_how_many_neurons_are_worked_on_at_a_time_changes_no_bit(monkeypatch):
    simulated = simulate_recording(n_neurons=30, n_frames=3000, n_ensembles=2, ensemble_rate=6.0, seed=5)
    made = run(simulated, retention_test__neurons=2)
    assert made.sizes["ensemble"]

    def together():
        counted = compute_coactivity(compute_features(made), bin=2 / 4.8, binning="sliding")
        yield find_ensembles(find_ensemble_events(counted))
        for how in (
            {"null": "local"},
            {"min_shift": 20.0},
            {"surrogate": "permutation"},
            {"null": "local", "monte_carlo": 99, "significance": "percentile"},
        ):
            yield find_ensemble_events(counted, **how)
        yield compute_pairwise(compute_coactivity(made, bin=2 / 4.8, count="events"))

    expected = list(together())
    few = {"chance.BLOCK": 40, "spectra.COLUMNS": 5, "membership.ROWS": 3, "features.ROWS": 5, "detectability.ROWS": 5}
    for where, many in (few | {"coactivity.AT_A_TIME": 30}).items():
        monkeypatch.setattr(f"calcium_engine.{where}", many)
    for some, whole in zip(together(), expected, strict=True):
        xr.testing.assert_identical(some, whole)
