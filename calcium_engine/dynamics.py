"""What ensembles do over time: when they are active, in which order they recruit their neurons, and which follows which."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.coactivity import Activity
from calcium_engine.events import event_rows
from calcium_engine.kernels import poisson_binomial_pmf, poisson_binomial_sf
from calcium_engine.schema import epoch_bounds, var

ACTIVATION_ALPHA = 0.05  # false-discovery rate among bins
TRIGGER = 0.2  # share of the core that is seen active
COMPLETED = 0.5  # share of the core that is active then
SHUFFLES = 1000  # of the order of events
FEW = 5  # events, fewer of which show no order


def core_activity(activity: Activity, cores: np.ndarray) -> np.ndarray:
    """Count the core neurons that are active in each bin (ensemble × bin)."""
    n_bins = len(activity.bins.first)
    counts = np.zeros((len(cores), n_bins), np.int64)
    for rows, bins in activity.neurons_in_bins():
        for count, core in zip(counts, cores, strict=True):
            count += np.bincount(bins[core[rows]], minlength=n_bins)
    return counts


def over_chance(counts: np.ndarray, cores: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the bins in which more of a core is active than independent neurons give (false-discovery rate, each ensemble).

    `chance` is each neuron's share of bins; the number of independent neurons that are active is Poisson-binomial.
    """
    from scipy.stats import false_discovery_control

    over = np.zeros(counts.shape, bool)
    for row, (count, core) in enumerate(zip(counts, cores, strict=True)):
        pvalue = poisson_binomial_sf(chance[core])[count]
        over[row] = (false_discovery_control(np.minimum(pvalue, 1.0)) <= ACTIVATION_ALPHA) & (count > 1)
    return over


def stretches(activated: np.ndarray, epoch: np.ndarray) -> np.ndarray:
    """Count the runs of bins, none across epochs, in which each ensemble is activated."""
    begins = activated.copy()
    begins[:, 1:] &= ~activated[:, :-1] | (np.diff(epoch) != 0)
    return np.asarray(begins.sum(axis=1))


def pattern_completion(counts: np.ndarray, cores: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Chance that half the core is active, given that a random fifth of it is, less the same of independent neurons.

    Over all fifths at once: in a bin with k of n core neurons active, C(k, f) of the C(n, f) sets of f are.
    """
    completion = np.full(len(cores), np.nan)
    for row, (count, core) in enumerate(zip(counts, cores, strict=True)):
        n = int(core.sum())
        observed = np.bincount(count, minlength=n + 1).astype(np.float64)
        completion[row] = _completed(observed, n) - _completed(poisson_binomial_pmf(chance[core]), n)
    return completion


def _completed(law: np.ndarray, n: int) -> float:
    """Return the chance of at least half, by a law (or histogram) of how many are active, given a fifth."""
    from scipy.special import comb

    active = np.arange(n + 1)
    weight = law * comb(active, max(1, round(TRIGGER * n)))
    return float(weight[active >= COMPLETED * n].sum() / weight.sum()) if weight.sum() > 0 else np.nan


def recruitment(
    recording: xr.Dataset, participation: np.ndarray, labels: np.ndarray, cores: np.ndarray, bin_width: float
) -> dict[str, np.ndarray]:
    """Order in which the core neurons of each ensemble become active in its events.

    Latency is from the median onset of the core neurons that take part; a neuron's onset in an event is the one nearest to the
    event, no more than a bin outside it. Ranks within each event, ties shared, centred: Kendall's W is the share of their sum of
    squares that lies between neurons (which it is where every neuron takes part in every event). Its chance is that of a chi
    square of the same incomplete ranks (after Skillings & Mack 1981, Technometrics 23:171, but with every rank weighing the
    same); with five events it is rather too large.
    """
    shape = cores.shape
    table = {
        "recruitment_latency": np.full(shape, np.nan),
        "recruitment_consistency": np.full(shape[0], np.nan),
        "recruitment_pvalue": np.full(shape[0], np.nan),
    }
    if "event_onset" not in recording.variables or not len(cores):
        return table
    members = np.flatnonzero(cores.any(axis=0))
    onset = _nearest_onsets(recording, participation, members, bin_width)
    for row, core in enumerate(cores):
        own = onset[np.ix_(labels == row + 1, core[members])]
        own = own[np.isfinite(own).sum(axis=1) >= 2]
        if len(own) < FEW:
            continue
        latency = own - np.nanmedian(own, axis=1, keepdims=True)
        seen = np.isfinite(latency).any(axis=0)
        columns = np.flatnonzero(core)[seen]
        table["recruitment_latency"][row, columns] = np.nanmedian(latency[:, seen], axis=0)
        consistency, pvalue = concordance(latency[:, seen])
        table["recruitment_consistency"][row], table["recruitment_pvalue"][row] = consistency, pvalue
    return table


def _nearest_onsets(recording: xr.Dataset, participation: np.ndarray, members: np.ndarray, bin_width: float) -> np.ndarray:
    """Onset of each of these neurons nearest to the middle of the ensemble event (event × member, s); NaN if not taking part."""
    rows, onset = event_rows(recording), var("event_onset").check(recording).values
    centre = recording["ensemble_event_time"].values
    start = recording["ensemble_event_start"].values
    stop = start + recording["ensemble_event_duration"].values
    own = np.isin(rows, members)
    rows, onset = rows[own], onset[own]
    order = np.lexsort((onset, rows))
    rows, onset = rows[order], onset[order]
    first = np.searchsorted(rows, np.arange(participation.shape[1] + 1))
    found = np.full((len(participation), len(members)), np.nan)
    for column, neuron in enumerate(members):
        own = onset[first[neuron] : first[neuron + 1]]
        events = np.flatnonzero(participation[:, neuron])
        if not (len(own) and len(events)):
            continue
        after = np.clip(np.searchsorted(own, centre[events]), 0, len(own) - 1)
        before = np.maximum(after - 1, 0)
        near = np.where(np.abs(own[after] - centre[events]) < np.abs(own[before] - centre[events]), own[after], own[before])
        inside = (near >= start[events] - bin_width) & (near <= stop[events] + bin_width)
        found[events[inside], column] = near[inside]
    return found


def concordance(values: np.ndarray) -> tuple[float, float]:
    """Kendall's W of the ranks within each row (event × neuron, NaN: missing), and its chance where the order is random."""
    from scipy.special import chdtrc
    from scipy.stats import rankdata

    ranks = np.zeros(values.shape)
    n = values.shape[1]
    covariance = np.zeros((n, n))
    for event, row in enumerate(values):
        there = np.flatnonzero(np.isfinite(row))
        if len(there) < 2:
            continue
        ranks[event, there] = rankdata(row[there]) - (len(there) + 1) / 2
        spread = (ranks[event, there] ** 2).sum() / (len(there) - 1)
        covariance[np.ix_(there, there)] += spread * (np.eye(len(there)) - 1 / len(there))
    total, sums, many = (ranks**2).sum(), ranks.sum(axis=0), np.isfinite(values).sum(axis=0)
    if total == 0:
        return np.nan, np.nan
    statistic = float(sums @ np.linalg.pinv(covariance, hermitian=True) @ sums)
    freedom = int(np.linalg.matrix_rank(covariance, hermitian=True))
    consistency = float((sums**2 / np.maximum(many, 1)).sum() / total)
    return round(consistency, 9), float(np.round(chdtrc(freedom, max(statistic, 0.0)), 12))


def transitions(recording: xr.Dataset, labels: np.ndarray, n_ensembles: int, seed: int) -> dict[str, np.ndarray]:
    """Count how often each ensemble is the next one after each, within an epoch; compare with the events in random order.

    In random order the number of times that b comes right after a is hypergeometric: as many of the b, of n events, as of the n_a
    places after an a (of n_a - 1 where b is a). Both that chance and the expected number are exact; where there are gaps, pairs
    across them are not seen, and the chance is an upper bound. `sequence_entropy` is the uncertainty of the next ensemble given
    the last one, in bits, and its chance that of an order with so little, among 1000.
    """
    from scipy.stats import hypergeom

    shape = (n_ensembles, n_ensembles)
    own = labels > 0
    sequence = labels[own] - 1
    starts = recording["time"].values[epoch_bounds(recording)[1:-1]]
    epoch = np.searchsorted(starts, recording["ensemble_event_time"].values[own], side="right")
    follows = np.diff(epoch) == 0
    n, pairs = len(sequence), int(follows.sum())
    if not pairs:
        return {
            "transition_count": np.zeros(shape, np.int64),
            "transition_expected": np.zeros(shape),
            "transition_pvalue": np.ones(shape),
            "sequence_entropy": np.asarray(np.nan),
            "sequence_entropy_pvalue": np.asarray(np.nan),
        }

    def count(order: np.ndarray) -> np.ndarray:
        steps = order[:-1][follows] * n_ensembles + order[1:][follows]
        return np.bincount(steps, minlength=n_ensembles**2).reshape(shape)

    observed, rng = count(sequence), np.random.default_rng(seed)
    many = np.bincount(sequence, minlength=n_ensembles).astype(np.float64)
    expected = pairs * (np.outer(many, many) - np.diag(many)) / (n * (n - 1))
    entropy = _entropy(observed)
    as_certain = sum(_entropy(count(rng.permutation(sequence))) <= entropy + 1e-9 for _ in range(SHUFFLES))
    return {
        "transition_count": observed,
        "transition_expected": expected,
        "transition_pvalue": hypergeom.sf(observed - 1, n, np.maximum(many[:, None] - np.eye(n_ensembles), 0), many[None, :]),
        "sequence_entropy": np.asarray(entropy),
        "sequence_entropy_pvalue": np.asarray((1 + as_certain) / (1 + SHUFFLES)),
    }


def _entropy(counts: np.ndarray) -> float:
    """Uncertainty of the next given the last, bits."""
    share = counts / counts.sum()
    given = share.sum(axis=1, keepdims=True)
    there = share > 0
    return max(0.0, -float((share[there] * np.log2((share / np.where(given > 0, given, 1.0))[there])).sum()))
