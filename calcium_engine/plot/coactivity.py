"""Coactivity over time, and its counts against what chance gives."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    breaks,
    panels,
    say,
    styled,
    thinned,
    whole_numbers,
    whole_time_axis,
)
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTH = 10.0  # s
LEAST_P = 1e-30  # smaller p-values are drawn there


@styled
def plot_coactivity(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw how many neurons start an event in each bin, what chance expects, the threshold, and the bins above it.

    Args:
        recording: a recording with `coactivity` (`compute_coactivity`); the rest where `find_ensemble_events` was run.
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: coactivity was not computed yet.
    """
    coactivity = var("coactivity").check(recording)
    counts, time = coactivity.values, recording["bin_time"].values
    (panel,) = panels(axes, [["coactivity"]], (9.5, 3.4))
    unit = whole_time_axis(panel, recording)
    width = bin_width(recording)
    bounds = breaks(time, width)
    _line(panel, time / unit, counts, bounds, color="#555555", lw=0.5, rasterized=True)
    if "coactivity_expected" in recording.variables:
        expected = var("coactivity_expected").check(recording).values
        _line(
            panel,
            time / unit,
            expected,
            bounds,
            color=BLUE,
            lw=1.2,
            label=f"expected by chance ({np.nanmean(expected):.2g} on average)",
        )
    if "is_coactive" in recording.variables:
        _mark_significant(panel, recording, time / unit, counts)
    if len(panel.get_legend_handles_labels()[0]):
        panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, borderaxespad=0.1, columnspacing=1.2)
    panel.set_ylim(0, max(float(counts.max(initial=0)), *(threshold_range(recording) or (0.0,)), 1.0) * 1.08)
    panel.set_ylabel("events (count)" if coactivity.attrs.get("count") == "events" else "coactive neurons (count)")
    whole_numbers(panel.yaxis)
    panel.set_title(f"coactivity, {1000 * width:.0f} ms bins", loc="left")
    if not counts.any():
        say(panel, "no coactive neurons" if counts.size else "no bins")
    return panel


def _line(axes: Axes, time: np.ndarray, values: np.ndarray, bounds: np.ndarray, **style: Any) -> None:
    if len(time):
        axes.plot(*thinned(time, values, bounds), **style)


def _mark_significant(axes: Axes, recording: xr.Dataset, time: np.ndarray, counts: np.ndarray) -> None:
    significant = var("is_coactive").check(recording).values
    unit = "events" if recording["coactivity"].attrs.get("count") == "events" else "neurons"
    if (thresholds := threshold_range(recording)) is not None:
        low, high = thresholds
        if low == high:
            axes.axhline(low, color=VERMILLION, lw=1, ls="--", label=f"threshold ({low:g} {unit})")
        else:
            of_bins = var("coactivity_threshold").check(recording).values
            bounds = breaks(time, bin_width(recording))
            name = f"threshold ({low:g} to {high:g} {unit})"
            _line(axes, time, of_bins, bounds, color=VERMILLION, lw=0.7, alpha=0.8, label=name)
    many = f"{int(significant.sum())} significant bin{'' if significant.sum() == 1 else 's'}"
    axes.plot(time[significant], counts[significant], "o", color=VERMILLION, ms=2.6, mew=0, ls="none", label=many)


@styled
def plot_null(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw the share of bins with each number of coactive neurons: observed against chance, on a logarithmic axis.

    Args:
        recording: a recording with ensemble events sought (`find_ensemble_events`).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: ensemble events were not sought yet.
    """
    counts = var("coactivity").check(recording).values
    null = var("coactivity_null").check(recording)
    (panel,) = panels(axes, [["null"]], (6.0, 4.0), margins=(0.85, 0.7, 0.55, 0.35))
    n = max(counts.size, 1)
    at = null["count"].values if "count" in null.coords else np.arange(null.sizes["count"])
    observed = np.bincount(counts, minlength=1) if counts.size else np.zeros(1)
    seen = np.flatnonzero(observed)
    floor = 0.2 / n
    chance = null.values > floor
    low, high = threshold_range(recording) or (0.0, 0.0)
    last = max([float(seen.max(initial=0)), float(at[chance].max(initial=0)), high])
    if high:
        panel.axvspan(high - 0.5, last + 1, color=VERMILLION, alpha=0.1, lw=0)
        panel.axvline(low - 0.5, color=VERMILLION, lw=1, ls="--", label=_threshold_label(recording, low, high))
        if low < high:
            panel.axvspan(low - 0.5, high - 0.5, color=VERMILLION, alpha=0.05, lw=0)
    rules = recording["is_coactive"].attrs if "is_coactive" in recording.variables else {}
    exact = not rules.get("monte_carlo") or "total_variation" in rules
    panel.plot(at[chance], null.values[chance], color=BLUE, lw=1.6, label="chance, exact law" if exact else "chance, sampled")
    if exact and "coactivity_null_sampled" in recording.variables:
        sampled = var("coactivity_null_sampled").check(recording).values
        drawn = sampled > floor
        name = f"chance, {rules['monte_carlo']:,} shuffles" if "monte_carlo" in rules else "chance, shuffles"
        panel.plot(at[drawn], sampled[drawn], "s", mfc="none", mec=BLUE, ms=5.5, mew=0.9, label=name)
    panel.plot(seen, observed[seen] / n, "o", color=INK, ms=3.5, label="observed")
    panel.axhline(1 / n, color=PALE, lw=0.8, zorder=0)
    panel.text(1.01, 1 / n, "one bin", transform=panel.get_yaxis_transform(), color=GREY, va="center")
    panel.set(yscale="log", xlim=(-0.6, last + 1), ylim=(floor, 2.0))
    panel.set(xlabel="coactive neurons in a bin (count)", ylabel="share of bins", title="coactivity against chance")
    panel.legend(loc="upper right", framealpha=0.9, edgecolor="none")
    if not counts.any():
        say(panel, "no coactive neurons")
    return panel


def _threshold_label(recording: xr.Dataset, low: float, high: float) -> str:
    expected = recording["is_coactive"].attrs.get("expected_false_bins")
    by_chance = "" if expected is None else f", {float(expected):.2g} by chance"
    start = f"{low:g}" if low == high else f"{low:g} to {high:g}, by bin,"
    return f"{start} or more: {int(recording['is_coactive'].sum())} bins{by_chance}"


@styled
def plot_local_null(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw the null that takes each neuron's rate for constant against the local one, which follows it.

    Where coactivity is expected to rise and fall together with what is observed, rates change in common, and bins that only the
    circular null calls significant may be no more than that.

    Args:
        recording: a recording with ensemble events sought (`find_ensemble_events`).
        axes: two Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        two Axes: coactivity over time with what each null expects, and the p-values of all bins under both.

    Raises:
        MissingVariableError: ensemble events were not sought yet, or by a null that has no other to compare with.
    """
    other = var("comparison_pvalue").check(recording)
    rules = recording["is_coactive"].attrs
    steady = rules.get("comparison_null") == "local"
    names = (str(rules.get("null", "circular")), "local") if steady else ("circular", str(rules.get("null", "local")))
    made = panels(axes, [["time", "time", "pvalues"]], (10.5, 3.6), gaps=(0.75, 0.6), margins=(0.7, 0.2, 0.55, 0.55))
    first, second = ("coactivity", "comparison") if steady else ("comparison", "coactivity")
    _draw_expected(made[0], recording, f"{first}_expected", f"{second}_expected", names)
    own, compared = var("coactivity_pvalue").check(recording).values, other.values
    significant = [var(name).check(recording).values for name in ("is_coactive", "comparison_is_coactive")]
    if not steady:
        own, compared, significant = compared, own, significant[::-1]
    _draw_pvalues(made[1], own, compared, significant, names)
    return np.array(made, dtype=object)


def _draw_expected(axes: Axes, recording: xr.Dataset, steady: str, local: str, names: tuple[str, str]) -> None:
    """Draw the running mean of the counts and what both nulls expect."""
    unit = whole_time_axis(axes, recording)
    time, width = recording["bin_time"].values, bin_width(recording)
    bounds = breaks(time, width)
    span = max(1, round(SMOOTH / width))
    counts = var("coactivity").check(recording).values.astype(float)
    for start, stop in pairwise(bounds):
        kernel = np.ones(min(span, stop - start))
        share = np.convolve(np.ones(stop - start), kernel, "same")
        counts[start:stop] = np.convolve(counts[start:stop], kernel, "same") / share
    _line(axes, time / unit, counts, bounds, color=GREY, lw=0.7, label=f"observed, mean over {SMOOTH:g} s")
    _line(axes, time / unit, var(steady).check(recording).values, bounds, color=BLUE, lw=1.4, label=f"expected, {names[0]}")
    _line(axes, time / unit, var(local).check(recording).values, bounds, color=VERMILLION, lw=1.0, label=f"expected, {names[1]}")
    if not counts.any():
        say(axes, "no coactive neurons")
    axes.set(ylabel="coactive neurons (count)", ylim=(0, None))
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, borderaxespad=0.1, columnspacing=1.2)


def _draw_pvalues(
    axes: Axes, steady: np.ndarray, local: np.ndarray, significant: list[np.ndarray], names: tuple[str, str]
) -> None:
    """Draw every bin's p-value under both nulls."""
    least = max(LEAST_P, float(min(steady.min(initial=1.0), local.min(initial=1.0))))
    x, y = np.maximum(steady, LEAST_P), np.maximum(local, LEAST_P)
    both, only, neither = significant[0] & significant[1], significant[0] & ~significant[1], ~significant[0] & ~significant[1]
    groups = (
        (neither, PALE, "neither"),
        (~significant[0] & significant[1], ORANGE, f"{names[1]} only"),
        (only, VERMILLION, f"{names[0]} only"),
        (both, BLUE, "both"),
    )
    for chosen, colour, name in groups:
        label = f"{name} ({int(chosen.sum()):,})"
        axes.plot(x[chosen], y[chosen], "o", color=colour, ms=3, mew=0, ls="none", label=label, rasterized=True)
    axes.plot([least / 3, 1.5], [least / 3, 1.5], color=GREY, lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log", xlim=(1.5, least / 3), ylim=(1.5, least / 3))
    axes.set(xlabel=f"p, {names[0]} null", ylabel=f"p, {names[1]} null")
    axes.set_title("significant under …", loc="left")
    axes.legend(loc="upper left", framealpha=0.9, edgecolor="none", handletextpad=0.2)


def threshold_range(recording: xr.Dataset) -> tuple[float, float] | None:
    """Return the smallest and the largest significant count of all bins, which differ where bins have nulls of their own.

    None where ensemble events were not sought, or no count can be significant.
    """
    if "is_coactive" not in recording.variables:
        return None
    threshold = recording["is_coactive"].attrs.get("threshold")
    one = np.array([np.nan if threshold is None else float(threshold)])
    known = "coactivity_threshold" in recording.variables and recording.sizes["bin"]
    of_bins = recording["coactivity_threshold"].values if known else one
    most = np.inf if recording["coactivity"].attrs.get("count") == "events" else recording.sizes["neuron"]
    usable = of_bins[np.isfinite(of_bins) & (of_bins > 0) & (of_bins <= most)]
    return (float(usable.min()), float(usable.max())) if usable.size else None


def bin_width(recording: xr.Dataset) -> float:
    """Return the width of a bin as it came out in whole frames, s."""
    stored = recording["coactivity"].attrs.get("bin_width_s")
    if stored is not None:
        return float(stored)
    time = recording["bin_time"].values
    return float(np.median(np.diff(time))) if time.size > 1 else float("nan")
