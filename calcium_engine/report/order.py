"""What a recording says of order: that of neurons within an ensemble's events, and that of ensembles."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.plot.transitions import ALPHA, aligned, beyond_chance
from calcium_engine.report.words import has, listing, number, several


def about_order(recording: xr.Dataset) -> list[str]:
    """Say whether neurons join in a consistent order, whether part of a core brings the rest, and what follows what."""
    return [*_about_recruitment(recording), *_about_completion(recording), *_about_transitions(recording)]


def _about_recruitment(recording: xr.Dataset) -> list[str]:
    if not has(recording, "recruitment_consistency", "recruitment_pvalue"):
        return []
    consistency, pvalue = recording["recruitment_consistency"].values, recording["recruitment_pvalue"].values
    tested = np.isfinite(pvalue)
    if not tested.any():
        return ["Whether core neurons join in a consistent order cannot be told: too few events of any ensemble."]
    n = int(tested.sum())
    over = f"Bonferroni over {several(n, 'ensemble')}"
    rows = np.flatnonzero(tested & (pvalue < ALPHA / n))
    untested = len(pvalue) - n
    rest = f" {several(untested, 'ensemble has', 'ensembles have')} too few events to tell." if untested else ""
    if not rows.size:
        least = number(float(np.nanmin(pvalue)))
        return [f"In no ensemble do core neurons join in a consistent order (least p {least}; {over}).{rest}"]
    names = recording["ensemble"].values
    which = [f"{names[i]} (W {consistency[i]:.2f}, p {number(float(pvalue[i]))})" for i in rows]
    where = several(len(which), "ensemble")
    return [f"Core neurons join in a consistent order in {where}: {listing(which, 10)}; Kendall's W, {over}.{rest}"]


def _about_completion(recording: xr.Dataset) -> list[str]:
    completion = recording["pattern_completion"].values if has(recording, "pattern_completion") else np.zeros(0)
    known = completion[np.isfinite(completion)]
    if not known.size:
        return []
    middle, low, high = (number(float(one)) for one in (np.median(known), known.min(), known.max()))
    range_ = f" (median; from {low} to {high})" if known.size > 1 else ""
    return [
        "Pattern completion: where a fifth of a core is active, the chance that half of it is exceeds that of independent "
        f"neurons by {middle}{range_}."
    ]


def _about_transitions(recording: xr.Dataset) -> list[str]:
    if not has(recording, "transition_count", "transition_pvalue") or recording.sizes["ensemble"] < 2:
        return []
    recording = aligned(recording)
    said = []
    entropy, chance = (
        float(recording[name]) if has(recording, name) else np.nan for name in ("sequence_entropy", "sequence_entropy_pvalue")
    )
    if np.isfinite(chance):
        depends = "depends on the last one" if chance < ALPHA else "does not detectably depend on the last one"
        said.append(
            f"Which ensemble is active next {depends}: {number(entropy)} bits of uncertainty are left, p {number(chance)}."
        )
    found, tests = beyond_chance(recording)
    names, count, expected = (recording[name].values for name in ("ensemble", "transition_count", "transition_expected"))
    if not tests or not count.any():
        return [*said, "Whether ensembles follow each other cannot be told: too few of their events."]
    over = f"Bonferroni over {tests:,} pairs"
    if not found.any():
        least = number(float(np.nanmin(recording["transition_pvalue"].values)))
        return [*said, f"No ensemble follows another, or itself, more often than in random order (least p {least}; {over})."]
    which = [
        f"{names[i]} → {names[j]} ({count[i, j]:,} times, {number(float(expected[i, j]))} expected)"
        for i, j in np.argwhere(found)
    ]
    return [*said, f"More frequent than in random order: {listing(which, 10)}; {over}."]
