"""The Poisson-binomial law: how many of independent trials succeed, each with a probability of its own.

Every trial turns the law f of those before it into f ← f · (1 − p) + shift(f) · p. All terms are positive, so that nothing
cancels: the far tail has the same relative precision as the centre.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel

TINY = 1e-300  # what is smaller, near the end of what float64 can hold, is dropped


@inline
def _add_trial(law, low, high, p):
    """Add a trial to a law whose entries low to high are not 0; return their new ends. The last entry stands for 'or more'."""
    U = np.uint64
    q, last = 1.0 - p, law.shape[0] - 1
    before = 0.0
    for k in range(low, min(high + 1, last)):
        here = law[U(k)]
        law[U(k)] = here * q + before * p
        before = here
    if high < last:
        high += 1
    law[high] += before * p
    while low < high and law[low] < TINY:
        law[low] = 0.0
        low += 1
    while low < high < last and law[high] < TINY:
        law[high] = 0.0
        high -= 1
    return low, high


@inline
def _fill_law(probabilities, law):
    """Write the law of the trials into `law`, whose last entry stands for 'or more'."""
    law[:] = 0.0
    law[0] = 1.0
    low, high = 0, 0
    for p in probabilities:
        if p > 0.0:
            low, high = _add_trial(law, low, high, p)


@inline
def _tail(probabilities, count, scratch):
    """Chance of at least `count` successes."""
    if count <= 0:
        return 1.0
    if count > probabilities.shape[0]:
        return 0.0
    law = scratch[: count + 1]
    _fill_law(probabilities, law)
    return law[count]


@kernel
def _laws(probabilities, out):
    for row in prange(probabilities.shape[0]):
        _fill_law(probabilities[row], out[row])


@kernel
def _tails(probabilities, counts, out):
    for row in prange(probabilities.shape[0]):
        scratch = np.empty(probabilities.shape[1] + 1)
        out[row] = min(_tail(probabilities[row], counts[row], scratch), 1.0)


@kernel
def _local_laws(positions, offsets, centres, reach, total, scale, rest, out):
    """Law of the count in each bin where each neuron's chance rests on its positions within `reach` of the bin.

    `positions[offsets[i]:offsets[i + 1]]` are neuron i's, ascending; n of them lie within reach. Its chance is n · scale, or,
    with `rest`, (total[i] − n) · scale.
    """
    n_neurons, n_bins = offsets.shape[0] - 1, centres.shape[0]
    block = 64
    for part in prange((n_bins + block - 1) // block):
        first, last = np.empty(n_neurons, np.int64), np.empty(n_neurons, np.int64)
        start = centres[part * block]
        for i in range(n_neurons):
            own = positions[offsets[i] : offsets[i + 1]]
            first[i] = offsets[i] + np.searchsorted(own, start - reach)
            last[i] = first[i]
        for b in range(part * block, min(n_bins, (part + 1) * block)):
            law = out[b]
            law[:] = 0.0
            law[0] = 1.0
            low, high = 0, 0
            for i in range(n_neurons):
                stop = offsets[i + 1]
                while first[i] < stop and positions[first[i]] < centres[b] - reach:
                    first[i] += 1
                while last[i] < stop and positions[last[i]] <= centres[b] + reach:
                    last[i] += 1
                n = last[i] - first[i]
                p = ((total[i] - n) if rest else n) * scale
                if p > 0.0:
                    low, high = _add_trial(law, low, high, min(p, 1.0))


def local_laws(
    positions: np.ndarray,
    offsets: np.ndarray,
    centres: np.ndarray,
    reach: int,
    n_counts: int,
    *,
    totals: np.ndarray | None = None,
    outside: int = 0,
) -> np.ndarray:
    """Law of the coactivity in each bin when a neuron's chance is its share of the places near the bin, or away from it.

    Args:
        positions: places at which a window holds the neuron's activity, ascending, of all neurons one after the other.
        offsets: neuron i's are `positions[offsets[i]:offsets[i + 1]]`.
        centres: each bin's place, ascending.
        reach: a neuron with n places among the 2 · reach + 1 around the bin is active with probability n / (2 · reach + 1).
        n_counts: entries of a law; the last stands for so many or more.
        totals: places of each neuron, and
        outside: among how many; with a positive number those count that do not lie near the bin.

    Returns:
        bin × count.
    """
    out = np.empty((len(centres), n_counts))
    scale = 1.0 / outside if outside else 1.0 / (2 * reach + 1)
    arrays = (np.ascontiguousarray(array, np.int64) for array in (positions, offsets, centres))
    totals = np.zeros(len(offsets) - 1, np.int64) if totals is None else np.asarray(totals, np.int64)
    _local_laws(*arrays, int(reach), totals, scale, bool(outside), out)
    return out


def _checked(probabilities: np.ndarray) -> np.ndarray:
    """Return the probabilities as float64, trials along the last axis, once they are known to be some."""
    if np.ndim(probabilities) == 0:
        raise ValueError("probabilities need at least one axis, that of the trials, but this is a single number")
    array = np.ascontiguousarray(probabilities, np.float64)
    if not ((array >= 0.0) & (array <= 1.0)).all():
        worst = array[~((array >= 0.0) & (array <= 1.0))][0]
        raise ValueError(f"probabilities must lie between 0 and 1, but one is {worst}")
    return array


def poisson_binomial_pmf(probabilities: np.ndarray) -> np.ndarray:
    """Distribution of the number of successes among independent trials with unequal probabilities.

    It is the exact law of the coactivity in a bin under independent uniform circular shifts, where neuron i, active in k_i of B
    bins, is active in any given bin with probability k_i / B.

    Its relative error is at most 4 n rounding errors (1e-15 each), from the centre down to 1e-290: entries below 1e-300 are
    dropped on the way, which together changes no entry by over 2 n · 1e-300. Time goes with n times the number of counts that are
    not dropped: some 10 ms for 10 000 trials, a tenth of a second for 100 000.

    Args:
        probabilities: (..., n), each from 0 to 1; leading axes hold laws of their own, such as one for each bin.

    Returns:
        (..., n + 1): probability of 0, 1, ..., n successes.

    Raises:
        ValueError: a probability is not between 0 and 1.

    >>> poisson_binomial_pmf(np.array([0.5, 0.5]))
    array([0.25, 0.5 , 0.25])
    """
    array = _checked(probabilities)
    rows = array.reshape(int(np.prod(array.shape[:-1])), array.shape[-1])
    out = np.empty((len(rows), array.shape[-1] + 1))
    (_laws if len(rows) > 1 else _laws.serial)(rows, out)  # one law is done before other threads have woken
    return out.reshape(*array.shape[:-1], array.shape[-1] + 1)


def poisson_binomial_law(probabilities: np.ndarray, n_counts: int) -> np.ndarray:
    """Return the first entries of `poisson_binomial_pmf`, the last of them standing for so many successes or more."""
    out = np.empty((1, n_counts))
    _laws.serial(_checked(probabilities)[None], out)
    return out[0]


def poisson_binomial_sf(probabilities: np.ndarray, counts: np.ndarray | int | None = None) -> np.ndarray:
    """Chance of at least so many successes among independent trials with unequal probabilities.

    A tail is a sum of positive terms from its far end, as precise as the law itself (see `poisson_binomial_pmf`).

    Args:
        probabilities: (..., n), each from 0 to 1.
        counts: (...), whole numbers, or one for all; only the chance of at least so many is worked out, in as many steps as n
            times the count. By default all of them.

    Returns:
        (..., n + 1): chance of at least 0, 1, ..., n successes; with `counts`, (...): of at least so many.

    Raises:
        ValueError: a probability is not between 0 and 1, or the counts do not go with them.

    >>> poisson_binomial_sf(np.array([0.5, 0.5]))
    array([1.  , 0.75, 0.25])
    >>> poisson_binomial_sf(np.array([[0.5, 0.5], [0.1, 0.1]]), 2)
    array([0.25, 0.01])
    """
    array = _checked(probabilities)
    if counts is None:
        law = poisson_binomial_pmf(array)
        return np.minimum(np.cumsum(law[..., ::-1], axis=-1)[..., ::-1], 1.0)
    whole = np.asarray(counts)
    if whole.dtype.kind not in "iu":
        raise ValueError(f"counts must be whole numbers, but these are {whole.dtype}")
    whole = np.minimum(whole, array.shape[-1] + 1).astype(np.int64)  # more than there are trials
    wanted = np.ascontiguousarray(np.broadcast_to(whole, array.shape[:-1]))
    out = np.empty(wanted.size)
    _tails(array.reshape(wanted.size, array.shape[-1]), wanted.reshape(-1), out)
    return out.reshape(array.shape[:-1])  # of one law a single number, which `wanted` holds as an array of one
