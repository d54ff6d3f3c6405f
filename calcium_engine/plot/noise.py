"""Noise: how much of it each neuron has, what it goes with, and whether its σ is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.kernels import row_quantile
from calcium_engine.levels import resting_level
from calcium_engine.plot._canvas import BLUE, GREY, INK, ORANGE, PALE, VERMILLION, log_axis, panels, say, styled, whole_numbers
from calcium_engine.plot.naming import FLAGS, shown_in
from calcium_engine.plot.sample import MOST_READ, is_read, some_of
from calcium_engine.schema import DFF_TRACES, latest_trace, var, was_made

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, POOR = 1.0, 8.0  # ν of very good and of poor recordings, Rupprecht et al. 2021
# A flag that bears on σ, and its mark: hollow, of different shapes, so that several on one neuron and a print in grey are read.
MARKS = {"f0_floored": ("v", VERMILLION), "saturated_activity": ("s", BLUE), "low_passed_input": ("D", ORANGE)}
SAMPLED_NEURONS, SAMPLED_FRAMES = 100, 20_000  # enough for smooth curves, few enough for any recording
EDGES = np.linspace(-5.0, 8.0, 53)  # σ
RANGE = 1e5  # of the brightest to the dimmest neuron, and of the noisiest to the quietest


@styled
def plot_noise(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw how noisy the neurons are, how σ goes with their brightness, and how samples spread in units of σ.

    In the last panel the lower half must follow the normal curve: transients only ever lie above rest. A wider one says that σ
    is too small, a narrower one that it is too large; a peak beside 0 says that F0 is off by so many σ. Of F0 and traces that are
    read from a store, those of 64 neurons are drawn.

    Args:
        recording: a recording with `noise` and `noise_level` (`estimate_noise`).
        axes: three Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        three Axes: noise levels ν, σ against F0, samples in units of σ.

    Raises:
        MissingVariableError: the noise was not estimated yet, or the recording holds no ΔF/F.

    ν and its marks: Rupprecht et al. 2021, Nat Neurosci 24:1324.
    """
    known = [name for name in ("noise", "noise_level", *MARKS) if name in recording.variables]
    recording = recording.assign(recording[known].compute())  # at once, where they were not computed yet
    noise, level = var("noise").check(recording), var("noise_level").check(recording)
    name = str(noise.attrs.get("trace"))
    trace = var(name if name in recording.variables else latest_trace(recording, DFF_TRACES[:2])).check(recording)
    made = panels(axes, [["levels", "brightness", "spread"]], (10.5, 3.4), gaps=(0.75, 0.6), margins=(0.7, 0.2, 0.55, 0.45))
    _draw_levels(made[0], level.values)
    _draw_brightness(made[1], recording, noise)
    _draw_spread(made[2], trace, noise.values)
    return np.array(made, dtype=object)


def _draw_levels(axes: Axes, level: np.ndarray) -> None:
    """Draw the distribution of ν, between what is very good and what is poor."""
    axes.set(xlabel="noise level ν (% Hz$^{-1/2}$)", ylabel="neurons")
    level = np.clip(level[level > 0], GOOD / 30, POOR * 30)  # dead traces must not squeeze the others
    if not level.size:
        say(axes, "no noise levels in % of F0")
        return
    low, high = min(GOOD, float(level.min())) / 1.3, max(POOR, float(level.max())) * 1.3
    log_axis(axes, "x", high / low)
    axes.hist(level, np.geomspace(low, high, 41).tolist(), color=GREY)
    axes.set(xlim=(low, high), ylim=(0, 1.15 * axes.get_ylim()[1]))
    whole_numbers(axes.yaxis)
    middle = float(np.median(level))
    axes.axvline(middle, color=BLUE, lw=1.4)
    axes.set_title(f"median {middle:.3g} % Hz$^{{-1/2}}$", color=BLUE)
    for at, name, side in ((GOOD, " very good", "left"), (POOR, "poor ", "right")):
        axes.axvline(at, color=INK, lw=0.9, ls=":")
        axes.text(at, 0.99, name, transform=axes.get_xaxis_transform(), ha=side, va="top", fontsize=8)


def _draw_brightness(axes: Axes, recording: xr.Dataset, noise: xr.DataArray) -> None:
    """Draw σ of every neuron against its F0, and mark those with a flag that bears on σ."""
    scale, unit = shown_in(noise)
    rows = _rows_with_baseline(recording)
    y, x = scale * noise.values[rows], _median_baseline(recording, rows)
    axes.set(xlabel="median F0 (a.u.)", ylabel=f"noise σ ({'of the raw trace' if unit == 'σ' else unit})")
    # dead traces, whose F0 or σ is all but 0, must not squeeze the others
    shown = (x > np.nanmax(x, initial=0.0) / RANGE) & (y > np.nanmax(y, initial=0.0) / RANGE)
    if not shown.any():
        gone = "F0 was not kept" if was_made(recording, "baseline") else "no F0: the input was ΔF/F"
        without_f0 = "no F0 above 0" if np.isfinite(x).any() else gone
        say(axes, without_f0 if (y > 0).any() else "no noise to show")
        return
    axes.plot(x[shown], y[shown], "o", color=GREY, ms=3.5, mew=0, alpha=0.9 if shown.sum() < 500 else 0.4, rasterized=True)
    flagged = _flagged(recording)
    for name, (mark, colour) in MARKS.items():
        bad = recording[name].values if name in recording.variables else np.zeros(len(flagged), dtype=bool)
        if bad.any():
            said = f"{FLAGS[name]} ({int(bad.sum()):,})"
            own = bad[rows] & shown
            axes.plot(x[own], y[own], mark, color=colour, mfc="none", ms=6, label=said, rasterized=True)
    for which, values in (("x", x[shown]), ("y", y[shown])):
        low, high = float(values.min()) / 1.7, float(values.max()) * 1.7
        high *= (high / low) ** 0.5 if which == "y" else 1.0  # room for the legend
        log_axis(axes, which, high / low)
        axes.set(**{f"{which}lim": (low, high)})
    if shown.sum() > 2 and unit == "%":
        line = np.array(axes.get_xlim())
        of_photons = float(np.median(y[shown] * np.sqrt(x[shown]))) / np.sqrt(line)
        axes.plot(line, of_photons, "--", color=INK, lw=0.9, zorder=0, label="shot noise, ∝ F0$^{-1/2}$")
    hidden = f"; {int((~shown).sum()):,} off the axes" if not shown.all() else ""
    hidden += f"; {len(rows):,} drawn" if len(rows) < len(flagged) else ""
    axes.set_title(f"{int(flagged.sum()):,} of {len(flagged):,} flagged{hidden}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(framealpha=0.8, edgecolor="none", loc="upper right", handlelength=1.4, borderaxespad=0.1)


def _flagged(recording: xr.Dataset) -> np.ndarray:
    """Return which neurons have a flag that bears on σ."""
    flagged = np.zeros(recording.sizes["neuron"], dtype=bool)
    for name in MARKS:
        flagged |= recording[name].values if name in recording.variables else False
    return flagged


def _rows_with_baseline(recording: xr.Dataset) -> np.ndarray:
    """Return the neurons whose F0 is drawn: all, or some of the flagged and of the others where it is read from a store."""
    flagged = _flagged(recording)
    if "baseline" not in recording.variables or not is_read(recording["baseline"]):
        return np.arange(len(flagged))
    few = [some_of(np.flatnonzero(part), recording["baseline"], MOST_READ // 2) for part in (flagged, ~flagged)]
    return np.sort(np.concatenate(few))


def _median_baseline(recording: xr.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the median F0 of neurons; it is slow, so that a thousand frames of it are enough."""
    if "baseline" not in recording.variables:
        return np.full(len(rows), np.nan)
    some = slice(None, None, max(1, recording.sizes["frame"] // 1000))
    baseline = var("baseline").check(recording).isel(frame=some)
    return row_quantile((baseline if len(rows) == len(baseline) else baseline.isel(neuron=rows)).values, 0.5)


def _draw_spread(axes: Axes, trace: xr.DataArray, noise: np.ndarray) -> None:
    """Draw how samples spread in units of σ, and the normal curve; densities are such that half lies below rest."""
    axes.set(xlabel="distance from the baseline (σ)", ylabel="density", xlim=(EDGES[0], EDGES[-1]), xticks=range(-4, 9, 2))
    usable = np.flatnonzero(noise > 0)
    rows = some_of(usable[np.linspace(0, len(usable) - 1, min(len(usable), SAMPLED_NEURONS)).astype(int)], trace)
    some = slice(None, None, -(-trace.sizes["frame"] // SAMPLED_FRAMES))
    z = trace.isel(neuron=rows, frame=some).values / noise[rows, None]
    rest = resting_level(z)
    z, rest = z[np.isfinite(rest)], rest[np.isfinite(rest)]
    below = [level - one[one < level] for one, level in zip(z, rest, strict=True)]
    if not any(one.size for one in below):
        say(axes, "no noise to show")
        return
    counts = np.array([np.histogram(one, EDGES)[0] / (2 * max(len(low), 1)) for one, low in zip(z, below, strict=True)])
    density = counts / np.diff(EDGES)
    least, middle, most = np.quantile(density, [0.05, 0.5, 0.95], axis=0)
    if len(z) > 1:
        axes.stairs(most, EDGES, baseline=least, fill=True, color=PALE, label="90 % of neurons")
    axes.stairs(middle, EDGES, baseline=None, color=INK, lw=1.0, label="median neuron" if len(z) > 1 else "the neuron")
    centre, x = float(np.median(rest)), np.linspace(EDGES[0], EDGES[-1], 300)
    axes.plot(x, np.exp(-((x - centre) ** 2) / 2) / np.sqrt(2 * np.pi), "--", color=VERMILLION, lw=1.3, label="normal curve of σ")
    axes.axvline(0, color=GREY, lw=0.8, ls=":", zorder=0)
    # of a normal distribution, 68.27 % of what lies below its centre is within one σ
    width = float(np.median([np.quantile(one, 0.6827) for one in below if one.size]))
    axes.set_title(f"rest at {centre:+.2f} σ; spread below it {width:.2f} σ")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, loc="upper right", handlelength=1.4, borderaxespad=0.1)
