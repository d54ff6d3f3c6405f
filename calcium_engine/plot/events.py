"""Events: traces with the events found in them, and close up the shape that was measured of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILLION,
    event_rows,
    own_events,
    panels,
    positions,
    say,
    styled,
    text,
    thinned,
    time_unit,
)
from calcium_engine.plot.expected import indicator_of
from calcium_engine.plot.naming import meaning, shown_in
from calcium_engine.plot.stretch import frames_within, over, representatives, stretch
from calcium_engine.schema import EVENT_FLAGS, TRACES, latest_trace, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOSE_UPS = 3
CLOSE_UP_TAUS = 12.0  # a close-up's length in decay constants: a transient or two, and the rest around them
CLOSE_UP = 15.0  # s, where the indicator is not known
ROW, CLOSE_UP_ROW = 0.62, 1.55  # inches
_COLUMNS = ("onset", "peak", "offset", "amplitude", "peak_dff", "fwhm", "z", "flags")
_CloseUp = tuple[int, float, float]  # which of the neurons shown, and the first and last second


class _Row(NamedTuple):
    """One neuron: the trace that was searched, the one that was measured if not that, and its events, in the units shown."""

    time: np.ndarray
    bounds: np.ndarray
    searched: np.ndarray
    denoised: np.ndarray | None
    inside: np.ndarray
    events: dict[str, np.ndarray]

    @property
    def measured(self) -> np.ndarray:
        """The trace on which shapes were measured."""
        return self.searched if self.denoised is None else self.denoised


@styled
def plot_events(
    recording: xr.Dataset,
    neurons: Any = None,
    *,
    trace: str | None = None,
    start: float | None = None,
    duration: float | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Draw traces with their events, and close up what was measured of each: base, height, width, onset and offset.

    Over all neurons (left), events are blue from onset to offset, with a dot at the peak (hollow: compound, it starts on the tail
    of another) and a bar for the full width at half maximum (dotted: cut off, its end is extrapolated). Every trace has its own
    scale bar. The shaded stretches of three neurons (a clear, a middling and a faint one) are enlarged at the right: there the
    measured trace is dark, and the searched one grey, where it is another; each event stands on its base, and triangles point at
    its onset and offset.

    Args:
        recording: a recording with events (`detect_events`).
        neurons: ids; by default eight, from very active ones to typical ones.
        trace: name of the trace; by default the one on which events were sought, and over it the one on which they were measured.
        start: first second; by default where these neurons have the most events.
        duration: length, s (default: 120 s, or the recording where that is shorter).
        axes: one Axes for the overview alone, or more, one a close-up; or a Figure or SubFigure; by default a new figure.

    Returns:
        array of Axes: the overview, then the close-ups.

    Raises:
        MissingVariableError: no events were sought yet, or the recording lacks the trace.
        CalciumError: unknown neuron id.
    """
    var("event_peak").check(recording)
    recording = own_events(recording)
    rows = representatives(recording, 8) if neurons is None else positions(recording, neurons)
    window = stretch(recording, rows, start, duration)
    searched, share = _traces_of(recording, trace)
    drawn = _rows(recording, searched, share, rows, window)
    close = _close_ups(drawn, window, _length(recording, window), _wanted(axes, len(rows)))
    names = [f"close {i}" for i in range(len(close) if _is_figure(axes) else _wanted(axes, len(rows)))]
    mosaic = [["all", name] for name in names] or [["all"]]
    size = (10.5, max(ROW * max(len(rows), 2), CLOSE_UP_ROW * len(names)) + 1.45)
    margins = (0.75, 0.15 if names else 0.95, 0.85, 0.4)
    made = panels(axes, mosaic, size, margins=margins, gaps=(1.4, 0.5), widths=(2.1, 1) if names else None)
    array, ids = var(searched).check(recording), recording["neuron"].values[rows]
    unit_name = shown_in(array)[1]
    _draw_overview(made[0], drawn, ids, window, unit_name, close)
    made[0].set_title(f"{meaning(array)}: events, their peaks and widths")
    for panel, (level, begin, end) in zip(made[1:], close, strict=False):
        _draw_close_up(panel, drawn[level], (begin, end))
        panel.set(title=f"neuron {text(ids[level])}", ylabel=f"{'ΔF' if unit_name == 'σ' else 'ΔF/F'} ({unit_name})")
    for panel in made[1 + len(close) :]:
        say(panel, "no events")
    made[-1].set_xlabel("time (s)" if names else made[0].get_xlabel())
    if names and _is_figure(axes):
        _explain(made[0])
    return np.array(made, dtype=object)


def _is_figure(axes: Any) -> bool:
    """Return whether the panels are to be laid out, in a new figure or in one that was given."""
    from matplotlib.figure import FigureBase

    return axes is None or isinstance(axes, FigureBase)


def _wanted(axes: Any, rows: int) -> int:
    return min(CLOSE_UPS, rows) if _is_figure(axes) else max(0, np.size(np.asarray(axes, dtype=object)) - 1)


def _traces_of(recording: xr.Dataset, trace: str | None) -> tuple[str, float]:
    """Return the name of the searched trace and how much of the denoised one is in that on which shapes were measured."""
    if trace is not None:
        return trace, 0.0
    attrs = recording["event_peak"].attrs
    sought = str(attrs.get("trace"))
    sought = sought if sought in recording.variables else latest_trace(recording, TRACES)
    share = float(attrs.get("denoised_share", attrs.get("measured_on") == "denoised"))
    return sought, share if "denoised" in recording.variables else 0.0


def _length(recording: xr.Dataset, window: tuple[float, float]) -> float:
    """Return the length of a close-up, s."""
    indicator = indicator_of(recording)
    frames = 12.0 / float(recording["sampling_rate"])  # fewer than a dozen frames show no shape
    return min(max(CLOSE_UP_TAUS * indicator.tau if indicator else CLOSE_UP, frames), window[1] - window[0])


def _rows(recording: xr.Dataset, searched: str, share: float, rows: np.ndarray, window: tuple[float, float]) -> list[_Row]:
    """Gather what is drawn of each neuron."""
    frames, time, bounds = frames_within(recording, window)

    def shown(name: str) -> np.ndarray:
        array = var(name).check(recording)
        return np.asarray(array.isel(neuron=rows, frame=frames).values * shown_in(array)[0])

    traces = shown(searched)
    measured = (1 - share) * traces + share * shown("denoised") if share else traces
    inside = _inside(recording, rows, frames, time)
    inside = inside | np.pad(inside, ((0, 0), (0, 1)))[:, 1:]  # with the frame before: the rise begins between it and the first
    table = {name: _column(recording, name) for name in _COLUMNS}
    of_event = event_rows(recording)
    within = (table["peak"] >= window[0]) & (table["peak"] <= window[1])
    return [
        _Row(
            time,
            bounds,
            traces[i],
            measured[i] if share else None,
            inside[i],
            {name: column[within & (of_event == row)] for name, column in table.items()},
        )
        for i, row in enumerate(rows)
    ]


def _inside(recording: xr.Dataset, rows: np.ndarray, frames: slice, time: np.ndarray) -> np.ndarray:
    """Return the frames inside events, as `active` has them, or where that was not kept, from onset to offset."""
    if "active" in recording.variables:
        return np.asarray(var("active").check(recording).isel(neuron=rows, frame=frames).values)
    inside, of_event = np.zeros((len(rows), len(time)), bool), event_rows(recording)
    onset, offset = recording["event_onset"].values, recording["event_offset"].values
    for i, row in enumerate(rows):
        for event in np.flatnonzero(of_event == row):
            inside[i] |= (time >= onset[event]) & (time <= offset[event])
    return inside


def _column(recording: xr.Dataset, name: str) -> np.ndarray:
    """Return one column of the events in the units shown; one that an older recording lacks is unknown."""
    if f"event_{name}" not in recording.variables:
        return np.full(recording.sizes["event"], 0 if name == "flags" else np.nan)
    array = var(f"event_{name}").check(recording)
    return np.asarray(array.values if name == "flags" else array.values * shown_in(array)[0])


def _flagged(row: _Row, flag: str) -> np.ndarray:
    return np.asarray(row.events["flags"].astype(np.int64) & EVENT_FLAGS[flag] > 0)


def _close_ups(rows: list[_Row], window: tuple[float, float], length: float, most: int) -> list[_CloseUp]:
    """Choose what to enlarge: of a clear, a middling and a faint neuron, the stretch with the most and purest events."""
    found = []
    for level, row in enumerate(rows):
        onset, offset = row.events["onset"], row.events["offset"]
        if not onset.size:
            continue
        worth = np.where(row.events["flags"].astype(np.int64) > 0, 0.4, 1.0)
        begins = np.clip(onset - 0.12 * length, window[0], window[1] - length)
        held = (onset >= begins[:, None]) & (offset <= begins[:, None] + length)
        cut = (onset < begins[:, None] + length) & (offset > begins[:, None]) & ~held
        best = int(np.argmax(held @ worth - 0.5 * cut.sum(axis=1)))
        clear = row.events["z"] if np.isfinite(row.events["z"]).any() else row.events["amplitude"]
        found.append((float(np.nan_to_num(np.median(clear))), level, float(begins[best])))
    found.sort(reverse=True)
    chosen = {int(i) for i in np.round(np.linspace(0, len(found) - 1, min(most, len(found))))}
    return sorted((found[i][1], found[i][2], found[i][2] + length) for i in chosen)


def _half_rise(time: np.ndarray, y: np.ndarray, peak: float, level: float) -> float:
    """Return when the trace last rose through this level before the peak; NaN where it did not."""
    i = int(np.searchsorted(time, peak, side="right")) - 1
    while i > 0 and y[i] > level:
        i -= 1
    if not 0 <= i < len(y) - 1 or not y[i] <= level < y[i + 1]:
        return float("nan")
    return float(time[i] + (level - y[i]) / (y[i + 1] - y[i]) * (time[i + 1] - time[i]))


def _half_widths(row: _Row) -> tuple[np.ndarray, np.ndarray]:
    """Return where each event's bar at half height begins, s, and its height."""
    events = row.events
    half = events["peak_dff"] - events["amplitude"] / 2
    begins = [_half_rise(row.time, row.measured, peak, level) for peak, level in zip(events["peak"], half, strict=True)]
    # where the drawn trace is not the measured one, the rise lies between onset and peak
    return np.where(np.isnan(begins), (events["onset"] + events["peak"]) / 2, np.maximum(begins, events["onset"])), half


def _draw_measures(axes: Axes, row: _Row, unit: float, place: Any, scale: float) -> None:
    """Draw each event's height over its base, its width and its peak; `place` maps values to the panel."""
    events, compound, censored = row.events, _flagged(row, "compound"), _flagged(row, "fwhm_censored")
    top = events["peak_dff"]
    top = place(np.where(np.isnan(top), np.interp(events["peak"], row.time, row.measured), top))
    axes.vlines(events["peak"] / unit, place(events["peak_dff"] - events["amplitude"]), top, color=VERMILLION, lw=0.55 * scale)
    begin, half = _half_widths(row)
    for cut, style in ((False, "-"), (True, (0, (1.2, 0.8)))):
        some = censored == cut
        end = (begin + events["fwhm"])[some] / unit
        axes.hlines(place(half)[some], begin[some] / unit, end, color=VERMILLION, lw=1.1 * scale, ls=style)
    dots: dict[str, Any] = {"ls": "none", "marker": "o", "color": VERMILLION, "ms": 2.4 * scale, "mew": 0.7, "zorder": 4}
    axes.plot(events["peak"][~compound] / unit, top[~compound], **dots)
    axes.plot(events["peak"][compound] / unit, top[compound], **dots, mfc="white")


def _draw_overview(
    axes: Axes,
    rows: list[_Row],
    ids: np.ndarray,
    window: tuple[float, float],
    unit_name: str,
    close: list[_CloseUp],
) -> None:
    """Draw all traces, one over the other, each as high as a row."""
    unit, time_label = time_unit(window[1] - window[0])
    for level, begin, end in close:
        axes.fill_between([begin / unit, end / unit], -level - 0.06, 0.92 - level, color=PALE, alpha=0.55, lw=0, zorder=0)
    for level, row in enumerate(rows):
        low, height = _extent(row.searched)

        def place(values: np.ndarray, low: float = low, height: float = height, level: int = level) -> np.ndarray:
            return (values - low) / (height or 1.0) * 0.85 - level

        axes.plot(*over(unit, thinned(row.time, place(row.searched), row.bounds)), color=GREY, lw=0.5)
        inside = np.where(row.inside, place(row.measured), np.nan)
        axes.plot(*over(unit, thinned(row.time, inside, row.bounds)), color=BLUE, lw=0.9)
        _draw_measures(axes, row, unit, place, 0.8)
        _scale_bar(axes, -level, height, f" {unit_name}")
    axes.set_yticks(-np.arange(len(rows)) + 0.3, [text(one) for one in ids])
    axes.set_ylim(0.75 - len(rows), 1.05)
    axes.set_xlim(window[0] / unit, window[1] / unit)
    axes.set(xlabel=time_label, ylabel="neuron id")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if not any(row.events["onset"].size for row in rows):
        say(axes, "no events")


def _draw_close_up(axes: Axes, row: _Row, window: tuple[float, float]) -> None:
    """Draw one neuron's events closely: what was searched, what was measured, and every measure at its place."""
    from matplotlib.ticker import MaxNLocator

    events = row.events
    axes.axhline(0, color=PALE, lw=0.8, zorder=0)
    if row.denoised is not None:
        axes.plot(*thinned(row.time, row.searched, row.bounds), color=GREY, lw=0.6, marker=".", ms=2, mew=0)
    axes.plot(*thinned(row.time, row.measured, row.bounds), color=INK, lw=0.9)
    axes.plot(*thinned(row.time, np.where(row.inside, row.measured, np.nan), row.bounds), color=BLUE, lw=1.4)
    base = events["peak_dff"] - events["amplitude"]
    axes.hlines(base, events["onset"], events["offset"], color=VERMILLION, lw=0.8)
    _draw_measures(axes, row, 1.0, lambda values: values, 1.6)
    for when, mark in ((events["onset"], ">"), (events["offset"], "<")):
        axes.plot(when, np.interp(when, row.time, row.measured), mark, color=INK, ms=4, mew=0, zorder=5)
    axes.set_xlim(*window)
    within = (row.time >= window[0]) & (row.time <= window[1])
    shown = base[(events["onset"] < window[1]) & (events["offset"] > window[0])]
    shown = np.concatenate([row.searched[within], row.measured[within], shown])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    low, height = _extent(shown)
    axes.set_ylim(low - 0.05 * (height or 1.0), low + 1.1 * (height or 1.0))


def _explain(axes: Axes) -> None:
    """Say under the figure what the marks mean."""
    from matplotlib.lines import Line2D

    marks: list[tuple[str, dict[str, Any]]] = [
        ("onset", {"marker": ">", "color": INK, "ls": "none", "ms": 4}),
        ("offset", {"marker": "<", "color": INK, "ls": "none", "ms": 4}),
        ("peak", {"marker": "o", "color": VERMILLION, "ls": "none", "ms": 4}),
        ("peak on the tail of another (compound)", {"marker": "o", "color": VERMILLION, "mfc": "white", "ls": "none", "ms": 4}),
        ("base, height and full width at half maximum", {"color": VERMILLION, "lw": 1.4}),
        ("width cut off, extrapolated", {"color": VERMILLION, "lw": 1.4, "ls": (0, (1.2, 0.8))}),
    ]
    handles = [Line2D([], [], label=name, **style) for name, style in marks]
    under = -0.55 * axes.figure.dpi / axes.bbox.height  # inches under the panel
    place: Any = {
        "loc": "upper left",
        "bbox_to_anchor": (-0.1, under),
        "ncols": len(marks),
        "handlelength": 1.4,
        "columnspacing": 1.4,
    }
    axes.legend(handles=handles, frameon=False, borderaxespad=0.0, **place)


def _extent(values: np.ndarray) -> tuple[float, float]:
    """Return the lowest finite value and the height over it (0: nothing to scale)."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(np.ptp(finite))) if finite.size else (0.0, 0.0)


def _scale_bar(axes: Axes, floor: float, height: float, unit: str) -> None:
    """Draw a trace's scale bar at its right: a round number near half its height."""
    if not height > 0:
        return
    power = 10.0 ** np.floor(np.log10(height / 2))
    bar = max(step * power for step in (1, 2, 5) if step * power <= height / 2)
    place = axes.get_yaxis_transform()
    axes.plot([1.012, 1.012], [floor, floor + 0.85 * bar / height], transform=place, color=INK, lw=1.5, clip_on=False)
    axes.text(1.022, floor + 0.425 * bar / height, f"{bar:g}{unit}", transform=place, va="center", clip_on=False)
