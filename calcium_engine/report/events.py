"""How far detected events are to be believed: what noise alone would give, what could be found, and whose events to doubt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import event_rows, own_events
from calcium_engine.plot.expected import indicator_of
from calcium_engine.plot.naming import shown_in
from calcium_engine.report.tables import Table
from calcium_engine.report.words import has, number, several, spread
from calcium_engine.schema import EVENT_FLAGS, sampling_rate

MOST_NEGATIVE = 0.05  # events in the inverted trace over events, Dombeck et al. 2007, Neuron 56:43
LEAST_NEGATIVE = 5  # in all of an inverted trace; fewer are no ratio yet: one may stand for several where little was quiet
LEAST_EVENTS = 3  # of which most must be flagged before a neuron is doubted for it
_MOST_ROWS = 30


class _Doubt(NamedTuple):
    """A reason not to believe detections: what is looked for, which neurons have it, and what is said of each of them."""

    looked_for: str
    doubted: np.ndarray
    words: list[str]


def about_detection(recording: xr.Dataset) -> list[str]:
    """Say where the threshold came from, and how many events noise alone would give."""
    if not has(recording, "event_onset") or not recording.sizes["event"]:
        return []
    return [*_about_threshold(recording), *_about_negative(recording)]


def warnings_of(recording: xr.Dataset) -> list[str]:
    """Return what belongs at the head of a report: too many events in the inverted traces, and how many neurons to doubt."""
    doubted = [line for line in _about_doubts(recording) if line.startswith("Detections of")]
    return [line for line in _about_negative(recording) if line.startswith("Warning")] + doubted


def _about_threshold(recording: xr.Dataset) -> list[str]:
    settings, events = recording["event_onset"].attrs, recording.sizes["event"]
    asked, budget = settings.get("threshold"), settings.get("false_positives_per_minute")
    k = settings.get("k", asked)
    if settings.get("detector") == "sd":
        least = number(100 * float(settings.get("min_dff", 0.0)))
        over = f" and {least} % ΔF/F" if least != "0" and recording["event_amplitude"].attrs.get("units") != "sigma" else ""
        found = (
            f"An event rises over the trace's mean by {number(float(k))} SD of the whole trace{over}. " if k is not None else ""
        )
        return [f"{found}No number of false events follows from that."]
    said = f"The threshold is {number(float(k))} times what noise of σ gives, " if k is not None else "The threshold "
    if asked is not None or budget is None:
        return [f"{said}as asked for."] if k is not None else []
    expected = float(budget) * recording.sizes["neuron"] * recording.sizes["frame"] / sampling_rate(recording) / 60
    return [
        f"{said}{'which ' if k is not None else ''}follows from a budget of {number(float(budget))} false events per neuron and "
        f"minute: white noise would give about {number(expected)} of the {several(events, 'event')}."
    ]


def _pooled_ratio(recording: xr.Dataset) -> float:
    """Return events in the inverted traces over events, of all neurons together; NaN where there are no events."""
    pooled = recording["negative_ratio"].attrs.get("pooled") if has(recording, "negative_ratio") else None
    return float("nan") if pooled is None else float(pooled)


def _about_negative(recording: xr.Dataset) -> list[str]:
    ratio = _pooled_ratio(recording)
    if not np.isfinite(ratio):
        return []
    found = f"away from events, the detector finds {number(100 * ratio)} % as many in the inverted traces as in the traces"
    source = "(negative-to-positive ratio of all neurons, Dombeck et al. 2007)"
    if ratio <= MOST_NEGATIVE:
        return [f"{found[0].upper()}{found[1:]} {source}: so large a share of the events may be false."]
    return [
        f"Warning: {found} {source}. Over {100 * MOST_NEGATIVE:g} %, too many events may be false: see which neurons are in "
        "doubt, and allow fewer false_positives_per_minute, or seek events in a trace whose noise is not correlated."
    ]


def about_detectability(recording: xr.Dataset) -> list[str]:
    """Say how large an event must be to be found, what is missed, what that makes of rates, and how many neurons to doubt."""
    if not has(recording, "event_onset"):
        return ["Events were not sought."]
    if not has(recording, "lod50"):
        missing = "How large an event must be to be found was not measured: compute_features() plants transients to see."
        return [missing, *_about_doubts(recording)]
    return [*_about_lod(recording), *_about_corrected(recording), *_about_doubts(recording)]


def _lod_shown_in(recording: xr.Dataset) -> tuple[float, str]:
    """Return the factor and unit of LOD50, which are those of amplitudes."""
    lod = recording["lod50"]
    return shown_in(lod if lod.attrs.get("units") == "sigma" else recording["event_amplitude"])


def _about_lod(recording: xr.Dataset) -> list[str]:
    lod, (scale, unit) = recording["lod50"].values, _lod_shown_in(recording)
    neurons, unknown = len(lod), int((~np.isfinite(lod)).sum())
    floored = recording["f0_floored"].values.astype(bool) if has(recording, "f0_floored") else np.zeros(neurons, dtype=bool)
    if unknown == neurons:
        return ["In no neuron could be measured how large an event must be to be found."]
    name = "% ΔF/F" if unit == "%" else unit
    said = [f"The amplitude that is found half the time (LOD50), median of the neurons: {spread(lod, name, scale)}."]
    if unknown:
        said.append(f"It is unknown in {several(unknown, 'neuron')}.")
    indicator = indicator_of(recording)
    if (compared := int((np.isfinite(lod) & ~floored).sum())) and unit == "%" and indicator:
        blind = int((lod > indicator.amplitude)[~floored].sum())
        one = f"a single action potential of {indicator.name} ({100 * indicator.amplitude:.3g} % ΔF/F)"
        said.append(
            f"{several(blind, 'neuron')} of {compared:,} cannot see {one}: it is missed more often than found, so that most of "
            "their events are bursts."
            if blind
            else f"Every neuron where it is known sees {one} at least half the time."
        )
    if unit == "%" and (floored & np.isfinite(lod)).any():
        said.append("Where F0 is floored, % ΔF/F means little, and LOD50 is not compared with an action potential.")
    return said


def _about_corrected(recording: xr.Dataset) -> list[str]:
    said = []
    if has(recording, "detection_recall") and np.isfinite(recording["detection_recall"]).any():
        recall = spread(recording["detection_recall"].values, "%", 100)
        said.append(f"Of transients like a neuron's own, the share that is found, median of the neurons: {recall}.")
    if has(recording, "event_rate", "event_rate_corrected"):
        found, corrected = recording["event_rate"].values, recording["event_rate_corrected"].values
        both = np.isfinite(found) & np.isfinite(corrected)
        if both.any():
            twice = int((corrected[both] > 2 * found[both]).sum())
            said.append(
                f"Corrected for what is missed, the median event rate is {number(float(np.median(corrected[both])))} per minute "
                f"instead of {number(float(np.median(found[both])))}; in {several(twice, 'neuron')} the correction is more than "
                "twofold. Compare corrected rates between neurons."
            )
    return said


def _about_doubts(recording: xr.Dataset) -> list[str]:
    doubts = _doubts(recording)
    count = int(np.any([doubt.doubted for doubt in doubts], axis=0).sum()) if doubts else 0
    if count:
        return [
            f"Detections of {several(count, 'neuron')} of {recording.sizes['neuron']:,} should not be believed as they stand."
        ]
    looked_for = "; ".join(doubt.looked_for for doubt in doubts)
    return [f"No neuron's detections are in doubt; looked for: {looked_for}."] if doubts else []


def _doubts(recording: xr.Dataset) -> list[_Doubt]:
    """Return every reason for which detections can be doubted in this recording, the gravest first."""
    if not has(recording, "event_onset"):
        return []
    recording = own_events(recording)
    return [*_negative_doubt(recording), *_trace_doubts(recording), *_lod_doubts(recording), *_flag_doubts(recording)]


def _negative_doubt(recording: xr.Dataset) -> list[_Doubt]:
    if not has(recording, "negative_ratio", "negative_event_count"):
        return []
    ratio, count = recording["negative_ratio"].values, recording["negative_event_count"].values
    words = [f"{number(n)} events in the inverted trace ({number(100 * one)} %)" for n, one in zip(count, ratio, strict=True)]
    # an inverted trace that has events where the trace itself has none has no ratio, and is no better for it
    many = (count >= LEAST_NEGATIVE) & ~(ratio <= MOST_NEGATIVE)
    return [_Doubt(f"over {100 * MOST_NEGATIVE:g} % as many events in the inverted trace", many, words)]


def _trace_doubts(recording: xr.Dataset) -> list[_Doubt]:
    meaning = {
        "f0_floored": "F0 too small to divide by",
        "low_passed_input": "trace smoothed beforehand: noise passes for events",
        "saturated_activity": "too little of the trace at rest",
    }
    neurons = recording.sizes["neuron"]
    return [
        _Doubt(words, recording[name].values.astype(bool), [words] * neurons)
        for name, words in meaning.items()
        if has(recording, name)
    ]


def _lod_doubts(recording: xr.Dataset) -> list[_Doubt]:
    if not has(recording, "lod50"):
        return []
    lod, amplitude, neurons = recording["lod50"].values, recording["event_amplitude"].values, recording.sizes["neuron"]
    unknown = ["LOD50 unknown"] * neurons
    doubts = [_Doubt("an unknown LOD50", ~np.isfinite(lod), unknown)]
    if np.isfinite(amplitude).any():
        words = "misses an event of the population's median amplitude more often than not"
        doubts.append(_Doubt("an LOD50 over the median amplitude", lod > np.nanmedian(amplitude), [words] * neurons))
    return doubts


def _flag_doubts(recording: xr.Dataset) -> list[_Doubt]:
    if not has(recording, "event_flags"):
        return []
    neurons, rows, flags = recording.sizes["neuron"], event_rows(recording), recording["event_flags"].values.astype(np.int64)
    count = np.bincount(rows, minlength=neurons)
    doubts = []
    for name, meaning in {
        "long": "wider than one transient should be",
        "fwhm_censored": "cut off, so that widths are guesses",
    }.items():
        flagged = np.bincount(rows[flags & EVENT_FLAGS[name] > 0], minlength=neurons)
        words = [f"{int(n):,} of {int(all_of):,} events {meaning} ({name})" for n, all_of in zip(flagged, count, strict=True)]
        doubts.append(_Doubt(f"most events {meaning}", (count >= LEAST_EVENTS) & (2 * flagged > count), words))
    return doubts


def doubtful_table(recording: xr.Dataset) -> Table | None:
    """Return the neurons whose detections should not be believed, and why: most reasons first; None where there are none."""
    doubts = _doubts(recording)
    doubted = np.array([doubt.doubted for doubt in doubts], dtype=bool).reshape(len(doubts), recording.sizes["neuron"])
    reasons, gravity = doubted.sum(axis=0), 2.0 ** np.arange(len(doubts))[::-1] @ doubted
    worst = np.lexsort((-gravity, -reasons))[: np.count_nonzero(reasons)]
    if not worst.size:
        return None
    count = np.bincount(event_rows(own_events(recording)), minlength=recording.sizes["neuron"])
    scale, unit = _lod_shown_in(recording) if has(recording, "lod50") else (1.0, "")
    lod = scale * recording["lod50"].values if unit else np.full(len(count), np.nan)
    rows = [
        [
            str(recording["neuron"].values[i]),
            f"{int(count[i]):,}",
            number(float(lod[i])) if np.isfinite(lod[i]) else "–",
            "; ".join(doubt.words[i] for doubt in doubts if doubt.doubted[i]),
        ]
        for i in worst[:_MOST_ROWS]
    ]
    if worst.size > _MOST_ROWS:
        rows.append([f"and {worst.size - _MOST_ROWS:,} more", "", "", ""])
    return ["neuron in doubt", "events", f"LOD50 ({unit})" if unit else "LOD50", "why"], rows
