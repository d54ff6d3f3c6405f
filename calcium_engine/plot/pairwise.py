"""Pairs of neurons: how alike their activity is beyond chance, and whether there is anything beyond chance at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import BLUE, GREY, INK, PALE, VERMILLION, few_ticks, panels, say, styled
from calcium_engine.plot.identity import draw_strip, hollow_of
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LEAST_SCALE = 0.05  # what colours reach to at least, so that noise does not look like much


@styled
def plot_pairwise(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the chance-adjusted Jaccard similarity of all pairs of neurons, and their p-values against what chance gives.

    In the matrix, neurons lie by ensemble where there are ensembles (the one in whose events each takes part most often), and
    within each as a clustering of their similarity (average linkage) has its leaves. Under the diagonal are all pairs, above it
    the significant ones only. Neurons that are never active are left out.

    By chance, the share of pairs with a p-value up to x is at most x, whatever the number of events: exact p-values of counts lie
    on the diagonal or below it. Pairs left of where the observed share last crosses the line of alpha are significant.

    Args:
        recording: a recording with pairs compared (`compute_pairwise`); ensembles are marked where `find_ensembles` found any.
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: the matrix, the p-values.

    Raises:
        MissingVariableError: pairs were not compared yet.
    """
    significance = var("is_pair_significant").check(recording).attrs
    if not np.array_equal(recording["neuron"].values, recording["neuron_other"].values):
        recording = recording.sel(neuron_other=recording["neuron"].values)  # as after a selection of neurons
    left, right = panels(axes, [["matrix", "pvalues"]], (10.9, 4.9), margins=(0.85, 0.7, 0.75, 0.4), gaps=(1.75, 0.6))
    _draw_matrix(left, recording)
    pvalues = var("pair_pvalue").check(recording).values
    _draw_pvalues(right, pvalues[np.triu(np.isfinite(pvalues), 1)], significance)
    return np.array([left, right], dtype=object)


def _draw_matrix(axes: Axes, recording: xr.Dataset) -> None:
    adjusted = var("pair_jaccard_adjusted").check(recording).values
    labels = _ensembles(recording)
    order = _order(adjusted, labels)
    axes.set_title("similarity beyond chance")
    grouped = bool((labels > 0).any())
    axes.set_xlabel("neuron, by ensemble" if grouped else "neuron, by similarity")
    axes.set_ylabel("neuron, by ensemble" if grouped else "neuron, by similarity")
    if len(order) < 2:
        axes.set(xticks=[], yticks=[])
        say(axes, "no pairs of active neurons")
        return
    significant = var("is_pair_significant").check(recording).values
    shown = adjusted[np.ix_(order, order)]
    shown[np.triu(~significant[np.ix_(order, order)])] = np.nan
    values = adjusted[np.isfinite(adjusted)]
    top = max(float(np.quantile(values, 0.995)), LEAST_SCALE)
    axes.set_aspect("equal")
    axes.set_facecolor("#F2F2F2")
    image = axes.imshow(shown, cmap="viridis", vmin=0, vmax=top, interpolation="nearest", rasterized=True)
    n = len(order)
    ticks = few_ticks(n, 8)
    axes.set_xticks(ticks, [str(one + 1) for one in ticks])
    axes.set_yticks(ticks, [str(one + 1) for one in ticks])
    axes.tick_params(length=0, pad=12 if grouped else 3)
    if grouped:
        hollow = hollow_of(recording)
        draw_strip(axes.inset_axes((-0.04, 0, 0.03, 1)), labels[order], upright=True, hollow=hollow)
        draw_strip(axes.inset_axes((0, -0.04, 1, 0.03)), labels[order], upright=False, hollow=hollow)
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    for x, y, name in ((0.97, 0.96, "significant pairs"), (0.03, 0.04, "all pairs")):
        axes.text(x, y, name, transform=axes.transAxes, ha="right" if x > 0.5 else "left", va="center", fontsize=8, bbox=box)
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.04, 1)), extend="both")
    bar.set_label("Jaccard similarity, chance-adjusted")


def _ensembles(recording: xr.Dataset) -> np.ndarray:
    """Return the ensemble in whose core each neuron is, the one that it takes part in most often; -1 for none."""
    if "is_core" not in recording.variables or not recording.sizes.get("ensemble"):
        return np.full(recording.sizes["neuron"], -1)
    core = var("is_core").check(recording).values
    share = var("membership").check(recording).values if "membership" in recording.variables else core.astype(float)
    first = np.argmax(np.where(core, share, -1.0), axis=0)
    return np.where(core.any(axis=0), recording["ensemble"].values[first], -1)


def _order(adjusted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the rows of active neurons by ensemble, those in none last, and within each as a dendrogram has its leaves."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    rows = np.flatnonzero(np.isfinite(adjusted).any(axis=1))
    if len(rows) > 2:
        distance = 1.0 - np.nan_to_num(adjusted[np.ix_(rows, rows)])
        np.fill_diagonal(distance, 0.0)
        rows = rows[leaves_list(linkage(squareform(distance, checks=False), "average"))]
    last = np.where(labels[rows] > 0, labels[rows], np.iinfo(np.int64).max)
    return np.asarray(rows[np.argsort(last, kind="stable")])


def _draw_pvalues(axes: Axes, pvalues: np.ndarray, attrs: dict[Any, Any]) -> None:
    """Draw the share of pairs with a p-value up to each, what chance gives at most, and the line of the false-discovery rate."""
    axes.set(xlabel="p-value", ylabel="share of pairs with at most this p-value", title="pairs against chance")
    if not len(pvalues):
        axes.set(xticks=[], yticks=[])
        say(axes, "no pairs of active neurons")
        return
    n, smallest = len(pvalues), float(attrs.get("smallest_pvalue", pvalues.min()))
    alpha, passed = float(attrs.get("alpha", 0.05)), int(attrs.get("significant_pairs", 0))
    at, count = np.unique(pvalues, return_counts=True)
    share = np.cumsum(count) / n
    low = min(smallest, 1.0 / n) / 1.5
    ends = np.array([low / 10, 1.0])
    axes.plot(ends, ends, color=BLUE, lw=1.4, label="chance, at most")
    found = f"false-discovery rate {alpha:g}: {passed:,} of {n:,} pairs"
    axes.plot(ends * alpha, ends, color=VERMILLION, lw=1, ls="--", label=found)
    axes.step([*at, 1.0], [*share, 1.0], where="post", color=INK, lw=1.4, label="observed")
    axes.plot([at[0], at[0]], [low, share[0]], color=INK, lw=1.4)
    axes.axvline(smallest, color=PALE, lw=0.8, zorder=0)
    axes.text(smallest, 1.01, "1 / bins", transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=GREY)
    axes.axhline(1.0 / n, color=PALE, lw=0.8, zorder=0)
    axes.text(1.01, 1.0 / n, "one pair", transform=axes.get_yaxis_transform(), va="center", color=GREY)
    axes.set(xscale="log", yscale="log", xlim=(smallest / 1.5, 1.15), ylim=(low, 1.5))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.04), framealpha=0.9, edgecolor="none")
