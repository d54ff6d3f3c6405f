"""The figures of a finished recording, in the order in which a report tells its story, as PNG bytes or files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import offscreen
from calcium_engine.plot.activation import plot_activation
from calcium_engine.plot.activity import plot_raster
from calcium_engine.plot.clusters import plot_similarity
from calcium_engine.plot.coactivity import plot_coactivity, plot_local_null, plot_null
from calcium_engine.plot.cut import plot_cut
from calcium_engine.plot.detectability import plot_detectability
from calcium_engine.plot.ensembles import plot_ensembles, plot_positions
from calcium_engine.plot.events import plot_events
from calcium_engine.plot.features import plot_features
from calcium_engine.plot.membership import plot_membership
from calcium_engine.plot.noise import plot_noise
from calcium_engine.plot.pairwise import plot_pairwise
from calcium_engine.plot.power import plot_power
from calcium_engine.plot.retention import plot_retention
from calcium_engine.plot.traces import plot_stages
from calcium_engine.plot.transient import plot_transient
from calcium_engine.plot.transitions import plot_transitions
from calcium_engine.schema import MissingVariableError

FIGURES: dict[str, Callable[..., Any]] = {
    "01_stages": plot_stages,
    "02_noise": plot_noise,
    "03_retention": plot_retention,
    "04_events": plot_events,
    "05_transient": plot_transient,
    "06_raster": plot_raster,
    "07_features": plot_features,
    "08_detectability": plot_detectability,
    "09_coactivity": plot_coactivity,
    "10_null": plot_null,
    "11_local_null": plot_local_null,
    "12_pairs": plot_pairwise,
    "13_similarity": plot_similarity,
    "14_cut": plot_cut,
    "15_membership": plot_membership,
    "16_ensembles": plot_ensembles,
    "17_activation": plot_activation,
    "18_transitions": plot_transitions,
    "19_positions": plot_positions,
    "20_power": plot_power,
}


def render_figures(recording: xr.Dataset, names: Iterable[str] | None = None, *, dpi: float = 140.0) -> dict[str, bytes]:
    """Draw figures off the screen.

    Args:
        recording: a recording, finished or not: a figure whose inputs were not made yet is left out.
        names: keys of `FIGURES`; by default all.
        dpi: pixels per inch; 140 makes figures about 1300 pixels wide, readable on screen and on paper.

    Returns:
        PNG bytes by name, in the order of `FIGURES`.
    """
    drawn: dict[str, bytes] = {}
    with offscreen(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # an id in a script that the font lacks still gets its figure
        for name in FIGURES if names is None else names:
            try:
                made = FIGURES[name](recording)
            except MissingVariableError:
                continue
            figure = np.ravel(np.asarray(made, dtype=object))[0].figure
            page = io.BytesIO()
            figure.savefig(
                page, format="png", dpi=dpi, facecolor="white", metadata={"Software": None}, pil_kwargs={"compress_level": 2}
            )
            drawn[name] = page.getvalue()
            figure.clear()  # its marks may be millions, and it would wait for the garbage collector
    return drawn


def write_figures(recording: xr.Dataset, folder: str | Path, *, dpi: float = 140.0) -> list[Path]:
    """Write every figure that the recording can fill as `<name>.png` into a folder, which is made where it is missing.

    Args:
        recording: a recording, finished or not: a figure whose inputs were not made yet is left out.
        folder: where the files go; files of the same names are replaced.
        dpi: pixels per inch.

    Returns:
        the files written, in the order of `FIGURES`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, page in render_figures(recording, dpi=dpi).items():
        path = folder / f"{name}.png"
        path.write_bytes(page)
        written.append(path)
    return written
