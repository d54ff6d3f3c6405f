"""The report: sentences, tables and figures in the order in which the recording was analysed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from calcium_engine.io.atomic import replacing
from calcium_engine.plot import FIGURES, render_figures
from calcium_engine.report import caveats, coactivity, ensembles, events, facts, page, pairs, quality, tables
from calcium_engine.report.retention import about_retention
from calcium_engine.report.words import several
from calcium_engine.schema import CalciumError, MissingVariableError, sampling_rate
from calcium_engine.score import describe_recovery, score_recovery


class _Section(NamedTuple):
    """A section of the report: the sentences that open it, a table, and the figures that follow, each with its caption."""

    anchor: str
    title: str
    sentences: Callable[[xr.Dataset], list[str]]
    captions: dict[str, str]
    table: Callable[[xr.Dataset], tables.Table | None] = lambda _: None


_SECTIONS = (
    _Section(
        "traces",
        "Traces",
        lambda recording: [*quality.about_traces(recording), *about_retention(recording)],
        {
            "01_stages": "Three neurons at every stage of the cleaning: a very active one (left), an active one and a typical "
            "one, and what is flagged of them. The first row is the whole recording, its gaps in grey; tall transients are cut "
            "there, so that F0 can be judged. Its blue stretch is enlarged below. Orange shade: near an end, where F0 is seen "
            "from one side only.",
            "02_noise": "Noise levels ν of all neurons (left); σ against brightness, with neurons marked whose flags bear on σ "
            "(middle); how far samples lie from the baseline, in units of σ (right). The left half of the curve must follow the "
            "normal curve: transients only ever lie above rest.",
            "03_retention": "What cleaning left of transients planted outside events: their amplitude (top) and their full width "
            "at half maximum (bottom), against the planted amplitude, at each stage. In the grey band they passed untouched.",
        },
        quality.flagged_table,
    ),
    _Section(
        "events",
        "Events",
        lambda recording: [*facts.about_events(recording), *events.about_detection(recording)],
        {
            "04_events": "Traces with their events: blue from onset to offset, a dot at each peak (hollow: it starts on the tail "
            "of another), an upright line from the base to the peak, and a bar for the width at half that height (dotted: cut "
            "off, extrapolated). Each trace has its scale bar. Shaded stretches of a clear, a middling and a faint neuron are "
            "enlarged (right): the searched trace in grey, the measured one dark, triangles at onsets and offsets.",
            "05_transient": "The average event, of those with no other event of the neuron near them, aligned at the onset. In "
            "units of each event's own amplitude (left), it must rise from 0 to nearly 1; the dashed line is one action "
            "potential of the indicator, sampled alike. As the traces are, by amplitude (right): a level beside 0 before the "
            "onset is an F0 that is off.",
            "06_raster": "Raster: a mark at the onset of every event, time by neuron id.",
        },
    ),
    _Section(
        "features",
        "Features",
        facts.about_features,
        {
            "07_features": "Event rate of the population over the recording; spread of the neurons' rates, and of the "
            "intervals, amplitudes, rise times (20-80 %), widths and decay times of all events. Blue: median. Dashed: what one "
            "action potential (AP) of the indicator measures at this frame rate. Dotted: the longest of one transient."
        },
    ),
    _Section(
        "detectability",
        "Detectability",
        events.about_detectability,
        {
            "08_detectability": "What can be found. Left: share of planted transients that is found, neuron by amplitude, and "
            "the amplitude that is found half the time (LOD50, orange); dotted: one action potential (AP). Right: LOD50 against "
            "noise; rates corrected for what is missed against rates found; amplitudes of events (grey), and the share that is "
            "found of transients so large (blue)."
        },
        events.doubtful_table,
    ),
    _Section(
        "coactivity",
        "Coactivity",
        lambda recording: [*coactivity.about_coactivity(recording), *pairs.about_pairs(recording)],
        {
            "09_coactivity": "Neurons that start an event in the same bin, what chance gives, and the bins over the threshold.",
            "10_null": "Share of bins by number of coactive neurons: observed, and by chance, as the exact law has it (line) and "
            "as shuffles do, where there were any (squares). Shaded counts are significant, "
            "the paler ones in some bins only.",
            "11_local_null": "Do rates change in common? Left: what is expected of neurons whose rates stay as they are, and of "
            "neurons whose rates change as they did, over tens of seconds. Right: every bin by its p-value under both.",
            "12_pairs": "Similarity of pairs of neurons beyond chance (left): all pairs under the diagonal, the significant ones "
            "above it. Share of pairs by p-value (right): by chance it is at most the blue line; pairs are significant up to "
            "where the observed share last crosses the dashed one.",
        },
    ),
    _Section(
        "ensembles",
        "Ensembles",
        ensembles.about_ensembles,
        {
            "13_similarity": "How alike ensemble events are (Jaccard similarity), in the order of their dendrogram, whose "
            "branches are turned so that ensembles come in order. The strips say which ensemble each event belongs to.",
            "14_cut": "What the number of ensembles rests on: the dendrogram with its cut, or the weights of independent "
            "components (left), and the evidence for cutting there (right).",
            "15_membership": "Who is in each ensemble: the share of its events in which a neuron takes part, core neurons "
            "underlined, peripheral ones with a thin line; below, the cores that the other method finds, where it was tried, "
            "each in the colour of the ensemble that it resembles most. In all figures, unstable ensembles are hollow.",
            "16_ensembles": "When each ensemble's events are (top), and the raster sorted by ensemble, its events in colour.",
            "17_activation": "Activation of each ensemble in every bin, in colour where it is activated, and how often it is.",
            "18_transitions": "Which ensemble follows which, against the same events in random order (left; outlined: more often "
            "than chance), and the order in which core neurons join in (right): the first on top; W is 1 where it is the same "
            "in every event.",
            "19_positions": "Where the core neurons of each ensemble lie.",
            "20_power": "What this recording could show: the share of ensembles planted in it that are found, by the share of "
            "its events in which a member takes part.",
        },
        tables.ensembles_table,
    ),
)


# A figure of nothing is left out: the sentences above it say that nothing was found.
_NEEDS = {
    "05_transient": ("event",),
    "13_similarity": ("ensemble_event",),
    "14_cut": ("ensemble_event", "cut_step"),
    "15_membership": ("ensemble", "compared_ensemble"),
    "17_activation": ("ensemble",),
    "18_transitions": ("ensemble",),
    "19_positions": ("ensemble",),
}


def write_report(
    recording: xr.Dataset, path: str | Path, *, figures: str | Path | Mapping[str, bytes] | None = None, overwrite: bool = False
) -> Path:
    """Write one self-contained HTML file about a recording: what was done, what was found, and what it does not say.

    It needs no network and no scripts; figures are inside it. Every number in it is computed from the recording. Where ensembles
    were sought and none were found, `ensemble_power` is called first, to tell what could have been found.

    Args:
        recording: a recording, finished or not: what was not computed is said to be missing.
        path: the file to write; its folder must exist.
        figures: PNG images by name (see `render_figures`), or a folder of them (see `write_figures`); by default they are drawn.
        overwrite: whether a file of this name may be replaced.

    Returns:
        the path.

    Raises:
        FileExistsError: the file exists, and `overwrite` is False.
        CalciumError: this is no recording, or the folder of figures does not exist.
    """
    path = Path(path)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(_html(recording, figures), encoding="utf-8")
    return path


def _html(recording: xr.Dataset, figures: str | Path | Mapping[str, bytes] | None) -> str:
    """Return the report as text."""
    if not isinstance(recording, xr.Dataset) or not {"neuron", "frame"} <= set(recording.dims):
        raise CalciumError(
            "a report needs a recording: an xarray.Dataset with dims 'neuron' and 'frame'; make_recording() makes one"
        )
    small = [name for name, array in recording.data_vars.items() if array.chunks and "frame" not in array.dims]
    recording = recording.assign(recording[small].compute())  # once, not for each sentence about them
    recording = ensembles.with_power(recording)
    drawn = _images(recording, figures)
    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    source = str(recording.attrs.get("source") or "")
    seconds = recording.sizes["frame"] / sampling_rate(recording)
    length = f"{seconds / 60:.1f} min at {sampling_rate(recording):.6g} Hz"
    under = f"{several(recording.sizes['neuron'], 'neuron')}, {length}. Written {date}."
    sections = [
        ("summary", "In short", _summary(recording)),
        ("recording", "Recording", page.facts(facts.recording_facts(recording))),
    ]
    sections.append(("steps", "What was done", page.table(*tables.steps_table(recording))))
    sections += [(one.anchor, one.title, _section(one, recording, drawn)) for one in _SECTIONS]
    if "true_member" in recording.variables:
        sections.append(("truth", "What was planted, and what came back", page.sentences(_recovery(recording))))
    sections.append(("caveats", "What these results do not say", page.sentences(caveats.caveats(recording))))
    sections.append(("software", "Software and settings", _software(recording, date)))
    return page.page(f"Calcium imaging report: {source}" if source else "Calcium imaging report", under, sections)


def _images(recording: xr.Dataset, figures: str | Path | Mapping[str, bytes] | None) -> Mapping[str, bytes]:
    if figures is None:
        return render_figures(recording)
    if isinstance(figures, Mapping):
        return figures
    folder = Path(figures)
    if not folder.is_dir():
        raise CalciumError(
            f"there is no folder of figures {str(folder)!r}; write_figures() makes one, and figures=None draws them"
        )
    return {name: (folder / f"{name}.png").read_bytes() for name in FIGURES if (folder / f"{name}.png").is_file()}


def _summary(recording: xr.Dataset) -> str:
    """Return the first thing that each section has to say, and whatever asks for care."""
    found, groups = facts.about_events(recording), ensembles.about_ensembles(recording)
    together = [
        line
        for line in coactivity.about_coactivity(recording)
        if " ensemble event" in line or "No ensemble" in line or "not computed" in line
    ]
    warned = [line for part in (quality, events, coactivity, ensembles) for line in part.warnings_of(recording)]
    return page.sentences([*found[:2], *together[:1], groups[0], *warned])


def _recovery(recording: xr.Dataset) -> list[str]:
    """Return how much of a simulation's truth came back, as far as it was analysed."""
    try:
        return [f"{line[:1].upper()}{line[1:]}." for line in describe_recovery(score_recovery(recording)).splitlines()]
    except MissingVariableError as error:
        return [f"Not scored: {error}."]


def _section(section: _Section, recording: xr.Dataset, drawn: Mapping[str, bytes]) -> str:
    parts = [page.sentences(section.sentences(recording))]
    if table := section.table(recording):
        parts.append(page.table(*table))
    filled = [name for name in section.captions if any(recording.sizes.get(dim) for dim in _NEEDS.get(name, ("neuron",)))]
    parts += [page.picture(drawn[name], section.captions[name]) for name in filled if name in drawn]
    return "\n".join(parts)


def _software(recording: xr.Dataset, date: str) -> str:
    parts = [page.facts(tables.software_table(recording, date)[1])]
    for name, title in (("recipe", "The recipe that ran (TOML)"), ("history", "History")):
        if recording.attrs.get(name):
            parts.append(page.folded(title, str(recording.attrs[name])))
    return "\n".join(parts)
