"""Who is in each ensemble: membership, core and peripheral neurons, and who the other method says there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.membership import overlap
from calcium_engine.plot._canvas import GREY, INK, VERMILLION, colour_of, few_ticks, panels, styled, text
from calcium_engine.plot.ensembles import ensemble_order, home
from calcium_engine.plot.identity import draw_bars, names, numbers, room, spans_of, unstable
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 30


@styled
def plot_membership(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw who is in each ensemble: the share of its events in which each neuron takes part, core neurons underlined.

    A thin line under a neuron says that it is peripheral: it takes part more often than chance explains, but is no core neuron.
    Unstable ensembles have open underlines. Where the other method was tried too, the cores that it finds follow below, each in
    the colour of the ensemble whose core is most like it (grey: of none).

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    membership = var("membership").check(recording).values
    ensembles, n_neurons = membership.shape
    compared = "compared_is_core" in recording.variables
    others = recording.sizes["compared_ensemble"] if compared else 0
    own = max(ensembles, 1)
    head = max(1.0, (own + others) / 30)  # rows that the line between the two methods takes
    rows = own + (head + others if compared else 0)
    size = (9.5, float(np.clip(0.32 * rows, 1.2, 6.5)) + 1.2)
    (panel,) = panels(axes, [["membership"]], size, margins=(room(recording), 1.0, 0.8, 0.4))
    panel.set(xlabel="neuron id, by ensemble", ylabel="ensemble", title="membership (thick line: core neuron, thin: peripheral)")
    order = _order(recording)
    labels = [(float(row), name) for row, name in enumerate(names(recording))]
    if ensembles:
        _draw_members(panel, recording, order)
    else:
        panel.text(n_neurons / 2 - 0.5, 0, "no ensembles", ha="center", va="center", color=GREY)
    if compared:
        labels += _draw_compared(panel, recording, order, own, head)
    shown = few_ticks(len(labels), MOST_NAMES)
    panel.set_yticks([labels[one][0] for one in shown], [labels[one][1] for one in shown])
    panel.set(ylim=(rows - 0.45, -0.5), xlim=(-0.5, n_neurons - 0.5))
    ticks = few_ticks(n_neurons, 40)
    panel.set_xticks(ticks, [text(one, 8) for one in recording["neuron"].values[order][ticks]], rotation=90)
    return panel


def _order(recording: xr.Dataset) -> np.ndarray:
    """Return the neurons' rows by ensemble, and those in no core by the other method's ensembles."""
    order = ensemble_order(recording)
    if "compared_is_core" not in recording.variables:
        return order
    core = var("is_core").check(recording).values
    own, other = (home(one)[order] for one in (core, var("compared_is_core").check(recording).values))
    return np.asarray(order[np.lexsort((np.where(own == len(core), other, 0), own))])


def _draw_members(axes: Axes, recording: xr.Dataset, order: np.ndarray) -> None:
    """Draw membership as shades, and under each row a line for its core and a thin one for its peripheral neurons."""
    membership, core = (var(name).check(recording).values[:, order] for name in ("membership", "is_core"))
    peripheral = np.zeros_like(core)
    if "is_peripheral" in recording.variables:
        peripheral = var("is_peripheral").check(recording).values[:, order]
    image = axes.imshow(membership, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", rasterized=True)
    for row, (ensemble, empty) in enumerate(zip(numbers(recording), unstable(recording), strict=True)):
        shade = colour_of(ensemble)
        draw_bars(axes, spans_of(core[row]), (row + 0.3, row + 0.46), shade, bool(empty))
        draw_bars(axes, spans_of(peripheral[row]), (row + 0.4, row + 0.45), shade, alpha=0.8)
    axes.figure.colorbar(image, cax=axes.inset_axes((1.015, 0, 0.015, 1))).set_label("share of its events")


def _draw_compared(axes: Axes, recording: xr.Dataset, order: np.ndarray, top: int, head: float) -> list[tuple[float, str]]:
    """Draw the other method's cores under a line at row `top` that says how well both agree; return their rows and names."""
    attrs = recording["ensemble_event_label"].attrs
    core, others = (var(name).check(recording).values for name in ("is_core", "compared_is_core"))
    method, disagree = str(attrs.get("compared_method", "other")), bool(attrs.get("methods_disagree"))
    best = attrs.get("compared_best_match")
    said = f"{method}: {len(others)} {'ensemble' if len(others) == 1 else 'ensembles'}"
    said += f", Best Match {float(best):.2f}" if best is not None and len(core) and len(others) else ""
    said += "; the methods disagree" if disagree else ""
    axes.axhline(top - 0.45, color=INK, lw=0.8)
    axes.text(
        0.005,
        top + head / 2 - 0.5,
        said,
        transform=axes.get_yaxis_transform(),
        va="center",
        ha="left",
        fontsize="small",
        color=VERMILLION if disagree else INK,
    )
    likeness = overlap(core, others)
    rows = []
    for row, one in enumerate(others):
        near = int(likeness[:, row].argmax()) if len(core) and likeness[:, row].max() > 0 else None
        shade = GREY if near is None else colour_of(numbers(recording)[near])
        draw_bars(axes, spans_of(one[order]), (top + head + row - 0.3, top + head + row + 0.3), shade)
        rows.append((top + head + row, f"{method} {row + 1}"))
    return rows
