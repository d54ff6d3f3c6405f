"""What ensembles do over time, against its plain definitions; and what a recording could have shown."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, poisson_events, with_events

from calcium_engine import (
    CalciumError,
    MissingVariableError,
    compute_coactivity,
    ensemble_power,
    find_ensemble_events,
    find_ensembles,
    simulate_recording,
)
from calcium_engine.analysis import analyze
from calcium_engine.dynamics import concordance, over_chance, pattern_completion, stretches, transitions

N, BINS = 60, 3000
GROUPS = (range(0, 12), range(12, 24), range(24, 36))


def planted(order=(0, 1, 2), seed=7, reliability=0.9, every=32):
    """Groups that come in this order, again and again, in sparse private activity."""
    rng = np.random.default_rng(seed)
    raster = rng.random((N, BINS)) < 0.003
    for i, b in enumerate(range(20, BINS - 5, every)):
        group = GROUPS[order[i % len(order)]]
        raster[list(group), b] |= rng.random(len(group)) < reliability
    rows, bins = np.nonzero(raster)
    return find_ensemble_events(compute_coactivity(with_events(N, 2 * BINS, rows, 2 * bins), bin=2 / RATE))


@pytest.fixture(scope="module")
def found():
    return find_ensembles(planted())


def test_activation_is_the_share_of_the_core_that_is_active(found):
    counts = np.zeros((N, BINS), bool)
    frames = np.rint(found["event_onset"].values * RATE).astype(int)
    counts[found["event_neuron"].values, frames // 2] = True
    for core, activation in zip(found["is_core"].values, found["ensemble_activation"].values, strict=True):
        np.testing.assert_allclose(activation, counts[core].mean(axis=0), atol=1e-6)


def test_an_ensemble_is_activated_where_it_was_planted(found):
    assert (found["ensemble_activation_count"].values >= 30).all()
    for row, core in enumerate(found["is_core"].values):
        k = next(k for k, group in enumerate(GROUPS) if core[list(group)].all())
        own = np.arange(20, BINS - 5, 32)[k::3]
        active = np.flatnonzero(found["is_activated"].values[row])
        assert np.isin(own, active).mean() > 0.95 and np.isin(active, own).mean() > 0.9


def test_sequences_that_never_vary_have_no_uncertainty(found):
    assert float(found["sequence_entropy"]) == pytest.approx(0.0, abs=0.1)
    assert float(found["sequence_entropy_pvalue"]) < 0.01
    counts, expected = found["transition_count"].values, found["transition_expected"].values
    assert ((counts > 20) == (found["transition_pvalue"].values < 0.01)).all()
    assert counts.sum() == np.count_nonzero(found["ensemble_event_label"] > 0) - 1
    assert expected.sum() == pytest.approx(counts.sum())


def test_transitions_of_random_order_are_not_significant():
    rng = np.random.default_rng(3)
    wrong = 0
    made = planted()
    for _ in range(20):
        labels = rng.integers(1, 4, made.sizes["ensemble_event"])
        table = transitions(made, labels, 3, 0)
        wrong += bool(table["sequence_entropy_pvalue"] < 0.05)
        shares = table["transition_count"].sum(axis=1)
        assert shares.sum() == len(labels) - 1
    assert wrong <= 4


def test_expected_transitions_are_the_mean_over_orders():
    made, rng = planted(), np.random.default_rng(0)
    labels = rng.integers(1, 4, made.sizes["ensemble_event"])
    expected = transitions(made, labels, 3, 0)["transition_expected"]
    mean = np.mean([transitions(made, rng.permutation(labels), 3, 0)["transition_count"] for _ in range(60)], axis=0)
    assert np.abs(mean - expected).max() < 4 * np.sqrt(expected.max() / 60)


def test_chance_of_transitions_is_exact():
    from itertools import permutations

    made = planted(order=(0,), every=400)
    labels = np.array([1, 1, 2, 1, 2, 3, 1])
    few = made.isel(ensemble_event=slice(0, 7))
    table = transitions(few, labels, 3, 0)
    as_many, orders = np.zeros((3, 3)), list(permutations(labels))
    for order in orders:
        counts = np.zeros((3, 3))
        np.add.at(counts, (np.array(order[:-1]) - 1, np.array(order[1:]) - 1), 1)
        as_many += counts >= table["transition_count"]
    np.testing.assert_allclose(table["transition_pvalue"], as_many / len(orders))


def test_no_transition_reaches_across_a_gap():
    made = planted(order=(0,), every=1000)
    time = made["time"].values + 100.0 * (np.arange(2 * BINS) >= BINS)
    apart = made.assign_coords(time=("frame", time))
    apart = apart.assign(ensemble_event_time=apart["ensemble_event_time"] + 100.0 * (apart["ensemble_event_time"] > BINS / RATE))
    labels = np.ones(made.sizes["ensemble_event"], int)
    across, whole = (int(transitions(one, labels, 1, 0)["transition_count"].sum()) for one in (apart, made))
    assert across == whole - 1


@given(st.integers(0, 2**32 - 1), st.integers(3, 8), st.integers(2, 10))
def test_concordance_of_whole_rankings_is_kendalls_w(seed, n, m):
    values = np.random.default_rng(seed).random((m, n))
    ranks = values.argsort(axis=1).argsort(axis=1) + 1.0
    spread = ((ranks.sum(axis=0) - m * (n + 1) / 2) ** 2).sum()
    consistency, pvalue = concordance(values)
    assert consistency == pytest.approx(12 * spread / (m**2 * (n**3 - n)))
    # Friedman's chi square
    from scipy.stats import chi2

    assert pvalue == pytest.approx(chi2.sf(m * (n - 1) * consistency, n - 1), abs=1e-7)


def test_concordance_of_incomplete_random_rankings_is_calibrated():
    rng, small = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.random((25, 10))
        values[rng.random((25, 10)) < 0.4] = np.nan
        small += concordance(values)[1] < 0.05
    assert 2 <= small <= 20  # 10 are expected


def test_the_order_of_recruitment_comes_back():
    made = analyze(
        simulate_recording(n_neurons=60, n_frames=6000, sampling_rate=15.0, n_ensembles=1, ensemble_size=15, ensemble_rate=8.0,
                           reliability=0.9, jitter=0.03, order=0.4, noise_level=1.0, event_rate=0.5, seed=2),
        settings={"find_ensembles.compare": False},
    )  # fmt: skip
    assert made.sizes["ensemble"] == 1
    assert float(made["recruitment_pvalue"][0]) < 1e-6 and float(made["recruitment_consistency"][0]) > 0.5
    latency, true = made["recruitment_latency"].values[0], made["true_latency"].values[0]
    both = np.isfinite(latency) & np.isfinite(true)
    assert np.corrcoef(latency[both], true[both])[0, 1] > 0.9


def test_pattern_completion_is_the_chance_over_all_fifths():
    rng = np.random.default_rng(0)
    raster = rng.random((6, 200)) < 0.3
    raster[:, ::20] |= rng.random((6, 10)) < 0.8
    counts, chance = raster.sum(axis=0)[None, :], raster.mean(axis=1)
    trigger = 1  # a fifth of six
    seen = completed = 0
    for chosen in combinations(range(6), trigger):
        there = raster[list(chosen)].all(axis=0)
        seen, completed = seen + there.sum(), completed + (there & (raster.sum(axis=0) >= 3)).sum()
    law = np.zeros(7)
    for bits in range(64):
        active = np.array([bits >> i & 1 for i in range(6)], bool)
        law[active.sum()] += np.prod(np.where(active, chance, 1 - chance))
    weight = law * np.arange(7)
    expected = completed / seen - weight[3:].sum() / weight.sum()
    assert pattern_completion(counts, np.ones((1, 6), bool), chance)[0] == pytest.approx(expected)


def test_patterns_are_completed_by_ensembles_alone(found):
    assert (found["pattern_completion"] > 0.5).all()
    rng = np.random.default_rng(1)
    independent = rng.random((12, 5000)) < 0.1
    completion = pattern_completion(independent.sum(axis=0)[None, :], np.ones((1, 12), bool), independent.mean(axis=1))
    assert abs(completion[0]) < 0.02


def test_independent_neurons_activate_no_set():
    rng, over = np.random.default_rng(0), 0
    for _ in range(20):
        raster = rng.random((10, 3000)) < 0.05
        over += over_chance(raster.sum(axis=0)[None, :], np.ones((1, 10), bool), raster.mean(axis=1)).any()
    assert over <= 4


def test_stretches_end_with_their_epoch():
    activated = np.array([[0, 1, 1, 0, 1, 1, 1, 0], [0] * 8], bool)
    assert stretches(activated, np.zeros(8)).tolist() == [2, 0]
    assert stretches(activated, np.repeat([0, 1], [5, 3])).tolist() == [3, 0]


def test_few_events_show_no_order():
    made = find_ensembles(planted(every=400), min_events=2)
    assert np.isnan(made["recruitment_consistency"]).all()


@pytest.fixture(scope="module")
def quiet():
    made = compute_coactivity(poisson_events(60, 6000, 0.004, 1), bin=2 / RATE)
    return find_ensembles(find_ensemble_events(made))


def test_power_grows_with_size_and_reliability(quiet):
    large = ensemble_power(quiet, size=20, n_events=20, runs=4)
    small = ensemble_power(quiet, size=4, n_events=5, runs=4)
    power = large["ensemble_power"].values
    assert (np.diff(power) >= 0).all() and power[0] < 1 and power[-1] == 1
    assert (small["ensemble_power"].values <= power).all()
    assert large["ensemble_power"].attrs["least_reliability"] <= 0.7
    assert "least_reliability" not in small["ensemble_power"].attrs
    again = ensemble_power(quiet, size=20, n_events=20, runs=4)
    np.testing.assert_array_equal(again["ensemble_power"], power)


def test_power_is_that_of_the_recordings_own_steps(quiet):
    strict = find_ensembles(quiet, min_events=30)
    assert ensemble_power(strict, size=20, n_events=20, runs=2)["ensemble_power"].values[-1] == 0


def test_power_leaves_the_recording_as_it_was(quiet):
    result = ensemble_power(quiet, runs=1)
    assert set(result.data_vars) == {*quiet.data_vars, "ensemble_power"}
    assert "ensemble_power(" in result.attrs["history"]
    assert "ensemble_power" not in find_ensembles(result)


@pytest.mark.parametrize("wrong", [{"size": 2}, {"n_events": 0}, {"runs": 0}, {"seed": -1}])
def test_power_of_nothing_is_refused(wrong, quiet):
    with pytest.raises(CalciumError, match=next(iter(wrong))):
        ensemble_power(quiet, **wrong)


def test_power_needs_ensembles_to_have_been_sought():
    with pytest.raises(MissingVariableError, match="find_ensembles"):
        ensemble_power(compute_coactivity(poisson_events(10, 600, 0.01, 0), bin=2 / RATE))
