"""Compiled loops on plain arrays, neuron × frame; useful by themselves."""

from calcium_engine.kernels.baseline import hand_over, masked_baseline, pool
from calcium_engine.kernels.deconvolution import nonnegative_deconvolution
from calcium_engine.kernels.events import find_peaks, measure_events
from calcium_engine.kernels.gaps import fill_gaps, has_gaps
from calcium_engine.kernels.mode import correlation_below, spread_below_mode, window_mode
from calcium_engine.kernels.moments import row_moments
from calcium_engine.kernels.order import difference_quantile, row_quantile
from calcium_engine.kernels.pairs import pair_overlaps
from calcium_engine.kernels.poisson_binomial import local_laws, poisson_binomial_law, poisson_binomial_pmf, poisson_binomial_sf
from calcium_engine.kernels.pulses import find_pulses
from calcium_engine.kernels.ridge import wavelet_ridges
from calcium_engine.kernels.rising_deconvolution import nonnegative_deconvolution_ar2
from calcium_engine.kernels.rolling import rolling_quantile
from calcium_engine.kernels.shifts import shifted_coactivity
from calcium_engine.kernels.similarity import jaccard_similarity
from calcium_engine.kernels.summits import find_summits
from calcium_engine.kernels.template import clements_bekkers, matched_filter
from calcium_engine.kernels.wavelet import decimated_shrink, stationary_shrink

__all__ = [
    "clements_bekkers",
    "correlation_below",
    "decimated_shrink",
    "difference_quantile",
    "fill_gaps",
    "find_peaks",
    "find_pulses",
    "find_summits",
    "hand_over",
    "has_gaps",
    "jaccard_similarity",
    "local_laws",
    "masked_baseline",
    "matched_filter",
    "measure_events",
    "nonnegative_deconvolution",
    "nonnegative_deconvolution_ar2",
    "pair_overlaps",
    "poisson_binomial_law",
    "poisson_binomial_pmf",
    "poisson_binomial_sf",
    "pool",
    "rolling_quantile",
    "row_moments",
    "row_quantile",
    "shifted_coactivity",
    "spread_below_mode",
    "stationary_shrink",
    "wavelet_ridges",
    "window_mode",
]
