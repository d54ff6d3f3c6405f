"""What a recording says of its ensembles, and what none of its results say."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.plot.coactivity import bin_width
from calcium_engine.report.words import has, listing, number, several

UNSTABLE = 0.5  # split-half stability under which an ensemble is called unstable


def about_ensembles(recording: xr.Dataset) -> list[str]:
    """Say how many ensembles there are, how they were cut apart, and which of them are not stable."""
    if not has(recording, "ensemble_event_label"):
        return ["Ensembles were not sought."]
    labels = recording["ensemble_event_label"].values
    settings, found = recording["ensemble_event_label"].attrs, recording.sizes["ensemble"]
    events = several(labels.size, "ensemble event")
    if not labels.size:
        return ["No ensembles: there are no ensemble events to group."]
    if found == 0:
        few = f" of at least {settings['min_events']}" if "min_events" in settings else ""
        return [f"No ensembles: among {events} no group{few} is alike enough and has core neurons."]
    loose = int((labels < 0).sum())
    said = [f"{several(found, 'ensemble')}: {labels.size - loose:,} of {events} belong to one, {loose:,} to none."]
    if "cut_distance" in settings:
        cut, linkage = settings.get("cut", "unknown"), settings.get("linkage", "unknown")
        said.append(f"Cut '{cut}' at a Jaccard distance of {number(float(settings['cut_distance']))}, {linkage} linkage.")
    cores = recording["is_core"].values.sum(axis=0)
    many = several(int((cores > 0).sum()), "neuron is", "neurons are")
    said.append(f"{many} in the core of an ensemble, {int((cores > 1).sum()):,} of them in several.")
    return said + _about_stability(recording)


def _about_stability(recording: xr.Dataset) -> list[str]:
    stability, said = recording["ensemble_stability"].values, []
    unstable = recording["ensemble"].values[stability < UNSTABLE]
    if len(unstable):
        what = f"{several(len(unstable), 'ensemble')} with a split-half stability under {UNSTABLE:g}: {listing(unstable)}"
        said.append(
            f"Unstable: {what}. Random halves of the events give different cores: who belongs is not settled by this recording."
        )
    unknown = int(np.isnan(stability).sum())
    if unknown:
        said.append(f"The stability of {several(unknown, 'ensemble')} could not be measured: too few events.")
    return said


def caveats(recording: xr.Dataset) -> list[str]:
    """Say what these results do not show."""
    said = [
        "An event is not a spike: one event may hold several action potentials, and single ones may leave none, above all with "
        "dim or slow indicators and at low frame rates."
    ]
    if has(recording, "noise_level", "event_rate") and recording.sizes["neuron"] >= 10:
        correlation = _rank_correlation(recording["noise_level"].values, recording["event_rate"].values)
        if np.isfinite(correlation):
            said.append(
                "Small events are missed in noisy neurons, so that rates of neurons with unequal noise cannot be compared as "
                f"they stand; here the rank correlation between noise level and event rate is {correlation:.2f}."
                + (" Corrected rates (event_rate_corrected) can." if has(recording, "event_rate_corrected") else "")
            )
    if has(recording, "coactivity"):
        asked, width = recording["coactivity"].attrs.get("bin_s"), bin_width(recording)
        if asked and abs(width - float(asked)) > 0.1 * float(asked):
            said.append(
                f"Bins hold whole frames: they are {1000 * width:.0f} ms long, not the {1000 * float(asked):.0f} ms asked for."
            )
    rules = recording["is_coactive"].attrs if has(recording, "is_coactive") else {"null": "local"}
    if rules.get("null") != "local" and "dither" not in str(rules.get("surrogate")):
        said.append(
            "The null keeps each neuron's events and breaks their timing with others'. Rates that rise and fall together "
            "(arousal, movement, bleaching) are not in it, and can pass for ensemble events."
        )
    if not has(recording, "fluorescence_corrected"):
        said.append("Neuropil was not subtracted here: if it is still in the traces, it can make neighbours look coactive.")
    return said


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one of the two does not vary."""
    valid = np.isfinite(a) & np.isfinite(b)
    if valid.sum() < 3 or np.ptp(a[valid]) == 0 or np.ptp(b[valid]) == 0:
        return float("nan")
    import pandas as pd

    return float(np.corrcoef(pd.Series(a[valid]).rank(), pd.Series(b[valid]).rank())[0, 1])
