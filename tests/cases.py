"""One table of kernels, their references and typical arguments: tests hold one against the other, benchmarks time them."""

from functools import partial

import numpy as np
import pywt
import reference

from calcium_engine import kernels

DB2 = pywt.Wavelet("db2")
FILTERS = np.array(DB2.rec_lo), np.array(DB2.rec_hi)


def _unit_noise(traces):
    return np.ones(len(traces))


# name: (kernel, reference), each a function of traces alone; NaN allowed; exact
CASES = {
    "row_quantile": (partial(kernels.row_quantile, quantile=0.3), partial(reference.row_quantile, quantile=0.3), True, False),
    "spread_below_mode": (
        lambda traces: kernels.spread_below_mode(np.sort(traces.astype(np.float64), axis=1)),
        reference.spread_below_mode,
        True,
        False,
    ),
    "fill_gaps": (kernels.fill_gaps, reference.fill_gaps, True, False),
    "fill_gaps, short ones": (partial(kernels.fill_gaps, longest=2), partial(reference.fill_gaps, longest=2), True, False),
    "rolling_quantile": (
        partial(kernels.rolling_quantile, window=7, quantile=0.2),
        partial(reference.rolling_quantile, window=7, quantile=0.2),
        True,
        True,
    ),
    "rolling_quantile, even": (
        partial(kernels.rolling_quantile, window=24, quantile=0.9),
        partial(reference.rolling_quantile, window=24, quantile=0.9),
        True,
        True,
    ),
    "stationary_shrink": (
        lambda traces: kernels.stationary_shrink(traces, _unit_noise(traces), *FILTERS, 3),
        lambda traces: reference.stationary_shrink(traces, _unit_noise(traces), DB2, 3),
        False,
        False,
    ),
    "stationary_shrink, universal": (
        lambda traces: kernels.stationary_shrink(traces, _unit_noise(traces), *FILTERS, 2, universal=True),
        lambda traces: reference.stationary_shrink(traces, _unit_noise(traces), DB2, 2, universal=True),
        False,
        False,
    ),
    "nonnegative_deconvolution": (
        partial(kernels.nonnegative_deconvolution, decay=0.8),
        partial(reference.nonnegative_deconvolution, decay=0.8),
        False,
        False,
    ),
}
