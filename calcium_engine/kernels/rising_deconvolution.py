"""Non-negative deconvolution of traces whose transients rise and decay exponentially."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import inline, kernel
from calcium_engine.kernels.deconvolution import per_row

TOLERANCE = 1e-6  # of a trace's largest value: a lower transient is none, where transients have a rise
CENTRED = 1e-13  # mean product of activity and its multiplier at which the iteration ends; the gradient is at 1e-9 by then
ITERATIONS = 60  # at most; about 15 are usual

# With a rise: c = G⁻¹ z, where row t of G is c[t] − (decay + rise) c[t−1] + decay · rise c[t−2], but c[1] − decay c[0] in row 1
# and c[0] in row 0. What was active before leaves calcium in the first two frames for which neither of these two is negative.


@inline
def _activity_of(c, decay, rise, z):
    """Compute z = G c."""
    z[0] = c[0]
    if c.size > 1:
        z[1] = c[1] - decay * c[0]
    for t in range(2, c.size):
        z[t] = c[t] - (decay + rise) * c[t - 1] + decay * rise * c[t - 2]


@inline
def _transposed(v, decay, rise, out):
    """Compute Gᵀ v."""
    n = v.size
    for t in range(n):
        value = v[t]
        if t + 1 < n:
            value -= v[t + 1] * (decay + rise if t > 0 else decay)
        if t + 2 < n:
            value += v[t + 2] * decay * rise
        out[t] = value


@inline
def _factor(seen, ratio, decay, rise, diagonal, below, second):
    """Factor seen + Gᵀ ratio G, which has two bands below the diagonal, into L D Lᵀ; the diagonal is returned inverted."""
    n = ratio.size
    near, far = decay + rise, decay * rise
    for t in range(n):
        step = near if t > 1 else decay
        value = seen[t] + ratio[t]
        one, two = -ratio[t] * step, ratio[t] * far
        if t + 1 < n:
            following = near if t > 0 else decay
            value += ratio[t + 1] * following * following
            one -= ratio[t + 1] * near * far
        if t + 2 < n:
            value += ratio[t + 2] * far * far
        below[t] = second[t] = 0.0
        if t > 1:
            second[t] = two * diagonal[t - 2]
            one -= two * below[t - 1]
            value -= second[t] * two
        if t > 0:
            below[t] = one * diagonal[t - 1]
            value -= below[t] * one
        diagonal[t] = 1.0 / value if value > 0.0 else 0.0  # what rounding left nothing of stays where it is


@inline
def _solve(diagonal, below, second, x):
    """Solve L D Lᵀ x = x in place."""
    n = x.size
    for t in range(1, n):
        x[t] -= below[t] * x[t - 1]
        if t > 1:
            x[t] -= second[t] * x[t - 2]
    for t in range(n - 1, -1, -1):
        x[t] *= diagonal[t]
        if t + 1 < n:
            x[t] -= below[t + 1] * x[t + 1]
        if t + 2 < n:
            x[t] -= second[t + 2] * x[t + 2]


@inline
def _longest_step(z, dz, multiplier, dm):
    """Return the longest step, up to 1, that leaves all activity and all multipliers at 0 or over."""
    step = 1.0
    for t in range(z.size):
        if dz[t] < 0.0 and -z[t] > step * dz[t]:
            step = -z[t] / dz[t]
        if dm[t] < 0.0 and -multiplier[t] > step * dm[t]:
            step = -multiplier[t] / dm[t]
    return step


@inline
def _newton(target, z, dz, multiplier, dm, left, factors, decay, rise, dc, work):
    """Find the step that makes the gradient 0 and each product of activity and multiplier its target, to first order."""
    for t in range(z.size):
        work[t] = (target[t] - z[t] * multiplier[t]) / z[t]
    _transposed(work, decay, rise, dc)
    for t in range(z.size):
        dc[t] -= left[t]
    _solve(factors[0], factors[1], factors[2], dc)
    _activity_of(dc, decay, rise, dz)
    for t in range(z.size):
        dm[t] = work[t] - multiplier[t] / z[t] * dz[t]


@inline
def _interior_point(y, seen, decay, rise, penalty, z):
    """Least squares over z ≥ 0, by Mehrotra's predictor and corrector; each step is solved in calcium, whose matrix is banded."""
    n = y.size
    c, work, left = np.ones(n), np.empty(n), np.empty(n)
    _activity_of(c, decay, rise, z)  # steady calcium: every frame has some activity
    multiplier = 1.0 / z
    factors = np.empty((3, n))
    target, dc, dz, dm = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for _ in range(ITERATIONS):
        for t in range(n):
            work[t] = (penalty if t > 1 else 0.0) - multiplier[t]
        _transposed(work, decay, rise, left)
        product = 0.0
        for t in range(n):
            left[t] += seen[t] * (c[t] - y[t])
            product += z[t] * multiplier[t] / n
            target[t] = 0.0
            work[t] = multiplier[t] / z[t]
        if product < CENTRED:
            break
        _factor(seen, work, decay, rise, factors[0], factors[1], factors[2])
        _newton(target, z, dz, multiplier, dm, left, factors, decay, rise, dc, work)
        step = _longest_step(z, dz, multiplier, dm)
        reached = 0.0
        for t in range(n):
            reached += (z[t] + step * dz[t]) * (multiplier[t] + step * dm[t]) / n
        centre = product * (reached / product) ** 3
        for t in range(n):
            target[t] = centre - dz[t] * dm[t]
        _newton(target, z, dz, multiplier, dm, left, factors, decay, rise, dc, work)
        step = min(1.0, 0.995 * _longest_step(z, dz, multiplier, dm))
        for t in range(n):
            c[t] += step * dc[t]
            z[t] += step * dz[t]
            multiplier[t] += step * dm[t]
    # of each pair one is 0 in the end: the smaller, both in units of steady calcium
    for t in range(n):
        if z[t] < multiplier[t] * ((1.0 - decay) * (1.0 - rise)) ** 2:
            z[t] = 0.0


@kernel
def _nonnegative_deconvolution_ar2(traces, decay, rise, penalty, least, out):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        first, last, size = n, -1, 0.0
        for t in range(n):
            out[i, t] = np.nan
            if not np.isnan(traces[i, t]):
                first = min(first, t)
                last = t
                size = max(size, abs(float(traces[i, t])))
        count = last + 1 - first
        if count <= 0:
            continue
        z, y, seen = np.zeros(count), np.zeros(count), np.zeros(count)
        for k in range(count):
            if not np.isnan(traces[i, first + k]):
                seen[k] = 1.0
                y[k] = traces[i, first + k] / size if size > 0.0 else 0.0
        if size > 0.0:
            _interior_point(y, seen, decay, rise, penalty[i] / size, z)
        if count > 1:
            z[1] = max(z[1] - rise * z[0], 0.0)  # what calcium of activity in the first frame may rise by is nobody's
        z[0] = 0.0
        decayed = risen = 0.0  # what activity in the gap before has come to
        for k in range(count):
            decayed, risen = decayed * decay, risen * rise
            if seen[k] == 0.0:
                decayed, risen = decayed + z[k], risen + z[k]
                continue
            # nobody saw whether that decays by now or rises still: activity that a rise explains is no activity of the next frame
            if decayed > 0.0 and k + 1 < count and seen[k + 1] > 0.0:
                explained = min(decay * rise * (decayed - risen) / (decay - rise), z[k + 1])
                z[k + 1] -= explained
                decayed += explained / decay
            out[i, first + k] = size * (decayed + z[k]) if decayed + z[k] > least else 0.0
            decayed = risen = 0.0


def peak_of_response(decay: float, rise: float) -> float:
    """Peak of the calcium of one unit of activity, over frames: (decay^(k+1) − rise^(k+1)) / (decay − rise) at its largest.

    >>> peak_of_response(0.5, 0.0), round(peak_of_response(0.9, 0.5), 3)
    (1.0, 1.51)
    """
    if rise == 0:
        return 1.0
    slower = np.log(rise / decay)
    top = np.log(np.log(rise) / np.log(decay)) / -slower
    frames = np.array([max(np.floor(top), 1.0), max(np.ceil(top), 1.0)])
    return float(np.max(decay ** (frames - 1.0) * np.expm1(frames * slower) / np.expm1(slower)))


def nonnegative_deconvolution_ar2(
    traces: np.ndarray, decay: float, rise: float, *, penalty: float | np.ndarray = 0.0
) -> np.ndarray:
    """Activity s ≥ 0 of transients that rise and decay: c[t] = (decay + rise) c[t−1] − decay · rise c[t−2] + s[t].

    Least squares: the minimum of ½ Σ (c[t] − trace[t])² + penalty · Σ s[t], by a primal-dual interior-point method (Mehrotra
    1992, SIAM J Optim 2:575) that takes a time proportional to the number of frames in each of about 15 iterations. Each trace
    is scaled by its largest value first, in float64. Activity is exactly 0 where its multiplier outweighs it, and where its
    transient has a peak of less than 1e-6 of that value.

    What is there at the start is nobody's activity: the calcium of the first two frames may be any that earlier activity can have
    left, decaying or about to rise (c[1] ≥ decay · c[0] ≥ 0). So s[0] is 0, and s[1] is what c[1] has over the most that activity
    up to the first frame could have made of c[0], (decay + rise) · c[0]; the penalty begins after it. Without a penalty and with
    rise 0 this is `nonnegative_deconvolution`.

    A missing frame has no weight, and calcium goes on through it. Activity inside a gap, of which only what it leaves behind is
    seen, counts at the first valid frame after the gap, decayed until then; the missing frames themselves are NaN. Where a trace
    does not say which of two frames after a gap rises, the first does.

    Args:
        traces: neuron × frame, resting level 0; NaN where a frame is missing.
        decay: factor of the decay from one frame to the next, exp(−1 / (τ · sampling rate)), below 1.
        rise: factor of the rise, exp(−1 / (τ of the rise · sampling rate)), from 0 to below `decay`.
        penalty: on the sum of s, in units of the traces; one number, or one a neuron. Default 0.

    Returns:
        s, in the traces' shape and type. One unit of it has the calcium (decay^(k+1) − rise^(k+1)) / (decay − rise) k frames
        later, which is 1 at k = 0 and higher at its peak: times `peak_of_response(decay, rise)`, s is in units of peak height.

    Raises:
        ValueError: not 0 ≤ rise < decay < 1, or the penalty is negative or of another length than the traces.

    >>> nonnegative_deconvolution_ar2(np.array([[0.0, 0.0, 1.0, 0.75, 0.4375]]), 0.5, 0.25).round(4)
    array([[0., 0., 1., 0., 0.]])
    """
    if not 0 <= rise < decay < 1:
        raise ValueError(f"rise and decay are {rise} and {decay}, but must be factors: 0 ≤ rise < decay < 1")
    traces = np.ascontiguousarray(traces)
    out = np.empty_like(traces)
    each = per_row(penalty, len(traces), "penalty")
    least = TOLERANCE / peak_of_response(decay, rise)
    _nonnegative_deconvolution_ar2(traces, float(decay), float(rise), each, least, out)
    return out
