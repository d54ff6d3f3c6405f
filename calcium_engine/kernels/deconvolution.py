"""Non-negative deconvolution of traces whose transients decay exponentially."""

from __future__ import annotations

import numpy as np
from numba import prange

from calcium_engine.kernels._jit import kernel


@kernel
def _nonnegative_deconvolution(traces, powers, out):
    for i in prange(traces.shape[0]):
        n = traces.shape[1]
        value = np.empty(n)
        weight = np.empty(n)
        length = np.empty(n, np.int64)
        last = -1
        for t in range(n):
            last += 1
            value[last] = traces[i, t]
            weight[last] = 1.0
            length[last] = 1
            # a pool that starts below what the one before has decayed to would need negative activity: they become one
            while last > 0 and value[last] < value[last - 1] * powers[length[last - 1]]:
                decayed = powers[length[last - 1]]
                total = weight[last - 1] + weight[last] * decayed * decayed
                value[last - 1] = (weight[last - 1] * value[last - 1] + weight[last] * value[last] * decayed) / total
                weight[last - 1] = total
                length[last - 1] += length[last]
                last -= 1
        t = 0
        before = 0.0
        for pool in range(last + 1):
            calcium = max(value[pool], 0.0)
            out[i, t] = calcium - before if pool > 0 else 0.0
            for k in range(1, length[pool]):
                out[i, t + k] = 0.0
            t += length[pool]
            before = calcium * powers[length[pool]]


def nonnegative_deconvolution(traces: np.ndarray, decay: float) -> np.ndarray:
    """Activity s ≥ 0 whose calcium c[t] = decay · c[t−1] + s[t] comes closest to each trace in the sum of squares.

    The exact solution, by pooling adjacent violators (Friedrich, Zhou & Paninski 2017, PLoS Comput Biol 13:e1005423), without a
    penalty on s (Pachitariu et al. 2018). What calcium is there at the first frame is nobody's activity: s[0] is 0.

    Args:
        traces: neuron × frame, resting level 0; without NaN.
        decay: factor from one frame to the next, exp(−1 / (τ · sampling rate)).

    >>> nonnegative_deconvolution(np.array([[0.0, 1.0, 0.5, 0.25]]), 0.5)
    array([[0., 1., 0., 0.]])
    """
    out = np.empty_like(traces)
    _nonnegative_deconvolution(traces, decay ** np.arange(traces.shape[1] + 1), out)
    return out
