"""One table of kernels, their references and typical arguments: tests hold one against the other, benchmarks time them."""

from functools import partial

import numpy as np
import pywt
import reference

from calcium_engine import kernels
from calcium_engine.kernels import nonnegative_deconvolution, nonnegative_deconvolution_ar2


def _shrink(kernel, traces, *, wavelet, levels, shrink):
    # in float64: a coefficient that is on the bar for activity but for rounding would fall to either side
    low, high = (np.array(taps) for taps in pywt.Wavelet(wavelet).filter_bank[2:])
    exact = traces.astype(np.float64)
    return kernel(exact, np.full(len(traces), 0.97), low, high, levels, shrink=shrink).astype(traces.dtype)


def _shrink_plainly(definition, traces, *, wavelet, levels, shrink):
    exact = traces.astype(np.float64)
    return definition(exact, np.full(len(traces), 0.97), pywt.Wavelet(wavelet), levels, shrink=shrink)


def _quantiles(traces):
    return np.linspace(0.1, 1.0, len(traces))


# name: (kernel, reference), each a function of traces alone; NaN allowed; exact
CASES = {
    "row_quantile": (partial(kernels.row_quantile, quantile=0.3), partial(reference.row_quantile, quantile=0.3), True, False),
    "difference_quantile": (
        partial(kernels.difference_quantile, order=1, quantile=0.5),
        partial(reference.difference_quantile, order=1, quantile=0.5),
        True,
        False,
    ),
    "difference_quantile, second": (
        partial(kernels.difference_quantile, order=2, quantile=0.3),
        partial(reference.difference_quantile, order=2, quantile=0.3),
        True,
        False,
    ),
    "spread_below_mode": (
        lambda traces: np.concatenate(kernels.spread_below_mode(traces)),
        lambda traces: np.concatenate(reference.spread_below_mode(traces)),
        True,
        False,
    ),
    "window_mode": (
        partial(kernels.window_mode, window=9, step=4),
        partial(reference.window_mode, window=9, step=4),
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
    "rolling_quantile, one of each row": (
        lambda traces: kernels.rolling_quantile(traces, 5, _quantiles(traces)),
        lambda traces: np.concatenate(
            [reference.rolling_quantile(row[None], 5, q) for row, q in zip(traces, _quantiles(traces), strict=True)]
        ),
        True,
        True,
    ),
    **{
        f"{kernel}, {shrink}, {wavelet}": (
            partial(_shrink, getattr(kernels, kernel), wavelet=wavelet, levels=levels, shrink=shrink),
            partial(_shrink_plainly, getattr(reference, kernel), wavelet=wavelet, levels=levels, shrink=shrink),
            False,
            False,
        )
        for kernel in ("stationary_shrink", "decimated_shrink")
        for shrink, wavelet, levels in (("bayes", "db2", 3), ("bayes", "db3", 2), ("visu", "sym4", 2), ("sure", "haar", 4))
    },
    **{
        f"nonnegative_deconvolution, penalty {penalty}": (
            partial(nonnegative_deconvolution, decay=0.8, penalty=penalty),
            partial(reference.nonnegative_deconvolution, decay=0.8, penalty=penalty),
            True,
            False,
        )
        for penalty in (0.0, 0.7)
    },
    **{
        f"nonnegative_deconvolution_ar2, rise {rise}, penalty {penalty}": (
            partial(nonnegative_deconvolution_ar2, decay=0.8, rise=rise, penalty=penalty),
            partial(reference.nonnegative_deconvolution_ar2, decay=0.8, rise=rise, penalty=penalty),
            False,
            False,
        )
        for rise, penalty in ((0.5, 0.0), (0.3, 0.7), (0.0, 0.0))
    },
}
