"""The plain NumPy definition of every kernel: slow, obvious, and what the kernels are held against."""

from itertools import pairwise

import numpy as np


def row_quantile(traces, quantile):
    out = np.full(len(traces), np.nan)
    for i, row in enumerate(traces.astype(np.float64)):
        valid = row[~np.isnan(row)]
        if len(valid):
            out[i] = np.quantile(valid, quantile)
    return out


def row_moments(traces):
    out = np.full((len(traces), 4), np.nan)
    for i, row in enumerate(traces.astype(np.float64)):
        valid = row[~np.isnan(row)]
        out[i, 0] = len(valid)
        if len(valid):
            deviation = valid.std()
            skewness = np.mean((valid - valid.mean()) ** 3) / deviation**3 if deviation > 0 else np.nan
            out[i, 1:] = valid.mean(), deviation, skewness
    return out


def spread_below_mode(traces):
    out = np.full(len(traces), np.nan)
    for i, row in enumerate(traces.astype(np.float64)):
        kept = valid = np.sort(row[~np.isnan(row)])
        if len(valid) < 3:
            continue
        while len(kept) > 3:
            half = (len(kept) + 1) // 2
            start = np.argmin(kept[half - 1 :] - kept[: len(kept) - half + 1])
            kept = kept[start : start + half]
        below = valid[valid < kept.mean()]
        out[i] = np.sqrt(np.mean((below - kept.mean()) ** 2)) if len(below) else 0.0
    return out


def fill_gaps(traces, longest=None):
    out = traces.copy()
    for row in out:
        missing = np.isnan(row)
        if missing.all():
            continue
        frames = np.arange(len(row))
        bridged = np.interp(frames, frames[~missing], row[~missing])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missing, [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if longest is None or stop - start <= longest:
                row[start:stop] = bridged[start:stop]
    return out


def rolling_quantile(traces, window, quantile):
    """The sample of 0-based rank floor(quantile * n) of the n valid ones in the window centred on each frame; edges reflected."""
    before = window // 2
    padded = np.pad(traces, [(0, 0), (before, window - 1 - before)], mode="symmetric")
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1), axis=-1)  # NaN last
    count = np.count_nonzero(~np.isnan(windows), axis=-1)
    rank = np.clip((quantile * count).astype(int), 0, np.maximum(count - 1, 0))
    return np.take_along_axis(windows, rank[..., None], axis=-1)[..., 0]


def masked_baseline(traces, start, noise, *, threshold, dilation, sigma):
    """As the kernel, with the Gaussian over single frames where the kernel pools them first."""
    out = np.empty_like(traces)
    n = traces.shape[1]
    reach = int(4 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    for i, trace in enumerate(traces):
        level = start[i].astype(np.float64)
        for _ in range(3):
            above = trace > level + threshold * noise[i]
            near = np.convolve(above, np.ones(2 * dilation + 1), mode="full")[dilation : dilation + n] > 0.5
            keep = ~(near | np.isnan(trace))
            padded_sum = np.pad(np.where(keep, trace, 0.0), reach, mode="symmetric")
            padded_count = np.pad(keep.astype(float), reach, mode="symmetric")
            weight = np.convolve(padded_count, weights, mode="valid")
            total = np.convolve(padded_sum, weights, mode="valid")
            enough = weight > 0.01 * weights.sum()
            level = np.where(enough, total / np.where(enough, weight, 1.0), level)
        out[i] = level
    return out


def stationary_shrink(traces, noise, wavelet, levels, *, universal=False):
    """Through PyWavelets: continue by the mirror image, transform, soft thresholds, transform back."""
    import pywt

    n = traces.shape[1]
    padding = (len(wavelet.rec_lo) - 1) * (2**levels - 1)
    length = n + 2 * padding
    length += -length % 2**levels
    frames = (np.arange(length) - padding) % (2 * n)
    frames = np.where(frames < n, frames, 2 * n - 1 - frames)
    out = np.empty_like(traces)
    for i, sigma in enumerate(noise):
        coefficients = []
        for smooth, detail in pywt.swt(traces[i, frames].astype(np.float64), wavelet, level=levels):
            excess = np.mean(detail**2) - sigma**2
            threshold = sigma * np.sqrt(2 * np.log(n)) if universal else sigma**2 / np.sqrt(excess) if excess > 0 else np.inf
            coefficients.append((smooth, np.sign(detail) * np.maximum(np.abs(detail) - threshold, 0.0)))
        out[i] = pywt.iswt(coefficients, wavelet)[padding : padding + n]
    return out


def nonnegative_deconvolution(traces, decay):
    """Least squares over activity at every frame, and what was there at the first, none of them negative."""
    from scipy.optimize import lsq_linear

    n = traces.shape[1]
    lag = np.subtract.outer(np.arange(n), np.arange(n))
    response = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0.0)
    # not scipy.optimize.nnls, whose answer was seen to be far from the least squares
    activity = np.array([lsq_linear(response, trace, bounds=(0, np.inf), method="bvls").x for trace in traces.astype(np.float64)])
    activity[:, 0] = 0.0
    return activity


def find_peaks(trace, high, low, separation, shortest, bounds):
    """Peaks of one trace, by splitting each run at every valley deep enough."""
    peaks = []
    for start, stop in pairwise(bounds):
        over = np.concatenate([[False], trace[start:stop] > low, [False]])
        edges = np.flatnonzero(np.diff(over.astype(int))) + start
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            if last - first >= shortest:
                peaks += [first + p for p in _summits(trace[first:last], separation) if trace[first + p] > high]
    return peaks


def _summits(run, separation):
    """Maxima such that between each and the next the run falls by more than `separation` and rises by more than that again."""
    summits, top = [], 0
    while True:
        fall = [t for t in range(top, len(run)) if run[t] < run[top : t + 1].max() - separation]
        if not fall:
            return [*summits, top + int(np.argmax(run[top:]))]
        summits.append(top + int(np.argmax(run[top : fall[0]])))
        rise = [t for t in range(fall[0], len(run)) if run[t] > run[fall[0] : t + 1].min() + separation]
        if not rise:
            return summits
        top = rise[0]


def shift(seed, shuffle, neuron, n_bins):
    """The shift of one neuron in one shuffle, in Python's whole numbers."""
    mask = (1 << 64) - 1

    def mixed(key):
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & mask
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & mask
        return key ^ (key >> 31)

    key = mixed((seed + 0x9E3779B97F4A7C15) & mask)
    key = mixed(key ^ ((shuffle + 0x9E3779B97F4A7C15) & mask))
    key = mixed(key ^ ((neuron + 0x9E3779B97F4A7C15) & mask))
    return ((key >> 32) * n_bins) >> 32


def shifted_coactivity(raster, shuffles, seed):
    """Roll every neuron's row of a dense raster, and count."""
    n_neurons, n_bins = raster.shape
    histograms = np.zeros((shuffles, n_neurons + 1), int)
    for s in range(shuffles):
        rolled = [np.roll(row, shift(seed, s, i, n_bins)) for i, row in enumerate(raster)]
        histograms[s] = np.bincount(np.sum(rolled, axis=0, dtype=int), minlength=n_neurons + 1)
    return histograms


def poisson_binomial_pmf(probabilities):
    """Sum over all outcomes of all trials."""
    n = len(probabilities)
    law = np.zeros(n + 1)
    for outcome in range(2**n):
        successes = [(outcome >> i) & 1 for i in range(n)]
        law[sum(successes)] += np.prod([p if s else 1 - p for p, s in zip(probabilities, successes, strict=True)])
    return law


def jaccard_similarity(participation):
    sets = [set(np.flatnonzero(row)) for row in participation]
    return np.array([[len(a & b) / len(a | b) if a | b else 0.0 for b in sets] for a in sets])
