"""Ensemble events and how alike they are: the tree of their clusters, and the matrix of their similarity under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import GREY, colour_of, few_ticks, panels, say, styled
from calcium_engine.plot.identity import draw_strip, hollow_of
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 1500  # of a matrix that is drawn: more than there are pixels


def cluster_order(recording: xr.Dataset) -> np.ndarray:
    """Return the ensemble events as leaves of their tree, its branches turned so that ensembles come in order.

    Of two branches, the one that holds most of the first ensemble comes first, and one without an ensemble last. A tree that is
    turned is still the tree: an ensemble that is no branch of it (one of independent components, say) stays in pieces.
    """
    labels = var("ensemble_event_label").check(recording).values
    return _leaves(var("linkage").check(recording).values, labels)


def _is_tree(tree: np.ndarray, n: int) -> bool:
    return len(tree) == n - 1 and n > 1 and bool(np.isfinite(tree).all())


def _leaves(tree: np.ndarray, labels: np.ndarray) -> np.ndarray:
    n = len(labels)
    if not _is_tree(tree, n):
        return np.argsort(np.where(labels > 0, labels, np.inf), kind="stable")
    children = tree[:, :2].astype(np.int64)
    names = np.unique(labels[labels > 0])
    held = np.zeros((2 * n - 1, len(names)))
    held[:n] = labels[:, None] == names
    for node, (one, other) in enumerate(children, start=n):
        held[node] = held[one] + held[other]
    first = _first_of(held, held[-1])
    leaves, waiting = [], [2 * n - 2]
    while waiting:  # no recursion: a tree can be a chain of thousands
        node = waiting.pop()
        if node < n:
            leaves.append(node)
        else:
            one, other = children[node - n]
            waiting += [other, one] if first[one] <= first[other] else [one, other]
    return np.array(leaves)


def _first_of(held: np.ndarray, total: np.ndarray) -> list[tuple[int, float]]:
    """Return what branches are sorted by: the first ensemble of which they hold most events, and the mean of all they hold."""
    n_ensembles, many = held.shape[1], held.sum(axis=1)
    if not n_ensembles:
        return [(0, 0.0)] * len(held)
    most = held > total / 2
    mean = np.where(many > 0, held @ np.arange(n_ensembles) / np.maximum(many, 1), np.inf)
    return list(zip(np.where(most.any(axis=1), most.argmax(axis=1), n_ensembles).tolist(), mean.tolist(), strict=True))


def draw_tree(axes: Axes, recording: xr.Dataset) -> np.ndarray:
    """Draw the tree of ensemble events as a dendrogram, and return where each leaf stands.

    A branch has the colour of its ensemble where all of its events share it, and is dotted where that is unstable.
    """
    from matplotlib.collections import LineCollection

    tree, labels = var("linkage").check(recording).values, var("ensemble_event_label").check(recording).values
    n, hollow = len(labels), hollow_of(recording)
    place, height = np.zeros(max(2 * n - 1, 0)), np.zeros(max(2 * n - 1, 0))
    place[_leaves(tree, labels)] = np.arange(n)
    axes.set(xlim=(-0.5, max(n, 1) - 0.5), xticks=[])
    if not _is_tree(tree, n):
        say(axes, "no ensemble events" if n == 0 else "too few ensemble events for a dendrogram")
        axes.set_yticks([])
        return place[:n]
    owner = np.concatenate([np.maximum(labels, 0), np.zeros(n - 1, dtype=labels.dtype)])
    lines, colours, styles = [], [], []
    for node, (a, b) in enumerate(tree[:, :2].astype(int), start=n):
        place[node], height[node] = (place[a] + place[b]) / 2, tree[node - n, 2]
        owner[node] = owner[a] if owner[a] == owner[b] else 0
        lines.append([(place[a], height[a]), (place[a], height[node]), (place[b], height[node]), (place[b], height[b])])
        colours.append(colour_of(owner[node]) if owner[node] else GREY)
        styles.append(":" if int(owner[node]) in hollow else "-")
    width = 1.0 if n < 200 else 0.5
    axes.add_collection(LineCollection(lines, colors=colours, linestyles=styles, linewidths=width, rasterized=True))
    axes.set_ylim(0, 1.05 * float(height.max()) or 1.0)
    return place[:n]


@styled
def plot_similarity(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the Jaccard similarity between ensemble events under the dendrogram of their clusters, with each event's ensemble.

    Events come as the leaves of the tree, its branches turned so that ensembles come in order, as far as a tree can be; strips
    have the colour of each event's ensemble. Of more than 1500 events, so many, evenly spread, are in the matrix.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: dendrogram, matrix.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    similarity = var("similarity").check(recording).values
    labels = var("ensemble_event_label").check(recording).values
    made = panels(axes, [["tree"], ["matrix"]], (6.4, 6.7), heights=(1, 3.6), margins=(0.95, 0.95, 0.55, 0.35), gaps=(0.6, 0.22))
    top, panel = made
    draw_tree(top, recording)
    top.set(ylabel="distance", title="similarity of ensemble events")
    top.spines["bottom"].set_visible(False)
    panel.set(xlabel="ensemble event, by tree", ylabel="ensemble event, by tree")
    panel.yaxis.labelpad = 4
    if not len(labels):
        panel.set(xticks=[], yticks=[])
        say(panel, "no ensemble events")
        return np.array(made, dtype=object)
    order = cluster_order(recording)
    n = len(order)
    rows = order[np.linspace(0, n - 1, min(n, MOST_ROWS)).round().astype(np.int64)]
    shown = similarity[np.ix_(rows, rows)]
    edges = (-0.5, n - 0.5, n - 0.5, -0.5)
    bright = _brightest(shown)
    image = panel.imshow(
        shown, cmap="viridis", vmin=0, vmax=bright, interpolation="nearest", aspect="auto", extent=edges, rasterized=True
    )
    ticks = few_ticks(n, 8)
    panel.set_xticks(ticks, [str(one + 1) for one in ticks])
    panel.set_yticks(ticks, [str(one + 1) for one in ticks])
    panel.tick_params(axis="y", length=0, pad=16)
    hollow = hollow_of(recording)
    draw_strip(panel.inset_axes((-0.04, 0, 0.03, 1)), labels[order], upright=True, hollow=hollow)
    draw_strip(panel.inset_axes((0, 1.01, 1, 0.03)), labels[order], upright=False, hollow=hollow)
    bar = panel.figure.colorbar(image, cax=panel.inset_axes((1.03, 0, 0.04, 1)), extend="max" if bright < 1 else "neither")
    bar.set_label("Jaccard similarity")
    return np.array(made, dtype=object)


def _brightest(shown: np.ndarray) -> float:
    """Return where the scale ends: at nearly the largest value of a pair; the diagonal is 1 by definition."""
    pairs = shown[~np.eye(len(shown), dtype=bool)]
    pairs = pairs[np.isfinite(pairs)]
    return float(np.clip(np.ceil(10 * np.quantile(pairs, 0.995)) / 10, 0.1, 1.0)) if pairs.size else 1.0
