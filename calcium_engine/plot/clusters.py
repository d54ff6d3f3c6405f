"""Ensemble events and how they cluster: similarity, dendrogram, eigenvalues."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    colour_of,
    few_ticks,
    panels,
    say,
    styled,
    whole_numbers,
)
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def cluster_order(recording: xr.Dataset) -> np.ndarray:
    """Return the ensemble events sorted by ensemble, unassigned ones last, and within each as the dendrogram has its leaves."""
    labels = var("ensemble_event_label").check(recording).values
    leaves = _leaves(var("linkage").check(recording).values, len(labels))
    sorted_labels = np.where(labels[leaves] > 0, labels[leaves], np.iinfo(np.int64).max)
    return np.asarray(leaves[np.argsort(sorted_labels, kind="stable")])


def _leaves(tree: np.ndarray, n: int) -> np.ndarray:
    if len(tree) != n - 1 or len(tree) == 0 or not np.isfinite(tree).all():
        return np.arange(n)
    from scipy.cluster.hierarchy import leaves_list

    return np.asarray(leaves_list(np.ascontiguousarray(tree, dtype=np.float64)))


@styled
def plot_similarity(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw the Jaccard similarity between ensemble events, ordered by cluster, with each event's ensemble along two sides.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    similarity = var("similarity").check(recording).values
    labels = var("ensemble_event_label").check(recording).values
    (panel,) = panels(axes, [["similarity"]], (6.0, 5.2), margins=(1.0, 1.0, 0.7, 0.4))
    panel.set_title("similarity of ensemble events")
    panel.set_xlabel("ensemble event, by ensemble", labelpad=14)
    panel.set_ylabel("ensemble event, by ensemble", labelpad=16)
    if not len(labels):
        panel.set(xticks=[], yticks=[])
        say(panel, "no ensemble events")
        return panel
    order = cluster_order(recording)
    n = len(order)
    off_diagonal = similarity[~np.eye(n, dtype=bool)]
    off_diagonal = off_diagonal[np.isfinite(off_diagonal)]
    # The diagonal is 1 by definition; the scale is that of the pairs.
    top = float(np.clip(np.ceil(10 * np.quantile(off_diagonal, 0.995)) / 10, 0.1, 1.0)) if off_diagonal.size else 1.0
    panel.set_aspect("equal")
    image = panel.imshow(
        similarity[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=top, interpolation="nearest", rasterized=True
    )
    ticks = few_ticks(n, 8)
    panel.set_xticks(ticks, [str(one + 1) for one in ticks])
    panel.set_yticks(ticks, [str(one + 1) for one in ticks])
    panel.tick_params(length=0, pad=12)
    for strip, upright in ((panel.inset_axes((-0.04, 0, 0.03, 1)), True), (panel.inset_axes((0, -0.04, 1, 0.03)), False)):
        draw_strip(strip, labels[order], upright)
    bar = panel.figure.colorbar(image, cax=panel.inset_axes((1.03, 0, 0.04, 1)), extend="max" if top < 1 else "neither")
    bar.set_label("Jaccard similarity")
    return panel


def draw_strip(axes: Axes, labels: np.ndarray, upright: bool) -> None:
    """Colour each row or column of a matrix by its ensemble, and number the ensembles that have room."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]])
    for start, stop in pairwise(edges):
        ensemble = int(labels[start])
        shade, low, high = (colour_of(ensemble) if ensemble > 0 else PALE), start - 0.5, stop - 0.5
        (axes.axhspan if upright else axes.axvspan)(low, high, color=shade, lw=0)
        if ensemble > 0 and stop - start > 0.03 * len(labels):
            middle = (low + high) / 2
            x, y = (0.5, middle) if upright else (middle, 0.5)
            axes.text(x, y, str(ensemble), color="white", ha="center", va="center", fontsize="small", fontweight="bold")
    limits = (-0.5, len(labels) - 0.5)
    axes.set_ylim(limits[::-1] if upright else (0, 1))
    axes.set_xlim((0, 1) if upright else limits)
    axes.set_axis_off()


@styled
def plot_cut(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw what the number of ensembles rests on: the dendrogram with its cut, and the variance that components explain.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: dendrogram, explained variance.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    labels = var("ensemble_event_label").check(recording)
    tree = var("linkage").check(recording).values
    left, right = panels(axes, [["tree", "tree", "variance"]], (10.0, 3.8), gaps=(1.05, 0.6))
    _draw_tree(left, tree, labels.values)
    cut = labels.attrs.get("cut_distance")
    left.set_xlabel("ensemble event (number: its ensemble)", labelpad=14)
    left.set(ylabel="distance (1 − similarity)", title="dendrogram of ensemble events", xticks=[])
    if len(tree) and cut is not None and np.isfinite(float(cut)):
        left.axhline(float(cut), color=INK, lw=1, ls="--")
        place = left.get_yaxis_transform()
        left.text(1.01, float(cut), f"cut at\n{float(cut):.2g}", transform=place, va="center", fontsize="small")
    _draw_variance(right, recording, labels.attrs)
    return np.array([left, right], dtype=object)


def _draw_tree(axes: Axes, tree: np.ndarray, labels: np.ndarray) -> None:
    """Draw a linkage matrix as a dendrogram; a branch has the colour of its ensemble where all of its events share it."""
    from matplotlib.collections import LineCollection

    n = len(labels)
    if len(tree) != n - 1 or n < 2 or not np.isfinite(tree).all():
        say(axes, "no ensemble events" if n == 0 else "too few ensemble events for a dendrogram")
        axes.set_yticks([])
        return
    place, height = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    owner = np.concatenate([np.maximum(labels, 0), np.zeros(n - 1, dtype=labels.dtype)])
    place[_leaves(tree, n)] = np.arange(n)
    lines, colours = [], []
    for node, (a, b) in enumerate(tree[:, :2].astype(int), start=n):
        place[node], height[node] = (place[a] + place[b]) / 2, tree[node - n, 2]
        owner[node] = owner[a] if owner[a] == owner[b] else 0
        lines.append([(place[a], height[a]), (place[a], height[node]), (place[b], height[node]), (place[b], height[b])])
        colours.append(colour_of(owner[node]) if owner[node] else GREY)
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=0.9 if n < 200 else 0.5, rasterized=True))
    axes.set(xlim=(-1, n), ylim=(0, 1.05 * float(height.max()) or 1.0))
    for ensemble in np.unique(labels[labels > 0]):
        where = float(np.median(place[:n][labels == ensemble]))
        axes.text(
            where, -0.02, str(ensemble), transform=axes.get_xaxis_transform(), color=colour_of(ensemble), ha="center", va="top"
        )


def _draw_variance(axes: Axes, recording: xr.Dataset, attrs: dict[Any, Any]) -> None:
    """Draw the share of variance of the first components, and the number of clusters that a cut takes from it."""
    axes.set(xlabel="principal component", ylabel="explained variance (%)", title="variance explained")
    share = 100 * recording["explained_variance"].values if "explained_variance" in recording.variables else np.zeros(0)
    if not np.isfinite(share).any():
        say(axes, "no components")
        return
    total, found, shown = np.nancumsum(share), int(attrs.get("n_ensembles", 0)), 20
    if attrs.get("cut") == "pca_variance" and "variance" in attrs:
        wanted = 100 * float(attrs["variance"])
        enough = int(np.searchsorted(total, wanted - 1e-6)) + 1
        axes.axhline(wanted, color=ORANGE, lw=1, ls="--", label=f"{wanted:g} %: {enough} clusters")
        axes.axvline(enough, color=ORANGE, lw=1, ls="--")
        shown = max(shown, enough + 2)
    shown = min(len(share), max(shown, 2 * found))
    number = np.arange(1, shown + 1)
    axes.bar(number, share[:shown], color=GREY, width=0.8, label="each")
    axes.plot(number, total[:shown], color=BLUE, lw=1.4, marker="." if shown <= 40 else None, label="together")
    axes.set(xlim=(0.4, shown + 0.6), ylim=(0, min(102.0, 1.35 * float(total[shown - 1]))))
    whole_numbers(axes.xaxis)
    axes.legend(framealpha=0.9, edgecolor="none", loc="best", borderaxespad=0.1)
