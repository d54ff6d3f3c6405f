"""Ensembles: who is in each and when its events are, and where its neurons lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    GREY,
    PALE,
    colour_of,
    event_rows,
    own_events,
    panels,
    say,
    styled,
    whole_time_axis,
)
from calcium_engine.plot.activity import draw_marks, neuron_axis
from calcium_engine.plot.identity import draw_bars, names, numbers, room, unstable
from calcium_engine.schema import MissingVariableError, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ensemble_order(recording: xr.Dataset) -> np.ndarray:
    """Return the neurons' rows by the first ensemble that has each in its core, faithful ones first, the rest last."""
    membership = var("membership").check(recording).values
    core = var("is_core").check(recording).values
    first, strength = home(core), np.zeros(core.shape[1])
    inside = first < len(core)
    strength[inside] = membership[first[inside], np.flatnonzero(inside)]
    return np.lexsort((-np.nan_to_num(strength), first))


def home(core: np.ndarray) -> np.ndarray:
    """Return the row of the first ensemble that has each neuron in its core; the number of ensembles where none has."""
    return np.where(core.any(axis=0), core.argmax(axis=0), len(core)) if len(core) else np.zeros(core.shape[1], dtype=np.int64)


@styled
def plot_ensembles(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw who and when: each ensemble's events over time, and the raster sorted by ensemble with those events coloured.

    Unstable ensembles are drawn hollow: open marks, an open bar beside their core neurons.

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
    ensembles, hollow = numbers(recording), unstable(recording)
    strip, body = max(0.5, 0.16 * len(ensembles)), float(np.clip(0.2 * len(order), 2.2, 5.2))
    when, raster = panels(
        axes,
        [["when"], ["raster"]],
        (9.5, strip + body + 1.2),
        heights=(strip, body),
        gaps=(0.6, 0.12),
        margins=(room(recording), 0.5, 0.55, 0.35),
    )
    _draw_when(when, recording, labels)
    unit = whole_time_axis(raster, recording)
    level = np.argsort(order)
    draw_marks(raster, onset / unit, level[event_rows(recording)], len(order), "#B5B5B5")
    participation = var("participation").check(recording).values
    time = var("ensemble_event_time").check(recording).values / unit
    for ensemble, empty in zip(ensembles, hollow, strict=True):
        mine = np.flatnonzero(labels == ensemble)
        event, neuron = np.nonzero(participation[mine])
        draw_marks(raster, time[mine][event], level[neuron], len(order), colour_of(ensemble), empty)
    neuron_axis(raster, recording["neuron"].values[order], "neuron id, by ensemble")
    _mark_cores(raster, recording, order)
    raster.invert_yaxis()
    if not onset.size:
        say(raster, "no events")
    return np.array([when, raster], dtype=object)


def _draw_when(axes: Axes, recording: xr.Dataset, labels: np.ndarray) -> None:
    """Draw a row of marks per ensemble; ensemble events of none of them come in grey at the bottom."""
    unit = whole_time_axis(axes, recording)
    time = var("ensemble_event_time").check(recording).values / unit
    ensembles, hollow = numbers(recording), unstable(recording)
    rows = len(ensembles) + 1
    for row, (ensemble, empty) in enumerate(zip(ensembles, hollow, strict=True)):
        mine = time[labels == ensemble]
        draw_marks(axes, mine, np.full(mine.size, row), rows, colour_of(ensemble), empty)
    loose = labels < 0
    draw_marks(axes, time[loose], np.full(loose.sum(), len(ensembles)), rows, GREY)
    axes.set_yticks(np.arange(rows), [*names(recording), "none"])
    axes.set_ylim(rows - 0.4, -0.6)
    found = (
        f"{len(labels)} ensemble events, {int((~loose).sum())} of them in {len(ensembles)} ensemble{'s' * (len(ensembles) != 1)}"
    )
    axes.set(xlabel="", ylabel="ensemble", title=found if len(labels) else "no ensemble events")
    axes.tick_params(labelbottom=False)


def _mark_cores(axes: Axes, recording: xr.Dataset, order: np.ndarray) -> None:
    """Draw each ensemble's core as a coloured bar at the right of its rows."""
    own, place = home(var("is_core").check(recording).values)[order], axes.get_yaxis_transform()
    for row, (ensemble, empty) in enumerate(zip(numbers(recording), unstable(recording), strict=True)):
        inside = np.flatnonzero(own == row)
        if inside.size:
            span, shade = (float(inside[0]) - 0.5, float(inside[-1]) + 0.5), colour_of(ensemble)
            draw_bars(axes, [span], (1.005, 1.011), shade, bool(empty), upright=True, transform=place, clip_on=False)
            axes.text(1.016, inside.mean(), str(ensemble), transform=place, color=shade, va="center", clip_on=False)


@styled
def plot_positions(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw where the core neurons of each ensemble lie; a neuron of several ensembles shows all of their colours.

    Discs of unstable ensembles are hollow.

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
    columns, worst = -(-(len(core) + 1) // 26), 0.6 * bool(unstable(recording).any())
    beside = 0.5 + (0.6 + worst) * columns
    (panel,) = panels(axes, [["positions"]], (5.3 + beside, 5.4), margins=(0.85, beside, 0.55, 0.4))
    panel.scatter(x, y, s=14, color=PALE, lw=0, label="none")
    for row, (ensemble, name, empty) in enumerate(zip(numbers(recording), names(recording), unstable(recording), strict=True)):
        # Later ensembles are smaller discs on earlier ones, so that a shared neuron shows each of its colours.
        size, shade = 55 / (1 + 1.2 * core[:row].sum(axis=0)[core[row]]), colour_of(ensemble)
        disc: dict[str, Any] = (
            {"color": "white", "lw": 1.2, "edgecolors": shade} if empty else {"color": shade, "lw": 0.4, "edgecolors": "white"}
        )
        panel.scatter(x[core[row]], y[core[row]], s=size, label=name, **disc)
    panel.set_aspect("equal", adjustable="datalim")
    panel.invert_yaxis()
    panel.set(xlabel=_pixels(recording, "x"), ylabel=_pixels(recording, "y"), title="core neurons of each ensemble")
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0}
    panel.legend(title="ensemble", frameon=False, handletextpad=0.2, ncols=columns, columnspacing=0.8, **place)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        say(panel, "no positions")
    elif not core.any():
        say(panel, "no ensembles")
    return panel


def _pixels(recording: xr.Dataset, name: str) -> str:
    return f"{name} ({recording[name].attrs.get('units', 'pixel')})"
