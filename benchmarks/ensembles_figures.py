"""The figure of the benchmark of ensembles: Best Match along the published series, and false ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ensembles_conditions import KINDS, SERIES
from ensembles_methods import ICA, NULL
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calcium_engine.plot._canvas import BLUE, GREY, STYLE, VERMILLION, panels

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
HEIGHT = 2.15  # of a row of panels, inches


def draw_ensembles(found: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a series, and what is found among independent neurons; parts that were not judged are left out."""
    import matplotlib

    series = dict(found.get("published", {}).get("series", {}))
    bursty = found.get("bursty", {}).get("rows", [])
    n_rows = -(-len(series) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, HEIGHT * n_rows + 0.5 + (3.4 if bursty else 0)))
        parts = figure.subfigures(2, 1, height_ratios=[max(HEIGHT * n_rows + 0.5, 0.1), 3.4]) if bursty and series else None
        top, bottom = (parts[0], parts[1]) if parts is not None else (figure, figure)
        if series:
            _draw_all(top, series, n_rows)
        if bursty:
            _draw_bursty(bottom, bursty)
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


def _draw_bursty(place: Any, rows: list[list[Any]]) -> None:
    """Draw the share of recordings of independent neurons in which ensembles are found, by method, binning and rule."""
    axes = panels(place, [["bursty"]], (0, 0), margins=(2.2, 3.2, 0.55, 0.35), gaps=(0, 0))[0]
    methods = list(dict.fromkeys(row[0] for row in rows))
    cases = list(dict.fromkeys(row[1] for row in rows))
    marks = {case: ("os^vDP"[i % 6], (BLUE, VERMILLION, "#7FBCE6", "#0B2A4A", GREY, BLUE)[i % 6]) for i, case in enumerate(cases)}
    for method, case, _, without, low, high, *_rest in rows:
        at = methods.index(method) + 0.6 * ((cases.index(case) + 0.5) / len(cases) - 0.5)
        mark, colour = marks[case]
        axes.hlines(at, 100 * (1 - high), 100 * (1 - low), color=colour, lw=1.0)
        axes.plot(100 * (1 - without), at, ls="", marker=mark, ms=4.5, color=colour)
    axes.axvline(5.0, color=GREY, ls=":", lw=1.2)
    axes.set_yticks(range(len(methods)), methods)
    axes.set(
        ylim=(len(methods) - 0.5, -0.5),
        xlabel="recordings with an ensemble (%)",
        title="Independent neurons, in which there is none",
    )
    handles = [Line2D([], [], ls="", marker=mark, color=colour, label=case) for case, (mark, colour) in marks.items()]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
