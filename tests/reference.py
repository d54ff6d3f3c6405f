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


def difference_quantile(traces, order, quantile):
    if traces.shape[1] <= order:
        return np.full(len(traces), np.nan)
    return row_quantile(np.abs(np.diff(traces, n=order, axis=1)), quantile)


def half_sample_mode(values):
    kept = np.sort(values[~np.isnan(values)].astype(np.float64))
    while len(kept) > 3:
        half = (len(kept) + 1) // 2
        start = np.argmin(kept[half - 1 :] - kept[: len(kept) - half + 1])
        kept = kept[start : start + half]
    return kept.mean() if len(kept) else np.nan


def spread_below_mode(traces):
    mode, spread = np.full(len(traces), np.nan), np.full(len(traces), np.nan)
    for i, row in enumerate(traces.astype(np.float64)):
        if np.count_nonzero(~np.isnan(row)) < 3:
            continue
        mode[i] = half_sample_mode(row)
        below = row[row < mode[i]]
        spread[i] = np.sqrt(np.mean((below - mode[i]) ** 2)) if len(below) else 0.0
    return mode, spread


def window_mode(traces, window, step):
    n, before = traces.shape[1], window // 2
    padded = np.pad(traces, [(0, 0), (before, window - 1 - before)], mode="symmetric")
    knots = [*range(0, n - 1, step), n - 1]
    return np.array([[half_sample_mode(row[t : t + window]) for t in knots] for row in padded], traces.dtype)


def correlation_below(traces, level, lag=1):
    correlation, pairs = np.full(len(traces), np.nan), np.zeros(len(traces), int)
    for i, row in enumerate(traces.astype(np.float64)):
        below = (row[:-lag] < level[i]) & (row[lag:] < level[i])
        here, there = row[:-lag][below], row[lag:][below]
        pairs[i] = len(here)
        if len(here) >= 10 and np.ptp(here) > 0 and np.ptp(there) > 0:
            correlation[i] = np.corrcoef(here, there)[0, 1]
    return correlation, pairs


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


def pool(traces, width):
    pieces = [row[b : b + width] for row in traces for b in range(0, traces.shape[1], width)]
    means = [np.mean(piece[~np.isnan(piece)]) if (~np.isnan(piece)).any() else np.nan for piece in pieces]
    return np.array(means).reshape(len(traces), -1)


def masked_baseline(traces, start, height, *, box, before, after, sigma):
    """As the kernel, from a start at every frame, and with the Gaussian over single frames where the kernel pools them first."""
    out = np.empty_like(traces)
    n = traces.shape[1]
    reach = int(4 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)

    def mean_outside(values, keep, otherwise):
        total = np.convolve(np.pad(np.where(keep, values, 0.0), reach, mode="symmetric"), weights, mode="valid")
        weight = np.convolve(np.pad(keep.astype(float), reach, mode="symmetric"), weights, mode="valid")
        enough = weight > 0.01 * weights.sum()
        return np.where(enough, total / np.where(enough, weight, 1.0), otherwise)

    for i, trace in enumerate(traces.astype(np.float64)):
        first = [max(t - box // 2, 0) for t in range(n)]
        rounds = [trace[f : t - box // 2 + box] for t, f in enumerate(first)]
        smooth = np.array([np.mean(part[~np.isnan(part)]) if (~np.isnan(part)).any() else np.nan for part in rounds])
        level = start[i].astype(np.float64)
        for _ in range(3):
            keep = ~np.isnan(trace)
            for t in np.flatnonzero(smooth > level + height[i]):
                keep[max(t - before, 0) : t + after + 1] = False
            level = mean_outside(trace, keep, level)
        out[i] = level + mean_outside(np.where(keep, trace - level, 0.0), keep, 0.0)
    return out


def _mirrored(frames, n):
    """Frames of a trace of n frames that are seen in its mirror images."""
    frames = frames % (2 * n)
    return np.where(frames < n, frames, 2 * n - 1 - frames)


def _bayes(details, sigma):
    excess = np.mean(details**2) - sigma**2 if len(details) else 0.0
    return sigma**2 / np.sqrt(excess) if excess > 0 else np.inf


def _threshold(details, sigma, n, shrink):
    universal = sigma * np.sqrt(2 * np.log(n))
    if shrink == "sure":
        grid = np.linspace(0, universal, 128)
        risks = [
            np.sum(np.minimum(details**2, threshold**2) + sigma**2 - 2 * sigma**2 * (np.abs(details) <= threshold))
            for threshold in grid
        ]
        return grid[np.argmin(risks)]
    return universal if shrink == "visu" else _bayes(details, sigma)


def _soft(details, threshold):
    return np.sign(details) * np.maximum(np.abs(details) - threshold, 0.0)


def stationary_shrink(traces, noise, wavelet, levels, *, shrink="bayes"):
    """Through PyWavelets: continue by the mirror image, transform, thresholds, transform back."""
    import pywt

    n, taps = traces.shape[1], wavelet.rec_len
    padding = (taps - 1) * (2**levels - 1)
    length = n + 2 * padding
    length += -length % 2**levels
    out = np.empty_like(traces)
    low, high = (np.arange(taps) @ np.square(taps_of) for taps_of in (wavelet.rec_lo, wavelet.rec_hi))

    def seen_at(centre, step):
        """Where PyWavelets has the coefficients whose filter, from its first tap on, is centred on the trace's frames."""
        return np.arange(n) + padding - int(np.rint(centre)) + (taps // 2 - 1) * (2 * step - 1)

    for i, sigma in enumerate(noise):
        extended = traces[i, _mirrored(np.arange(length) - padding, n)].astype(np.float64)
        bands = pywt.swt(extended, wavelet, level=levels)
        active = bands[0][0][seen_at(low * (2**levels - 1), 2 ** (levels - 1))] > 2 * sigma
        half = 2**levels // 2
        near = np.array([active[max(t - half, 0) : t + half].any() for t in range(n)])
        shrunk = []
        for level, (smooth, detail) in zip(range(levels - 1, -1, -1), bands, strict=True):
            step = 2**level
            own = seen_at(low * (step - 1) + high * step, step)
            if shrink == "bayes":
                of_class = [1.8 * _bayes(detail[own][near == here], sigma) / np.sqrt(step) for here in (False, True)]
                here = near[_mirrored(np.arange(length) - own[0], n)]
                threshold = np.where(here, of_class[1], of_class[0])
                large = np.abs(detail) > threshold
                detail = np.where(large, detail - np.where(large, threshold, 0) ** 2 / np.where(large, detail, 1), 0.0)
            else:
                detail = _soft(detail, _threshold(detail[own], sigma, n, shrink))
            shrunk.append((smooth, detail))
        out[i] = pywt.iswt(shrunk, wavelet)[padding : padding + n]
    return out


def decimated_shrink(traces, noise, wavelet, levels, *, shrink="bayes"):
    import pywt

    n = traces.shape[1]
    levels = min(levels, pywt.dwt_max_level(n, wavelet))
    out = np.empty_like(traces)
    for i, sigma in enumerate(noise):
        smooth, *details = pywt.wavedec(traces[i].astype(np.float64), wavelet, mode="symmetric", level=levels)
        shrunk = [_soft(detail, _threshold(detail, sigma, n, shrink)) for detail in details]
        out[i] = pywt.waverec([smooth, *shrunk], wavelet, mode="symmetric")[:n]
    return out


def _least_squares(response, trace, penalty):
    """Minimum of ½ |response · x − trace|² + penalty · x over x ≥ 0, where `response` is square and can be inverted."""
    from scipy.optimize import lsq_linear

    # the penalty is linear in x, and so in response · x: it lowers the trace
    lowered = trace - np.linalg.solve(response.T, penalty)
    # not scipy.optimize.nnls, whose answer was seen to be far from the least squares
    return lsq_linear(response, lowered, bounds=(0, np.inf), method="bvls", tol=1e-13, max_iter=10 * len(trace)).x


def nonnegative_deconvolution(traces, decay, penalty=0.0):
    """Least squares over activity at every valid frame, and what was there at the first, none of them negative."""
    out = np.where(np.isnan(traces), np.nan, 0.0)
    for i, trace in enumerate(traces.astype(np.float64)):
        frames = np.flatnonzero(~np.isnan(trace))
        if len(frames):
            lag = np.subtract.outer(frames, frames)
            response = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0.0)
            activity = _least_squares(response, trace[frames], np.where(frames > frames[0], penalty, 0.0))
            out[i, frames[1:]] = activity[1:]
    return out


def rising_response(n, decay, rise):
    """Calcium (frame × activity) of one unit of what was there before, of a rise to the second frame, and of later activity."""
    response = np.zeros((n, n))
    response[:, 0] = decay ** np.arange(n)
    for j in range(1, n):
        response[j, j] = 1.0
        for t in range(j + 1, n):
            response[t, j] = (decay + rise) * response[t - 1, j] - decay * rise * response[t - 2, j]
    return response


def nonnegative_deconvolution_ar2(traces, decay, rise, penalty=0.0):
    """The same with a rise, no frame missing; the calcium of the first two frames may be any that earlier activity can leave."""
    n = traces.shape[1]
    response = rising_response(n, decay, rise)
    penalties = np.where(np.arange(n) > 1, penalty, 0.0)
    activity = np.array([_least_squares(response, trace, penalties) for trace in traces.astype(np.float64)])
    activity[:, 1:2] = np.maximum(activity[:, 1:2] - rise * activity[:, :1], 0.0)
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


def chance_copies(train, null, least, reach):
    """Every equally likely version of one neuron's activity on a ring."""
    if null == "local":
        reach = min(reach, (len(train) - 1) // 2)
        longer = np.pad(train, reach, mode="symmetric")
        return [longer[reach + d : reach + d + len(train)] for d in range(-reach, reach + 1)]
    if null == "train_dither":
        reach = min(reach, (len(train) - 1) // 2)
        return [np.roll(train, d) for d in range(-reach, reach + 1)]
    return [np.roll(train, d) for d in range(least, len(train) - max(least - 1, 0))]


def chances(raster, rings, first, width, null, least=0, reach=0):
    """Neuron × bin: share of a neuron's versions in which one of the bin's places is active; every ring by itself."""
    out = np.zeros((len(raster), len(first)))
    for i, row in enumerate(raster):
        for start, stop in pairwise(rings):
            copies = chance_copies(row[start:stop], null, least, reach)
            for b in np.flatnonzero((first >= start) & (first < stop)):
                place = first[b] - start
                out[i, b] = np.mean([copy[place : place + width[b]].any() for copy in copies])
    return out


def pair_overlaps(raster):
    """Roll one row of a dense raster to every shift against the other: overlap, p-value, mean and deviation of the Jaccard."""
    n_neurons, n_bins = raster.shape
    overlap = np.zeros((n_neurons, n_neurons), int)
    pvalue, mean, deviation = np.ones(overlap.shape), np.zeros(overlap.shape), np.zeros(overlap.shape)
    for i, one in enumerate(raster):
        for j, other in enumerate(raster):
            if i != j:
                shifted = [np.roll(other, shift) for shift in range(n_bins)]
                common = np.array([np.sum(one & copy) for copy in shifted])
                similarity = common / [max(1, np.sum(one | copy)) for copy in shifted]
                overlap[i, j], pvalue[i, j] = common[0], np.mean(common >= common[0])
                mean[i, j], deviation[i, j] = similarity.mean(), similarity.std()
    return overlap, pvalue, mean, deviation


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
    pairs = [len(a & b) / len(a | b) if a | b else 0.0 for a in sets for b in sets]
    return np.array(pairs).reshape(len(sets), len(sets))
