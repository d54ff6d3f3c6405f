"""The figures of the accuracy benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bootstrap import Bar, Found, Measure
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calcium_engine.plot._canvas import BLUE, ENSEMBLE_COLOURS, GREY, PALE, STYLE, VERMILLION, panels

Summary = Mapping[str, Mapping[str, Found]]
NAVY, SKY = "#0B2A4A", "#7FBCE6"
# Shapes by activity, hollow ones for 30 Hz, and dark to light: a print in grey tells them apart.
LOOKS: dict[str, dict[str, Any]] = {
    "4.8 Hz, 6/min, ν 2": {"marker": "o", "color": NAVY},
    "4.8 Hz, 24/min, ν 2": {"marker": "s", "color": BLUE},
    "4.8 Hz, 6/min, ν 6": {"marker": "^", "color": SKY},
    "30 Hz, 6/min, ν 2": {"marker": "o", "color": VERMILLION, "mfc": "white"},
    "30 Hz, 24/min, ν 2": {"marker": "s", "color": VERMILLION, "mfc": "white"},
    "4.8 Hz, 6/min, ν 2, low-passed": {"marker": "D", "color": GREY},
    "30 Hz, 6/min, ν 2, low-passed": {"marker": "D", "color": GREY, "mfc": "white"},
    "4.8 Hz, 6/min, ν 3": {"marker": "v", "color": NAVY},
    "30 Hz, 6/min, ν 3": {"marker": "v", "color": VERMILLION, "mfc": "white"},
}
LABELS = {
    "bias": "bias (% of F0)",
    "residual": "residual SD (% of F0)",
    "retention": "amplitude kept (slope)",
    "background": "amplitude kept (slope)",
    "wave": "60 s wave removed (dB)",
    "noise": "σ found / true σ",
    "gain": "gain (dB)",
    "peaks": "small peaks kept",
}
LEFT, TOP = 1.5, 0.35  # margins, inches


def draw_cleaning(found: Mapping[str, Measure], summaries: Mapping[str, Summary], path: Path) -> None:
    """Draw each measure by method and condition with its 95 % interval; dotted: what the default must reach there."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 8.6))
        top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3.5, 2.8, 2.4])
        background, noise = middle.subfigures(1, 2, width_ratios=[1.55, 1])
        denoising, legend = bottom.subfigures(1, 2, width_ratios=[1.55, 1])
        groups = {
            "baseline F0": (top, ["bias", "residual", "retention"]),
            "slow background": (background, ["background", "wave"]),
            "noise σ": (noise, ["noise"]),
            "denoising": (denoising, ["gain", "peaks"]),
        }
        for title, (place, names) in groups.items():
            drawn = panels(place, [names], (0, 0), margins=(LEFT, 0.15, 0.5, TOP), gaps=(0.2, 0))
            drawn[0].set_title(title, loc="left", fontweight="bold")
            for axes, name in zip(drawn, names, strict=True):
                _draw(axes, summaries[name], found[name].bars)
                axes.set_xlabel(LABELS[name])
                axes.tick_params(labelleft=axes is drawn[0])
                if name == "noise":
                    axes.set_xscale("log")
                    axes.set_xticks([0.3, 0.5, 1, 2, 4, 8], ["0.3", "0.5", "1", "2", "4", "8"])
                    axes.minorticks_off()
        handles = [Line2D([], [], lw=1.2, ms=5, label=name, **look) for name, look in LOOKS.items()]
        legend.legend(
            handles=handles,
            loc="center",
            frameon=False,
            title="rate, events per neuron and minute, noise\ndotted: what the default must reach",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def _draw(axes: Any, summary: Summary, bars: Mapping[str, Bar]) -> None:
    """Draw one measure: a row a method, the default on top."""
    methods = list(summary)
    conditions = [one for one in LOOKS if one in summary[methods[0]]]
    for place, condition in enumerate(conditions):
        rows = np.arange(len(methods)) + 0.7 * ((place + 0.5) / len(conditions) - 0.5)
        values = np.array([summary[method][condition] for method in methods])
        look = LOOKS[condition]
        axes.hlines(rows, values[:, 1], values[:, 2], color=look["color"], lw=1.2)
        axes.plot(values[:, 0], rows, ls="", ms=4.5, **look)
        for end in bars.get(condition, ()):
            if end and np.isfinite(end):
                axes.axvline(end, color=look["color"], lw=1.0, ls=":", zorder=0)
    axes.set_yticks(range(len(methods)), methods)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.hlines(np.arange(len(methods) - 1) + 0.5, 0, 1, color=PALE, lw=0.6, zorder=0, transform=axes.get_yaxis_transform())


DETECTION_LOOKS: dict[str, dict[str, Any]] = {
    "4.8 Hz": {"marker": "o", "color": NAVY},
    "7.5 Hz": {"marker": "s", "color": SKY},
    "30 Hz": {"marker": "^", "color": VERMILLION, "mfc": "white"},
}


def draw_events(judged: Mapping[str, Mapping[str, Measure]], summaries: Mapping[str, Mapping[str, Summary]], path: Path) -> None:
    """Draw F1 of each detector against the noise level, a panel a set and rate; and what deconvolution agrees with spikes."""
    import matplotlib

    sets = [name for name in judged if name != "simulated"] or ["simulated"]
    rates = list(DETECTION_LOOKS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 2.7 * len(sets) + 0.6))
        mosaic = [[f"{name} {rate}" for rate in rates] for name in sets]
        grid = panels(figure, mosaic, (0, 0), margins=(0.75, 1.75, 0.5, 0.4), gaps=(0.25, 0.55))
        for place, axes in enumerate(grid):
            name, rate = sets[place // len(rates)], rates[place % len(rates)]
            _draw_detectors(axes, summaries[name]["f1"], judged[name]["f1"].bars, rate)
            axes.set_title(f"{name}, {rate}")
            axes.set_ylim(0, 1)
            axes.tick_params(labelleft=place % len(rates) == 0)
            if place >= len(grid) - len(rates):
                axes.set_xlabel("noise level ν (% Hz$^{-1/2}$)")
            if place % len(rates) == 0:
                axes.set_ylabel("F1 of events")
        grid[len(rates) - 1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def _draw_detectors(axes: Any, summary: Summary, bars: Mapping[str, Bar], rate: str) -> None:
    """Draw a line a detector, the default thick, with its 95 % interval; a short dotted line is what the default must reach."""
    for place, (method, row) in enumerate(summary.items()):
        at = [(float(one.partition("ν ")[2]), value) for one, value in row.items() if one.startswith(f"{rate},")]
        if not at:
            continue
        noise = np.array([one for one, _ in at]) * 1.02 ** (place - 2)
        values = np.array([[value.value, value.low, value.high] for _, value in at])
        style = {"color": ENSEMBLE_COLOURS[place % len(ENSEMBLE_COLOURS)], "lw": 2.2 if place == 0 else 1.0}
        axes.plot(noise, values[:, 0], marker="osD^vP"[place % 6], ms=4, label=method, **style)
        axes.vlines(noise, values[:, 1], values[:, 2], color=style["color"], lw=0.8)
    for condition, bar in bars.items():
        if condition.startswith(f"{rate},"):
            noise = float(condition.partition("ν ")[2])
            axes.plot([0.85 * noise, noise / 0.85], [bar[0]] * 2, color=GREY, ls=":", lw=1.5)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 3, 8], ["1", "2", "3", "8"])
    axes.minorticks_off()


def draw_coactivity(found: Mapping[str, Any], path: Path) -> None:
    """Draw the exact law and shuffles, errors of its tail, false positives by width, what two nulls find, and calibration."""
    import matplotlib

    drawers = (_draw_law, _draw_tail, _draw_widths, _draw_nulls, _draw_calibration)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.6))
        top, bottom = figure.subfigures(2, 1)
        upper = panels(top, [["law", "tail", "widths"]], (0, 0), margins=(0.8, 0.2, 0.55, 0.4), gaps=(0.75, 0))
        lower = panels(bottom, [["nulls", "calibration"]], (0, 0), margins=(2.9, 0.2, 0.55, 0.4), gaps=(2.1, 0))
        parts = ("circular", "tails", "widths", "modulated", "independent")
        for axes, draw, part in zip((*upper, *lower), drawers, parts, strict=True):
            draw(axes, found[part])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def _draw_law(axes: Any, found: Mapping[str, Any]) -> None:
    """Draw the share of bins with each count."""
    exact, sampled = np.array(found["exact"]), np.array(found["sampled"])
    axes.plot(exact, color=BLUE, lw=1.2, label="exact")
    axes.plot(np.where(sampled > 0, sampled, np.nan), ls="", marker="o", ms=4, color=VERMILLION, mfc="none", label="shuffles")
    axes.set(yscale="log", xlabel="coactive neurons", ylabel="share of bins", title=f"Exact law, {found['shuffles']:,} shuffles")
    axes.legend(frameon=False, loc="lower left")


def _draw_tail(axes: Any, found: Mapping[str, Any]) -> None:
    """Draw the relative error of each chance against its size; what is exact lies on the lower edge."""
    styles = ({"marker": "o", "color": BLUE}, {"marker": "s", "color": SKY}, {"marker": "x", "color": VERMILLION})
    for (what, curve), style in zip(found["curve"].items(), styles, strict=False):
        chance, error = np.array(curve).T
        axes.plot(chance, np.maximum(error, 1e-17), ls="", ms=3.5, mew=0.8, mfc="none", label=what, **style)
    axes.axhline(1e-10, color=GREY, ls=":", lw=1.2)
    axes.axvline(1e-100, color=GREY, ls=":", lw=1.2)
    axes.set(xscale="log", yscale="log", ylim=(5e-18, 1e-8), xlabel="chance", ylabel="relative error", title="Against 50 digits")
    axes.set_xticks([1, 1e-100, 1e-200, 1e-300])
    axes.set_xlim(1e10, 1e-300)
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper right")


def _draw_widths(axes: Any, found: Mapping[str, Any]) -> None:
    """Draw the share of bins that are called, by their width, with its 95 % interval."""
    names = [row[0].split(", ") for row in found["rows"]]
    methods = list(dict.fromkeys(how for _, how in names))
    for place, (method, colour) in enumerate(zip(methods, (VERMILLION, BLUE, SKY), strict=True)):
        rows = np.array([row[2:] for row, (_, how) in zip(found["rows"], names, strict=True) if how == method])
        at = np.arange(len(rows)) + 0.16 * (place - 1)
        axes.vlines(at, rows[:, 1], rows[:, 2], color=colour, lw=1.2)
        axes.plot(at, rows[:, 0], ls="", ms=5, marker="os^"[place], color=colour, label=method)
    axes.axhline(1.0, color=GREY, ls=":", lw=1.2)
    axes.set_xticks(range(len(rows)), list(dict.fromkeys(width for width, _ in names)))
    axes.set(
        xlim=(-0.5, len(rows) - 0.5),
        ylim=(0, None),
        xlabel="bin",
        ylabel="significant bins (%)",
        title="Bins between exact edges",
    )
    axes.legend(frameon=False, loc="upper left")


def _draw_nulls(axes: Any, found: Mapping[str, Any]) -> None:
    """Draw the share of bins that either null calls in simulated recordings."""
    names = [row[0] for row in found["rows"]]
    for null, column, style in (
        ("circular", 1, {"marker": "o", "color": VERMILLION}),
        ("local", 2, {"marker": "s", "color": BLUE}),
    ):
        share = [float(row[column].split()[0]) for row in found["rows"]]
        axes.plot(share, range(len(names)), ls="", ms=5, label=null, **style)
    axes.axvline(1.0, color=GREY, ls=":", lw=1.2)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlim=(0, None),
        ylim=(len(names) - 0.5, -0.5),
        xlabel="significant bins, percentile rule (%)",
        title="By circular and local null",
    )
    axes.hlines(np.arange(len(names) - 1) + 0.5, 0, 1, color=PALE, lw=0.6, zorder=0, transform=axes.get_yaxis_transform())
    axes.legend(frameon=False, loc="center right")


def _draw_calibration(axes: Any, found: Mapping[str, Any]) -> None:
    """Draw the share of recordings of independent neurons in which anything is called, by null and rule."""
    from scipy.stats import binomtest

    rows = [row for row in found["rows"] if "percentile" not in row[0]]
    for place, (_, n, *_rest, anything) in enumerate(rows):
        interval = binomtest(anything, n).proportion_ci(0.95, "exact")
        axes.hlines(place, 100 * interval.low, 100 * interval.high, color=BLUE, lw=1.2)
        axes.plot(100 * anything / n, place, marker="o", ms=5, color=BLUE)
    axes.axvline(5.0, color=GREY, ls=":", lw=1.2)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set(
        xlim=(0, None), ylim=(len(rows) - 0.5, -0.5), xlabel="recordings with a significant bin (%)", title="Independent neurons"
    )
