"""Pairs of neurons against every shift of one against the other."""

import numpy as np
import pytest
import reference
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, poisson_events, with_events
from scipy.stats import binom, false_discovery_control
from strategies import rasters

from calcium_engine import kernels, pairwise
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.io import open_recording, save_recording
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.schema import VARIABLES, CalciumError

BIN = 2 / RATE
MADE = [name for name, variable in VARIABLES.items() if variable.made_by == "compute_pairwise"]


def _of_raster(raster, **options):
    """Pairs of neurons whose bins of two frames are active as in the raster."""
    rows, bins = np.nonzero(raster)
    made = with_events(*(raster.shape * np.array([1, 2])), rows, 2 * bins)
    return compute_pairwise(compute_coactivity(made, bin=BIN), **options)


def _sparse(raster):
    rows, bins = np.nonzero(raster)
    return bins, np.searchsorted(rows, np.arange(len(raster) + 1)), raster.shape[1]


@pytest.mark.parametrize("differences", [0.0, 1e9], ids=["bits", "differences"])
@given(raster=rasters(max_neurons=6))
def test_both_ways_to_look_at_all_shifts_are_rolling_by_all(differences, raster):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels.pairs, "DIFFERENCES_PER_WORD", differences)
        found = kernels.pair_overlaps(*_sparse(raster))
    overlap, pvalue, mean, deviation = reference.pair_overlaps(raster)
    np.testing.assert_array_equal(found.overlap, overlap)
    np.testing.assert_array_equal(found.pvalue, pvalue)
    np.testing.assert_allclose(found.jaccard_expected, mean, rtol=1e-12)
    np.testing.assert_allclose(found.jaccard_deviation, deviation, atol=1e-7)


@given(raster=rasters(max_neurons=7))
def test_pairs_are_what_their_definitions_say(raster):
    made = _of_raster(raster)
    overlap, pvalue, mean, deviation = reference.pair_overlaps(raster)
    active = raster.sum(axis=1)
    tested = (np.minimum.outer(active, active) > 0) & ~np.eye(len(raster), dtype=bool)
    np.testing.assert_array_equal(made["pair_overlap"], overlap + np.diag(active))
    either = np.maximum(np.add.outer(active, active) - overlap, 1)
    jaccard = np.where(tested, overlap / either, np.nan)
    np.testing.assert_array_equal(made["pair_jaccard"], jaccard)
    np.testing.assert_array_equal(made["pair_pvalue"], np.where(tested, pvalue, np.nan))
    varies = tested & (deviation > 1e-6)
    np.testing.assert_array_equal(np.isfinite(made["pair_z"]), varies)
    np.testing.assert_allclose(made["pair_z"].values[varies], ((jaccard - mean)[varies] / deviation[varies]), rtol=1e-6)
    below = tested & (mean < 1)
    adjusted = made["pair_jaccard_adjusted"].values
    np.testing.assert_allclose(adjusted[below], ((jaccard - mean)[below] / (1 - mean[below])), rtol=1e-9, atol=1e-12)
    assert np.isnan(adjusted[~below]).all()
    upper = np.triu(tested)
    if upper.any():
        np.testing.assert_array_equal(made["pair_qvalue"].values[upper], false_discovery_control(pvalue[upper]))
    np.testing.assert_array_equal(made["is_pair_significant"], made["pair_qvalue"].values <= 0.05)
    assert made["is_pair_significant"].attrs["n_tests"] == upper.sum()


@given(raster=rasters(max_neurons=7), seed=st.integers(0, 99))
def test_pairs_are_the_same_both_ways_and_in_any_order(raster, seed):
    order = np.random.default_rng(seed).permutation(len(raster))
    made, other = _of_raster(raster), _of_raster(raster[order])
    for name in MADE:
        values = made[name].values
        np.testing.assert_array_equal(values, values.T)
        np.testing.assert_array_equal(other[name], values[np.ix_(order, order)])


def test_a_neuron_counts_once_a_bin():
    made = poisson_events(8, 2000, 0.05, 3)
    once = compute_pairwise(compute_coactivity(made, bin=BIN))
    again = compute_pairwise(compute_coactivity(made, bin=BIN, count="events"))
    for name in MADE:
        np.testing.assert_array_equal(once[name], again[name])


def test_independent_neurons_are_significant_as_often_as_chance_says():
    made = compute_pairwise(compute_coactivity(poisson_events(60, 6000, 0.03, 5), bin=BIN))
    pvalues = made["pair_pvalue"].values[np.triu_indices(60, 1)]
    # at most alpha, and little less where counts are many
    for alpha in (0.05, 0.2):
        low, high = binom.interval(0.999, len(pvalues), alpha)
        assert 0.5 * low < np.count_nonzero(pvalues <= alpha) <= high
    assert abs(float(made["pair_z"].mean())) < 0.1 and 0.9 < float(made["pair_z"].std()) < 1.1
    assert abs(float(made["pair_jaccard_adjusted"].mean())) < 0.01
    assert made["is_pair_significant"].sum() <= 2


def test_planted_pairs_are_found_and_only_they():
    rng = np.random.default_rng(1)
    raster = rng.random((10, 4000)) < 0.02
    raster[3, raster[2]] |= rng.random(raster[2].sum()) < 0.3
    raster[9] = False  # a silent neuron
    made = _of_raster(raster)
    assert [tuple(pair) for pair in np.argwhere(np.triu(made["is_pair_significant"]))] == [(2, 3)]
    attrs = made["is_pair_significant"].attrs
    assert (attrs["n_tests"], attrs["significant_pairs"], attrs["smallest_pvalue"]) == (36, 1, 1 / 4000)
    assert attrs["fewest_significant"] == 1 and attrs["alpha"] == 0.05
    assert made["pair_pvalue"].values[2, 3] == 1 / 4000
    for name in MADE:
        values = made[name].values
        assert np.isnan(values[9]).all() if values.dtype.kind == "f" else not values[9].any(), name
    assert np.isnan(np.diagonal(made["pair_z"])).all()


def test_a_single_pair_among_many_says_how_many_it_would_take():
    raster = np.random.default_rng(2).random((40, 300)) < 0.03
    raster[1] = raster[0]
    made = _of_raster(raster)
    assert made["pair_pvalue"].values[0, 1] == 1 / 300
    assert not made["is_pair_significant"].any()
    assert made["is_pair_significant"].attrs["fewest_significant"] == 780 / 300 / 0.05 == 52
    assert np.nanargmax(made["pair_z"]) == 1


def test_neurons_are_named_both_ways_and_stored(tmp_path):
    raster = np.random.default_rng(3).random((4, 200)) < 0.1
    made = compute_coactivity(with_events(4, 400, *(np.nonzero(raster) * np.array([[1], [2]]))), bin=BIN)
    names = np.array(["a", "b", "c", "d"])
    made = made.assign(event_neuron=("event", names[made["event_neuron"].values])).assign_coords(neuron=names)
    made = compute_pairwise(made)
    assert made["pair_overlap"].sel(neuron="a", neuron_other="c") == np.count_nonzero(raster[0] & raster[2])
    for name in MADE:
        assert made[name].dims == VARIABLES[name].dims and made[name].dtype.kind in VARIABLES[name].kind
    xr.testing.assert_identical(open_recording(save_recording(made, tmp_path / "pairs.zarr")).load(), made)


def test_pairs_go_with_the_coactivity_they_come_from_and_stay_else():
    made = compute_coactivity(poisson_events(20, 2000, 0.02, 4), bin=BIN)
    result = compute_pairwise(find_ensemble_events(made), alpha=0.1)
    assert result.attrs["history"].endswith("compute_pairwise(alpha=0.1)")
    again = compute_pairwise(result)
    assert again.attrs["history"].count("compute_pairwise(") == 1
    assert "pair_z" in find_ensemble_events(result)
    fresh = compute_coactivity(result, bin=4 / RATE)
    assert not set(MADE) & set(fresh.variables) and "neuron_other" not in fresh.coords
    assert "compute_pairwise" not in fresh.attrs["history"]


def test_what_cannot_be_compared_is_one_clear_error(monkeypatch):
    made = poisson_events(6, 600, 0.02, 6)
    for binning in ("edges", "sliding"):
        with pytest.raises(CalciumError, match=r"compute_coactivity\(binning='frames'\)"):
            compute_pairwise(compute_coactivity(made, bin=BIN, binning=binning))
    made = compute_coactivity(made, bin=BIN)
    for alpha in (0.0, 1.0, float("nan")):
        with pytest.raises(CalciumError, match="between 0 and 1"):
            compute_pairwise(made, alpha=alpha)
    with pytest.raises(CalciumError, match="alpha is a number"):
        compute_pairwise(made, alpha="small")
    with pytest.raises(CalciumError, match=r"compute_coactivity\(\) again"):
        compute_pairwise(made.isel(bin=slice(0, 100)))
    monkeypatch.setattr(pairwise, "MOST_NEURONS", 5)
    with pytest.raises(CalciumError, match=r"6 neurons.*at most 5.*isel\(neuron"):
        compute_pairwise(made)


@pytest.mark.parametrize("n_neurons", [1, 2])
def test_few_neurons_and_no_events_are_no_pairs(n_neurons):
    made = compute_coactivity(with_events(n_neurons, 100, np.zeros(0, int), np.zeros(0, int)), bin=BIN)
    result = compute_pairwise(made)
    assert result["is_pair_significant"].attrs["n_tests"] == 0
    assert result["pair_z"].shape == (n_neurons, n_neurons) and result["pair_z"].isnull().all()


def test_pairs_are_a_table_with_each_pair_once(tmp_path):
    import pandas as pd

    from calcium_engine.tables import to_dataframe, write_tables

    made = _of_raster(np.random.default_rng(0).random((5, 60)) < 0.2)
    table = to_dataframe(made, "pair")
    assert len(table) == 10
    row = table[(table["neuron"] == 1) & (table["neuron_other"] == 3)].iloc[0]
    for name in MADE:
        assert row[name] == made[name].values[1, 3]
    assert tmp_path / "pairs.csv" in write_tables(made, tmp_path)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "pairs.csv")["pair_z"], table["pair_z"], rtol=1e-6)
