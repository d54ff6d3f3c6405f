"""What the number of ensembles rests on: the tree with its cut, or the weights of components, and the evidence for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import BLUE, GREY, INK, ORANGE, colour_of, few_ticks, panels, say, styled, text, whole_numbers
from calcium_engine.plot.clusters import draw_tree
from calcium_engine.plot.ensembles import ensemble_order
from calcium_engine.plot.identity import draw_bars, hollow_of, names, numbers, room, spans_of
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAST_MERGES = 50
SHOWN = 20  # components or numbers of clusters, at least


class _Evidence(NamedTuple):
    """What a cut rests on: the places where it could be, what speaks for each, the same by chance, and how it was chosen."""

    value: np.ndarray
    score: np.ndarray
    reference: np.ndarray
    clusters: int  # into which the tree is cut
    heights: np.ndarray  # of the merges of the tree
    attrs: dict[Any, Any]


@styled
def plot_cut(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw what the number of ensembles rests on: the dendrogram with its cut, or the weights of components, and the evidence.

    The evidence is that of the rule by which the tree was cut: distances between pairs of events against chance ("null"),
    variance explained ("pca_variance"), eigenvalues against chance ("pca_shift", and of independent components), silhouette
    width, contrast or gap by number of clusters, or the distances at which the last clusters merge (a number).

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: dendrogram (of "ica": weights), evidence.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    attrs = var("ensemble_event_label").check(recording).attrs
    tree = var("linkage").check(recording).values
    by_components = attrs.get("method") == "ica"
    left, right = panels(
        axes,
        [["tree", "tree", "evidence"]],
        (10.5, 3.9),
        gaps=(1.45 if by_components else 1.0, 0.6),
        margins=(room(recording) if by_components else 0.75, 0.2, 0.7, 0.35),
    )
    (_draw_weights if by_components else _draw_cut)(left, recording)
    value, score, reference = (
        recording[name].values if name in recording.variables else np.zeros(0)
        for name in ("cut_value", "cut_score", "cut_reference")
    )
    heights = tree[:, 2] if len(tree) else np.zeros(0)
    clusters = int((heights > float(attrs.get("cut_distance", np.inf))).sum()) + 1
    rule = "ica" if by_components else attrs.get("cut")
    draw = EVIDENCE[rule] if isinstance(rule, str) and rule in EVIDENCE else _draw_heights
    draw(right, _Evidence(value, score, reference, clusters, heights, attrs))
    return np.array([left, right], dtype=object)


def _draw_cut(axes: Axes, recording: xr.Dataset) -> None:
    """Draw the tree, where it is cut, and under it the number of each ensemble."""
    labels = var("ensemble_event_label").check(recording)
    place = draw_tree(axes, recording)
    hollow = hollow_of(recording)
    dotted = "; dotted: unstable" if hollow else ""
    axes.set(ylabel="distance (1 − similarity)", title="dendrogram of ensemble events")
    below, last, low, lines = axes.get_xaxis_transform(), -np.inf, False, 1
    middles = [(float(np.median(place[labels.values == one])), int(one)) for one in np.unique(labels.values[labels.values > 0])]
    for where, ensemble in sorted(middles):
        # numbers of narrow neighbours take turns on two lines
        low = not low if where - last < 0.03 * len(place) else False
        last, lines = where, max(lines, 1 + low)
        said = f"({ensemble})" if ensemble in hollow else str(ensemble)
        axes.text(where, -0.075 if low else -0.02, said, transform=below, color=colour_of(ensemble), ha="center", va="top")
    axes.set_xlabel(f"ensemble event (number: ensemble{dotted})", labelpad=5 + 11 * lines)
    cut = labels.attrs.get("cut_distance")
    if len(place) > 1 and cut is not None and np.isfinite(float(cut)):
        axes.axhline(float(cut), color=INK, lw=1, ls="--")
        beside = axes.get_yaxis_transform()
        axes.text(1.01, float(cut), f"cut at\n{float(cut):.2g}", transform=beside, va="center", fontsize="small")


def _draw_weights(axes: Axes, recording: xr.Dataset) -> None:
    """Draw each neuron's weight in the component of each ensemble, core neurons underlined."""
    axes.set(xlabel="neuron id, by ensemble", ylabel="ensemble", title="weights in independent components (core underlined)")
    ensembles = numbers(recording)
    if not len(ensembles) or "ensemble_weight" not in recording.variables:
        axes.set(xticks=[], yticks=[])
        say(axes, "no ensembles")
        return
    order, hollow = ensemble_order(recording), hollow_of(recording)
    weight, core = (var(name).check(recording).values[:, order] for name in ("ensemble_weight", "is_core"))
    top = float(np.nanmax(np.abs(weight), initial=1e-9))
    image = axes.imshow(weight, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest", rasterized=True)
    for row, ensemble in enumerate(ensembles):
        draw_bars(axes, spans_of(core[row]), (row + 0.34, row + 0.48), colour_of(ensemble), int(ensemble) in hollow)
    rows, ticks = few_ticks(len(ensembles), 20), few_ticks(len(order), 25)
    axes.set_yticks(rows, [names(recording)[one] for one in rows])
    axes.set_xticks(ticks, [text(one, 8) for one in recording["neuron"].values[order][ticks]], rotation=90)
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.015, 0, 0.02, 1)))
    bar.set_label("weight", labelpad=1)


def _legend(axes: Axes, **where: Any) -> None:
    axes.legend(**{"framealpha": 0.9, "edgecolor": "none", "loc": "best", "borderaxespad": 0.1, "handlelength": 1.5, **where})


def _nothing(axes: Axes, evidence: _Evidence) -> bool:
    """Say that there is nothing to show where there is not."""
    if np.isfinite(evidence.score).any():
        return False
    axes.set(xticks=[], yticks=[])
    say(axes, "no evidence: too few\nensemble events")
    return True


def _draw_null(axes: Axes, evidence: _Evidence) -> None:
    """Draw the share of pairs of ensemble events up to each distance, beside that of random events."""
    axes.set(xlabel="Jaccard distance", ylabel="share of pairs up to it", title="pairs of events against chance")
    if _nothing(axes, evidence):
        return
    cut = float(evidence.attrs.get("cut_distance", np.nan))
    curves = ((evidence.score, INK, "ensemble events"), (evidence.reference, BLUE, "random events"))
    for share, colour, name in curves:
        below = 100 * float(np.interp(cut, evidence.value, share)) if np.isfinite(cut) else float("nan")
        said = f"{name}: {below:.3g} % up to the cut" if np.isfinite(below) else name
        axes.plot(evidence.value, np.where(share > 0, share, np.nan), color=colour, lw=1.5, label=said)
    axes.axvline(cut, color=INK, lw=1, ls="--")
    least = float(evidence.score[evidence.score > 0].min(initial=1.0))
    axes.set(yscale="log", xlim=(0, 1), ylim=(max(min(least, 2e-4) / 2, 1e-7), 20))
    axes.set_yticks(10.0 ** np.arange(np.ceil(np.log10(axes.get_ylim()[0])), 1))
    _legend(axes, loc="upper left")


def _draw_variance(axes: Axes, evidence: _Evidence) -> None:
    """Draw the share of variance of the first components, and the number of clusters that a cut takes from it."""
    axes.set(xlabel="principal component", ylabel="explained variance (%)", title="variance explained")
    if _nothing(axes, evidence):
        return
    total, wanted = 100 * evidence.score, 100 * float(evidence.reference[0])
    enough = int(np.searchsorted(total, wanted - 1e-6)) + 1
    axes.axhline(wanted, color=ORANGE, lw=1, ls="--", label=f"{wanted:g} %: {enough} clusters")
    axes.axvline(enough, color=ORANGE, lw=1, ls="--")
    shown = min(len(total), max(SHOWN, enough + 2))
    axes.bar(evidence.value[:shown], np.diff(total, prepend=0.0)[:shown], color=GREY, width=0.8, label="each")
    axes.plot(evidence.value[:shown], total[:shown], color=BLUE, lw=1.4, marker="." if shown <= 40 else None, label="together")
    axes.set(xlim=(0.4, shown + 0.6), ylim=(0, min(102.0, 1.35 * float(total[shown - 1]))))
    whole_numbers(axes.xaxis)
    _legend(axes)


def _draw_eigenvalues(axes: Axes, evidence: _Evidence, name: str, level: str) -> None:
    """Draw the eigenvalues of components against the largest that chance gives."""
    axes.set(xlabel="component", ylabel=name, title="components against chance")
    if _nothing(axes, evidence):
        return
    over = evidence.score > evidence.reference
    shown = min(len(over), max(SHOWN, 2 * int(over.sum())))
    value, score, over, reference = (one[:shown] for one in (evidence.value, evidence.score, over, evidence.reference))
    axes.plot(value, reference, color=ORANGE, lw=1.2, ls="--", label=level)
    axes.plot(value[over], score[over], "o", color=BLUE, ms=4, label=f"{int(over.sum())} over it")
    axes.plot(value[~over], score[~over], "o", color=GREY, ms=3, mew=0, label="not over it")
    axes.set(xlim=(0.4, shown + 0.6), ylim=(0, 1.1 * float(max(np.nanmax(score), np.nanmax(reference)))))
    whole_numbers(axes.xaxis)
    _legend(axes)


def _draw_components(axes: Axes, evidence: _Evidence) -> None:
    level = "largest of shifted neurons,\n95th percentile"
    _draw_eigenvalues(axes, evidence, "eigenvalue (share of variance)", level)


def _draw_correlations(axes: Axes, evidence: _Evidence) -> None:
    _draw_eigenvalues(axes, evidence, "eigenvalue of the correlation", "largest of shifted neurons,\nmean + 4 SD")


def _draw_numbers(axes: Axes, evidence: _Evidence, height: np.ndarray, name: str, title: str, why: str) -> None:
    """Draw what speaks for each number of clusters, and the number that was taken."""
    axes.set(xlabel="number of clusters", ylabel=name, title=title)
    if _nothing(axes, evidence):
        return
    shown = min(len(height), max(SHOWN, 2 * evidence.clusters))
    many = shown > 40
    axes.plot(evidence.value[:shown], height[:shown], color=INK, lw=1.2, marker=None if many else "o", ms=3)
    axes.axvline(evidence.clusters, color=ORANGE, lw=1.2, ls="--", label=f"cut: {evidence.clusters}, {why}")
    whole_numbers(axes.xaxis)
    axes.margins(y=0.2)
    _legend(axes)


def _draw_silhouette(axes: Axes, evidence: _Evidence) -> None:
    _draw_numbers(axes, evidence, evidence.score, "mean silhouette width", "silhouette", "the largest")


def _draw_contrast(axes: Axes, evidence: _Evidence) -> None:
    _draw_numbers(axes, evidence, evidence.score, "contrast", "contrast", "the largest")


def _draw_gap(axes: Axes, evidence: _Evidence) -> None:
    height, why = evidence.reference - evidence.score, "the fewest that\npart better than chance"
    _draw_numbers(axes, evidence, height, "gap: log dispersion, chance − observed", "gap statistic", why)


def _draw_heights(axes: Axes, evidence: _Evidence) -> None:
    """Draw the distances of the last merges, and those over the cut, which are undone."""
    axes.set(xlabel="number of clusters left", ylabel="distance of the merge", title="last merges of the tree")
    if not len(evidence.heights):
        axes.set(xticks=[], yticks=[])
        say(axes, "no merges: too few\nensemble events")
        return
    heights = np.sort(evidence.heights)[::-1][:LAST_MERGES]
    number, cut = np.arange(1, len(heights) + 1), float(evidence.attrs.get("cut_distance", np.nan))
    over = heights > cut
    axes.plot(number[over], heights[over], "o", color=BLUE, ms=3.5, label="merges undone by the cut")
    axes.plot(number[~over], heights[~over], "o", color=GREY, ms=3.5, label="merges kept")
    axes.axhline(cut, color=ORANGE, lw=1.2, ls="--", label=f"cut: {evidence.clusters} clusters")
    axes.set(xlim=(0, len(heights) + 1), ylim=(0, 1.3 * float(heights.max()) or 1.0))
    whole_numbers(axes.xaxis)
    _legend(axes)


# What each rule rests on; a number as cut has nothing but the tree.
EVIDENCE: dict[str, Callable[[Axes, _Evidence], None]] = {
    "null": _draw_null,
    "pca_variance": _draw_variance,
    "pca_shift": _draw_components,
    "silhouette": _draw_silhouette,
    "contrast": _draw_contrast,
    "gap": _draw_gap,
    "ica": _draw_correlations,
}
