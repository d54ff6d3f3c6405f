"""Who belongs to an ensemble: core and peripheral neurons, by how often they take part in its events."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from calcium_engine.chance import chance_to_take_part

ROWS = 256  # sets at a time
CORE_ALPHA = 0.05  # chance of any core neuron in a group of random events
CORE_SHARE = 0.3
CORE_LEAST = 3  # two neurons make no ensemble
PERIPHERAL_ALPHA = 0.05
MERGE_OVERLAP = 2 / 3  # of a core, over which two are one
DIFFERS = 0.01  # chance of so unequal a participation, under which a neuron tells two groups of events apart
AT_A_GLANCE = 2.0  # standard deviations between two shares; nothing nearer differs by so small a chance
TAKES_PART = 0.05  # chance of the participation of a neuron that takes part in the events of the other


@dataclass(frozen=True)
class Chance:
    """What makes a neuron core: how likely it takes part by chance, and the chance below which participation counts."""

    propensity: np.ndarray  # neuron, share of the population's activity outside ensemble events
    alpha: float
    largest: int  # size of an event

    @functools.cached_property
    def by_size(self) -> np.ndarray:
        """Chance that each neuron takes part in an event of 0, 1, ... neurons (size × neuron)."""
        return chance_to_take_part(self.propensity, np.arange(self.largest + 1))

    def of(self, sizes: np.ndarray) -> np.ndarray:
        """Return the chance that each neuron takes part in an event, on average over events of these sizes."""
        return np.asarray(np.bincount(sizes, minlength=self.largest + 1) @ self.by_size / max(1, len(sizes)))


@dataclass(frozen=True)
class Members:
    """Group × neuron: share of the group's events in which the neuron takes part, the chance of so large a one, core or not."""

    share: np.ndarray
    pvalue: np.ndarray
    core: np.ndarray


def members_of(participation: np.ndarray, labels: np.ndarray, n_groups: int, chance: Chance) -> Members:
    """Judge the neurons of each group of events; labels are 1 to n_groups, others are of none."""
    shape, sizes = (n_groups, participation.shape[1]), participation.sum(axis=1)
    groups = [labels == k for k in range(1, n_groups + 1)]
    hits = np.array([participation[group].sum(axis=0) for group in groups], np.int64).reshape(shape)
    expected = np.array([chance.of(sizes[group]) for group in groups], np.float64).reshape(shape)
    return judge_members(hits, expected, np.array([group.sum() for group in groups], np.int64), chance.alpha)


def judge_members(hits: np.ndarray, expected: np.ndarray, n_events: np.ndarray, alpha: float) -> Members:
    """Judge neurons by the number of events in which each takes part (group × neuron), of so many (group).

    By chance a neuron takes part as independent ones do in events of so many. (Its share of all ensemble events would be no
    chance level: where one ensemble makes up most of them, its own core would fail.) Events are grouped by who takes part, so
    that the chances of a group that was sought for are smaller than they would be of one that was given.
    """
    from scipy.special import bdtrc

    n = np.maximum(n_events, 1)[:, None]
    pvalue = np.where(hits > 0, bdtrc(np.maximum(hits - 1.0, 0.0), n, expected), 1.0)
    return Members(np.asarray(hits / n), pvalue, (pvalue < alpha) & (hits >= CORE_SHARE * n))


def peripheral(members: Members, core: np.ndarray) -> np.ndarray:
    """Return who takes part more than chance explains (false-discovery rate, ensemble by ensemble), but is no core neuron."""
    from scipy.stats import false_discovery_control

    if not members.pvalue.size:
        return np.zeros(core.shape, bool)
    return np.asarray((false_discovery_control(members.pvalue, axis=1) <= PERIPHERAL_ALPHA) & ~core)


def overlap(cores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Jaccard similarity of each set with each of others (set × element, bool); empty sets are like nothing."""
    blocks = [cores[first : first + ROWS] for first in range(0, max(1, len(cores)), ROWS)]
    elements = others.T.astype(np.float64)
    common = np.concatenate([block.astype(np.float64) @ elements for block in blocks])  # whole numbers
    union: np.ndarray = cores.sum(axis=1)[:, None] + others.sum(axis=1)[None, :] - common
    return np.asarray(common / np.maximum(union, 1.0))


def best_match(one: np.ndarray, other: np.ndarray) -> float:
    """Compare two families of sets: 1 where each has its equal in the other, 0 where nothing is shared.

    1 - (sum over one of the distance to the nearest of the other + the same the other way) / (number of both), in Jaccard
    distance (Mölter et al. 2018, BMC Biol 16:143).

    Args:
        one: set × element, bool.
        other: set × element, bool.

    Returns:
        The score; NaN where both families are empty.

    >>> best_match(np.array([[1, 1, 0, 0]], dtype=bool), np.array([[1, 1, 1, 1]], dtype=bool))
    0.5
    """
    if not len(one) or not len(other):
        return 0.0 if len(one) or len(other) else float("nan")
    jaccard = overlap(one, other)
    return float((jaccard.max(axis=1).sum() + jaccard.max(axis=0).sum()) / (len(one) + len(other)))


def _same(members: Members) -> np.ndarray:
    """Group × group: more than two thirds of the core of either take part in the events of the other, beyond chance.

    Where events are few, a core neuron of one need not reach the core of the other, and still be in it. And where members are
    unreliable, events that happen to have the same members make clusters of their own, with a part of the core.
    """
    core, takes_part = members.core.astype(np.float64), (members.pvalue < TAKES_PART).astype(np.float64)
    share = (core @ takes_part.T) / np.maximum(core.sum(axis=1, keepdims=True), 1.0)
    same = (share > MERGE_OVERLAP) | (share.T > MERGE_OVERLAP)
    np.fill_diagonal(same, False)
    return np.asarray(same)


def _distinct(hits: np.ndarray, sizes: tuple[np.ndarray, np.ndarray], chance: Chance) -> bool:
    """Tell whether over a third of the core of either group take part in significantly fewer events of the other.

    Fisher's exact test, neuron by neuron. Clustering puts like events together, so that the halves of one ensemble differ in some
    neurons too; but not in so many of both.
    """
    from scipy.stats import hypergeom

    n_events = np.array([len(one) for one in sizes])
    share, pooled = hits / n_events[:, None], hits.sum(axis=0) / n_events.sum()
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n_events).sum())
    fewer = np.array([share[0] - share[1], share[1] - share[0]]) > AT_A_GLANCE * spread
    if (fewer.sum(axis=1) < 2).any():  # more than a third of three or more
        return False
    members = judge_members(hits, np.array([chance.of(one) for one in sizes]), n_events, chance.alpha)
    for one in (0, 1):
        core = members.core[one]
        unequal = hypergeom.sf(hits[one, core] - 1, n_events.sum(), hits[:, core].sum(axis=0), n_events[one]) < DIFFERS
        if core.sum() < CORE_LEAST or unequal.sum() <= (1 - MERGE_OVERLAP) * core.sum():
            return False
    return not bool(_same(members)[0, 1])


def divide(participation: np.ndarray, tree: np.ndarray, distance: float, min_events: int, chance: Chance) -> np.ndarray:
    """Cut the tree at a distance, and further down where both sides have a core of their own; label of each event, -1: none.

    Two ensembles that share neurons are more alike than random events are, and lie under one branch.
    """
    n, sizes = len(participation), participation.sum(axis=1)
    events: list[list[int]] = [[i] for i in range(n)]  # under each node
    hits: dict[int, np.ndarray] = dict(enumerate(participation))  # of what may yet be joined or compared
    parts: list[list[int]] = [[] for _ in range(n)]  # nodes with enough events into which each falls
    roots = set(range(n))
    for node, (left, right, height, _) in enumerate(tree, start=n):
        if height > distance:
            break  # heights only rise
        a, b = int(left), int(right)
        roots -= {a, b}
        roots.add(node)
        events.append(events[a] + events[b])
        hits[node] = np.add(hits[a], hits[b], dtype=np.int64)
        found = joined = parts[a] + parts[b]
        if len(found) == 2 and len(parts[a]) == 1:
            a, b = found
            if not _distinct(np.array([hits[a], hits[b]]), (sizes[events[a]], sizes[events[b]]), chance):
                found = []
        parts.append(found if len(found) > 1 else [node] if len(events[node]) >= min_events else [])
        for done in {int(left), int(right), *joined} - set(parts[node]):
            hits.pop(done, None)
    labels = np.full(n, -1)
    for label, part in enumerate((part for root in sorted(roots) for part in parts[root]), start=1):
        labels[events[part]] = label
    return labels


def settle(participation: np.ndarray, labels: np.ndarray, min_events: int, chance: Chance) -> np.ndarray:
    """Make ensembles of clusters of events, from 1, the one with the most events; -1: the event is of none.

    Clusters of too few events are none, those of which one's core lies by over two thirds in the other are one, and those with
    too few core neurons are none.
    """
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    kept = names[sizes >= min_events]
    labels = np.where(np.isin(labels, kept), np.searchsorted(kept, labels) + 1, -1)
    n = len(kept)
    members = members_of(participation, labels, n, chance)
    while (pairs := np.argwhere(np.triu(_same(members)))).size:
        common = [overlap(members.core[[one]], members.core[[other]])[0, 0] for one, other in pairs]
        first, second = pairs[int(np.argmax(common))]
        labels[labels == second + 1] = first + 1
        labels[labels > second + 1] -= 1
        n -= 1
        members = members_of(participation, labels, n, chance)
    full = [k for k in range(1, n + 1) if members.core[k - 1].sum() >= CORE_LEAST]
    full.sort(key=lambda k: (-np.count_nonzero(labels == k), int(np.argmax(labels == k))))
    ranked = np.full(len(labels), -1)
    for rank, label in enumerate(full, start=1):
        ranked[labels == label] = rank
    return ranked


def first_alike(cores: np.ndarray) -> list[int]:
    """Return the sets that share no more than two thirds, of both, with an earlier one that is kept."""
    kept: list[int] = []
    for k, core in enumerate(cores):
        common = (cores[kept] & core).sum(axis=1) if kept else np.zeros(0)
        larger = np.maximum(cores[kept].sum(axis=1), core.sum()) if kept else np.ones(0)
        if not (common > MERGE_OVERLAP * larger).any():
            kept.append(k)
    return kept
