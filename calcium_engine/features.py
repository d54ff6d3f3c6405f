"""Features of each neuron: how often, how strongly and how regularly it is active."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.blocks import over_frame
from calcium_engine.coactivity import make_activity, make_bins
from calcium_engine.detectability import Detectability, judge_detector
from calcium_engine.events import event_epochs, event_rows
from calcium_engine.kernels import row_moments
from calcium_engine.schema import COORDINATES, EVENT_FLAGS, CalciumError, fresh, latest_trace, plain, record, sampling_rate, var

BURST_INTERVALS = 2  # a burst is at least this many intervals in a row, each no longer than burst_interval
FANO_WINDOW = 10.0  # s
COUPLING_BIN = 1.0  # s
ROWS = 1000  # neurons at a time whose events or windows are looked at


def _cv(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / values.mean()) if len(values) > 1 and values.mean() > 0 else np.nan


def _gini(values: np.ndarray) -> float:
    """Mean absolute difference of all pairs over twice the mean: 0 where all are equal, towards 1 where one has everything."""
    if len(values) < 2 or values.sum() <= 0:
        return np.nan
    ranks = np.arange(1, len(values) + 1)
    ordered = np.sort(values)
    return float((2 * ranks - len(values) - 1) @ ordered / (len(values) * ordered.sum()))


def _local_variation(intervals: np.ndarray) -> float:
    """LV (Shinomoto et al. 2003): 1 for a Poisson process, 0 for a clock; blind to slow changes of rate."""
    if len(intervals) < 2:
        return np.nan
    first, second = intervals[:-1], intervals[1:]
    return float(3.0 * np.mean(((first - second) / (first + second)) ** 2))


def _burst_share(short: np.ndarray) -> float:
    """Share of events in runs of BURST_INTERVALS or more short intervals, given which interval is short."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], short.astype(int), [0]])))
    runs = edges[1::2] - edges[::2]
    return float((runs[runs >= BURST_INTERVALS] + 1).sum() / (len(short) + 1))


def _medians(rows: np.ndarray, values: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the median of each row's values that are not NaN, given in the order of rows; of many rows at once."""
    medians = np.full(n_rows, np.nan)
    for first in range(0, n_rows, ROWS):
        held = slice(*np.searchsorted(rows, [first, first + ROWS]))
        known = ~np.isnan(values[held])
        own, of = rows[held][known] - first, values[held][known]
        of = of[np.lexsort((of, own))]
        edges = np.searchsorted(own, np.arange(min(ROWS, n_rows - first) + 1))
        many = np.diff(edges)
        there = many > 0
        low, high = (of[(edges[:-1] + half)[there]] for half in ((many - 1) // 2, many // 2))
        medians[first : first + ROWS][there] = (low + high) / 2
    return medians


def _of_each(
    edges: np.ndarray, values: Callable[[slice], np.ndarray], function: Callable[[np.ndarray], float | np.floating]
) -> np.ndarray:
    """Apply a function to the values of each neuron's events; NaN where it has none."""
    spans = [slice(first, last) for first, last in pairwise(edges)]
    return np.array([function(values(own)) if own.stop > own.start else np.nan for own in spans])


def _per_event(recording: xr.Dataset, burst_interval: float) -> dict[str, np.ndarray]:
    """Everything that follows from each neuron's own events; one column of them after the other, since there may be many."""
    rows, onset, n_neurons = event_rows(recording), var("event_onset").check(recording).values, recording.sizes["neuron"]
    later, same = rows[1:] > rows[:-1], rows[1:] == rows[:-1]
    order: slice | np.ndarray = slice(None)
    if not (later | (same & (onset[1:] >= onset[:-1]))).all():  # events or neurons were put in another order
        order = np.lexsort((onset, rows))
    rows, onset = rows[order], onset[order]
    edges, table = np.searchsorted(rows, np.arange(n_neurons + 1)), {}
    for name in ("amplitude", "fwhm", "rise", "decay"):
        values = var(f"event_{name}").check(recording).values[order]
        table[f"{name}_median"] = _medians(rows, values, n_neurons)
        if name == "amplitude":
            table["amplitude_cv"] = _of_each(edges, values.__getitem__, _cv)
            table["amplitude_gini"] = _of_each(edges, values.__getitem__, _gini)
    compound = (var("event_flags").check(recording).values[order] & EVENT_FLAGS["compound"]) > 0
    table["compounding_index"] = _of_each(edges, compound.__getitem__, np.mean)
    follows = (np.diff(rows) == 0) & (np.diff(event_epochs(recording)[order]) == 0)  # an interval across a gap is nobody's
    table["interval_median"] = _medians(rows[1:][follows], np.diff(onset)[follows], n_neurons)

    def intervals(own: slice) -> np.ndarray:
        return np.asarray(np.diff(onset[own])[follows[own.start : own.stop - 1]])

    table["interval_cv"] = _of_each(edges, intervals, _cv)
    table["interval_lv"] = _of_each(edges, intervals, _local_variation)
    table["burst_share"] = _of_each(edges, intervals, lambda between: _burst_share(between <= burst_interval))
    return table


def _poisson_interval(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact 95 % interval of a Poisson mean (Garwood 1936)."""
    from scipy.special import gammaincinv

    low = np.where(counts > 0, gammaincinv(np.maximum(counts, 1), 0.025), 0.0)
    return low, gammaincinv(counts + 1, 0.975)


def _fano(recording: xr.Dataset) -> np.ndarray:
    """Variance over mean of the number of events in windows of FANO_WINDOW."""
    bins, fano = make_bins(recording, FANO_WINDOW), np.full(recording.sizes["neuron"], np.nan)
    activity = make_activity(recording, bins, count="events")
    if len(bins.first) < 2:
        return fano
    for rows, windows in activity.in_bins():
        stop = int(rows[-1]) + 1 if len(rows) else 0
        for first in range(int(rows[0]) if stop else 0, stop, ROWS):  # most windows of most neurons hold nothing
            held = slice(*np.searchsorted(rows, [first, first + ROWS]))
            counts = np.zeros((min(ROWS, stop - first), len(bins.first)))
            np.add.at(counts, (rows[held] - first, windows[held]), 1)
            mean, variance = counts.mean(axis=1), counts.var(axis=1, ddof=1)
            fano[first : first + len(counts)] = np.where(mean > 0, variance / np.where(mean > 0, mean, 1.0), np.nan)
    return fano


def _population_coupling(recording: xr.Dataset) -> np.ndarray:
    """Correlation of each neuron's activity with the number of other neurons active in the same bin (Okun et al. 2015).

    All sums are of whole numbers, exact in whatever order they are taken.
    """
    bins, n_neurons = make_bins(recording, COUPLING_BIN), recording.sizes["neuron"]
    activity, n_bins = make_activity(recording, bins), len(bins.first)
    total, own, shared = activity.counts().astype(np.float64), np.zeros(n_neurons), np.zeros(n_neurons)
    for rows, held in activity.in_bins():
        own += np.bincount(rows, minlength=n_neurons)
        shared += np.bincount(rows, weights=total[held], minlength=n_neurons)
    shared -= own
    rest = total.sum() - own
    rest_squared = total @ total - 2.0 * (shared + own) + own
    covariance = n_bins * shared - own * rest
    variances = (n_bins * own - own**2) * (n_bins * rest_squared - rest**2)
    return np.where(variances > 0, covariance / np.sqrt(np.where(variances > 0, variances, 1.0)), np.nan)


def see_traces(recording: xr.Dataset, first_row: int = 0) -> xr.Dataset:
    """Read off the traces of a block of neurons what their features need; `complete_features` does the rest from events alone.

    Args:
        recording: with events and traces; all neurons of a recording, or some that follow each other.
        first_row: place of the first one among all neurons of the recording.

    Returns:
        By neuron `valid` (frames), `skewness` and `active` (frames inside events); where the detector is known also what
        `detectability.Detectability` holds, of which `measured` has a dim `block` of length 1: blocks are joined along
        `neuron`, and this one along `block`.

    Raises:
        MissingVariableError: there are no events yet, or no ΔF/F.
    """
    for column in ("neuron", "onset"):
        var(f"event_{column}").check(recording)
    trace = var(latest_trace(recording, ("dff", "detrended"))).check(recording)
    valid, _, _, skewness = over_frame(row_moments, trace, dtypes=(np.float64,) * 4)
    inside = over_frame(lambda active: active.sum(axis=1), var("active").check(recording), dtypes=(np.int64,))
    table = {"valid": valid.variable, "skewness": skewness.variable, "active": inside.variable}
    judged = judge_detector(recording, first_row)
    if judged is not None:
        dims = {"share": ("neuron", "size"), "measured": ("block", "size_found", "bin_measured")}
        parts = judged._asdict() | {"measured": judged.measured[None]}
        table |= {name: xr.Variable(dims.get(name, ("neuron",)), values) for name, values in parts.items()}
    return xr.Dataset(table, coords={"neuron": recording["neuron"].variable})


def _detectability(recording: xr.Dataset, seen: xr.Dataset, minutes: np.ndarray, counts: np.ndarray) -> dict[str, xr.DataArray]:
    """Return what the detector could see in each neuron, and how many events it saw where there are none."""
    if "measured" not in seen:
        return {}
    parts = {name: seen[name].values for name in Detectability._fields}
    judged = Detectability(**parts | {"measured": parts["measured"].sum(axis=0)})  # whole numbers
    rows, amplitude = event_rows(recording), var("event_amplitude").check(recording).values
    units = str(recording["event_amplitude"].attrs.get("units", "1"))
    expected = judged.expected_counts(rows, amplitude)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(counts > 0, counts / expected, np.nan)
        negative = judged.negative_counts()
        ratio = np.where(counts > 0, negative / np.maximum(counts, 1), np.nan)
    watched = judged.quiet.sum() * counts.sum()
    pooled = float(judged.negative.sum() * len(counts) / watched) if watched else float("nan")
    amplitudes, shares = judged.on_common_amplitudes()
    of_amplitude = ("detectability_amplitude", amplitudes, {**COORDINATES["detectability_amplitude"], "units": units})
    return {
        "detectability": var("detectability").wrap(shares).assign_coords(detectability_amplitude=of_amplitude),
        "lod50": var("lod50").wrap(judged.lod50(), units=units),
        "detection_recall": var("detection_recall").wrap(recall),
        "event_rate_corrected": var("event_rate_corrected").wrap(expected / minutes),
        "negative_event_count": var("negative_event_count").wrap(negative),
        "negative_ratio": var("negative_ratio").wrap(ratio, pooled=pooled),
    }


def compute_features(recording: xr.Dataset, *, burst_interval: float = 2.0) -> xr.Dataset:
    """Features of each neuron, from its events and its trace; NaN where it has too few events to tell.

    Args:
        recording: with events.
        burst_interval: s; three or more events, each within this of the one before, are a burst. 2 s lets GCaMP6s transients
            stack.

    Returns:
        The recording with, per neuron: `event_count`; `event_rate` (per minute of valid frames) with the exact 95 % Poisson
        interval `event_rate_low`, `event_rate_high`; medians of amplitude, FWHM, rise, decay and inter-event interval;
        `amplitude_cv`, `amplitude_gini`; `interval_cv`, `interval_lv`; `burst_share`; `compounding_index` (share of events on the
        tail of another); `duty_cycle` (share of valid time inside events); `fano_factor` (windows of 10 s); `skewness` of the
        trace; `population_coupling` (bins of 1 s). Intervals never span a gap between epochs.

        And what the detector could have seen, from transients of one action potential's shape that are planted into the searched
        trace where nothing happens, in many sizes, and sought again by the same thresholds: `detectability` (the share found, by
        `detectability_amplitude`), `lod50` (the amplitude that is found half the time), `event_rate_corrected` (per minute: the
        rate of found and missed events, by most likelihood given the amplitudes measured; sizes of which under a fifth is found
        are left out. An estimate: too low where most events are smaller than that, up to half too high where all are of one size
        that is just found) and `detection_recall` (the one rate over the
        other): without it, the rates of neurons of unequal noise do not compare. And how many events there are in the inverted
        trace, away from real ones, `negative_event_count`, and over the events, `negative_ratio`, with that of all neurons as
        attribute `pooled`: symmetric noise gives as many false events (Dombeck et al. 2007, Neuron 56:43). NaN, or not there,
        where the events or their trace do not come from `detect_events`, or there are too few quiet places.

    Raises:
        MissingVariableError: there are no events yet.
        CalciumError: the burst interval is not positive.
    """
    _check(burst_interval)
    recording = fresh(recording, "compute_features")
    return complete_features(recording, see_traces(recording), burst_interval=burst_interval)


def _check(burst_interval: float) -> None:
    check_arguments(compute_features, {"burst_interval": plain(burst_interval)})
    if not burst_interval > 0:
        raise CalciumError(f"burst_interval is {burst_interval} s, but must be positive")


def complete_features(recording: xr.Dataset, seen: xr.Dataset, *, burst_interval: float = 2.0) -> xr.Dataset:
    """Features of each neuron from its events, and from what `see_traces` saw of its trace, which is no longer needed.

    Args:
        recording: all neurons, with events; no features yet.
        seen: what `see_traces` returned for all of them, or for blocks of them, joined.
        burst_interval: s; see `compute_features`.

    Returns:
        What `compute_features` does, to the bit.

    Raises:
        MissingVariableError: there are no events yet.
        CalciumError: the burst interval is not positive, or other neurons were seen.
    """
    _check(burst_interval)
    table = _per_event(recording, burst_interval)
    if not np.array_equal(seen["neuron"].values, recording["neuron"].values):
        raise CalciumError("see_traces() saw other neurons than the recording's; give it all of them, in their order")
    valid, inside = seen["valid"].drop_vars("neuron"), seen["active"].drop_vars("neuron")
    minutes = (valid / sampling_rate(recording) / 60.0).values
    minutes = np.where(minutes > 0, minutes, np.nan)
    counts = np.bincount(event_rows(recording), minlength=recording.sizes["neuron"])
    low, high = _poisson_interval(counts)
    table |= {"event_rate": counts / minutes, "event_rate_low": low / minutes, "event_rate_high": high / minutes}
    table |= {"fano_factor": _fano(recording), "population_coupling": _population_coupling(recording)}
    result = recording.assign({name: var(name).wrap(values) for name, values in table.items()})
    result = result.assign(_detectability(recording, seen, minutes, counts)).assign(
        event_count=var("event_count").wrap(counts),
        skewness=var("skewness").wrap(seen["skewness"].drop_vars("neuron")),
        duty_cycle=var("duty_cycle").wrap(inside / valid.where(valid > 0)),
        amplitude_median=result["amplitude_median"].assign_attrs(units=recording["event_amplitude"].attrs.get("units", "1")),
        burst_share=result["burst_share"].assign_attrs(burst_interval_s=float(burst_interval)),
    )
    return record(result, "compute_features", burst_interval=burst_interval)
