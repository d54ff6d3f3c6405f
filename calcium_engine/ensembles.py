"""Ensembles: groups of neurons that come back together, by clustering ensemble events or by independent components."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments, choose
from calcium_engine.clustering import CUTS, LINKAGES, explained_variance
from calcium_engine.dynamics import core_activity, pattern_completion, recruitment, stretches, transitions
from calcium_engine.ensemble_methods import METHODS, Found, Search, make_search
from calcium_engine.kernels import jaccard_similarity
from calcium_engine.membership import best_match, members_of, overlap, peripheral
from calcium_engine.schema import Attr, CalciumError, fresh, plain, record, sampling_rate, var

COMPARED_WORK = 2e10  # neurons² × bins, above which the other method is left out
AGREEMENT = 0.5  # Best Match of two methods, under which they disagree


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
            out where neurons² × bins are over 2·10¹⁰, as of 1000 neurons in 20 000 bins, which is noted too.
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
    search = make_search(recording, cut, linkage, variance, min_events, seed)
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
    return METHODS["jaccard"](make_search(recording, cut, linkage, variance, min_events, seed)).cores


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


def _compare(search: Search, method: str, found: Found) -> dict[str, Any]:
    """Find ensembles by the other method too, and say how far the two agree; nothing where it cannot be tried."""
    other = "ica" if method == "jaccard" else "jaccard"
    work = float(len(search.chance)) ** 2 * len(search.activity.bins.first)
    if other == "ica" and "deconvolved" not in search.recording.variables:
        return {}
    if other == "ica" and work > COMPARED_WORK:
        size = f"{len(search.chance):,} neurons in {len(search.activity.bins.first):,} bins"
        return {"compared": f"The other method, 'ica', was not tried: of {size} it would take long, and all pairs of neurons."}
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


def _describe(search: Search, found: Found) -> dict[str, np.ndarray]:
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
