"""What a recording says of its ensembles: by which method, how many, who is in them, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.plot.identity import UNSTABLE
from calcium_engine.power import ENOUGH, ensemble_power
from calcium_engine.report.order import about_order
from calcium_engine.report.words import has, listing, number, several, spread
from calcium_engine.schema import CalciumError

# Where the tree is cut, in words.
_CUTS = {
    "null": "of random events of the same sizes, only 0.1 % of the pairs are nearer, and below that wherever both branches have "
    "a core of their own",
    "pca_variance": "it falls into as many clusters as principal components explain {variance} % of the variance",
    "pca_shift": "it falls into one cluster more than principal components stand out from those of neurons shifted against each "
    "other (95 % of the largest of those are smaller)",
    "silhouette": "its clusters have the largest mean silhouette width",
    "gap": "it falls into the fewest clusters that part the events better than random ones, as far as can be told",
    "contrast": "its clusters have the largest contrast",
}
# They cut a tree of anything: none of them can say that there is one cluster, or none.
_ALWAYS = ("silhouette", "contrast", "pca_variance")


LEAST_NEURONS = 6  # half of which can be planted as an ensemble


def with_power(recording: xr.Dataset) -> xr.Dataset:
    """Return the recording with what it could have shown (`ensemble_power`), where ensembles were sought and none were found."""
    if not has(recording, "ensemble_event_label") or recording.sizes["ensemble"] or has(recording, "ensemble_power"):
        return recording
    if recording.sizes["neuron"] < LEAST_NEURONS:
        return recording
    try:
        return ensemble_power(recording)
    except CalciumError:  # nothing is left of the activity in which ensembles were sought
        return recording


def about_ensembles(recording: xr.Dataset) -> list[str]:
    """Say how many ensembles there are, by which method, who is in them, whether they are stable, and in what order they come.

    Where there are none, the first sentences say why, and what this recording could have shown.
    """
    if not has(recording, "ensemble_event_label"):
        return ["Ensembles were not sought."]
    labels, settings = recording["ensemble_event_label"].values, recording["ensemble_event_label"].attrs
    compared = [str(settings["compared"])] if "compared" in settings else []
    found = recording.sizes["ensemble"]
    if not found:
        method = _about_method(settings) if labels.size > 1 else []
        return [" ".join([_why_none(recording), *_about_power(recording)]), *method, *compared]
    loose = int((labels < 0).sum())
    said = [
        f"{several(found, 'ensemble')}: {labels.size - loose:,} of {several(labels.size, 'ensemble event')} "
        f"{'belongs' if labels.size - loose == 1 else 'belong'} to one, {loose:,} to none."
    ]
    said += [*_about_method(settings), *_about_always(settings), *_about_members(recording), *_about_match(recording)]
    return [*said, *_about_stability(recording), *compared, *about_order(recording)]


def warnings_of(recording: xr.Dataset) -> list[str]:
    """Say what asks for care before anything else: unstable ensembles, a cut that always cuts, methods that disagree."""
    if not has(recording, "ensemble_event_label"):
        return []
    settings = recording["ensemble_event_label"].attrs
    said = [f"Caution: {settings['compared']}"] if settings.get("methods_disagree") and "compared" in settings else []
    if not recording.sizes["ensemble"]:
        return said
    return [*_about_always(settings), *(line for line in _about_stability(recording) if line.startswith("Unstable")), *said]


def _why_none(recording: xr.Dataset) -> str:
    labels, settings = recording["ensemble_event_label"], recording["ensemble_event_label"].attrs
    least = int(settings.get("min_events", 1))
    if settings.get("method") == "ica" and not settings.get("n_components"):
        return f"No ensembles: {_about_components(settings)}"
    if not labels.size:
        return "No ensembles: there are no ensemble events to group."
    events = several(labels.size, "ensemble event")
    if labels.size < least:
        return f"No ensembles: {events} {'is' if labels.size == 1 else 'are'} too few, since one ensemble needs {least}."
    few = f" of at least {least}" if "min_events" in settings else ""
    said = f"No ensembles: among {events} no group{few} is alike enough and has core neurons."
    able = int(recording["participation"].values.any(axis=0).sum()) if has(recording, "participation") else 0
    if able and float(np.median(recording["ensemble_event_size"].values)) > able / 2:
        said += (
            f" Most of them hold over half of the {able} neurons that take part in any: random events are as alike. "
            "Independent components (method 'ica') can still part them."
        )
    return said


def _about_power(recording: xr.Dataset) -> list[str]:
    """Say what ensembles would have been found, from those planted."""
    if not has(recording, "ensemble_power"):
        return []
    power = recording["ensemble_power"]
    if not np.isfinite(power).any() or not {"planted_size", "planted_events"} <= set(power.attrs):
        return []
    planted = f"an ensemble of {int(power.attrs['planted_size'])} neurons active {int(power.attrs['planted_events'])} times"
    runs = f" ({int(power.attrs['runs'])} planted)" if "runs" in power.attrs else ""
    found = "found by 'jaccard'" if recording["ensemble_event_label"].attrs.get("method") == "ica" else "found"
    least = power.attrs.get("least_reliability")
    if least is not None:
        return [
            f"A{planted[1:]} would have been {found} with probability {ENOUGH:g} if its members took part in at least "
            f"{number(100 * float(least))} % of its events{runs}."
        ]
    most = float(np.nanmax(power.values))
    would = f"would have been {found} with probability {number(most)} only" if most else f"would not have been {found}"
    return [
        f"Even {planted}, its members taking part in all of its events, {would}{runs}: that there are none is no evidence "
        "against ensembles of this size."
    ]


def _about_method(settings: dict[Any, Any]) -> list[str]:
    if settings.get("method") == "ica":
        return [f"By independent components: {_about_components(settings)}"] if settings.get("n_components") else []
    if "cut_distance" not in settings:
        return []
    cut, distance = settings.get("cut", "unknown"), number(float(settings["cut_distance"]))
    said = f"Ensemble events were grouped by Jaccard similarity ({settings.get('linkage', 'unknown')} linkage)"
    if not isinstance(cut, str):
        asked = "at that distance" if float(cut) < 1 else f"into {several(int(cut), 'cluster')}"
        return [f"{said}, and their tree was cut at a distance of {distance}: {asked}, as asked for."]
    why = _CUTS.get(cut, "").format(variance=number(100 * float(settings.get("variance", np.nan))))
    where = f", where {why} (cut '{cut}')" if why else f" (cut '{cut}')"
    return [f"{said}, and their tree was cut at a distance of {distance}{where}."]


def _about_components(settings: dict[Any, Any]) -> str:
    over = f"of {number(float(settings['component_threshold']))} " if "component_threshold" in settings else ""
    many = int(settings.get("n_components", 0))
    what = f"the threshold {over}that neurons shifted against each other set (mean + 4 SD of their largest eigenvalue)"
    if not many:
        return f"no component of the correlation between neurons has an eigenvalue over {what}."
    have = several(many, "component of the correlation between neurons has", "components of the correlation between neurons have")
    return f"{have} an eigenvalue over {what}."


def _about_always(settings: dict[Any, Any]) -> list[str]:
    cut = settings.get("cut")
    if settings.get("method") == "ica" or cut is None or (isinstance(cut, str) and cut not in _ALWAYS):
        return []
    which = f"the cut '{cut}'" if isinstance(cut, str) else "a number as cut"
    return [
        f"Caution: {which} divides ensemble events whether or not there is structure in them; that there are ensembles at all "
        "is for the cut 'null' to say."
    ]


def _about_members(recording: xr.Dataset) -> list[str]:
    cores = recording["is_core"].values.sum(axis=0)
    many = several(int((cores > 0).sum()), "neuron is", "neurons are")
    said = f"{many} in the core of an ensemble, {int((cores > 1).sum()):,} of them in several"
    if has(recording, "is_peripheral"):
        outer = recording["is_peripheral"].values.any(axis=0) & (cores == 0)
        more = several(int(outer.sum()), "other is", "others are") if outer.any() else "no other is"
        said += f"; {more} peripheral (in events of an ensemble more often than chance explains, but in no core)"
    return [f"{said}."]


def _about_match(recording: xr.Dataset) -> list[str]:
    if not has(recording, "ensemble_event_match") or not np.isfinite(recording["ensemble_event_match"]).any():
        return []
    match = spread(recording["ensemble_event_match"].values, "").replace("  ", " ")
    return [f"Jaccard similarity of an ensemble event's neurons and the core of its ensemble, median: {match}."]


def _about_stability(recording: xr.Dataset) -> list[str]:
    stability, said = recording["ensemble_stability"].values, []
    unstable = recording["ensemble"].values[stability < UNSTABLE]
    if len(unstable):
        what = f"{several(len(unstable), 'ensemble')} with a split-half stability under {UNSTABLE:g}: {listing(unstable)}"
        said.append(
            f"Unstable: {what}. Random halves of the events give different cores: who belongs is not settled by this recording."
        )
    elif np.isfinite(stability).any():
        said.append(f"No ensemble is unstable: the least split-half stability is {number(float(np.nanmin(stability)))}.")
    unknown = int(np.isnan(stability).sum())
    if unknown:
        said.append(f"The stability of {several(unknown, 'ensemble')} could not be measured: too few events.")
    return said
