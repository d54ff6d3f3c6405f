"""What a recording says of its noise and of F0: whose traces are not to be trusted, and how far."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.artifacts import runs
from calcium_engine.plot.naming import FLAGS, flags_of, shown_in
from calcium_engine.report.tables import Table
from calcium_engine.report.words import has, listing, number, several, spread
from calcium_engine.schema import sampling_rate, was_made

# What a flag says of the neurons that have it, and what it looks for.
_MEANING = {
    "f0_floored": (
        "F0 was too small to divide by; their ΔF/F rests on a floor and its size means little: "
        'compute_dff(normalize="sigma") gives them in units of their noise instead',
        "an F0 too small to divide by",
    ),
    "low_passed_input": (
        "the noise is correlated from frame to frame: the trace was smoothed before it came here. Thresholds suppose noise that "
        "is independent in each frame, so that more false events pass than were allowed for",
        "a trace smoothed beforehand",
    ),
    "saturated_activity": (
        "too little of the trace lies at rest to be sure of F0 (activity without a pause, or slow fluctuations far above the "
        "noise); their ΔF/F may be too small",
        "too little baseline between transients",
    ),
    "drifting": ("F0 moves by more than bleaching explains", "an F0 that drifts"),
    "bleaching": ("F0 decays exponentially", "an F0 that decays"),
}
_SERIOUS = ("f0_floored", "low_passed_input")  # sizes or thresholds are in doubt
_MOST_ROWS = 30


def about_traces(recording: xr.Dataset) -> list[str]:
    """Say how noisy the neurons are, and whose F0 is not to be trusted."""
    said = []
    if not was_made(recording, "fluorescence"):
        said.append("The input was ΔF/F already: no baseline was estimated here.")
    said += [*_about_artifacts(recording), *_about_noise(recording), *_about_flags(recording).values()]
    looked_for = [f"{_MEANING[name][1]} ({name})" for name in _absent(recording)]
    if looked_for:
        said.append(f"Found in no neuron: {', '.join(looked_for)}.")
    return said + _about_edges(recording)


def warnings_of(recording: xr.Dataset) -> list[str]:
    """Return what belongs at the head of a report: whose sizes or thresholds are in doubt."""
    return [said for name, said in _about_flags(recording).items() if name in _SERIOUS]


def _about_artifacts(recording: xr.Dataset) -> list[str]:
    """Say how much of the recording is masked; nothing where artefacts were not sought."""
    if not has(recording, "artifact"):
        return []
    masked = recording["artifact"].values
    stretches = runs(masked)
    if not stretches:
        return ["No movement or other artefact common to the neurons was found (artifact): nothing is masked."]
    longest = max(stop - start for start, stop in stretches) / sampling_rate(recording)
    where = f"in {several(len(stretches), 'stretch', 'stretches')}, {number(100 * masked.mean())} % of the recording"
    return [
        f"Masked as movement or another artefact common to the neurons (artifact): {several(int(masked.sum()), 'frame')} "
        f"{where}; the longest lasts {number(longest)} s. Nothing is computed there or across."
    ]


def _about_noise(recording: xr.Dataset) -> list[str]:
    if not has(recording, "noise", "noise_level"):
        return []
    scale, unit = shown_in(recording["noise"])
    if unit == "σ":
        return [
            "Traces are in units of the raw trace's noise σ, not in % of F0: amplitudes compare within a neuron, not between "
            "neurons, and there is no noise level ν."
        ]
    level = spread(recording["noise_level"].values, "% Hz^-1/2")
    return [
        f"Median noise level ν of a neuron: {level}. 1 is a very good recording, 8 a poor one.",
        f"Median noise σ of a frame: {spread(recording['noise'].values, unit, scale)}.",
    ]


def _about_flags(recording: xr.Dataset) -> dict[str, str]:
    """Return a sentence for each flag that some neuron has."""
    said = {}
    for name, (bad, _) in _MEANING.items():
        if has(recording, name) and recording[name].values.any():
            flagged = recording["neuron"].values[recording[name].values]
            typical = f", with a time constant of {_typical_tau(recording)}" if name == "bleaching" else ""
            said[name] = f"In {several(len(flagged), 'neuron')} {bad}{typical} ({name}): {listing(flagged, 10)}."
    return said


def _absent(recording: xr.Dataset) -> list[str]:
    return [name for name in _MEANING if has(recording, name) and not recording[name].values.any()]


def _typical_tau(recording: xr.Dataset) -> str:
    tau = recording["bleaching_tau"].values[recording["bleaching"].values] if has(recording, "bleaching_tau") else np.zeros(0)
    return f"{_duration(float(np.median(tau)))} in the median" if np.isfinite(tau).any() else "unknown length"


def _duration(seconds: float) -> str:
    """Return a time in the unit in which it is read.

    >>> _duration(45.0), _duration(750.0), _duration(float("nan"))
    ('45 s', '12.5 min', '–')
    """
    if not np.isfinite(seconds):
        return "–"
    return f"{number(seconds / 60)} min" if seconds >= 120 else f"{number(seconds)} s"


def _about_edges(recording: xr.Dataset) -> list[str]:
    if not has(recording, "baseline_edge") or not recording["baseline_edge"].values.any():
        return []
    share = 100 * float(recording["baseline_edge"].mean())
    where = "within half a window of an end or a gap, where F0 is seen from one side only (baseline_edge)"
    return [f"{number(share)} % of the frames lie {where}."]


def flagged_table(recording: xr.Dataset) -> Table | None:
    """Return the neurons that are flagged, the worst first, with their noise and bleaching; None where there are none."""
    names = [name for name in FLAGS if has(recording, name)]
    flags = np.array([recording[name].values for name in names], dtype=bool).reshape(len(names), recording.sizes["neuron"])
    weight = 2 ** np.arange(len(names))[::-1] @ flags
    worst = np.argsort(-weight, kind="stable")[: np.count_nonzero(weight)]
    if not worst.size:
        return None
    ids = recording["neuron"].values
    unknown = np.full(len(ids), np.nan)
    level = recording["noise_level"].values if has(recording, "noise_level") else unknown
    tau = recording["bleaching_tau"].values if has(recording, "bleaching_tau") else unknown
    shown = worst[:_MOST_ROWS]
    rows = [
        [str(ids[i]), "–" if np.isnan(level[i]) else number(level[i]), _duration(tau[i]), flags]
        for i, flags in zip(shown, flags_of(recording, shown), strict=True)
    ]
    if worst.size > _MOST_ROWS:
        rows.append([f"and {worst.size - _MOST_ROWS:,} more", "", "", ""])
    return ["flagged neuron", "ν (% Hz^-1/2)", "bleaching τ", "flags"], rows
