"""Where a tree of ensemble events is cut, and which ensembles that leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, poisson_events, with_events

from calcium_engine import compute_coactivity, find_ensemble_events, find_ensembles
from calcium_engine.chance import chance_to_take_part, random_events
from calcium_engine.clustering import CUTS, Events, distances, explained_variance, labels_at, make_cut, make_tree
from calcium_engine.membership import CORE_ALPHA, Chance, best_match, divide, overlap, settle
from calcium_engine.spectra import gram, largest_eigenvalue, shifted

N = 60
GROUPS = (range(0, 15), range(15, 30), range(30, 45))


def events(seed=0, reliability=0.8, groups=GROUPS, each=20, loose=10):
    """Participation in events of the groups, and in some of nobody's."""
    rng = np.random.default_rng(seed)
    participation = rng.random((each * len(groups) + loose, N)) < 0.04
    for k, group in enumerate(groups):
        rows = slice(each * k, each * (k + 1))
        participation[rows, list(group)] |= rng.random((each, len(group))) < reliability
    participation[each * len(groups) :] |= rng.random((loose, N)) < 0.1
    return participation


def cut_of(participation, rule, linkage="average", variance=0.8):
    propensity = participation.sum(axis=0) / participation.sum()
    tree = make_tree(distances(participation), linkage)
    return make_cut(Events(participation, propensity, tree, linkage, variance, 0), rule), tree


def chance_of(participation):
    return Chance(np.full(participation.shape[1], 1 / participation.shape[1]), CORE_ALPHA / participation.shape[1], N)


PLAIN = [(rule, "average") for rule in CUTS if rule != "pca_variance"]  # two components explain most of three groups


@pytest.mark.parametrize(("rule", "linkage"), [*PLAIN, ("contrast", "ward"), ("silhouette", "ward")])
def test_rules_find_what_is_planted(rule, linkage):
    participation = events(reliability=0.95, loose=0)  # outliers would take clusters of their own from the planted ones
    cut, tree = cut_of(participation, rule, linkage)
    labels = settle(participation, labels_at(tree, cut.distance), 5, chance_of(participation))
    cores = np.array([participation[labels == k].mean(axis=0) > 0.5 for k in range(1, labels.max() + 1)])
    planted = np.array([np.isin(np.arange(N), group) for group in GROUPS])
    assert best_match(planted, cores) > 0.95
    assert len(cut.value) == len(cut.score) == len(cut.reference) > 0


def test_rules_that_compare_numbers_of_clusters_take_the_best():
    participation = events(loose=1)
    for rule in ("silhouette", "contrast"):
        cut, tree = cut_of(participation, rule)
        best = int(cut.value[np.nanargmax(cut.score)])
        assert (tree[:, 2] > cut.distance).sum() + 1 == best


def test_silhouette_and_contrast_are_what_they_are_called():
    from scipy.cluster.hierarchy import fcluster
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    participation = events(loose=3)
    square = squareform(distances(participation))
    for rule in ("silhouette", "contrast"):
        cut, tree = cut_of(participation, rule)
        for n_clusters, score in list(zip(cut.value, cut.score, strict=True))[:6]:
            labels = fcluster(tree, n_clusters, "maxclust")
            if rule == "silhouette":
                expected = silhouette_score(square, labels, metric="precomputed")
            else:
                same = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)
                other = labels[:, None] != labels
                inside, outside = (1 - square)[same].mean(), (1 - square)[other].mean()
                expected = (inside - outside) / (inside + outside)
            assert score == pytest.approx(expected, abs=1e-8)


def test_gap_leaves_random_events_together():
    rng = np.random.default_rng(3)
    random = random_events(np.full(60, 8), np.full(N, 1 / N), 60, rng)
    cut, tree = cut_of(random, "gap")
    assert (tree[:, 2] > cut.distance).sum() == 0


def test_pca_shift_finds_no_component_in_random_events():
    clusters = []
    for seed in range(10):
        random = random_events(np.full(80, 8), np.full(N, 1 / N), 80, np.random.default_rng(seed))
        cut, tree = cut_of(random, "pca_shift")
        clusters.append((tree[:, 2] > cut.distance).sum() + 1)
    assert sum(n > 1 for n in clusters) <= 3  # one of twenty by chance


def test_null_cut_lies_where_one_random_pair_of_a_thousand_is_as_alike():
    participation = events()
    cut, _ = cut_of(participation, "null")
    propensity = participation.sum(axis=0) / participation.sum()
    fresh = random_events(participation.sum(axis=1), propensity, 1000, np.random.default_rng(99))
    assert 0.0003 < (distances(fresh) <= cut.distance).mean() < 0.003
    assert np.interp(cut.distance, cut.value, cut.reference) < 0.01
    assert (np.diff(cut.score) >= 0).all() and cut.score[-1] == cut.reference[-1] == 1


@pytest.mark.parametrize("rule", [*CUTS, 2, 0.5])
@pytest.mark.parametrize("n_events", [0, 1, 2, 3])
def test_few_events_are_cut_without_complaint(rule, n_events):
    participation = np.eye(max(n_events, 1), 8, dtype=bool)[:n_events]
    cut, tree = cut_of(participation, rule) if n_events else (make_cut(_none(), rule), np.zeros((0, 4)))
    assert np.isfinite(cut.distance) and len(tree) == max(0, n_events - 1)


def _none():
    return Events(np.zeros((0, 8), bool), np.full(8, 1 / 8), np.zeros((0, 4)), "average", 0.8, 0)


@pytest.mark.parametrize("seed", range(5))
def test_ensembles_that_share_neurons_are_told_apart(seed):
    sharing = (range(0, 18), range(12, 30))  # a third of each
    participation = events(seed, 0.85, sharing, each=15)
    tree = make_tree(distances(participation), "average")
    chance = chance_of(participation)
    labels = settle(participation, divide(participation, tree, 0.97, 5, chance), 5, chance)
    assert labels.max() == 2
    assert set(labels[:15]) <= {1, -1} or set(labels[:15]) <= {2, -1}


def test_one_ensemble_is_not_divided():
    wrong = 0
    for seed in range(20):
        participation = events(seed, 0.5, (range(20),), each=30)
        tree = make_tree(distances(participation), "average")
        chance = chance_of(participation)
        wrong += settle(participation, divide(participation, tree, 0.95, 5, chance), 5, chance).max() != 1
    assert wrong <= 1


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 30))
def test_gram_has_the_eigenvalues_of_the_covariance(seed, n_rows, n_columns):
    rows = (np.random.default_rng(seed).random((n_rows, n_columns)) < 0.3).astype(float)
    expected = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    found = np.linalg.eigvalsh(gram(rows))[::-1][: len(expected)]
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-9)
    assert largest_eigenvalue(gram(rows)) == pytest.approx(expected[0], abs=1e-9)


def test_largest_eigenvalue_of_a_large_matrix():
    rows = np.random.default_rng(0).standard_normal((150, 400))
    assert largest_eigenvalue(rows @ rows.T) == pytest.approx(np.linalg.eigvalsh(rows @ rows.T)[-1], rel=1e-9)


@pytest.mark.parametrize("together", [0, 20])
def test_largest_eigenvalue_where_events_are_alike_or_all_the_same(together):
    rows = np.zeros((150, 300))
    rows[:75, :together] = 1.0
    covariance = gram(rows)
    assert largest_eigenvalue(covariance) == pytest.approx(np.linalg.eigvalsh(covariance)[-1], abs=1e-9)


def test_shifts_keep_every_row_and_move_it_round():
    rows = np.arange(12.0).reshape(3, 4)
    for moved in shifted(rows, 5, 0):
        for row, original in zip(moved, rows, strict=True):
            assert any(np.array_equal(row, np.roll(original, k)) for k in range(4))


@given(st.integers(0, 2**32 - 1))
def test_explained_variance_adds_to_one(seed):
    participation = np.random.default_rng(seed).random((12, 9)) < 0.4
    total = explained_variance(participation).sum()
    assert total == pytest.approx(1.0, abs=1e-7) or total == 0.0


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4))
def test_best_match_is_symmetric_and_1_for_equals(seed, n, m):
    rng = np.random.default_rng(seed)
    one, other = rng.random((n, 7)) < 0.5, rng.random((m, 7)) < 0.5
    one[:, 0] = True
    assert best_match(one, other) == pytest.approx(best_match(other, one), nan_ok=True)
    assert np.isnan(best_match(one, one)) if n == 0 else best_match(one, one) == pytest.approx(1.0)
    shared = overlap(one, other)
    assert shared.shape == (n, m) and ((shared >= 0) & (shared <= 1)).all()


def test_independent_neurons_have_no_ensembles():
    found = 0
    for seed in range(20):
        made = compute_coactivity(poisson_events(60, 6000, 0.004, 600 + seed), bin=2 / RATE)
        made = find_ensemble_events(made, significance="percentile")
        found += find_ensembles(made, compare=False).sizes["ensemble"] > 0
    assert found <= 2  # 5 % are allowed; more than 2 of 20 come about in one of 13


def test_events_of_the_same_neurons_get_the_same_label_whatever_their_order():
    rng = np.random.default_rng(1)
    raster = rng.random((N, 3000)) < 0.003
    for k, group in enumerate(GROUPS):
        for b in range(40 + 20 * k, 3000, 97):
            raster[list(group), b] |= rng.random(len(group)) < 0.9
    rows, bins = np.nonzero(raster)
    made = find_ensemble_events(compute_coactivity(with_events(N, 6000, rows, 2 * bins), bin=2 / RATE))
    order = rng.permutation(N)
    other = find_ensembles(made.isel(neuron=order), compare=False)
    result = find_ensembles(made, compare=False)
    np.testing.assert_array_equal(result["is_core"].values[:, order], other["is_core"].values)
    np.testing.assert_array_equal(result["ensemble_event_label"], other["ensemble_event_label"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_chance_adds_up_to_the_size(seed, size):
    propensity = np.random.default_rng(seed).gamma(0.5, 1.0, 9) + 1e-6
    chance = chance_to_take_part(propensity / propensity.sum(), np.array([size]))[0]
    assert chance.sum() == pytest.approx(size, rel=1e-6)
    assert (np.diff(chance[np.argsort(propensity)]) >= -1e-12).all()


def test_random_events_are_those_of_independent_neurons():
    rng = np.random.default_rng(0)
    share = rng.gamma(1.0, 0.02, 30)
    raster = rng.random((400_000, 30)) < share
    seen = raster[raster.sum(axis=1) == 4]
    drawn = random_events(np.array([4]), share / (1 - share), 20_000, rng)
    assert (drawn.sum(axis=1) == 4).all()
    error = np.sqrt(seen.mean(axis=0) * (1 - seen.mean(axis=0)) * (1 / len(seen) + 1 / len(drawn)))
    assert (np.abs(seen.mean(axis=0) - drawn.mean(axis=0)) < 4.5 * error + 1e-9).all()


def test_neurons_that_are_never_active_are_in_no_random_event():
    propensity = np.array([0.5, 0.5, 0.0, 0.0])
    drawn = random_events(np.array([1, 3]), propensity, 50, np.random.default_rng(0))
    assert not drawn[:, 2:].any() and set(drawn.sum(axis=1)) == {1, 2}


@pytest.mark.parametrize("reliability", [0.6, 0.8])
def test_one_unreliable_ensemble_is_one(reliability):
    wrong = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        raster = rng.random((50, 6000)) < 0.006
        for b in rng.choice(np.arange(5, 5995, 5), 100, replace=False):
            raster[np.flatnonzero(rng.random(12) < reliability), b] = True
        rows, bins = np.nonzero(raster)
        made = find_ensemble_events(compute_coactivity(with_events(50, 12000, rows, 2 * bins), bin=2 / RATE, binning="sliding"))
        wrong += find_ensembles(made, compare=False).sizes["ensemble"] != 1
    assert wrong <= 1
