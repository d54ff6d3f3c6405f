"""Pairs of neurons: which are active together in more bins than every shift of one against the other explains."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.coactivity import Activity, activity_of, joined
from calcium_engine.kernels import pair_overlaps
from calcium_engine.schema import COORDINATES, CalciumError, fresh, plain, record, var

MOST_NEURONS = 5000  # seven matrices take 45 bytes a pair: 1.1 GB, and half as much again while they are made
ROUNDING = 1e-7  # of the mean similarity; a smaller deviation is what floating point leaves of none


def compute_pairwise(recording: xr.Dataset, *, alpha: float = 0.05) -> xr.Dataset:
    """Find the pairs of neurons that are active together in more bins than chance explains.

    By chance, one neuron is shifted round the recording against the other by any number of bins, all equally likely, which keeps
    both rates and bursts, and breaks their timing. There are as many relative shifts as bins B, and each of them is looked at:
    p-values, means and standard deviations are exact, and nothing is drawn at random. Epochs are joined for it. Rates that rise
    and fall together over tens of seconds are not in this null, and can pass for synchrony.

    Two neurons that share m of k1 and k2 active bins have the Jaccard similarity J = m / (k1 + k2 - m). It grows with rates; what
    is above its mean E over all shifts does not.

    Args:
        recording: with events and `coactivity`, whose bins and source are taken; a neuron counts once a bin.
        alpha: false-discovery rate among the significant pairs; 0.05 is the field's habit.

    Returns:
        The recording with, for each pair (neuron × neuron_other, symmetric): `pair_overlap`, bins in which both are active (on
        the diagonal: in which the neuron is); `pair_jaccard`, J; `pair_jaccard_adjusted`, (J - E) / (1 - E): 0 by chance, 1 for
        neurons that are always together; `pair_z`, (J - E) / SD over all shifts; `pair_pvalue`, the share of shifts with at least
        this overlap, the recorded one included and so at least 1 / B; `pair_qvalue` (Benjamini-Hochberg over pairs);
        `is_pair_significant` (q <= alpha).

        A pair of which a neuron is never active has nothing to test: it is NaN, as is the diagonal, and is not among the tests.
        `pair_z` is NaN, too, where the overlap is the same at every shift.

        Attributes of `is_pair_significant`: `alpha`; `n_tests`; `significant_pairs`; `smallest_pvalue` = 1 / B; and
        `fewest_significant`, n_tests / (B alpha): so many pairs can be significant together, but no fewer. Among many pairs and
        few bins a single one cannot be, however strong; `pair_z` tells more then.

    Raises:
        MissingVariableError: coactivity was not computed yet.
        CalciumError: alpha is out of range; bins are not of whole frames one after the other, so that shifted bins would not lie
            on bins; more than 5000 neurons, of which the matrices would take gigabytes.

    Source: the correction for chance has the form of Hubert & Arabie (1985), J. Classification 2:193; the false-discovery rate
        is that of Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289.
    """
    recording = fresh(recording, "compute_pairwise")
    check_arguments(compute_pairwise, {"alpha": plain(alpha)})
    if not 0.0 < alpha < 1.0:
        raise CalciumError(f"alpha is {alpha}, but must be between 0 and 1")
    activity = activity_of(recording)
    if not activity.bins.by_bin:
        binning = recording["coactivity"].attrs["binning"]
        raise CalciumError(
            f"the bins are binning={binning!r}, which shifts by whole bins do not bring onto each other; "
            "run compute_coactivity(binning='frames') first"
        )
    n_neurons, n_bins = recording.sizes["neuron"], len(activity.bins.first)
    if n_neurons > MOST_NEURONS:
        raise CalciumError(
            f"there are {n_neurons} neurons, and matrices of all their pairs would take {45e-9 * n_neurons**2:.1f} GB; at most "
            f"{MOST_NEURONS} are taken: select some with .isel(neuron=...), such as those in the core of an ensemble"
        )
    table = _measure(activity, n_neurons, n_bins)
    tested = np.triu(np.isfinite(table["pair_pvalue"]), 1)
    table["pair_qvalue"] = _qvalues(table["pair_pvalue"], tested)
    significant = table["pair_qvalue"] <= alpha
    n_tests = int(np.count_nonzero(tested))
    summary = {
        "alpha": float(alpha),
        "n_tests": n_tests,
        "significant_pairs": int(np.count_nonzero(significant)) // 2,
        "smallest_pvalue": 1.0 / n_bins,
        "fewest_significant": math.ceil(n_tests / (n_bins * alpha) - ROUNDING),
    }
    result = recording.assign({name: var(name).wrap(values) for name, values in table.items()})
    result["is_pair_significant"] = var("is_pair_significant").wrap(significant, **summary)
    other = ("neuron_other", recording["neuron"].values, COORDINATES["neuron_other"])
    return record(result.assign_coords(neuron_other=other), "compute_pairwise", alpha=float(alpha))


def _measure(activity: Activity, n_neurons: int, n_bins: int) -> dict[str, np.ndarray]:
    """Return overlap and similarity of all pairs, and what they are against all shifts."""
    rows, bins = joined(activity.neurons_in_bins())
    offsets = np.searchsorted(rows, np.arange(n_neurons + 1))
    active = np.diff(offsets).astype(np.int32)
    overlap, pvalue, expected, deviation = pair_overlaps(bins, offsets, n_bins)
    undefined = (active[:, None] == 0) | (active == 0) | np.eye(n_neurons, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        jaccard = overlap / (active[:, None] + active - overlap)
        above = jaccard - expected
        z = np.where(deviation > ROUNDING * expected, above / deviation, np.nan)
        above /= 1.0 - expected  # 0 / 0 where both are active in every bin
    for values in (jaccard, above, z, pvalue):
        values[undefined] = np.nan
    np.fill_diagonal(overlap, active)
    return {
        "pair_overlap": overlap,
        "pair_jaccard": jaccard,
        "pair_jaccard_adjusted": above,
        "pair_z": z,
        "pair_pvalue": pvalue,
    }


def _qvalues(pvalues: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return the false-discovery rate of each pair (Benjamini-Hochberg over the tested ones above the diagonal), both ways."""
    from scipy.stats import false_discovery_control

    qvalues = np.full(pvalues.shape, np.nan)
    if tested.any():
        qvalues[tested] = qvalues.T[tested] = false_discovery_control(pvalues[tested], method="bh")
    return qvalues
