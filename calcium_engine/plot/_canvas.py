"""What the figures share: colours, panels, time axes, and lines thinned to what the eye can see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from calcium_engine.artifacts import runs
from calcium_engine.schema import CalciumError, epoch_bounds, masked_frames, var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's colours, which survive the common kinds of colour blindness; their yellow is left out, too faint on white.
ENSEMBLE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, PALE = "#222222", "#8A8A8A", "#D9D9D9"

P = ParamSpec("P")
R = TypeVar("R")

_OFFSCREEN: ContextVar[bool] = ContextVar("offscreen", default=False)


@contextmanager
def offscreen() -> Iterator[None]:
    """Make new figures without pyplot: no window, nothing left open."""
    token = _OFFSCREEN.set(True)
    try:
        yield
    finally:
        _OFFSCREEN.reset(token)


def _new_figure(size: tuple[float, float]) -> Any:
    if _OFFSCREEN.get():
        from matplotlib.figure import Figure

        return Figure(figsize=size)
    from matplotlib import pyplot

    return pyplot.figure(figsize=size)


STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "axes.linewidth": 0.8,
    "text.usetex": False,
}


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Draw a new figure in the project's style; Axes or Figures that the user gives keep theirs."""

    @functools.wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        if not _OFFSCREEN.get():
            # a backend that wakes up inside the context would have its own settings undone at its end
            from matplotlib import pyplot

            pyplot.draw_if_interactive()  # type: ignore[no-untyped-call]
        with matplotlib.rc_context(STYLE if kwargs.get("axes") is None else {}):
            return plot(*args, **kwargs)

    return draw


def panels(
    axes: Any,
    mosaic: Sequence[Sequence[str]],
    size: tuple[float, float],
    *,
    heights: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    margins: tuple[float, float, float, float] = (0.85, 0.2, 0.55, 0.35),
    gaps: tuple[float, float] = (0.6, 0.6),
) -> list[Axes]:
    """Return a figure's panels in the order of their names' first appearance in the mosaic.

    Args:
        axes: Axes to draw on, as many as there are panels; a Figure or SubFigure to lay them out in; or None for a new figure.
        mosaic: rows of panel names; a name that recurs spans its cells, "." is an empty cell.
        size: width and height of a new figure, inches.
        heights: relative heights of the rows.
        widths: relative widths of the columns.
        margins: left, right, bottom and top margin, inches.
        gaps: space between columns and between rows, inches.
    """
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    names = list(dict.fromkeys(name for row in mosaic for name in row if name != "."))
    if axes is not None and not isinstance(axes, FigureBase):
        given = [one for one in np.ravel(np.asarray(axes, dtype=object)) if isinstance(one, Axes)]
        if len(given) != len(names):
            raise CalciumError(
                f"this plot has {len(names)} panels, but axes holds {len(given)} Axes; give {len(names)}, or a Figure"
            )
        return given
    figure: Any = _new_figure(size) if axes is None else axes
    box = figure.bbox.transformed(figure.dpi_scale_trans.inverted())
    left, right, bottom, top = margins
    columns, rows = len(mosaic[0]), len(mosaic)
    cell_width = max(0.1, (box.width - left - right - gaps[0] * (columns - 1)) / columns)
    cell_height = max(0.1, (box.height - bottom - top - gaps[1] * (rows - 1)) / rows)
    made = figure.subplot_mosaic(
        [list(row) for row in mosaic],
        height_ratios=heights,
        width_ratios=widths,
        gridspec_kw={
            "left": left / box.width,
            "right": 1 - right / box.width,
            "bottom": bottom / box.height,
            "top": 1 - top / box.height,
            "wspace": gaps[0] / cell_width,
            "hspace": gaps[1] / cell_height,
        },
    )
    for one in made.values():
        one.spines[["top", "right"]].set_visible(False)
    return [made[name] for name in names]


def say(axes: Axes, sentence: str) -> None:
    """Write a sentence where there is nothing to draw."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=GREY)


def text(name: object, longest: int = 14) -> str:
    """Return a neuron's id as plain text for a label: shortened, and with no dollar read as mathematics.

    >>> text("a very long name of a neuron")
    'a very long n…'
    """
    short = " ".join(str(name).split())
    short = short if len(short) <= longest else short[: longest - 1] + "…"
    return short.replace("$", r"\$")


def colour_of(ensemble: int | np.integer[Any]) -> str:
    """Return the colour of an ensemble (1, 2, …; -1: unassigned)."""
    return ENSEMBLE_COLOURS[(int(ensemble) - 1) % len(ENSEMBLE_COLOURS)] if ensemble > 0 else GREY


def positions(recording: xr.Dataset, neurons: Any) -> np.ndarray:
    """Return the rows of the named neurons (None: all), or say which id is unknown."""
    if neurons is None:
        return np.arange(recording.sizes["neuron"])
    import pandas as pd

    wanted = np.atleast_1d(np.asarray(neurons))
    rows = recording.indexes["neuron"].get_indexer(pd.Index(wanted))
    if (rows < 0).any():
        known = ", ".join(str(one) for one in recording["neuron"].values[:5])
        raise CalciumError(
            f"no neuron has the id {wanted[rows < 0][0]!r}; the ids are {known}{', …' if recording.sizes['neuron'] > 5 else ''}"
        )
    return np.asarray(rows)


def event_rows(recording: xr.Dataset) -> np.ndarray:
    """Return the row of the neuron of each event."""
    import pandas as pd

    return np.asarray(recording.indexes["neuron"].get_indexer(pd.Index(var("event_neuron").check(recording).values)))


def own_events(recording: xr.Dataset) -> xr.Dataset:
    """Return the recording without the events of neurons that it does not hold, as after a selection of neurons."""
    held = event_rows(recording) >= 0
    return recording if held.all() else recording.isel(event=held)


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds in one unit of a readable time axis of this length, and its label.

    >>> time_unit(3125.0)
    (60.0, 'time (min)')
    """
    return (60.0, "time (min)") if seconds > 600 else (1.0, "time (s)")


def span(recording: xr.Dataset) -> tuple[float, float]:
    """Return the recording's first time and the end of its last frame, in seconds."""
    time = recording["time"].values
    step = float(np.median(np.diff(time))) if time.size > 1 else 1.0
    return float(time[0]), float(time[-1]) + step


def whole_time_axis(axes: Axes, recording: xr.Dataset) -> float:
    """Give an axis the whole recording, its gaps and masked stretches shaded; returns the seconds in one of its units."""
    first, last = span(recording)
    unit, name = time_unit(last - first)
    axes.set_xlim(first / unit, last / unit)
    axes.set_xlabel(name)
    time = recording["time"].values
    masked = masked_frames(recording)
    gaps = [(start - 1, start) for start in epoch_bounds(recording)[1:-1] if not masked[start - 1 : start + 1].any()]
    gaps += [(max(start - 1, 0), min(stop, len(time) - 1)) for start, stop in runs(masked)]
    for before, after in gaps:
        axes.axvspan(time[before] / unit, time[after] / unit, color=PALE, alpha=0.6, lw=0, zorder=0)
    return unit


def thinned(time: np.ndarray, values: np.ndarray, bounds: np.ndarray, points: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Thin a long line to the lowest and highest sample of each pixel, and break it at the bounds of its stretches.

    >>> t, y = thinned(np.arange(6.0), np.array([0.0, 9, 0, 0, -9, 0]), np.array([0, 6]), points=2)
    >>> y.tolist()
    [0.0, 9.0, -9.0, 0.0, nan]
    """
    times: list[np.ndarray] = []
    lines: list[np.ndarray] = []
    for start, stop in pairwise(bounds):
        t, y = time[start:stop], np.asarray(values[start:stop], dtype=np.float64)
        block = -(-len(time) // points)
        if block > 2:
            first = np.arange(0, len(t), block)
            y = np.column_stack([np.fmin.reduceat(y, first), np.fmax.reduceat(y, first)]).ravel()
            t = np.repeat(t[first], 2)
        times += [t, t[-1:]]
        lines += [y, np.array([np.nan])]
    return np.concatenate(times), np.concatenate(lines)


def breaks(time: np.ndarray, width: float) -> np.ndarray:
    """Return the bounds of the stretches of bins without a gap between them."""
    return np.concatenate([[0], np.flatnonzero(np.diff(time) > width + 0.5) + 1, [len(time)]]).astype(np.int64)


def whole_numbers(axis: Any) -> None:
    """Label an axis of counts at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def few_ticks(rows: int, most: int = 12) -> np.ndarray:
    """Return evenly spread rows to label: all of them where they are few."""
    if rows <= most:
        return np.arange(rows)
    step = -(-rows // most)
    nice = next(one for one in (2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, step) if one >= step)
    return np.arange(0, rows, nice)


def log_axis(axes: Axes, which: str, ratio: float) -> None:
    """Make an axis logarithmic, with plain numbers: decades only where there are many, else some between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(
        LogLocator(subs=(1.0,) if ratio > 60 else (1.0, 2.0, 5.0) if ratio > 8 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
