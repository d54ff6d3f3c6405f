"""In what order ensembles follow each other, and their neurons within each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import GREY, INK, colour_of, few_ticks, panels, say, styled
from calcium_engine.plot.identity import names, numbers, room, unstable
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALPHA = 0.05
MOST_COUNTS = 12  # ensembles up to which cells hold their counts
MOST_NAMES = 25


@styled
def plot_transitions(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw which ensemble follows which against chance, and the order in which core neurons join each ensemble's events.

    A cell's colour is how far the number of transitions lies from that of the events in random order, in units of its square
    root; the number is the count itself. Outlined cells are more frequent than chance, p < 0.05 over all cells (Bonferroni). On
    the right, a disc is a core neuron at its latency (hollow: unstable ensemble), the first to join on top, and W is
    Kendall's coefficient of concordance of the order: 1 where it is the same in every event.

    Args:
        recording: a recording with ensembles (`find_ensembles`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: transitions, recruitment.

    Raises:
        MissingVariableError: ensembles were not sought yet.
    """
    n = var("is_core").check(recording).sizes["ensemble"]
    height = float(np.clip(0.32 * n, 3.2, 7.0))
    left, right = panels(
        axes,
        [["matrix", "recruitment"]],
        (10.6, height + 1.1),
        widths=(1, 1.05),
        margins=(room(recording), 1.45, 0.7, 0.45),
        gaps=(0.85 + room(recording), 0.6),
    )
    _draw_matrix(left, recording)
    _draw_recruitment(right, recording)
    return np.array([left, right], dtype=object)


def beyond_chance(recording: xr.Dataset) -> tuple[np.ndarray, int]:
    """Return which transitions are more frequent than chance, p < 0.05 over all that were tested (Bonferroni), and how many."""
    pvalue = var("transition_pvalue").check(recording).values
    tests = int(np.isfinite(pvalue).sum())
    return np.asarray(pvalue < ALPHA / max(tests, 1)), tests


def aligned(recording: xr.Dataset) -> xr.Dataset:
    """Return the recording with both dims of its transitions holding the same ensembles, as after a selection of some."""
    if np.array_equal(recording["ensemble"].values, recording["ensemble_other"].values):
        return recording
    return recording.sel(ensemble_other=recording["ensemble"].values)


def _draw_matrix(axes: Axes, recording: xr.Dataset) -> None:
    axes.set(xlabel="next ensemble", ylabel="ensemble", title="transitions")
    var("transition_count").check(recording)
    recording = aligned(recording)
    count, expected = (var(f"transition_{name}").check(recording).values for name in ("count", "expected"))
    n = len(count)
    if not count.any():
        axes.set(xticks=[], yticks=[])
        say(axes, "no transitions" if n else "no ensembles")
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (count - expected) / np.sqrt(expected)
    known = np.abs(z[np.isfinite(z)])
    top = float(max(3.0, np.ceil(known.max(initial=0.0))))
    axes.set_facecolor("#F2F2F2")
    axes.set_aspect("equal", anchor="N")
    image = axes.imshow(z, cmap="PuOr_r", vmin=-top, vmax=top, interpolation="nearest", rasterized=True)
    found, tests = beyond_chance(recording)
    if n <= MOST_COUNTS:
        for row, column in np.ndindex(n, n):
            shade = "white" if np.abs(z[row, column]) > 0.65 * top else INK
            axes.text(column, row, f"{count[row, column]:d}", color=shade, ha="center", va="center", fontsize=9 if n < 9 else 8)
    for row, column in np.argwhere(found):
        axes.add_patch(_frame(int(row), int(column)))
    ticks = few_ticks(n, MOST_NAMES)
    labels, called = numbers(recording), names(recording)
    columns = few_ticks(n, 15)
    axes.set_xticks(columns, [str(labels[one]) for one in columns])
    axes.set_yticks(ticks, [called[one] for one in ticks])
    axes.tick_params(length=0)
    axes.set_title(f"transitions (outlined: p < {ALPHA:g} / {tests})")
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label("(observed − expected) / √expected")


def _frame(row: int, column: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, lw=1.6)


def _draw_recruitment(axes: Axes, recording: xr.Dataset) -> None:
    """Draw the median latency of each core neuron, a band of rows per ensemble, and say how consistent the order is."""
    axes.set(xlabel="latency of a core neuron, from the median one (s)", ylabel="ensemble", title="order of recruitment")
    latency = var("recruitment_latency").check(recording).values
    consistency, pvalue = (var(f"recruitment_{name}").check(recording).values for name in ("consistency", "pvalue"))
    n = len(latency)
    if not n:
        axes.set(xticks=[], yticks=[])
        say(axes, "no ensembles")
        return
    tests = max(int(np.isfinite(pvalue).sum()), 1)
    shown, called, beside = few_ticks(n, MOST_NAMES), names(recording), axes.get_yaxis_transform()
    for row, (ensemble, empty) in enumerate(zip(numbers(recording), unstable(recording), strict=True)):
        known = np.sort(latency[row][np.isfinite(latency[row])])
        levels = row + (np.linspace(-0.36, 0.36, known.size) if known.size > 1 else np.zeros(known.size))
        shade = colour_of(ensemble)
        axes.plot(known, levels, "o", color=shade, mfc="white" if empty else shade, ms=3.5, mew=0.8, ls="none")
        if row in shown:
            said = _in_words(float(consistency[row]), float(pvalue[row]), tests)
            axes.text(1.02, row, said, transform=beside, va="center", fontsize="small")
        if row:
            axes.axhline(row - 0.5, color=GREY, lw=0.4)
    axes.set_yticks(shown, [called[one] for one in shown])
    axes.set_ylim(n - 0.4, -0.6)
    axes.margins(x=0.05)
    if not np.isfinite(latency).any():
        axes.set_xticks([])
        say(axes, "no latencies: too few events")


def _in_words(consistency: float, pvalue: float, tests: int) -> str:
    """Return how consistent an order is: W, p, and what p says over all ensembles together (Bonferroni)."""
    if not np.isfinite(pvalue):
        return "too few events"
    verdict = "consistent" if pvalue < ALPHA / tests else "not consistent"
    return f"W {consistency:.2f}, p {pvalue:.2g}\n{verdict}"
