"""The figure of the benchmark of ensembles: Best Match along the published series and at the points with bars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ensembles_conditions import KINDS, POINTS, SERIES
from ensembles_methods import ICA, NULL
from ensembles_published import BARS, measure_of
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calcium_engine.plot._canvas import BLUE, GREY, PALE, STYLE, VERMILLION, panels

# Ours in colour with filled marks, peers' rules in grey; marks tell all apart
LOOKS: dict[str, dict[str, Any]] = {
    NULL: {"color": BLUE, "marker": "o", "lw": 2.0, "ms": 4.5},
    ICA: {"color": VERMILLION, "marker": "s", "lw": 2.0, "ms": 4.5},
    "jaccard, pca_variance": {"color": "#7FBCE6", "marker": "^", "lw": 1.2, "ms": 4},
    "jaccard, contrast, Ward": {"color": "#0B2A4A", "marker": "v", "lw": 1.2, "ms": 4},
    "peer: PCA 80 %, average": {"color": GREY, "marker": "^", "lw": 1.0, "ms": 4, "mfc": "white", "ls": "--"},
    "peer: contrast, Ward": {"color": GREY, "marker": "v", "lw": 1.0, "ms": 4, "mfc": "white", "ls": "--"},
    "peer: ICA, Marchenko-Pastur, activity": {"color": GREY, "marker": "s", "lw": 1.0, "ms": 4, "mfc": "white", "ls": "--"},
}
COLUMNS = 4
HEIGHT, POINTS_HEIGHT = 2.15, 3.3  # of a row of panels, and of that of the points, inches
TITLES = {
    "default": "as published",
    "noise": "noise of 2 spikes",
    "duration": "900 s",
    "rate": "3 times the rate",
    "none": "none planted",
}


def draw_ensembles(published: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a series, and every method at the points; parts that were not judged are left out."""
    import matplotlib

    points = {name: runs for name, runs in published["runs"].items() if name in POINTS}
    n_rows = -(-len(published["series"]) // COLUMNS)
    heights = [HEIGHT * n_rows + 0.4] * (n_rows > 0) + [POINTS_HEIGHT] * bool(points)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, sum(heights)))
        places = list(np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights)))
        if n_rows:
            _draw_all(places.pop(0), published["series"], n_rows)
        if points:
            _draw_points(places.pop(0), points)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def _draw_all(place: Any, series: Mapping[str, Any], n_rows: int) -> None:
    """Draw Best Match by method along each series."""
    names = list(series)
    cells = [*names, *(f"empty {i}" for i in range(n_rows * COLUMNS - len(names)))]
    mosaic = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    drawn = panels(place, mosaic, (0, 0), margins=(0.7, 0.2, 0.5, 0.3), gaps=(0.25, 0.75))
    for i, axes in enumerate(drawn):
        if i >= len(names):
            axes.axis("off")
            continue
        _draw_series(axes, series[names[i]])
        axes.set(xlabel=SERIES[names[i]].label, ylim=(0, 1.02))
        axes.tick_params(labelleft=i % COLUMNS == 0)
        if names[i] == "kinds":
            axes.set_xticks(range(len(KINDS)), KINDS)
            axes.set(xlabel="size of assemblies", xlim=(-0.3, 2.3))
        if i % COLUMNS == 0:
            axes.set_ylabel("Best Match")
    handles = [Line2D([], [], label=name, **look) for name, look in LOOKS.items()]
    if len(drawn) > len(names):
        drawn[len(names)].legend(handles=handles, loc="center", frameon=False, bbox_to_anchor=(0.5, 0.45))
    else:
        drawn[0].legend(handles=handles, loc="lower left", frameon=False)


def _draw_series(axes: Any, curves: Mapping[str, Any]) -> None:
    """Draw the mean of each bin with its 95 % interval."""
    for method, look in LOOKS.items():
        if method not in curves:
            continue
        at, value, low, high = np.array(curves[method]).T
        axes.plot(at, value, **look)
        axes.vlines(at, low, high, color=look["color"], lw=0.8)


def _draw_points(place: Any, points: Mapping[str, list[dict[str, Any]]]) -> None:
    """Draw Best Match of every method at each point, dotted what the defaults must reach, and what is found with none planted."""
    methods = list(next(iter(points.values()))[0]["methods"])
    drawn = panels(place, [list(points)], (0, 0), margins=(2.5, 0.2, 0.5, 0.35), gaps=(0.25, 0))
    rows = np.arange(len(methods))
    for i, (axes, (name, runs)) in enumerate(zip(drawn, points.items(), strict=True)):
        what = "found" if name == "none" else "best_match"
        summary = measure_of({name: runs}, what).summary()
        for row, method in enumerate(methods):
            look = LOOKS.get(method, {"color": GREY, "marker": "D"})
            value, low, high = summary[method][name][:3]
            axes.hlines(row, low, high, color=look["color"], lw=1.2)
            axes.plot(value, row, ls="", ms=5, **{key: look[key] for key in ("color", "marker", "mfc") if key in look})
        for row, method in enumerate(methods):
            for (_, bar), least in BARS.items():
                if bar == name and method in least:
                    axes.vlines(least[method], row - 0.45, row + 0.45, color=GREY, ls=":", lw=1.5)
        axes.set_yticks(rows, methods)
        axes.tick_params(labelleft=i == 0)
        axes.set(
            ylim=(len(methods) - 0.5, -0.5), title=TITLES[name], xlabel="ensembles found" if name == "none" else "Best Match"
        )
        axes.set_xlim((-2, None) if name == "none" else (0, 1.03))
        axes.hlines(rows[:-1] + 0.5, 0, 1, color=PALE, lw=0.6, zorder=0, transform=axes.get_yaxis_transform())
