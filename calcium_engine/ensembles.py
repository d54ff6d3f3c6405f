"""Ensembles: groups of neurons that come back together, by clustering ensemble events or by independent components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine import components
from calcium_engine.arguments import check_arguments, choose
from calcium_engine.clustering import CUTS, LINKAGES, Events, distances, explained_variance, labels_at, make_cut, make_tree
from calcium_engine.coactivity import Activity, activity_of
from calcium_engine.dynamics import core_activity, over_chance, pattern_completion, recruitment, stretches, transitions
from calcium_engine.kernels import jaccard_similarity
from calcium_engine.membership import (
    CORE_ALPHA,
    CORE_LEAST,
    Chance,
    best_match,
    divide,
    first_alike,
    members_of,
    overlap,
    peripheral,
    settle,
)
from calcium_engine.schema import Attr, CalciumError, fresh, plain, record, sampling_rate, var

HALVES = 10  # of the events
HALF_ALPHA = 0.01  # chance below which a neuron is in the core of a half: of that neuron, not of any
HALF_RECORDINGS = 5
BLOCKS = 20  # of the recording, half of which make a half
COMES_BACK = 2  # activations of a component, fewer of which are no ensemble
FEEBLE = 1 / 20  # of its strongest activation; weaker ones are not the ensemble's coming back
COMPARED_WORK = 2e10  # neurons² × bins, above which the other method is left out
AGREEMENT = 0.5  # Best Match of two methods, under which they disagree


@dataclass(frozen=True)
class _Search:
    """What both methods look at, and their choices."""

    recording: xr.Dataset
    participation: np.ndarray
    activity: Activity
    chance: np.ndarray  # neuron, share of bins in which it is active
    propensity: np.ndarray  # neuron, share of the population's activity outside ensemble events
    tree: np.ndarray  # of the ensemble events
    linkage: str
    cut: str | int | float
    variance: float
    min_events: int
    seed: int

    @property
    def core(self) -> Chance:
        """What makes a core neuron."""
        largest = int(self.participation.sum(axis=1).max(initial=0))
        return Chance(self.propensity, CORE_ALPHA / max(1, len(self.chance)), largest)


@dataclass(frozen=True)
class _Found:
    """Ensembles: label of each ensemble event, cores (by neuron), activation (by bin), and what is the method's own."""

    labels: np.ndarray
    cores: np.ndarray
    activation: np.ndarray
    activated: np.ndarray
    stability: Callable[[], np.ndarray]
    table: dict[str, np.ndarray]
    summary: dict[str, Attr | None]


def _ensembles_at(participation: np.ndarray, tree: np.ndarray, distance: float, search: _Search, core: Chance) -> np.ndarray:
    """Ensemble of each event, from 1 (the one with the most events), -1: none."""
    if search.cut == "null":
        labels = divide(participation, tree, distance, search.min_events, core)
    else:
        labels = labels_at(tree, distance) if len(tree) else np.full(len(participation), -1)
    return settle(participation, labels, search.min_events, core)


def _halves(participation: np.ndarray, cores: np.ndarray, distance: float, search: _Search) -> np.ndarray:
    """Split-half stability: how alike an ensemble's counterparts are when two random halves of the events are clustered apart.

    Both are cut at the distance at which all events were. The counterpart is the half's ensemble whose core is most like the
    ensemble's. Jaccard similarity of the two, averaged over HALVES splits; 0 where a half has none.
    """
    total = np.zeros(len(cores))
    if not len(cores):
        return total
    # half the events cannot pass a threshold that all of them just pass
    half = replace(search, min_events=max(2, search.min_events // 2))
    core = replace(search.core, alpha=HALF_ALPHA)
    for split in range(HALVES):
        order = np.random.default_rng([search.seed, split]).permutation(len(participation))
        found = []
        for part in (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])):
            own = participation[part]
            labels = _ensembles_at(own, make_tree(distances(own), search.linkage), distance, half, core)
            found.append(members_of(own, labels, max(0, int(labels.max(initial=0))), core).core)
        total += _agreement(cores, *found)
    return np.asarray(total / HALVES)


def _agreement(cores: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how alike the counterparts of each core are in two other families of cores."""
    nearest = []
    for family in (one, other):
        alike = overlap(cores, family) if len(family) else np.zeros((len(cores), 1))
        best = family[alike.argmax(axis=1)] if len(family) else np.zeros_like(cores)
        nearest.append(best & (alike.max(axis=1) > 0)[:, None])
    return np.asarray(np.diag(overlap(*nearest)))


def _by_jaccard(search: _Search) -> _Found:
    """Cluster the ensemble events by the neurons that they share."""
    participation = search.participation
    events = Events(participation, search.propensity, search.tree, search.linkage, search.variance, search.seed)
    cut = make_cut(events, search.cut)
    labels = _ensembles_at(participation, search.tree, cut.distance, search, search.core)
    n_ensembles = max(0, int(labels.max(initial=0)))
    cores = members_of(participation, labels, n_ensembles, search.core).core
    counts = core_activity(search.activity, cores)
    table = {"cut_value": cut.value, "cut_score": cut.score, "cut_reference": cut.reference}
    return _Found(
        labels,
        cores,
        counts / np.maximum(cores.sum(axis=1, keepdims=True), 1),
        over_chance(counts, cores, search.chance),
        lambda: _halves(participation, cores, cut.distance, search),
        table,
        {"cut": search.cut, "cut_distance": cut.distance, "variance": search.variance if search.cut == "pca_variance" else None},
    )


def _by_ica(search: _Search) -> _Found:
    """Find directions in which neurons vary together more than shifted ones, and turn them until they are independent."""
    activity = components.binned_activity(search.recording, search.activity.bins)
    thinned = activity[:, components.apart(search.activity.bins)]
    spectrum = components.spectrum(thinned, search.seed)
    weights = components.rotate(spectrum.vectors, thinned, search.seed)
    strength, activated = components.activated(weights, activity, thinned, search.seed)
    strong = activated & (strength > FEEBLE * strength.max(axis=1, keepdims=True, initial=0.0))
    cores, many = components.members(weights), stretches(strong, search.activity.bins.epoch)
    order = [k for k in np.argsort(-many, kind="stable") if many[k] >= COMES_BACK and cores[k].sum() >= CORE_LEAST]
    order = [order[i] for i in first_alike(cores[order])]
    labels = _strongest(search, strength[order], activated[order])
    number = np.arange(1, len(spectrum.values) + 1)
    return _Found(
        labels,
        cores[order],
        strength[order],
        activated[order],
        lambda: _half_components(thinned, cores[order], len(spectrum.vectors), search),
        {
            "ensemble_weight": weights[order],
            "cut_value": number,
            "cut_score": spectrum.values,
            "cut_reference": np.full(len(number), spectrum.level),
        },
        {"n_components": len(spectrum.vectors), "component_threshold": spectrum.level},
    )


def _strongest(search: _Search, strength: np.ndarray, activated: np.ndarray) -> np.ndarray:
    """Label each ensemble event by the component that is most active in its peak bin, or beside it; -1 where none is."""
    labels = np.full(len(search.participation), -1)
    if not len(strength) or not len(labels):
        return labels
    peak = np.searchsorted(search.recording["bin_time"].values, search.recording["ensemble_event_time"].values)
    near = np.clip(peak[:, None] + np.arange(-1, 2), 0, strength.shape[1] - 1)
    seen = np.where(activated, strength, 0.0)[:, near].max(axis=2)
    return np.where(seen.max(axis=0) > 0, seen.argmax(axis=0) + 1, labels)


def _half_components(activity: np.ndarray, cores: np.ndarray, n_components: int, search: _Search) -> np.ndarray:
    """Split-half stability: as that of clusters, of as many components in two halves of the recording, cut into blocks."""
    total = np.zeros(len(cores))
    if not len(cores):
        return total
    block = np.arange(activity.shape[1]) * BLOCKS // activity.shape[1]
    for split in range(HALF_RECORDINGS):
        first = np.isin(block, np.random.default_rng([search.seed, split]).permutation(BLOCKS)[: BLOCKS // 2])
        halves = [components.leading(activity[:, part], n_components, search.seed) for part in (first, ~first)]
        total += _agreement(cores, *(components.members(weights) for weights in halves))
    return np.asarray(total / HALF_RECORDINGS)


METHODS: dict[str, Callable[[_Search], _Found]] = {"jaccard": _by_jaccard, "ica": _by_ica}


def find_ensembles(
    recording: xr.Dataset,
    *,
    method: Literal["jaccard", "ica"] = "jaccard",
    cut: Literal["null", "pca_variance", "pca_shift", "silhouette", "gap", "contrast"] | int | float = "null",
    linkage: Literal["average", "complete", "single", "ward", "weighted"] = "average",
    variance: float = 0.8,
    min_events: int = 5,
    compare: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Find ensembles: which neurons make up each, and when it is active.

    "jaccard" (default): Jaccard similarity of all pairs of ensemble events → hierarchical clustering → cut → ensembles, whose
    core neurons take part more often than chance explains. "ica": independent components of the deconvolved activity, whose core
    neurons weigh most (Lopes-dos-Santos et al. 2013, J Neurosci Methods 220:149). `docs/ensembles.md` says how to choose.

    Args:
        recording: with ensemble events; for "ica" and the comparison also with `deconvolved`.
        method: "jaccard" or "ica".
        cut: where the tree of "jaccard" is cut. "null" (default): at the Jaccard distance below which only 0.1 % of pairs of
            random events of the same sizes lie, drawn in proportion to the neurons' activity outside ensemble events, and below
            that wherever both branches have a core of their own. The others cut to the letter of their rule. "pca_variance": into
            as many clusters as principal components of the participation are needed to explain `variance`; "pca_shift": into one
            more than components stand out from those of neurons shifted against each other; "silhouette", "contrast": the number
            of clusters that part events best (Rousseeuw 1987; Beggs & Plenz 2004); "gap": the fewest that part them better than
            random events (Tibshirani et al. 2001); a whole number: so many clusters; a fraction between 0 and 1: at that
            distance. "pca_variance", "silhouette", "contrast" and numbers cut whether or not there is anything to part.
        linkage: of "jaccard": average (default), complete, single, ward (with "contrast", as is usual) or weighted.
        variance: of "pca_variance".
        min_events: of "jaccard": a cluster of fewer is no ensemble, nor is one with under three core neurons; their events are
            left unassigned. (A component stands out from chance by itself, and needs only to be active twice.)
        compare: whether the other method is tried too, and how far they agree is noted. "ica" needs `deconvolved`, and is left
            out where neurons and bins are so many that it would take long.
        seed: of random events, shifts and halves.

    Returns:
        The recording with, by `ensemble` (1 is the one with the most events, for "ica" activations): `is_core` ("jaccard": p <
        0.05 / neurons and membership of at least 0.3; "ica": a large weight, and `ensemble_weight`; a neuron may be in several),
        `is_peripheral` (takes part more than chance explains, at a false-discovery rate of 5 %), `membership` (share of its
        events in which a neuron takes part), `membership_pvalue`, `ensemble_size`, `ensemble_event_count`, `ensemble_rate`,
        `ensemble_stability` (split halves; under 0.5 is unstable), `ensemble_activation` (bin; share of the core that is active;
        "ica": activation in units of its spread by chance), `is_activated` (bin; false-discovery rate of 5 %),
        `ensemble_activation_count`, `recruitment_latency` (neuron), `recruitment_consistency` (Kendall's W),
        `recruitment_pvalue`, `pattern_completion`; by pairs of ensembles `transition_count`, `transition_expected` and
        `transition_pvalue`, with `sequence_entropy` and its chance, as `calcium_engine.dynamics` defines them. By
        `ensemble_event`: `ensemble_event_label` (-1: unassigned) and `ensemble_event_match` (Jaccard similarity of its neurons
        and the core). Of the way there: `similarity`, `linkage` (SciPy's form), `explained_variance` (component), and the
        evidence of the cut, `cut_value`, `cut_score`, `cut_reference`. Of the other method: `compared_is_core`, `compared_match`,
        and in words the attribute `compared` of the labels.

    "jaccard" compares events with random ones of as many neurons, so that an ensemble of more than half of the neurons that are
    ever active is lost on it: random events are as alike. "ica" can see it. Chances of members are of a group that was sought
    for, and so are too small; the split halves are not.

    Raises:
        MissingVariableError: there are no ensemble events yet; "ica": no deconvolved activity.
        CalciumError: an unknown method, cut or linkage, or numbers out of range.
    """
    recording = fresh(recording, "find_ensembles")
    var("participation").check(recording)
    _check(method, cut, linkage, variance, min_events, compare, seed)
    if method == "ica":
        var("deconvolved").check(recording)
    search = _search(recording, cut, linkage, variance, min_events, seed)
    found = METHODS[method](search)
    compared = _compare(search, method, found) if compare else {}
    chosen: dict[str, Attr | None] = {"method": method, "linkage": linkage, "min_events": min_events, "seed": seed}
    table: dict[str, np.ndarray] = {
        "similarity": jaccard_similarity(search.participation, dtype=np.float32),
        "linkage": search.tree,
        "explained_variance": explained_variance(search.participation),
        **found.table,
        **_describe(search, found),
        **{name: values for name, values in compared.items() if isinstance(values, np.ndarray)},
    }
    summary = {name: value for name, value in compared.items() if name not in table}
    result = _assemble(recording, table, chosen | found.summary | summary | {"n_ensembles": len(found.cores)})
    return record(result, "find_ensembles", **chosen, cut=cut, variance=variance, compare=compare)


def cores_of(
    recording: xr.Dataset,
    *,
    cut: str | int | float = "null",
    linkage: str = "average",
    variance: float = 0.8,
    min_events: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Return the cores alone (ensemble × neuron) that `find_ensembles` finds by Jaccard similarity with these arguments."""
    return _by_jaccard(_search(recording, cut, linkage, variance, min_events, seed)).cores


def _search(recording: xr.Dataset, cut: str | int | float, linkage: str, variance: float, min_events: int, seed: int) -> _Search:
    """Look up what both methods look at."""
    participation, activity = recording["participation"].values, activity_of(recording)
    rows, bins = activity.neurons_in_bins()
    n_neurons = recording.sizes["neuron"]
    chance = np.bincount(rows, minlength=n_neurons) / max(1, len(activity.bins.first))
    # an ensemble that makes up most of its neurons' activity would be no more than chance by the share of all activity; one more
    # each, so that those with little activity besides are not beyond chance wherever they take part
    outside = np.bincount(rows[~_inside_events(recording)[bins]], minlength=n_neurons) + (chance > 0)
    propensity = outside / max(1, outside.sum())
    tree = make_tree(distances(participation), linkage)
    return _Search(recording, participation, activity, chance, propensity, tree, linkage, cut, variance, min_events, seed)


def _inside_events(recording: xr.Dataset) -> np.ndarray:
    """Return which bins hold a moment of an ensemble event, or lie beside one that does."""
    time, start = recording["bin_time"].values, recording["ensemble_event_start"].values
    half = float(recording["coactivity"].attrs["bin_width_s"]) / 2
    first = np.searchsorted(time, start - half)
    last = np.searchsorted(time, start + recording["ensemble_event_duration"].values + half, side="right")
    edges = np.zeros(len(time) + 1, np.int64)
    np.add.at(edges, np.maximum(first - 1, 0), 1)
    np.add.at(edges, np.minimum(last + 1, len(time)), -1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def _check(method: str, cut: str | int | float, linkage: str, variance: float, min_events: int, compare: bool, seed: int) -> None:
    choose(METHODS, str(method), "method")
    choose(dict.fromkeys(LINKAGES), str(linkage), "linkage")
    if isinstance(cut, str) and cut not in CUTS:
        raise CalciumError(f"unknown cut {cut!r}; choose one of {', '.join(CUTS)}, a number of clusters or a distance below 1")
    numbers = {"cut": cut, "variance": variance, "min_events": min_events, "seed": seed, "compare": compare}
    check_arguments(find_ensembles, {name: plain(value) for name, value in numbers.items()})
    if not isinstance(cut, str) and not (np.isfinite(cut) and cut > 0 and (cut == int(cut) or cut < 1)):
        raise CalciumError(f"cut is {cut}, but must be a whole number of clusters, or a distance between 0 and 1")
    if not 0.0 < variance < 1.0:
        raise CalciumError(f"variance is {variance}, but must be between 0 and 1; 0.8 is usual")
    if min_events < 1:
        raise CalciumError(f"min_events is {min_events}, but must be at least 1; 5 is usual")
    if not 0 <= seed < 2**63:
        raise CalciumError(f"seed is {seed}, but must be 0 or more, and below 2^63")


def _compare(search: _Search, method: str, found: _Found) -> dict[str, Any]:
    """Find ensembles by the other method too, and say how far the two agree; nothing where it cannot be tried."""
    other = "ica" if method == "jaccard" else "jaccard"
    work = float(len(search.chance)) ** 2 * len(search.activity.bins.first)
    if other == "ica" and ("deconvolved" not in search.recording.variables or work > COMPARED_WORK):
        return {}
    cores = METHODS[other](search).cores
    agreement = best_match(found.cores, cores)
    disagree = agreement < AGREEMENT  # where neither finds any, there is no number, and no disagreement
    nearest = overlap(found.cores, cores).max(axis=1) if len(cores) else np.zeros(len(found.cores))
    counts = f"'{method}' finds {_several(len(found.cores))} and '{other}' {_several(len(cores))}"
    match = f": Best Match {agreement:.2f} (1: the same neurons, 0: none in common)" if np.isfinite(agreement) else ""
    verdict = "The two methods disagree" if disagree else "The two methods agree"
    return {
        "compared_is_core": cores,
        "compared_match": nearest,
        "compared_method": other,
        "compared_best_match": None if np.isnan(agreement) else agreement,
        "methods_disagree": disagree,
        "compared": f"{verdict}: {counts}{match}.",
    }


def _several(n: int) -> str:
    return "none" if n == 0 else "1 ensemble" if n == 1 else f"{n} ensembles"


def _describe(search: _Search, found: _Found) -> dict[str, np.ndarray]:
    """Who takes part in each ensemble and how often it is active, in which order, and what follows it."""
    recording, n = search.recording, len(found.cores)
    members = members_of(search.participation, found.labels, n, search.core)
    counts = np.bincount(found.labels[found.labels > 0], minlength=n + 1)[1:]
    minutes = recording.sizes["frame"] / sampling_rate(recording) / 60.0
    match = np.full(len(found.labels), np.nan)
    own = found.labels > 0
    if own.any():
        match[own] = overlap(search.participation[own], found.cores)[np.arange(own.sum()), found.labels[own] - 1]
    width = float(recording["coactivity"].attrs["bin_width_s"])
    return {
        "ensemble_event_label": found.labels,
        "ensemble_event_match": match,
        "membership": members.share,
        "membership_pvalue": members.pvalue,
        "is_core": found.cores,
        "is_peripheral": peripheral(members, found.cores),
        "ensemble_size": found.cores.sum(axis=1),
        "ensemble_event_count": counts,
        "ensemble_rate": counts / minutes,
        "ensemble_stability": found.stability(),
        "ensemble_activation": found.activation.astype(np.float32),
        "is_activated": found.activated,
        "ensemble_activation_count": stretches(found.activated, search.activity.bins.epoch),
        "pattern_completion": pattern_completion(core_activity(search.activity, found.cores), found.cores, search.chance),
        **recruitment(recording, search.participation, found.labels, found.cores, width),
        **transitions(recording, found.labels, n, search.seed),
    }


def _assemble(recording: xr.Dataset, table: dict[str, np.ndarray], summary: dict[str, Any]) -> xr.Dataset:
    """Label the results and note how they were found."""
    result = recording.assign({name: var(name).wrap(values) for name, values in table.items()})
    result["ensemble_event_label"].attrs.update({key: plain(value) for key, value in summary.items() if value is not None})
    coords = {"ensemble_event_other": recording["ensemble_event"].values}
    coords |= {name: np.arange(1, result.sizes["ensemble"] + 1) for name in ("ensemble", "ensemble_other")}
    if "compared_is_core" in table:
        coords["compared_ensemble"] = np.arange(1, result.sizes["compared_ensemble"] + 1)
    return result.assign_coords(coords)
