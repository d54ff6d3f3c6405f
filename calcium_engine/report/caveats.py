"""What none of a recording's results say."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.plot.coactivity import bin_width
from calcium_engine.report.words import has


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
