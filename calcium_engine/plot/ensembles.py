"""Ensembles: who belongs to each, when each is active, and where its neurons lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    GREY,
    PALE,
    colour_of,
    event_rows,
    few_ticks,
    own_events,
    panels,
    say,
    styled,
    text,
    whole_time_axis,
)
from calcium_engine.plot.activity import draw_marks, neuron_axis
from calcium_engine.schema import MissingVariableError, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ensemble_order(recording: xr.Dataset) -> np.ndarray:
    """Return the neurons' rows by the first ensemble that has each in its core, faithful ones first, the rest last."""
    membership = var("membership").check(recording).values
    core = var("is_core").check(recording).values
    first, strength = _home(core), np.zeros(core.shape[1])
    inside = first < len(core)
    strength[inside] = membership[first[inside], np.flatnonzero(inside)]
    return np.lexsort((-np.nan_to_num(strength), first))


def _home(core: np.ndarray) -> np.ndarray:
    """Return the row of the first ensemble that has each neuron in its core; the number of ensembles where none has."""
    return np.where(core.any(axis=0), core.argmax(axis=0), len(core)) if len(core) else np.zeros(core.shape[1], dtype=np.int64)


@styled
def plot_membership(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw who is in each ensemble: the share of its events in which each neuron takes part, core neurons underlined.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    membership = var("membership").check(recording).values
    core = var("is_core").check(recording).values
    n_ensembles, n_neurons = membership.shape
    size = (9.5, float(np.clip(0.32 * n_ensembles, 1.2, 6.0)) + 1.15)
    (panel,) = panels(axes, [["membership"]], size, margins=(0.85, 1.0, 0.8, 0.35))
    panel.set(xlabel="neuron id, by ensemble", ylabel="ensemble", title="membership (core neurons underlined)")
    if not n_ensembles:
        panel.set(xticks=[], yticks=[])
        say(panel, "no ensembles")
        return panel
    order = ensemble_order(recording)
    image = panel.imshow(
        membership[:, order], cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", rasterized=True
    )
    for row, ensemble in enumerate(recording["ensemble"].values):
        inside = np.flatnonzero(core[row, order])
        panel.hlines(np.full(inside.size, row + 0.42), inside - 0.5, inside + 0.5, color=colour_of(ensemble), lw=3)
    panel.set_yticks(np.arange(n_ensembles), [str(one) for one in recording["ensemble"].values])
    panel.set_ylim(n_ensembles - 0.45, -0.5)
    ticks = few_ticks(n_neurons, 40)
    panel.set_xticks(ticks, [text(one, 8) for one in recording["neuron"].values[order][ticks]], rotation=90)
    panel.figure.colorbar(image, cax=panel.inset_axes((1.015, 0, 0.015, 1))).set_label("share of its events")
    return panel


@styled
def plot_ensembles(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw who and when: each ensemble's events over time, and the raster sorted by ensemble with those events coloured.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: events of each ensemble, raster.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    order = ensemble_order(recording)
    recording = own_events(recording)
    onset = var("event_onset").check(recording).values
    labels = var("ensemble_event_label").check(recording).values
    ensembles = recording["ensemble"].values if "ensemble" in recording.coords else np.arange(1, recording.sizes["ensemble"] + 1)
    strip, body = max(0.5, 0.16 * len(ensembles)), float(np.clip(0.2 * len(order), 2.2, 5.2))
    when, raster = panels(
        axes,
        [["when"], ["raster"]],
        (9.5, strip + body + 1.2),
        heights=(strip, body),
        gaps=(0.6, 0.12),
        margins=(0.85, 0.5, 0.55, 0.35),
    )
    _draw_when(when, recording, ensembles, labels)
    unit = whole_time_axis(raster, recording)
    level = np.argsort(order)
    draw_marks(raster, onset / unit, level[event_rows(recording)], len(order), "#B5B5B5")
    participation = var("participation").check(recording).values
    time = var("ensemble_event_time").check(recording).values / unit
    for ensemble in ensembles:
        mine = np.flatnonzero(labels == ensemble)
        event, neuron = np.nonzero(participation[mine])
        draw_marks(raster, time[mine][event], level[neuron], len(order), colour_of(ensemble))
    neuron_axis(raster, recording["neuron"].values[order], "neuron id, by ensemble")
    _mark_cores(raster, recording, order, ensembles)
    raster.invert_yaxis()
    if not onset.size:
        say(raster, "no events")
    return np.array([when, raster], dtype=object)


def _draw_when(axes: Axes, recording: xr.Dataset, ensembles: np.ndarray, labels: np.ndarray) -> None:
    """Draw a row of marks per ensemble; ensemble events of none of them come in grey at the bottom."""
    unit = whole_time_axis(axes, recording)
    time = var("ensemble_event_time").check(recording).values / unit
    for row, ensemble in enumerate(ensembles):
        draw_marks(
            axes, time[labels == ensemble], np.full((labels == ensemble).sum(), row), len(ensembles) + 1, colour_of(ensemble)
        )
    loose = labels < 0
    draw_marks(axes, time[loose], np.full(loose.sum(), len(ensembles)), len(ensembles) + 1, GREY)
    axes.set_yticks(np.arange(len(ensembles) + 1), [*(str(one) for one in ensembles), "none"])
    axes.set_ylim(len(ensembles) + 0.6, -0.6)
    found = f"{len(labels)} ensemble events, {int((~loose).sum())} of them in {len(ensembles)} ensembles"
    axes.set(xlabel="", ylabel="ensemble", title=found if len(labels) else "no ensemble events")
    axes.tick_params(labelbottom=False)


def _mark_cores(axes: Axes, recording: xr.Dataset, order: np.ndarray, ensembles: np.ndarray) -> None:
    """Draw each ensemble's core as a coloured bar at the right of its rows."""
    home = _home(var("is_core").check(recording).values)[order]
    for row, ensemble in enumerate(ensembles):
        inside = np.flatnonzero(home == row)
        if inside.size:
            place = axes.get_yaxis_transform()
            axes.plot(
                [1.008, 1.008],
                [inside[0] - 0.5, inside[-1] + 0.5],
                transform=place,
                color=colour_of(ensemble),
                lw=4,
                clip_on=False,
                solid_capstyle="butt",
            )
            axes.text(1.016, inside.mean(), str(ensemble), transform=place, color=colour_of(ensemble), va="center", clip_on=False)


@styled
def plot_positions(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw where the core neurons of each ensemble lie; a neuron of several ensembles shows all of their colours.

    Args:
        recording: a recording with ensembles (`find_ensembles`) and the coordinates `x` and `y`.
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensembles were not sought yet, or the recording has no positions.
    """
    core = var("is_core").check(recording).values
    if not {"x", "y"} <= set(recording.coords):
        raise MissingVariableError(
            "the recording has no coordinates 'x' and 'y'; assign_coords(x=('neuron', ...), y=('neuron', ...)) sets them"
        )
    x, y = recording["x"].values, recording["y"].values
    (panel,) = panels(axes, [["positions"]], (6.4, 5.4), margins=(0.85, 1.2, 0.55, 0.4))
    panel.scatter(x, y, s=14, color=PALE, lw=0, label="none")
    for row, ensemble in enumerate(recording["ensemble"].values if len(core) else ()):
        # Later ensembles are smaller discs on earlier ones, so that a shared neuron shows each of its colours.
        size = 55 / (1 + 1.2 * core[:row].sum(axis=0)[core[row]])
        panel.scatter(
            x[core[row]], y[core[row]], s=size, color=colour_of(ensemble), lw=0.4, edgecolors="white", label=str(ensemble)
        )
    panel.set_aspect("equal", adjustable="datalim")
    panel.invert_yaxis()
    panel.set(xlabel=_pixels(recording, "x"), ylabel=_pixels(recording, "y"), title="core neurons of each ensemble")
    panel.legend(title="ensemble", frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        say(panel, "no positions")
    elif not core.any():
        say(panel, "no ensembles")
    return panel


def _pixels(recording: xr.Dataset, name: str) -> str:
    return f"{name} ({recording[name].attrs.get('units', 'pixel')})"
