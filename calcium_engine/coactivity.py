"""Coactivity: how many neurons are active together in each time bin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments, choose
from calcium_engine.blocks import frames_of, gather
from calcium_engine.events import event_epochs, event_frames, event_rows
from calcium_engine.kernels import row_moments
from calcium_engine.schema import (
    COORDINATES,
    EVENT_FLAGS,
    Attr,
    CalciumError,
    epoch_bounds,
    fresh,
    masked_frames,
    plain,
    record,
    sampling_rate,
    var,
    warn,
)

ROUNDING = 1e-9  # of a bin; what floating point leaves of a frame that lies on an edge
WIDTH_TOLERANCE = 0.1
AT_A_TIME = 2**18  # active places


def distinct(keys: np.ndarray) -> np.ndarray:
    """Return whole numbers in order, each once (as np.unique does, but quickly where they are nearly in order)."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1 if not len(keys) else keys[0] - 1) > 0]


@dataclass(frozen=True)
class Bins:
    """Time bins: each one's first frame, number of frames, and epoch; and the places between which activity is shifted.

    Where bins are made of whole frames one after the other, neurons are shifted by whole bins: places are bins. Else places are
    frames. Those of epoch e are `rings[e]:rings[e + 1]`. Masked frames, and what is left over at an epoch's end, are no places
    (-1 in `place_of_frame`).
    """

    first: np.ndarray
    width: np.ndarray
    epoch: np.ndarray
    rings: np.ndarray
    place_of_frame: np.ndarray
    by_bin: bool

    @property
    def places(self) -> np.ndarray:
        """Place at which each bin begins."""
        return np.asarray(self.place_of_frame[self.first])

    @property
    def place_widths(self) -> np.ndarray:
        """How many places each bin holds."""
        return np.ones_like(self.width) if self.by_bin else self.width

    def of_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last bin that hold each place; the last comes before the first where none does."""
        place = np.arange(self.rings[-1])
        # bins are in the order of their beginnings, and so are their ends
        ends = self.places + self.place_widths
        return np.searchsorted(ends, place, side="right"), np.searchsorted(self.places, place, side="right") - 1


Spans = list[tuple[np.ndarray, np.ndarray]]  # first frames and numbers of frames of the bins of each epoch


def _whole_frames(epochs: list[tuple[int, int]], frames: float) -> Spans:
    """Bins of whole frames, one after the other; what is left over at an epoch's end is in none."""
    width = round(frames)
    first = [np.arange(start, stop - width + 1, width) for start, stop in epochs]
    return [(one, np.full(len(one), width)) for one in first]


def _exact_edges(epochs: list[tuple[int, int]], frames: float) -> Spans:
    """Bins between exact edges, counted from each epoch's beginning: their numbers of frames differ by one."""
    spans = []
    for start, stop in epochs:
        n = int((stop - start) / frames + ROUNDING)
        edges = np.ceil(np.arange(n + 1) * frames - ROUNDING).astype(np.int64)
        spans.append((start + edges[:-1], np.diff(edges)))
    return spans


def _sliding(epochs: list[tuple[int, int]], frames: float) -> Spans:
    """One bin of whole frames from every frame on."""
    width = round(frames)
    first = [np.arange(start, stop - width + 1) for start, stop in epochs]
    return [(one, np.full(len(one), width)) for one in first]


BINNINGS = {"frames": _whole_frames, "edges": _exact_edges, "sliding": _sliding}
WHEN = {  # by source
    "onset": "with an event onset",
    "peak": "with an event peak",
    "active": "inside an event",
    "deconvolved": "with much deconvolved activity",
}


def make_bins(recording: xr.Dataset, seconds: float, binning: str = "frames") -> Bins:
    """Cut the recording into bins of so many seconds; masked frames, which are epochs of their own, are in none."""
    frames = seconds * sampling_rate(recording) if binning == "edges" else float(frames_of(seconds, recording))
    frames = min(frames, recording.sizes["frame"] + 1.0)  # longer than the recording is long enough to fit nowhere
    masked = masked_frames(recording)
    epochs = [(int(start), int(stop)) for start, stop in pairwise(epoch_bounds(recording)) if not masked[start:stop].all()]
    if not epochs:
        raise CalciumError("all frames are masked: there is nothing to bin; mask_artifacts() with other arguments masks fewer")
    spans = BINNINGS[binning](epochs, frames)
    first = np.concatenate([one for one, _ in spans]).astype(np.int64)
    width = np.concatenate([one for _, one in spans]).astype(np.int64)
    epoch = np.repeat(np.arange(len(spans)), [len(one) for one, _ in spans])
    place, by_bin = np.full(len(masked), -1, np.int64), binning == "frames"
    if by_bin:
        for k in range(int(frames)):
            place[first + k] = np.arange(len(first))
        sizes = [len(one) for one, _ in spans]
    else:
        inside = np.concatenate([np.arange(start, stop) for start, stop in epochs])
        place[inside] = np.arange(len(inside))
        sizes = [stop - start for start, stop in epochs]
    return Bins(first, width, epoch, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), place, by_bin)


@dataclass(frozen=True)
class Activity:
    """Active places of every neuron: those of row i are `places[offsets[i]:offsets[i + 1]]`, ascending.

    With `once`, each is there once however many events it holds.
    """

    places: np.ndarray
    offsets: np.ndarray
    bins: Bins
    once: bool = True

    @property
    def rows(self) -> np.ndarray:
        """Row of each active place."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def pieces(self, order: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row and place of all activity, of some rows at a time: what is made of them may be many times as large.

        `order` says which neurons come one after the other, and so what row each of them is; by default as they are.
        """
        order = np.arange(len(self.offsets) - 1) if order is None else order
        many, starts = np.diff(self.offsets)[order], self.offsets[:-1][order]
        before = np.concatenate([[0], np.cumsum(many)])
        cuts = np.unique([*np.searchsorted(before, np.arange(0, before[-1], AT_A_TIME)), len(order)])
        for first, stop in pairwise(cuts.tolist()):
            own = slice(first, stop)
            at = np.arange(before[first], before[stop]) + np.repeat(starts[own] - before[own], many[own])
            yield np.repeat(np.arange(first, stop), many[own]), self.places[at]

    def in_bins(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row and bin of all activity, ordered by row and bin, of some rows at a time; each pair once, or once an event."""
        lowest, highest = self.bins.of_places()
        n_bins = max(1, len(self.bins.first))
        for rows, places in self.pieces():
            low, many = lowest[places], np.maximum(highest[places] - lowest[places] + 1, 0)
            bins = np.repeat(low - (np.cumsum(many) - many), many) + np.arange(many.sum())
            keys = np.repeat(rows, many) * n_bins + bins
            yield np.divmod(distinct(keys) if self.once else np.sort(keys), n_bins)

    def neurons_in_bins(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the same, each pair once."""
        n_bins = max(1, len(self.bins.first))
        for rows, bins in self.in_bins():
            yield (rows, bins) if self.once else np.divmod(distinct(rows * n_bins + bins), n_bins)

    def counts(self) -> np.ndarray:
        """Return the coactivity: how many are active in each bin."""
        n_bins = len(self.bins.first)
        return sum((np.bincount(bins, minlength=n_bins) for _, bins in self.in_bins()), np.zeros(n_bins, np.int64))


def joined(pieces: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Put pieces of activity together."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64)), *pieces]
    return np.concatenate([rows for rows, _ in found]), np.concatenate([places for _, places in found])


def _bursts(recording: xr.Dataset, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Row and frame of all deconvolved activity over mean + `threshold` SD of the neuron's."""

    def over(activity: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        _, mean, deviation, _ = row_moments(activity)
        rows, frames = np.nonzero(activity > (mean + threshold * deviation)[:, None])
        return rows, frames, len(activity)

    parts = gather(over, var("deconvolved").check(recording))
    starts = np.concatenate([[0], np.cumsum([many for _, _, many in parts])])
    rows = np.concatenate([rows + start for (rows, _, _), start in zip(parts, starts, strict=False)])
    return rows, np.concatenate([frames for _, frames, _ in parts])


def make_activity(
    recording: xr.Dataset, bins: Bins, source: str = "onset", count: str = "neurons", threshold: float = 3.0
) -> Activity:
    """Return where every neuron is active, in places of these bins.

    An event under way when its epoch begins, or when a gap ends, has no onset and no peak to count: all such events would
    coincide.
    """
    if source == "deconvolved":
        return _in_places(*_bursts(recording, threshold), recording.sizes["neuron"], bins, count)
    rows = event_rows(recording)
    first = event_frames(recording, "peak" if source == "peak" else "onset")
    if source == "active":
        # the frames that `active` marks, of which a short event may have none
        frame = np.arange(recording.sizes["frame"])
        onset, offset = (
            np.interp(var(f"event_{end}").check(recording).values, recording["time"].values, frame) for end in ("onset", "offset")
        )
        first, last = np.ceil(onset - ROUNDING).astype(np.int64), np.floor(offset + ROUNDING).astype(np.int64)
        first = np.minimum(first, epoch_bounds(recording)[1:][event_epochs(recording)] - 1)
        many = np.maximum(last - first + 1, 1)
        rows, first = np.repeat(rows, many), np.repeat(first - (np.cumsum(many) - many), many) + np.arange(many.sum())
    else:
        seen = (var("event_flags").check(recording).values & EVENT_FLAGS["onset_unseen"]) == 0
        rows, first = rows[seen], first[seen]
    return _in_places(rows, first, recording.sizes["neuron"], bins, count)


def _in_places(rows: np.ndarray, frames: np.ndarray, n_neurons: int, bins: Bins, count: str) -> Activity:
    """Sort activity by neuron and place."""
    place, n_places = bins.place_of_frame[frames], max(1, int(bins.rings[-1]))
    keys = (rows * n_places + place)[place >= 0]
    keys = distinct(keys) if count == "neurons" else np.sort(keys)
    offsets = np.searchsorted(keys, np.arange(n_neurons + 1) * n_places)
    return Activity(keys % n_places, offsets, bins, count == "neurons")


def compute_coactivity(
    recording: xr.Dataset,
    *,
    bin: float = 0.5,  # noqa: A002  (the field's word for it)
    binning: Literal["frames", "edges", "sliding"] = "frames",
    source: Literal["onset", "active", "peak", "deconvolved"] = "onset",
    count: Literal["neurons", "events"] = "neurons",
    threshold: float = 3.0,
) -> xr.Dataset:
    """Count the neurons that are active together in each time bin; a neuron counts once a bin.

    Args:
        recording: with events, or with `deconvolved` where that is the source.
        bin: s.
        binning: "frames" (default): bins of whole frames one after the other, the nearest number to `bin` and at least one, so
            that all bins are alike; "edges": exact edges, every `bin` from the beginning of an epoch on, between which bins hold
            unequal numbers of frames and so are not alike (each width gets a null of its own); "sliding": a bin of whole frames
            from every frame on, which misses no coincidence for lying across an edge, and whose bins overlap.
        source: when a neuron is active. "onset" (default): at the frame of an event's onset, the nearest that the trace has to
            the firing; "peak": at its peak; "active": from onset to offset, which lasts as long as the indicator glows.
        count: "neurons" (default), or "events", of which a neuron may have several in a bin ("onset" and "peak" alone).
        threshold: SD over the mean of the neuron's deconvolved activity, for that source. Default 3, with which the assemblies of
            `simulate_assemblies` were found best (2 and 4 were worse).

    Returns:
        The recording with `coactivity` (bin) and the coord `bin_time` (the bin's centre, s), for "edges" also `bin_frames` (how
        many each bin holds). Bins begin anew with each epoch; what is left over at its end, and masked frames, are in none. The
        attribute `bin_width_s` is the width in effect.

    Raises:
        MissingVariableError: there are no events yet, or no deconvolved activity.
        CalciumError: the bin is not positive, longer than every epoch, or (edges) shorter than a frame; an unknown choice; a
            threshold that is not positive.

    Warns:
        The width in effect differs from `bin` by over 10 %.
    """
    recording = fresh(recording, "compute_coactivity")
    check_arguments(compute_coactivity, {"bin": plain(bin), "threshold": plain(threshold)})
    choose(BINNINGS, binning, "binning")
    choose(WHEN, source, "source")
    choose(dict.fromkeys(("neurons", "events")), count, "count")
    rate = sampling_rate(recording)
    var("deconvolved" if source == "deconvolved" else "event_onset").check(recording)
    if not 0.0 < threshold < np.inf:
        raise CalciumError(f"threshold is {threshold} SD, but must be a positive number; 3 is usual")
    if not (np.isfinite(bin) and bin > 0):
        raise CalciumError(f"the bin is {bin} s, but must be a positive number of seconds; 0.5 is usual")
    if binning == "edges" and bin * rate < 1.0 - ROUNDING:
        raise CalciumError(
            f"a bin of {bin:g} s is shorter than a frame ({1 / rate:.3g} s), so that some would hold none; longer ones do"
        )
    if source in ("active", "deconvolved") and count == "events":
        raise CalciumError("events are counted where they begin or peak: give source='onset' or 'peak', or count='neurons'")
    bins = make_bins(recording, bin, binning)
    if len(bins.first) == 0:
        raise CalciumError(
            f"a bin of {bin:g} s ({bin * rate:.3g} frames) is longer than the recording or any epoch; give a shorter bin"
        )
    counts = make_activity(recording, bins, source, count, threshold).counts().astype(np.int32)
    effective = float(bin) if binning == "edges" else float(bins.width[0]) / rate
    if abs(effective - bin) > WIDTH_TOLERANCE * bin:
        width = int(bins.width[0])
        warn(
            f"bins of {bin:g} s are {bin * rate:.3g} frames at {rate:g} Hz: whole bins of {width} frame{'s' * (width > 1)} "
            f"({effective:.3g} s) are used; bin={effective:.3g} asks for just that"
        )
    chosen: dict[str, Attr | None] = {"binning": binning, "source": source, "count": count}
    if source == "deconvolved":
        chosen["threshold"] = float(threshold)
    what = f"neurons {WHEN[source]} in the bin" if count == "neurons" else f"event {source}s in the bin"
    result = recording.assign(
        coactivity=var("coactivity").wrap(counts, bin_s=float(bin), bin_width_s=effective, long_name=what, **chosen)
    )
    time = recording["time"].values
    centre = (time[bins.first] + time[bins.first + bins.width - 1]) / 2
    result = result.assign_coords(bin=np.arange(len(bins.first)), bin_time=("bin", centre, COORDINATES["bin_time"]))
    if binning == "edges":
        result = result.assign_coords(bin_frames=("bin", bins.width, COORDINATES["bin_frames"]))
    return record(result, "compute_coactivity", bin=float(bin), **chosen)


def activity_of(recording: xr.Dataset) -> Activity:
    """Return the activity that the recording's coactivity counts, once that is known to be this recording's."""
    coactivity = var("coactivity").check(recording)
    how = coactivity.attrs
    if "bin_s" not in how:
        raise CalciumError("the coactivity does not say of what bins it is; run compute_coactivity() again")
    bins = make_bins(recording, float(how["bin_s"]), str(how.get("binning", "frames")))
    activity = make_activity(
        recording, bins, str(how.get("source", "onset")), str(how.get("count", "neurons")), float(how.get("threshold", 3.0))
    )
    if not np.array_equal(activity.counts(), coactivity.values):
        raise CalciumError("the coactivity is not that of this recording, as after a selection; run compute_coactivity() again")
    return activity
