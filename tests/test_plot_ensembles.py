"""Figures of ensembles: what they show is what the recording holds, whatever was found, by whichever method and cut."""

import numpy as np
import pytest
import xarray as xr
from drawn import draw, legend, silent, words
from finished import finished_recording
from finished_ensembles import by_ica, with_cut, with_power
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection

from calcium_engine import plot
from calcium_engine.plot import FIGURES
from calcium_engine.plot.clusters import cluster_order
from calcium_engine.schema import MissingVariableError

OF_ENSEMBLES = [name for name in FIGURES if name >= "13"]
CUTS = ("null", "pca_variance", "pca_shift", "silhouette", "gap", "contrast", 3, 0.7)


@pytest.fixture(scope="module")
def recording():
    return finished_recording()


@pytest.fixture(scope="module")
def many():
    return finished_recording(neurons=120, frames=3000, ensembles=15, seed=1)


def bars(axes):
    """Corners of every bar, and whether it is hollow."""
    for one in axes.collections:
        if isinstance(one, PolyCollection):
            for path, face in zip(one.get_paths(), one.get_facecolors(), strict=True):
                yield path.vertices, bool((face[:3] == 1).all())


def covered(axes, low, high):
    """Whole numbers along x under bars that lie between two heights, and which of the bars are hollow."""
    found = [(corners, hollow) for corners, hollow in bars(axes) if low <= corners[:, 1].min() and corners[:, 1].max() <= high]
    cells = [np.arange(np.ceil(corners[:, 0].min()), np.floor(corners[:, 0].max()) + 1) for corners, _ in found]
    return np.concatenate(cells) if cells else np.zeros(0), {hollow for _, hollow in found}


def clustered(labels, seed=0):
    """A recording of nothing but a tree over ensemble events with these labels."""
    rng, n = np.random.default_rng(seed), len(labels)
    roots, tree = list(range(n)), []
    for merge in range(n - 1):
        pair = [roots.pop(rng.integers(len(roots))) for _ in range(2)]
        tree.append([*pair, 0.1 + merge, 2.0])
        roots.append(n + merge)
    tree = np.array(tree).reshape(max(n - 1, 0), 4)
    return xr.Dataset({"linkage": (("merge", "merge_field"), tree), "ensemble_event_label": ("ensemble_event", np.array(labels))})


@given(st.lists(st.sampled_from([-1, 1, 2, 3]), min_size=1, max_size=30), st.integers(0, 99))
def test_events_come_as_leaves_of_their_tree_and_branches_without_an_ensemble_last(labels, seed):
    made = clustered(labels, seed)
    order = cluster_order(made)
    assert sorted(order) == list(range(len(labels)))
    place, ensembles = np.argsort(order), np.array(labels)
    below = {i: [i] for i in range(len(labels))}
    for node, (one, other) in enumerate(made["linkage"].values[:, :2].astype(int), start=len(labels)):
        below[node] = below[one] + below[other]
        assert np.ptp(place[below[node]]) == len(below[node]) - 1  # every branch is in one piece
        known = [(ensembles[below[branch]] > 0).any() for branch in (one, other)]
        if sum(known) == 1:
            named, nameless = (one, other) if known[0] else (other, one)
            assert place[below[named]].max() < place[below[nameless]].min()


def test_without_a_tree_events_come_by_ensemble_and_unassigned_ones_last():
    made = clustered([-1, 2, 1, -1, 2])
    assert cluster_order(made.assign(linkage=made["linkage"] * np.nan)).tolist() == [2, 1, 4, 0, 3]


def test_the_matrix_has_the_order_of_the_tree_above_it(recording):
    tree, matrix = draw(plot.plot_similarity, recording)
    order = cluster_order(recording)
    np.testing.assert_array_equal(matrix.images[0].get_array(), recording["similarity"].values[np.ix_(order, order)])
    assert tree.get_xlim() == matrix.get_xlim()
    assert len(tree.collections[0].get_segments()) == len(order) - 1


def test_of_thousands_of_events_only_so_many_rows_are_drawn():
    n = 3000  # in a chain deeper than Python's recursion limit
    tree = np.column_stack([np.r_[0, np.arange(n, 2 * n - 2)], np.arange(1, n), np.linspace(0.1, 1, n - 1), np.arange(2, n + 1)])
    labels = np.where(np.arange(n) < 2000, 1, 2)
    chain = xr.Dataset({"linkage": (("merge", "merge_field"), tree), "ensemble_event_label": ("ensemble_event", labels)})
    tree_axes, evidence = draw(plot.plot_cut, chain)
    assert len(tree_axes.collections[0].get_segments()) == n - 1
    assert evidence.get_title() == "last merges of the tree"
    alike = (labels[:, None] == labels[None]).astype(np.float32)
    chain["similarity"] = (("ensemble_event", "ensemble_event_other"), alike)
    matrix = draw(plot.plot_similarity, chain)[1]
    assert matrix.images[0].get_array().shape == (1500, 1500)
    assert matrix.get_xlim() == (-0.5, n - 0.5)
    shares = matrix.images[0].get_array().mean()
    assert shares == pytest.approx(alike.mean(), abs=1e-3)  # as much of each ensemble as there is


@pytest.mark.parametrize("cut", CUTS)
def test_each_cut_is_drawn_with_its_own_evidence(cut, many):
    few = finished_recording(neurons=4, ensembles=0)
    for one in (many, few):
        tree, evidence = draw(plot.plot_cut, with_cut(one, cut))
        assert evidence.get_xlabel() and evidence.get_ylabel()
    assert "too few" in words(evidence)
    made = with_cut(many, cut, cut_distance=0.8)
    tree, evidence = draw(plot.plot_cut, made)
    assert "cut at\n0.8" in words(tree)
    clusters = int((made["linkage"].values[:, 2] > 0.8).sum()) + 1
    if cut == "null":
        share = float(np.mean(1 - many["similarity"].values[np.triu_indices(many.sizes["ensemble_event"], 1)] <= 0.8))
        assert f"ensemble events: {100 * share:.3g} %" in legend(evidence)
        assert any(np.allclose(line.get_xdata(), 0.8) for line in evidence.lines)
    elif cut == "pca_variance":
        total = np.cumsum(many["explained_variance"].values)
        assert f"80 %: {int((total < 0.8 - 1e-8).sum()) + 1} clusters" in legend(evidence)
    elif cut == "pca_shift":
        assert f"{int((many['explained_variance'].values > 0.12).sum())} over it" in legend(evidence)
    else:
        assert f"cut: {clusters}" in legend(evidence)


def test_independent_components_are_drawn_by_their_weights_and_eigenvalues(many):
    made = by_ica(many)
    weights, eigenvalues = draw(plot.plot_cut, made)
    assert weights.images[0].get_array().shape == (15, 120)
    assert "15 over it" in legend(eigenvalues)
    none = made.isel(ensemble=slice(0, 0))
    assert "no ensembles" in words(draw(plot.plot_cut, none)[0])


def test_core_and_peripheral_neurons_are_underlined_and_unstable_ensembles_openly(recording):
    outer = recording["is_peripheral"].copy(data=~recording["is_core"].values)
    axes = draw(plot.plot_membership, recording.assign(is_peripheral=outer))[0]
    order = np.argsort(~recording["is_core"].values[0], kind="stable")
    for row, open_ in enumerate([False, True]):
        cells, hollow = covered(axes, row + 0.25, row + 0.5)
        assert len(cells) == 12 and hollow == ({True, False} if open_ else {False})
        thick, hollow = covered(axes, row + 0.25, row + 0.47)
        thin, _ = covered(axes, row + 0.38, row + 0.47)
        assert len(thick) - len(thin) == recording["is_core"].values[row].sum()
    assert len(order) == 12
    assert [one.get_text() for one in axes.get_yticklabels()] == ["1", "unstable 2", "ica 1", "ica 2"]


def test_the_cores_of_the_other_method_follow_below(recording):
    axes = draw(plot.plot_membership, recording)[0]
    assert "ica: 2 ensembles, Best Match" in words(axes) and "disagree" not in words(axes)
    cells, _ = covered(axes, 3.6, 4.4)
    assert len(cells) == recording["compared_is_core"].values[1].sum()
    labels = recording["ensemble_event_label"].copy()
    labels.attrs |= {"methods_disagree": True}
    assert "the methods disagree" in words(draw(plot.plot_membership, recording.assign(ensemble_event_label=labels))[0])
    nothing = recording.isel(ensemble=slice(0, 0), ensemble_other=slice(0, 0))
    axes = draw(plot.plot_membership, nothing)[0]
    assert "no ensembles" in words(axes) and len(covered(axes, 1.6, 3.4)[0]) == recording["compared_is_core"].values.sum()
    alone = draw(plot.plot_membership, by_ica(recording))[0]
    assert len(alone.get_yticklabels()) == 2


@pytest.mark.parametrize("name", ["15_membership", "16_ensembles", "17_activation", "18_transitions", "19_positions"])
def test_unstable_ensembles_are_called_so_and_stable_ones_are_not(name, recording):
    stable = recording.assign(ensemble_stability=recording["ensemble_stability"] * 0 + 0.5)
    for made, expected in ((recording, True), (stable, False), (recording.drop_vars("ensemble_stability"), False)):
        axes = draw(FIGURES[name], made)
        said = [label.get_text() for one in axes for label in one.get_yticklabels()]
        said += [label.get_text() for one in axes if one.get_legend() for label in one.get_legend().get_texts()]
        assert ("unstable 2" in said) == expected and "unstable 1" not in said
        marks = [line for one in axes for line in one.lines if line.get_marker() == "o" and line.get_mfc() == "white"]
        discs = [face for one in axes for lines in one.collections for face in lines.get_facecolors() if (face[:3] == 1).all()]
        assert bool(marks or discs) == expected


def test_unstable_ensembles_are_dotted_in_the_tree_and_in_brackets_under_it(recording):
    labels = recording["ensemble_event_label"].copy(data=np.where(recording["ensemble_event_label"] == 1, 1, 2))
    tree, _ = draw(plot.plot_cut, recording.assign(ensemble_event_label=labels))
    assert "(2)" in words(tree) and "(1)" not in words(tree) and "unstable" in tree.get_xlabel()
    styles = {line[1] is not None for line in tree.collections[0].get_linestyles()}
    assert styles == {True, False}


def test_activated_bins_are_in_colour_with_their_number_at_the_side(recording):
    for made in (recording, by_ica(recording)):
        axes = draw(plot.plot_activation, made)[0]
        counts = [str(one) for one in made["ensemble_activation_count"].values]
        assert [one.get_text() for one in axes.texts[1:]] == counts
        for row, dots in enumerate(line for line in axes.lines if line.get_marker() == "o"):
            np.testing.assert_allclose(dots.get_xdata(), made["bin_time"].values[made["is_activated"].values[row]])
            assert ((dots.get_ydata() > row - 0.5) & (dots.get_ydata() < row + 0.5)).all()
    assert "no ensembles" in words(draw(plot.plot_activation, silent(recording))[0])


def test_transitions_beyond_chance_are_outlined_and_counted(recording):
    pvalue = recording["transition_pvalue"].copy(data=[[0.012, 0.013], [0.5, np.nan]])
    matrix, _ = draw(plot.plot_transitions, recording.assign(transition_pvalue=pvalue))
    assert [(one.get_x() + 0.46, one.get_y() + 0.46) for one in matrix.patches] == [(0.0, 0.0), (1.0, 0.0)]  # 0.05 / 3
    assert matrix.get_title() == "transitions (outlined: p < 0.05 / 3)"
    assert [int(one.get_text()) for one in matrix.texts] == recording["transition_count"].values.ravel().tolist()
    one = recording.isel(ensemble=[1])
    matrix, order = draw(plot.plot_transitions, one)
    assert [text.get_text() for text in matrix.texts] == [str(recording["transition_count"].values[1, 1])]
    assert len(order.texts) == 1


def test_of_many_ensembles_cells_hold_no_counts(many):
    matrix, order = draw(plot.plot_transitions, many)
    assert not matrix.texts and matrix.images[0].get_array().shape == (15, 15)
    assert len(order.texts) == 15
    z = (many["transition_count"] - many["transition_expected"]) / np.sqrt(many["transition_expected"])
    np.testing.assert_allclose(matrix.images[0].get_array(), z)


def test_recruitment_is_said_to_be_consistent_only_beyond_chance_over_all_ensembles(recording):
    chance = recording["recruitment_pvalue"].copy(data=[0.024, 0.026])
    order = draw(plot.plot_transitions, recording.assign(recruitment_pvalue=chance))[1]
    assert [one.get_text() for one in order.texts] == ["W 0.60, p 0.024\nconsistent", "W 0.10, p 0.026\nnot consistent"]
    latency = recording["recruitment_latency"].values
    for row, line in enumerate(one for one in order.lines if one.get_marker() == "o"):
        np.testing.assert_allclose(line.get_xdata(), np.sort(latency[row][np.isfinite(latency[row])]))
        assert (np.diff(line.get_ydata()) > 0).all()  # the first on top: the axis points down
    assert np.diff(order.get_ylim()) < 0
    unknown = recording.assign({f"recruitment_{one}": recording[f"recruitment_{one}"] * np.nan for one in ("pvalue", "latency")})
    assert "too few events" in words(draw(plot.plot_transitions, unknown)[1])


def test_the_power_that_is_enough_is_marked_where_it_is_reached(recording):
    axes = draw(plot.plot_power, recording)[0]
    assert "from 0.6 on" in legend(axes) and axes.get_title() == "ensembles of 20 neurons, active 24 times"
    assert "never reached" in legend(draw(plot.plot_power, with_power(recording, None))[0])
    bare = recording.assign(ensemble_power=recording["ensemble_power"].drop_attrs())
    draw(plot.plot_power, bare)
    assert "no ensembles were planted" in words(draw(plot.plot_power, bare * np.nan)[0])
    with pytest.raises(MissingVariableError, match="ensemble_power"):
        plot.plot_power(recording.drop_vars("ensemble_power"))


@pytest.mark.parametrize("name", OF_ENSEMBLES)
def test_figures_of_ensembles_hold_whatever_is_missing_or_selected(name, recording, many):
    for made in (many, by_ica(recording), recording.isel(ensemble=[1]), recording.isel(neuron=slice(0, 5))):
        draw(FIGURES[name], made)
    older = recording.drop_dims(["cut_step", "compared_ensemble"]).drop_vars(["is_peripheral", "ensemble_stability"])
    draw(FIGURES[name], older)
    one = recording.isel(ensemble_event=slice(0, 1), ensemble_event_other=slice(0, 1), merge=slice(0, 0), cut_step=slice(0, 0))
    draw(FIGURES[name], one)
    unknown = {one: recording[one] * np.nan for one in ("ensemble_stability", "recruitment_pvalue", "recruitment_consistency")}
    unknown |= {one: recording[one] * np.nan for one in ("recruitment_latency", "transition_pvalue", "ensemble_event_match")}
    draw(FIGURES[name], recording.assign(unknown))
