"""Sums of many shifted rows of bits, 64 bins at a time, and how often each count occurs in them.

Counts are kept in binary, one plane of bits for each binary digit; adding a row to them is a few logical operations on whole
words (carry-save adders; Harley's method). A row is stored twice in a row, so that it can be read round the recording from any
bit.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import funnel, inline, kernel, ones_of

U = np.uint64  # an index of this type is used as it is; a signed one is first tested for counting from the end
TILE = 8  # shuffles
STEP = 4  # words


@inline
def whole_words(n_bins):
    """Return how many words are added up: as many as hold the bins, and what a machine adds at once is filled."""
    return (n_bins + 64 * STEP - 1) // (64 * STEP) * STEP


@inline
def _read(words, word, bit):
    """Read 64 bits that begin at some bit of a word."""
    return funnel(words[word], words[word + U(1)], bit)


@inline
def _full_add(a, b, c):
    """Add three bits, 64 times over: their digits of 1 and of 2."""
    return a ^ b ^ c, (a & b) | (c & (a | b))


@inline
def _add_eight(words, begins, planes, carry):
    """Add eight strings of bits to the planes of 1, 2 and 4; what is left over is worth 8."""
    b0, b1, b2, b3, b4, b5, b6, b7 = begins
    six, low = U(6), U(63)
    w0, w1, w2, w3, w4, w5, w6, w7 = b0 >> six, b1 >> six, b2 >> six, b3 >> six, b4 >> six, b5 >> six, b6 >> six, b7 >> six
    b0, b1, b2, b3, b4, b5, b6, b7 = b0 & low, b1 & low, b2 & low, b3 & low, b4 & low, b5 & low, b6 & low, b7 & low
    for k in range(carry.shape[0]):
        w = U(k)
        ones, twos, fours = planes[U(0), w], planes[U(1), w], planes[U(2), w]
        ones, two_a = _full_add(ones, _read(words, w0 + w, b0), _read(words, w1 + w, b1))
        ones, two_b = _full_add(ones, _read(words, w2 + w, b2), _read(words, w3 + w, b3))
        twos, four_a = _full_add(twos, two_a, two_b)
        ones, two_a = _full_add(ones, _read(words, w4 + w, b4), _read(words, w5 + w, b5))
        ones, two_b = _full_add(ones, _read(words, w6 + w, b6), _read(words, w7 + w, b7))
        twos, four_b = _full_add(twos, two_a, two_b)
        planes[U(0), w], planes[U(1), w] = ones, twos
        planes[U(2), w], carry[w] = _full_add(fours, four_a, four_b)


@inline
def _carry(planes, first, second):
    """Add two carries worth 8 to the planes of 8 and more."""
    for k in range(first.shape[0]):
        w = U(k)
        planes[U(3), w], first[w] = _full_add(planes[U(3), w], first[w], second[w])
    plane, left = 4, True
    while left and plane < planes.shape[0]:
        p, some = U(plane), U(0)
        for k in range(first.shape[0]):
            w = U(k)
            here, carried = planes[p, w], first[w]
            planes[p, w], first[w] = here ^ carried, here & carried
            some |= here & carried
        plane, left = plane + 1, some != U(0)


@inline
def _add_strings(words, begins, planes, carries):
    """Add the strings of bits that begin at these bits, a multiple of 16 of them, to the planes."""
    for k in range(0, begins.shape[0], 16):
        one = begins[k : k + 16]
        _add_eight(words, (one[0], one[1], one[2], one[3], one[4], one[5], one[6], one[7]), planes, carries[0])
        _add_eight(words, (one[8], one[9], one[10], one[11], one[12], one[13], one[14], one[15]), planes, carries[1])
        _carry(planes, carries[0], carries[1])


@inline
def _narrow(mask, plane, wanted, out):
    """Keep the bins of a mask in which a digit is as wanted; return whether any are left."""
    flip, some = U(0) if wanted else ~U(0), U(0)
    for k in range(mask.shape[0]):
        w = U(k)
        out[w] = mask[w] & (plane[w] ^ flip)
        some |= out[w]
    return some != U(0)


@inline
def _count_values(planes, n_bins, masks, histogram):
    """Count how many bins hold each count: those of one value of the highest digit, among them those of the next, and so on."""
    n_words, digits = planes.shape[1], planes.shape[0]
    for k in range(n_words):
        left = n_bins - 64 * k
        masks[digits, k] = ~U(0) if left >= 64 else U(0) if left <= 0 else (U(1) << U(left)) - U(1)
    value = 0
    while value < 1 << digits:
        digit = digits  # the highest that differs from the value before
        if value > 0:
            digit = 1
            while not value >> (digit - 1) & 1:
                digit += 1
        while digit > 0 and _narrow(masks[digit], planes[digit - 1], value >> (digit - 1) & 1, masks[digit - 1]):
            digit -= 1
        if digit > 0:
            value += 1 << (digit - 1)  # none has these digits: on to the next that differs in the last of them
            continue
        bins = U(0)
        for k in range(n_words):
            bins += ones_of(masks[U(0), U(k)])
        histogram[value] += np.int64(bins)
        value += 1


@kernel
def _shifted_histograms(words, stride, n_bins, shifts, out):
    n_shuffles, n_neurons = shifts.shape
    n_planes, n_words = max(4, np.int64(np.log2(n_neurons)) + 1), whole_words(n_bins)
    for tile in prange((n_shuffles + TILE - 1) // TILE):
        first, last = tile * TILE, min(n_shuffles, (tile + 1) * TILE)
        # rows of nothing make it a multiple of 16
        begins = np.full((last - first, (n_neurons + 15) // 16 * 16), U(n_neurons * stride * 64), np.uint64)
        for shuffle in range(last - first):
            for i in range(n_neurons):
                begins[shuffle, i] = U(i * stride * 64 + n_bins - shifts[first + shuffle, i])
        planes = np.zeros((last - first, n_planes, n_words), np.uint64)
        carries, masks = np.empty((2, n_words), np.uint64), np.empty((n_planes + 1, n_words), np.uint64)
        for i in range(0, begins.shape[1], 16):  # rows that are in the cache serve all shuffles of the tile
            for shuffle in range(last - first):
                _add_strings(words, begins[shuffle, i : i + 16], planes[shuffle], carries)
        histogram = np.empty(1 << n_planes, np.int64)
        for shuffle in range(last - first):
            histogram[:] = 0
            _count_values(planes[shuffle], n_bins, masks, histogram)
            out[first + shuffle] = histogram[: out.shape[1]]


@inline
def _jaccard_null(histogram, largest, observed, either, n_bins):
    """Share of shifts with at least the observed overlap; mean and standard deviation of the Jaccard similarity of all."""
    at_least, mean, square = 0, 0.0, 0.0
    for common in range(largest + 1):
        if common >= observed:
            at_least += histogram[common]
        if common > 0:
            similarity = common / (either - common)
            mean += histogram[common] * similarity
            square += histogram[common] * similarity * similarity
    mean /= n_bins
    return at_least / n_bins, mean, np.sqrt(max(square / n_bins - mean * mean, 0.0))


@inline
def _sparse_overlaps(one, other, n_bins, overlaps, histogram):
    """Count the shifts with each overlap from the differences between all events of two neurons; return the overlap as it is."""
    histogram[0] = n_bins
    for a in one:
        for b in other:
            lag = b - a
            lag = lag + n_bins if lag < 0 else lag
            here = overlaps[U(lag)]
            overlaps[U(lag)] = here + 1
            histogram[U(here)] -= 1
            histogram[U(here + 1)] += 1
    observed = np.int64(overlaps[0])
    for a in one:
        for b in other:
            lag = b - a
            overlaps[U(lag + n_bins if lag < 0 else lag)] = 0
    return observed


@kernel
def _pair_overlaps(words, stride, bins, offsets, n_bins, dense_over, overlap, pvalue, mean, deviation):
    n_neurons, n_words = offsets.shape[0] - 1, whole_words(n_bins)
    longest = 0
    for i in range(n_neurons):
        longest = max(longest, offsets[i + 1] - offsets[i])
    n_planes = max(4, np.int64(np.log2(max(longest, 1))) + 1)
    # the i-th row and the i-th from the end together are as long as any two others
    for half in prange((n_neurons + 1) // 2):
        planes, carries = np.empty((n_planes, n_words), np.uint64), np.empty((2, n_words), np.uint64)
        masks = np.empty((n_planes + 1, n_words), np.uint64)
        overlaps, histogram = np.zeros(n_bins, np.int32), np.zeros(1 << n_planes, np.int64)
        begins = np.empty((longest + 15) // 16 * 16, np.uint64)
        for end in range(2):
            i = np.int64(half) if end == 0 else n_neurons - 1 - np.int64(half)
            if end == 1 and 2 * i + 1 == n_neurons:
                continue
            for j in range(i):
                few, many = (i, j) if offsets[i + 1] - offsets[i] <= offsets[j + 1] - offsets[j] else (j, i)
                one, other = bins[offsets[few] : offsets[few + 1]], bins[offsets[many] : offsets[many + 1]]
                if len(other) > dense_over:
                    rounded = (len(one) + 15) // 16 * 16
                    for k in range(rounded):
                        begins[k] = U(many * stride * 64 + one[k]) if k < len(one) else U(n_neurons * stride * 64)
                    planes[:] = U(0)
                    _add_strings(words, begins[:rounded], planes, carries)
                    _count_values(planes, n_bins, masks, histogram)
                    observed = 0
                    for plane in range(n_planes):
                        observed |= np.int64(planes[plane, 0] & U(1)) << plane
                else:
                    observed = _sparse_overlaps(one, other, n_bins, overlaps, histogram)
                either = len(one) + len(other)
                overlap[i, j] = overlap[j, i] = observed
                p, m, s = _jaccard_null(histogram, len(one), observed, either, n_bins)
                pvalue[i, j] = pvalue[j, i] = p
                mean[i, j] = mean[j, i] = m
                deviation[i, j] = deviation[j, i] = s
                histogram[: len(one) + 1] = 0
