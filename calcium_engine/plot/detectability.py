"""What a recording can see: how large an event must be to be found, neuron by neuron, and what that does to rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILLION,
    few_ticks,
    log_axis,
    own_events,
    panels,
    say,
    styled,
    text,
    whole_numbers,
)
from calcium_engine.plot.expected import indicator_of
from calcium_engine.plot.naming import label, shown_in
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_detectability(recording: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw how large an event must be to be found in each neuron, what that goes with, and what it does to event rates.

    Top to bottom in the map, neurons go from the blindest to the most sensitive; the line is the amplitude that is found half the
    time (LOD50), which noise sets. Events under the curve of the third panel are missed at the rate that it says, so that what is
    found there is the visible part of what happened; the fourth panel says how many more there were.

    Args:
        recording: a recording with `detectability` and `lod50` (`compute_features`).
        axes: four Axes, or a Figure or SubFigure; by default a new figure.

    Returns:
        four Axes: the map, LOD50 against noise, amplitudes with the share that is found, corrected against measured rates.

    Raises:
        MissingVariableError: what can be detected was not measured yet.
    """
    share, lod = var("detectability").check(recording), var("lod50").check(recording)
    scale, unit = shown_in(lod if "units" in lod.attrs or "event_amplitude" not in recording else recording["event_amplitude"])
    recording = own_events(recording) if "event_neuron" in recording.variables else recording
    mosaic = [["map", ".", "noise", "rates"], ["map", ".", "sizes", "sizes"]]
    made = panels(axes, mosaic, (10.5, 5.8), gaps=(0.75, 0.75), margins=(0.75, 0.6, 0.55, 0.5), widths=(1.2, 0.01, 1, 1))
    where = np.asarray(recording["detectability_amplitude"].values, dtype=float) * scale
    indicator = indicator_of(recording)
    floored = "f0_floored" in recording.variables and bool(recording["f0_floored"].all())  # then percent mean nothing
    spike = indicator.amplitude * scale if indicator and unit == "%" and not floored else None
    name = f"{unit}{' ΔF/F' if unit == '%' else ''}"
    _draw_map(made[0], share.values, lod.values * scale, where, recording["neuron"].values, spike, unit)
    made[0].set(xlabel=f"amplitude ({name})", ylabel="neuron id, from most to least sensitive")
    _draw_noise(made[1], recording, lod.values * scale, spike)
    made[1].set_ylabel(f"LOD50 ({name})")
    _draw_rates(made[2], recording)
    _draw_sizes(made[3], recording, share.values, where, scale)
    made[3].set_xlabel(f"event amplitude ({name})")
    if spike:
        said = f"one action potential of {indicator.name if indicator else ''}: {spike:g} {unit}"
        made[3].axvline(spike, color=INK, lw=1.0, ls=":", label=said)
    if made[3].get_legend_handles_labels()[1]:
        made[3].set_ylim(top=1.25 * made[3].get_ylim()[1])
        made[3].legend(frameon=False, loc="upper right", borderaxespad=0.1, handlelength=1.6)
    return np.array(made, dtype=object)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the bounds of cells around points that are spread on a logarithmic axis."""
    if len(centres) < 2:
        return np.array([centres[0] / 1.2, centres[0] * 1.2])
    middles = np.sqrt(centres[1:] * centres[:-1])
    return np.concatenate([[centres[0] ** 2 / middles[0]], middles, [centres[-1] ** 2 / middles[-1]]])


def _draw_map(
    axes: Axes, share: np.ndarray, lod: np.ndarray, where: np.ndarray, ids: np.ndarray, spike: float | None, unit: str
) -> None:
    """Draw the share found, neuron by amplitude, the most sensitive neurons at the bottom and the unknown ones at the top."""
    order = np.argsort(np.where(np.isfinite(lod), lod, np.inf), kind="stable")
    known = np.isfinite(share)
    unknown = int((~known.any(axis=1)).sum())
    said = f", {unknown:,} unknown" if unknown else ""
    if not known.any() or not len(where):
        axes.set_title("LOD50 unknown")
        say(axes, "no neuron in which it was measured")
        return
    edges = _edges(where)
    log_axis(axes, "x", edges[-1] / edges[0])
    axes.set_facecolor(PALE)
    rows = np.arange(len(ids) + 1) - 0.5
    image = axes.pcolormesh(edges, rows, share[order], cmap="viridis", vmin=0, vmax=1, rasterized=True)
    at = np.where(np.isfinite(lod[order]), np.clip(lod[order], edges[0], edges[-1]), np.nan)
    axes.step(np.append(at, at[-1:]), rows, where="pre", color="white", lw=2.6)
    axes.step(np.append(at, at[-1:]), rows, where="pre", color=VERMILLION, lw=1.3)
    if spike:
        axes.axvline(spike, color="white", lw=1.2, ls=":")
        axes.text(spike, 1.0, "1 AP", transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8)
    ticks = few_ticks(len(ids), 20)
    axes.set_yticks(ticks, [text(one, 8) for one in ids[order][ticks]])
    axes.set(xlim=(edges[0], edges[-1]), ylim=(-0.5, len(ids) - 0.5))
    axes.set_title(f"LOD50: median {np.nanmedian(lod):.3g} {unit}{said}" if np.isfinite(lod).any() else "LOD50 unknown", pad=16)
    axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.035, 1))).set_label("share found")


def _draw_noise(axes: Axes, recording: xr.Dataset, lod: np.ndarray, spike: float | None) -> None:
    """Draw each neuron's LOD50 against its noise, and which of them see one action potential."""
    name = next((one for one in ("noise_level", "noise") if one in recording.variables and (recording[one] > 0).any()), None)
    if name is None:
        axes.set_xlabel("noise σ")
        say(axes, "no noise levels")
        return
    noise = var(name).check(recording)
    x = noise.values * shown_in(noise)[0]
    axes.set_xlabel("noise level ν (% Hz$^{-1/2}$)" if name == "noise_level" else label(noise))
    shown = (x > 0) & (lod > 0) & np.isfinite(x) & np.isfinite(lod)
    if not shown.any():
        say(axes, "no LOD50")
        return
    axes.plot(x[shown], lod[shown], "o", color=BLUE, ms=3.5, mew=0, alpha=0.8 if shown.sum() < 500 else 0.4, rasterized=True)
    for which, values in (("x", x[shown]), ("y", lod[shown])):
        low, high = float(values.min()) / 1.3, float(values.max()) * 1.3
        if which == "y" and spike:
            low, high = min(low, spike / 1.3), max(high, spike * 1.3)
        log_axis(axes, which, high / low)
        axes.set(**{f"{which}lim": (low, high)})
    if spike:
        axes.axhline(spike, color=INK, lw=1.0, ls=":")
        axes.set_title(f"{int((lod[shown] <= spike).sum()):,} of {len(lod):,} see one action potential")


def _draw_sizes(axes: Axes, recording: xr.Dataset, share: np.ndarray, where: np.ndarray, scale: float) -> None:
    """Draw the amplitudes of all events, and over them the share of transients of each amplitude that is found."""
    axes.set(ylabel="events", title="amplitudes of events, and the share that is found")
    sizes = var("event_amplitude").check(recording).values * scale if "event_amplitude" in recording.variables else np.zeros(0)
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    known = np.isfinite(share).any(axis=1)
    points = np.concatenate([sizes, where])
    if not points.size:
        say(axes, "no events")
        return
    few = np.quantile(sizes, [0.002, 0.998]) if sizes.size else where  # a few of odd size must not squeeze the others
    low, high = float(min(few[0], where.min())) / 1.1, float(max(few[-1], where.max())) * 1.1
    sizes = np.clip(sizes, low, high)
    log_axis(axes, "x", high / low)
    axes.set_xlim(low, high)
    if sizes.size:
        axes.hist(sizes, np.geomspace(low, high, int(np.clip(2 * np.sqrt(sizes.size), 12, 40)) + 1).tolist(), color=GREY)
        whole_numbers(axes.yaxis)
    else:
        say(axes, "no events")
    if known.any():
        right = axes.inset_axes((0, 0, 1, 1), sharex=axes)
        right.patch.set_visible(False)
        right.spines[["top", "left", "bottom"]].set_visible(False)
        right.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False, right=True, labelright=True, which="both")
        right.yaxis.set_label_position("right")
        if known.sum() > 1:
            least, most = np.nanquantile(share[known], [0.05, 0.95], axis=0)
            right.fill_between(where, 100 * least, 100 * most, color=BLUE, alpha=0.15, lw=0)
        mean = 100 * np.nanmean(share[known], axis=0)
        right.plot(where, mean, color=BLUE, lw=1.6, marker="o", ms=3)
        right.set_ylim(0, 125 if sizes.size else 105)
        right.set_yticks(range(0, 101, 25))
        right.set_ylabel("found (%)", color=BLUE)
        axes.plot([], [], color=BLUE, lw=1.6, marker="o", ms=3, label="share found, mean (band: 90 % of neurons)")


def _draw_rates(axes: Axes, recording: xr.Dataset) -> None:
    """Draw what each neuron's event rate is after correction for what is missed, against what was found."""
    axes.set(xlabel="event rate found (min⁻¹)", ylabel="corrected rate (min⁻¹)")
    if not {"event_rate", "event_rate_corrected"} <= set(recording.variables):
        say(axes, "no corrected rates")
        return
    found, corrected = var("event_rate").check(recording).values, var("event_rate_corrected").check(recording).values
    shown = (found > 0) & (corrected > 0) & np.isfinite(corrected)
    if not shown.any():
        say(axes, "no rates over 0")
        return
    both = np.concatenate([found[shown], corrected[shown]])
    low, high = float(both.min()) / 1.3, float(both.max()) * 1.3
    for which in ("x", "y"):
        log_axis(axes, which, high / low)
        axes.set(**{f"{which}lim": (low, high)})
    axes.plot([low, high], [low, high], color=GREY, lw=0.9, zorder=0)
    axes.plot(found[shown], corrected[shown], "o", color=BLUE, ms=3.5, mew=0, alpha=0.8 if shown.sum() < 500 else 0.4)
    axes.set_title(f"median correction × {np.median(corrected[shown] / found[shown]):.3g}")
