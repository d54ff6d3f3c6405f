"""Independent components of the population's activity: ensembles as directions in which neurons vary together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from calcium_engine.blocks import gather
from calcium_engine.coactivity import Bins
from calcium_engine.dynamics import ACTIVATION_ALPHA
from calcium_engine.schema import CalciumError, var
from calcium_engine.spectra import DIGITS, largest_eigenvalue, shifted

FLOOR = 0.25  # SD over the mean; activity below says little of what a neuron does together with others
STEPS = 256.0  # of activity per SD: whole numbers, whose products are exact
SHUFFLES = 10
SPREADS = 4.0  # SD over the mean of the largest eigenvalue of shuffles, where a component begins; of 25 independent neurons in
# 300 bins, 8 recordings in 1000 have one
MEMBER_SPREADS = 1.75  # SD over the mean weight
TWO_CLASSES = 0.77  # of the variance lies between two classes of weights: 0.64 for normal ones, 0.75 for evenly spread ones
MOST_NEURONS = 20_000
ITERATIONS = 1000


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the correlation matrix, largest first, those over the level of shuffles, and their vectors (row each)."""

    values: np.ndarray
    level: float
    vectors: np.ndarray


def binned_activity(recording: xr.Dataset, bins: Bins) -> np.ndarray:
    """Deconvolved activity of each neuron in each bin, its part under a quarter of a standard deviation over the mean off.

    Standardised, as whole numbers of 1/256 SD; a neuron that does nothing is 0.
    """
    traces = var("deconvolved").check(recording)
    if traces.sizes["neuron"] > MOST_NEURONS:
        raise CalciumError(
            f"independent components of {traces.sizes['neuron']} neurons need a matrix of all their pairs; at most "
            f"{MOST_NEURONS} are taken: select some, or take method='jaccard'"
        )

    def binned(rows: np.ndarray) -> np.ndarray:
        total = np.zeros((rows.shape[0], rows.shape[1] + 1))
        np.cumsum(np.nan_to_num(rows), axis=1, out=total[:, 1:])
        high = np.maximum(_standardized(total[:, bins.first + bins.width] - total[:, bins.first]) - FLOOR, 0.0)
        return np.asarray(np.rint(STEPS * _standardized(high)))

    return np.concatenate(gather(binned, traces))


def apart(bins: Bins) -> np.ndarray:
    """Return bins that do not overlap: all, or every so many of sliding ones."""
    if bins.by_bin or len(bins.first) < 2 or bins.first[1] >= bins.first[0] + bins.width[0]:
        return np.arange(len(bins.first))
    start = bins.first[np.searchsorted(bins.epoch, bins.epoch)]
    return np.flatnonzero((bins.first - start) % bins.width[0] == 0)


def _standardized(rows: np.ndarray) -> np.ndarray:
    spread = rows.std(axis=1, keepdims=True)
    return np.asarray(np.where(spread > 1e-12, (rows - rows.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12), 0.0))


def _correlation(activity: np.ndarray) -> np.ndarray:
    return np.asarray((activity @ activity.T) / (STEPS**2 * activity.shape[1]))


def spectrum(activity: np.ndarray, seed: int) -> Spectrum:
    """Find the components that stand out from those of neurons shifted against each other.

    The largest eigenvalue of each shuffle is known to within little, so that a few give its mean and spread. (The edge of the
    Marchenko-Pastur law holds for white activity alone: bursts, and transients longer than a bin, put dozens beyond it.)
    """
    largest = [largest_eigenvalue(_correlation(one)) for one in shifted(activity, SHUFFLES, seed)]
    level = float(np.round(np.mean(largest) + SPREADS * np.std(largest, ddof=1), DIGITS))
    values, vectors = _eigen(_correlation(activity))
    return Spectrum(values, level, vectors[values > level])


def _eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and their vectors (row each), whose last digits do not depend on the number of threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        values, vectors = np.linalg.eigh(matrix)
    return np.round(values[::-1], DIGITS), np.ascontiguousarray(vectors.T[::-1])


def leading(activity: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """Return the weights of so many independent components, whether or not they stand out."""
    return rotate(_eigen(_correlation(activity))[1][:n_components], activity, seed)


def rotate(vectors: np.ndarray, activity: np.ndarray, seed: int) -> np.ndarray:
    """Turn principal components into independent ones; weights (component × neuron) of unit length, the heavier side positive."""
    if not len(vectors):
        return vectors
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    weights = vectors
    if len(vectors) > 1:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what is found after so many turns is as good as any
            projected = vectors @ activity
            projected /= np.maximum(projected.std(axis=1, keepdims=True), 1e-12)
            ica = FastICA(whiten=False, random_state=seed % 2**32, max_iter=ITERATIONS, tol=1e-5)
            weights = ica.fit(projected.T).components_ @ vectors
    weights = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    return np.asarray(weights * np.where((weights**3).sum(axis=1) < 0, -1.0, 1.0)[:, None])


def members(weights: np.ndarray) -> np.ndarray:
    """Return who weighs much (component × neuron): over mean + 1.75 SD, or over the split of two classes where that is lower.

    An ensemble of many of the neurons widens the spread by which they are judged. The split that leaves the least variance within
    two classes (Otsu 1979, IEEE Trans Syst Man Cybern 9:62) is taken where there are two: where little is left.
    """
    if weights.shape[1] < 2:
        return np.zeros(weights.shape, bool)
    ordered = np.sort(weights, axis=1)
    n, below = weights.shape[1], np.arange(1, weights.shape[1])
    sums = np.cumsum(ordered, axis=1)
    between = below * (n - below) * (sums[:, :-1] / below - (sums[:, -1:] - sums[:, :-1]) / (n - below)) ** 2
    split = np.take_along_axis(ordered, between.argmax(axis=1)[:, None], axis=1)  # the heaviest of the light ones
    parted = between.max(axis=1) >= TWO_CLASSES * n**2 * weights.var(axis=1)
    spread = weights.mean(axis=1, keepdims=True) + MEMBER_SPREADS * weights.std(axis=1, keepdims=True)
    return np.asarray(weights > np.where(parted[:, None], np.minimum(spread, split), spread))


def activation(weights: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Activation of each component in each bin: what pairs of neurons add to it.

    The square of the projection less the neurons' own squares (Lopes-dos-Santos et al. 2013, J Neurosci Methods 220:149), where
    the projection is positive.
    """
    z = activity / STEPS
    projection = weights @ z
    return np.asarray(np.where(projection > 0, projection**2 - weights**2 @ z**2, 0.0))


def activated(weights: np.ndarray, activity: np.ndarray, thinned: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each component's activation in units of its spread by chance, and the bins in which it is over chance.

    Chance is told from the bins that do not overlap.
    """
    from scipy.stats import false_discovery_control

    observed = activation(weights, activity)
    chance = np.concatenate([activation(weights, one) for one in shifted(thinned, SHUFFLES, seed)], axis=1)
    over = np.zeros(observed.shape, bool)
    for row, (mine, null) in enumerate(zip(observed, np.sort(chance, axis=1), strict=True)):
        pvalue = (1 + len(null) - np.searchsorted(null, mine, side="left")) / (1 + len(null))
        over[row] = (false_discovery_control(pvalue) <= ACTIVATION_ALPHA) & (mine > 0)
    return observed / np.maximum(chance.std(axis=1, keepdims=True), 1e-12), over
