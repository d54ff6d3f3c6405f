"""Traces at every stage of their cleaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    own_events,
    panels,
    positions,
    say,
    span,
    styled,
    text,
    thinned,
    time_unit,
    whole_time_axis,
)
from calcium_engine.plot.naming import flags_of, shown_in
from calcium_engine.plot.stretch import frames_within, over, representatives, stretch
from calcium_engine.schema import TRACES, latest_trace, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A stage, what it is called, and the line drawn over it.
Stage = tuple[str, str, str | None]
STAGES: tuple[Stage, ...] = (
    ("fluorescence", "raw\nfluorescence", "baseline"),
    ("fluorescence_corrected", "neuropil\nremoved", "baseline"),
    ("dff", "ΔF/F", "background"),
    ("detrended", "background\nremoved", None),
    ("denoised", "denoised", None),
)
RELATIVE = ("dff", "detrended", "denoised")  # these share a scale and have a zero
SMALL_LEGEND: Any = {"frameon": False, "borderaxespad": 0.0, "handlelength": 1.2, "columnspacing": 1.2}


@styled
def plot_stages(
    recording: xr.Dataset, neurons: Any = None, *, start: float | None = None, duration: float | None = None, axes: Any = None
) -> np.ndarray:
    """Draw a few neurons at every stage that the recording holds, from raw to denoised.

    The first row shows the whole recording and F0, close enough to judge it, which cuts tall transients, and the stretch that the
    rows under it enlarge; those share their time axis, and the ΔF/F stages of a neuron their scale. Where F0 lies within half a
    window of an end, it is shaded; what is flagged of a neuron stands over it.

    Args:
        recording: a recording with `fluorescence` or `dff`; `baseline`, `background`, `detrended` and `denoised` where they are.
        neurons: ids; by default three with events: a very active one, an active one and a typical one.
        start: first second of the enlarged stretch; by default where these neurons have the most events.
        duration: length of the stretch, s (default: 120 s, or the recording where that is shorter).
        axes: Axes to draw on, one a panel, or a Figure or SubFigure; by default a new figure.

    Returns:
        array of Axes, stage × neuron; the whole recording comes first.

    Raises:
        MissingVariableError: the recording holds no trace.
        CalciumError: unknown neuron id.
    """
    latest_trace(recording, TRACES)
    recording = own_events(recording) if "event_neuron" in recording.variables else recording
    rows = representatives(recording, 3) if neurons is None else positions(recording, neurons)
    window = stretch(recording, rows, start, duration)
    stages = [stage for stage in STAGES if stage[0] in recording.variables]
    mosaic = [[f"{stage} {row}" for row in range(len(rows))] for stage in ("whole", *(stage[0] for stage in stages))]
    mosaic.insert(1, ["."] * len(rows))  # room for the time axis of the whole recording
    size = (3.4 * len(rows) + 1.0, 1.3 * len(stages) + 2.65)
    made = panels(axes, mosaic, size, gaps=(0.55, 0.22), margins=(0.95, 0.15, 0.5, 0.55), heights=(1, 0.12, *[1] * len(stages)))
    grid = np.array(made, dtype=object).reshape(len(stages) + 1, len(rows))
    traces = _load(recording, {name for stage in stages for name in (stage[0], stage[2]) if name}, rows)
    for column, (row, flags) in enumerate(zip(rows, flags_of(recording, rows), strict=True)):
        whole = grid[0, column]
        _draw_whole(whole, recording, traces, stages, column, window)
        whole.set_title(f"neuron {text(recording['neuron'].values[row])}", pad=16)
        whole.text(0.5, 1.04, flags, transform=whole.transAxes, ha="center", color=VERMILLION, fontsize=8)
        for one, stage in zip(grid[1:, column], stages, strict=True):
            _draw_stage(one, recording, traces, stage, column, window)
            one.tick_params(labelbottom=one is grid[-1, column])
            if column == 0 and one.get_legend_handles_labels()[1]:
                one.legend(loc="lower right", bbox_to_anchor=(1.0, 0.92), ncols=2, **SMALL_LEGEND)
        _share_scale([one for one, stage in zip(grid[1:, column], stages, strict=True) if stage[0] in RELATIVE])
        grid[-1, column].set_xlabel(time_unit(window[1] - window[0])[1])
    cut = any(one.dataLim.ymax > one.get_ylim()[1] for one in grid[0])
    names = ["whole recording\n(peaks cut)" if cut else "whole\nrecording"]
    for one, name in zip(grid[:, 0], names + [_stage_label(recording, stage) for stage in stages], strict=True):
        one.set_ylabel(name)
        one.yaxis.set_label_coords(-0.6 * one.figure.dpi / one.bbox.width, 0.5)  # 0.6 inches
    return grid


def _load(recording: xr.Dataset, names: set[str], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the named traces of some neurons, in the units in which they are shown."""
    arrays = [var(name).check(recording) for name in sorted(names) if name in recording.variables]
    return {str(array.name): array.isel(neuron=rows).values * shown_in(array)[0] for array in arrays}


def _stage_label(recording: xr.Dataset, stage: Stage) -> str:
    unit = shown_in(recording[stage[0]])[1]
    return f"{stage[1].replace('ΔF/F', 'ΔF') if unit == 'σ' else stage[1]} ({unit})"


def _draw_whole(
    axes: Axes,
    recording: xr.Dataset,
    traces: dict[str, np.ndarray],
    stages: list[Stage],
    row: int,
    window: tuple[float, float],
) -> None:
    """Draw the whole recording of one neuron, as the trace that its F0 was estimated on, and where it is enlarged."""
    stage = [stages[0], *(one for one in stages if one[2] == "baseline")][-1]
    _draw_stage(axes, recording, traces, stage, row, span(recording))
    unit = whole_time_axis(axes, recording)
    axes.axvspan(window[0] / unit, window[1] / unit, color=BLUE, alpha=0.12, lw=0)
    if stage[2] in traces:
        _show_closely(axes, traces[stage[0]][row], traces[stage[2]][row])


def _show_closely(axes: Axes, trace: np.ndarray, line: np.ndarray) -> None:
    """Cut tall transients, so that a line at their feet can be judged: what it spans is to fill a third of the panel."""
    trace, line = trace[np.isfinite(trace)], line[np.isfinite(line)]
    if not (trace.size and line.size):
        return
    low, high = float(np.quantile(trace, 0.001)), float(line.max())
    bottom, top = axes.get_ylim()
    if high > low:
        axes.set_ylim(max(bottom, low - 0.3 * (high - low)), min(top, high + 2.0 * (high - low)))


def _draw_stage(
    axes: Axes,
    recording: xr.Dataset,
    traces: dict[str, np.ndarray],
    stage: Stage,
    row: int,
    window: tuple[float, float],
) -> None:
    """Draw one stage of one neuron, and the baseline or background over it."""
    frames, time, bounds = frames_within(recording, window)
    unit = time_unit(window[1] - window[0])[0]
    name, _, line = stage
    if "fluorescence_corrected" in traces and name == "fluorescence":
        line = None  # the baseline is that of the corrected trace
    y = traces[name][row, frames]
    if not np.isfinite(y).any():
        say(axes, "no valid samples")
    if name in RELATIVE:
        axes.axhline(0, color=PALE, lw=0.8, zorder=0)
    axes.plot(*over(unit, thinned(time, y, bounds)), color=INK, lw=0.7)
    if line in traces:
        name_of_line = "F0" if line == "baseline" else "slow background"
        axes.plot(*over(unit, thinned(time, traces[line][row, frames], bounds)), color=ORANGE, lw=1.6, label=name_of_line)
    if line == "baseline" and line in traces and "baseline_edge" in recording.variables:
        edge = recording["baseline_edge"].isel(neuron=0, missing_dims="ignore").values[frames]  # concat gives it to each neuron
        if edge.any():
            t, one = over(unit, thinned(time, np.where(edge, 1.0, np.nan), bounds))
            place = axes.get_xaxis_transform()
            axes.fill_between(t, 0, one, transform=place, color=ORANGE, alpha=0.2, lw=0, zorder=0, label="near an end")
    axes.set_xlim(window[0] / unit, window[1] / unit)


def _share_scale(axes: list[Axes]) -> None:
    limits = [one.get_ylim() for one in axes]
    for one in axes:
        one.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
