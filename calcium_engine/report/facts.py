"""What a recording says of itself, its events and features: every number is computed, and nothing found is said as plainly."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.artifacts import runs
from calcium_engine.indicators import get_indicator
from calcium_engine.plot.expected import expected_measures, indicator_of
from calcium_engine.plot.features import intervals_of
from calcium_engine.plot.naming import shown_in
from calcium_engine.plot.sample import some_of
from calcium_engine.report.words import has, listing, number, several, spread
from calcium_engine.schema import EVENT_FLAGS, TRACES, CalciumError, epoch_bounds, not_kept, sampling_rate, var


def recording_facts(recording: xr.Dataset) -> list[tuple[str, str]]:
    """Return the plain facts of a recording: label and value."""
    rate, frames = sampling_rate(recording), recording.sizes["frame"]
    bounds = epoch_bounds(recording)
    rows = [
        ("source", str(recording.attrs.get("source") or "not recorded")),
        ("neurons", f"{recording.sizes['neuron']:,}"),
        ("frames", f"{frames:,}"),
        ("sampling rate", f"{rate:.6g} Hz"),
        ("recorded time", f"{number(frames / rate)} s ({frames / rate / 60:.1f} min)"),
        ("epochs", _epochs(recording, bounds)),
        ("missing samples", _missing(recording)),
        ("indicator", _indicator_said(recording)),
    ]
    if gone := not_kept(recording):
        rows.append(("not kept", f"{', '.join(gone)}; figures are drawn without them, or left out"))
    if "is_cell" in recording.coords:
        rows.insert(2, ("accepted as cells", f"{int(recording['is_cell'].sum()):,}"))
    return rows


def _epochs(recording: xr.Dataset, bounds: np.ndarray) -> str:
    if len(bounds) == 2:
        return "1 (no gap)"
    time, starts, masked = recording["time"].values, bounds[:-1], 0
    if has(recording, "artifact"):
        artifact = recording["artifact"].values
        masked = len(runs(artifact))
        starts = starts[~artifact[starts]]
    cuts = starts[starts > 0]
    cuts = cuts[~artifact[cuts - 1]] if masked else cuts
    parts = [f"gaps of {listing([number(gap) for gap in time[cuts] - time[cuts - 1]], 5)} s"] if len(cuts) else []
    parts += [several(masked, "stretch", "stretches") + " masked"] if masked else []
    return f"{len(starts)} ({' and '.join(parts)}; nothing is computed across them)"


def _missing(recording: xr.Dataset) -> str:
    for name in TRACES:
        if name in recording.variables:
            array = var(name).check(recording)
            rows = some_of(np.arange(len(array)), array)
            share = (array if len(rows) == len(array) else array.isel(neuron=rows)).isnull().mean("frame").values
            incomplete = int((share > 0).sum())
            asked = f"{several(len(rows), 'neuron')} looked at" if len(rows) < len(array) else ""
            if not incomplete:
                return f"none in {asked}" if asked else "none"
            where = f"{incomplete:,} of {asked}" if asked else several(incomplete, "neuron")
            return f"{number(100 * share.mean())} % (in {where})"
    return "unknown (no trace is kept)"


def _indicator(recording: xr.Dataset) -> str | None:
    found = next((recording[name].attrs.get("indicator") for name in ("event_onset", "event_fwhm") if has(recording, name)), None)
    return found or recording.attrs.get("indicator")


def _indicator_said(recording: xr.Dataset) -> str:
    own, used = recording.attrs.get("indicator"), _indicator(recording)
    if own or not used:
        return str(own or "not recorded")
    return f"not recorded; events were sought as those of {used}"


def about_events(recording: xr.Dataset) -> list[str]:
    """Say how many events there are, in how many neurons, how often, and what was flagged."""
    if not has(recording, "event_onset"):
        return ["Events were not sought."]
    count, neurons = recording.sizes["event"], recording.sizes["neuron"]
    settings = recording["event_onset"].attrs
    how = f" by the detector '{settings['detector']}' on '{settings.get('trace', 'the trace')}'" if "detector" in settings else ""
    how += f", as those of {settings['indicator']}" if how and "indicator" in settings else ""
    if count == 0:
        return [f"No events: no transient of any of the {several(neurons, 'neuron')} was found{how}. Every rate is 0."]
    active = len(np.unique(recording["event_neuron"].values))
    without = f"; {neurons - active:,} had none" if neurons > active else ""
    said = [f"{several(count, 'event')} in {active:,} of {several(neurons, 'neuron')}{how}{without}."]
    if has(recording, "event_rate"):
        said.append(f"Median event rate of a neuron: {spread(recording['event_rate'].values, 'per minute')}.")
    return said + _about_flags(recording)


def _about_flags(recording: xr.Dataset) -> list[str]:
    flags = recording["event_flags"].values if has(recording, "event_flags") else np.zeros(0, dtype=int)
    if not flags.size:
        return []
    meaning = {
        "compound": "start on the tail of another",
        "long": f"are wider than {_longest(recording)}",
        "fwhm_censored": "are cut off by the next one, so that their width is extrapolated",
        "edge": "lie at the edge of the recording or of a gap",
        "onset_unseen": "were under way when it began or ended, so that they count for no bin",
    }
    counts = {name: int((flags & bit > 0).sum()) for name, bit in EVENT_FLAGS.items()}
    parts = [
        f"{number(100 * counts[name] / flags.size)} % {meaning[name]} ({name}, {counts[name]:,})"
        for name in counts
        if counts[name]
    ]
    return [f"Of the events, {'; '.join(parts)}. They are flagged, not dropped."] if parts else ["No event is flagged."]


def _longest(recording: xr.Dataset) -> str:
    try:
        indicator = get_indicator(str(_indicator(recording)))
    except CalciumError:
        return "one transient should be"
    return f"the {indicator.longest_fwhm:g} s that one transient of {indicator.name} should take at most"


def about_features(recording: xr.Dataset) -> list[str]:
    """Say what amplitude, width and interval are typical."""
    if not recording.sizes.get("event", 0):
        return ["No events, hence no amplitudes, widths or intervals."]
    scale, unit = shown_in(recording["event_amplitude"])
    unit = "% ΔF/F" if unit == "%" else unit
    said = [
        f"Median amplitude: {spread(recording['event_amplitude'].values, unit, scale)}.",
        f"Median full width at half maximum: {spread(recording['event_fwhm'].values, 's')}.",
    ]
    for name, what in (("event_rise", "rise time, 20 to 80 %"), ("event_decay", "decay time to 1/e")):
        if has(recording, name):
            said.append(f"Median {what}: {spread(recording[name].values, 's')}.")
    said += _expected(recording)
    intervals = intervals_of(recording)
    return [*said, f"Median interval between events of a neuron: {spread(intervals, 's')}."] if intervals.size else said


def _expected(recording: xr.Dataset) -> list[str]:
    """Say what one action potential of the indicator would measure."""
    indicator = indicator_of(recording)
    if indicator is None:
        return []
    of = expected_measures(indicator, sampling_rate(recording))
    return [
        f"One action potential of {indicator.name} would measure, at this frame rate: {number(of['rise'])} s of rise, "
        f"{number(of['fwhm'])} s of full width, {number(of['decay'])} s of decay. Longer ones hold several, or the traces were "
        "smoothed."
    ]
