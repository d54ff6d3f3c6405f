"""Deconvolution: the activity that, run through the indicator's kinetics, comes closest to each trace."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.blocks import along_frame, over_frame
from calcium_engine.indicators import get_indicator
from calcium_engine.kernels import nonnegative_deconvolution, nonnegative_deconvolution_ar2, row_quantile
from calcium_engine.kernels.rising_deconvolution import peak_of_response
from calcium_engine.levels import resting_level
from calcium_engine.schema import DFF_TRACES, Attr, CalciumError, dff_trace, fresh, plain, record, sampling_rate, var


def deconvolve(
    recording: xr.Dataset,
    *,
    indicator: str = "GCaMP6s",
    tau: float | None = None,
    rise: float | None = None,
    penalty: float = 0.0,
    minimum_spike: float = 0.0,
    rest_quantile: float | None = None,
    trace: str | None = None,
) -> xr.Dataset:
    """Deconvolve ΔF/F into non-negative activity, whose transients rise at once (default) or with a time constant of their own.

    Calcium jumps (or rises) with activity and decays exponentially; activity is what makes the sum of squares between calcium
    and trace least, exactly (Friedrich, Zhou & Paninski 2017, PLoS Comput Biol 13:e1005423). No penalty, and one τ for all
    neurons, by indicator: fitting either to each neuron agreed no better with recorded spikes (Pachitariu et al. 2018, J
    Neurosci 38:7976).

    Each epoch is deconvolved by itself; what is left of earlier transients at its start is no activity. The level of rest is
    subtracted first: the median of the samples within 2.5 σ over the median, over all epochs.

    Args:
        recording: with `dff` or `detrended`.
        indicator: whose decay constant τ to take; default "GCaMP6s", 1.25 s.
        tau: decay constant in s; default: the indicator's.
        rise: time constant of the rise in s, shorter than τ. Default: none, the transient is at its peak in its first frame, as
            is nearly true where a frame takes longer than the rise.
        penalty: on the sum of activity, in units of the trace (as it stands before `deconvolved` is scaled to peak heights).
            Default 0.
        minimum_spike: smaller jumps are not allowed, in units of the trace; not with `rise`. A greedy rule: its answer is not the
            best of all in general. Default 0.
        rest_quantile: the quantile of each trace that is taken for rest, for neurons that never rest, whose median is no rest:
            what lies under it is no activity. 0.01 found the assemblies of `simulate_assemblies` best. Default: as above.
        trace: default `detrended` where it exists, else `dff`. `denoised` has to be asked for: its noise is no longer white.

    Returns:
        The recording with `deconvolved` (neuron × frame, units of the trace): how high the transient that begins in the frame
        stands at its peak. A missing frame has none (NaN); what rose in a gap counts at the first valid frame after it.

    Raises:
        MissingVariableError: there is no ΔF/F yet.
        CalciumError: the indicator is unknown, a time constant, the penalty or the minimum is out of range, the rise is not
            shorter than τ, or both `rise` and `minimum_spike` are given.
    """
    numbers = {"tau": tau, "rise": rise, "penalty": penalty, "minimum_spike": minimum_spike, "rest_quantile": rest_quantile}
    check_arguments(deconvolve, {name: plain(value) for name, value in numbers.items() if value is not None})
    recording = fresh(recording, "deconvolve")
    known = get_indicator(indicator)
    constant = known.tau if tau is None else tau
    _check(constant, rise, penalty, minimum_spike)
    if rest_quantile is not None and not 0 <= rest_quantile <= 1:
        raise CalciumError(f"rest_quantile is {rest_quantile}, but must be from 0 to 1; 0.01 takes nearly the lowest samples")
    name = dff_trace(recording, trace, DFF_TRACES[:2])
    array = var(name).check(recording)
    rate = sampling_rate(recording)
    decay = math.exp(-1.0 / (constant * rate))

    def run(traces: np.ndarray, rest: np.ndarray) -> np.ndarray:
        above = traces - rest[:, None]
        if rise is None:
            return nonnegative_deconvolution(above, decay, penalty=penalty, minimum_spike=minimum_spike)
        grow = math.exp(-1.0 / (rise * rate))
        activity = nonnegative_deconvolution_ar2(above, decay, grow, penalty=penalty)
        activity *= peak_of_response(decay, grow)
        return activity

    def level(traces: np.ndarray) -> np.ndarray:
        return resting_level(traces) if rest_quantile is None else row_quantile(traces, rest_quantile).astype(traces.dtype)

    rest = over_frame(level, array, dtypes=(array.dtype,))
    parameters: dict[str, Attr | None] = {
        "indicator": known.name,
        "tau": float(constant),
        "rise": None if rise is None else float(rise),
        "penalty": float(penalty),
        "minimum_spike": float(minimum_spike),
        "rest_quantile": None if rest_quantile is None else float(rest_quantile),
        "trace": name,
    }
    deconvolved = along_frame(run, recording, array, per_neuron=[rest])
    labelled = var("deconvolved").wrap(deconvolved, **parameters, units=array.attrs.get("units", "1"))
    return record(recording.assign(deconvolved=labelled), "deconvolve", **parameters)


def _check(tau: float, rise: float | None, penalty: float, minimum_spike: float) -> None:
    """Refuse time constants and bounds that mean nothing, and say which ones would."""
    for what, seconds in (("tau", tau), ("rise", rise)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise CalciumError(f"{what} is {seconds} s, but must be a positive number of seconds; leave it out for the default")
    if rise is not None and rise >= tau:
        raise CalciumError(
            f"the rise takes {rise:g} s and the decay {tau:g} s (time constants), but the rise must be the shorter one; give a "
            "shorter rise or a longer tau"
        )
    for what, size in (("penalty", penalty), ("minimum_spike", minimum_spike)):
        if not 0 <= size < math.inf:
            raise CalciumError(f"{what} is {size}, but must be 0 or a positive number, in units of the trace (0.1 is 10 % ΔF/F)")
    if rise is not None and minimum_spike > 0:
        raise CalciumError(
            f"minimum_spike is {minimum_spike:g} and rise {rise:g} s, but transients with a rise know no minimum; leave one of "
            "them out, or give a penalty instead"
        )
