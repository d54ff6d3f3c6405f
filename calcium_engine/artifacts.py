"""Movement and other artefacts common to the neurons: found, and masked on request."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.arguments import check_arguments
from calcium_engine.blocks import frames_of, gather
from calcium_engine.kernels import rolling_quantile, row_quantile
from calcium_engine.noise import MEDIAN_OF_NORMAL
from calcium_engine.schema import (
    COORDINATES,
    TRACES,
    Attr,
    CalciumError,
    epoch_bounds,
    fresh,
    latest_trace,
    plain,
    record,
    recorded_calls,
    small_values,
    var,
    warn,
)

LEAST_NEURONS = 10  # fewer cannot tell what is common to all from what each does by itself
RECENT, LOW = 10.0, 0.2  # s, quantile: transients rise from there and decay to there, and an earlier artefact hardly moves it
UNDER = 0.25  # of the threshold: noise about the level of rest hardly comes so far under that
BACK = 0.5  # of the share: on the way back noise hides the jump of other neurons than on the way out
MUCH = 0.1  # of the frames


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the first frame of each run of true values, and the frame after its last.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _recent_low(traces: np.ndarray, bounds: np.ndarray, window: int) -> np.ndarray:
    """Low quantile of the frames before each frame of an epoch; of those around its first ones, which have too few before."""
    parts = []
    for start, stop in pairwise(bounds):
        low = rolling_quantile(traces[:, start:stop], window, LOW)
        parts.append(low[:, np.maximum(np.arange(stop - start) - window + window // 2, 0)])
    return np.concatenate(parts, axis=1)


def _jumps(traces: np.ndarray, bounds: np.ndarray, window: int, threshold: float) -> tuple[np.ndarray, np.ndarray, Any]:
    """Find the jumps of some neurons: how many can be asked in each frame, how many dip, who rises (1) or falls (-1; sparse).

    A neuron is asked where it has a sample now and in the frame before, in the same epoch, and where it has any noise.
    """
    from scipy.sparse import csc_array

    change = np.full_like(traces, np.nan)
    change[:, 1:] = np.diff(traces, axis=1)
    change[:, bounds[:-1]] = np.nan
    noise = row_quantile(np.abs(change), 0.5) / MEDIAN_OF_NORMAL
    asked = ~np.isnan(change) & (noise > 0)[:, None]
    limit = (threshold * noise)[:, None]
    signs = ((change > limit) & asked).astype(np.int8) - ((change < -limit) & asked).astype(np.int8)
    dips = (signs < 0) & (traces < _recent_low(traces, bounds, window) - UNDER * limit)
    return asked.sum(axis=0), dips.sum(axis=0), csc_array(signs)


def _find(
    array: xr.DataArray, recording: xr.Dataset, share: float, threshold: float, dipping: float, longest: float
) -> np.ndarray:
    """Mark the frames of artefacts: from each jump out up to the jump back, or, where none follows, the frame of the jump."""
    from scipy.sparse import vstack

    bounds, window = epoch_bounds(recording), frames_of(RECENT, recording)
    parts = gather(lambda traces: _jumps(traces, bounds, window, threshold), array)
    asked, dips = (np.sum([part[i] for part in parts], axis=0) for i in (0, 1))
    most = int(asked.max(initial=0))
    if most < LEAST_NEURONS:
        raise CalciumError(
            f"artefacts are what many neurons do together, but at most {most} have differences to judge by in the same frame, "
            f"and {LEAST_NEURONS} are needed; leave mask_artifacts out"
        )
    signs = vstack([part[2] for part in parts], format="csc")
    jumping = np.diff(signs.indptr)
    part = np.where(asked >= LEAST_NEURONS, jumping / np.maximum(asked, 1), 0.0)
    masked = np.zeros(len(part), bool)
    done = 0
    for first in np.flatnonzero((part > share) & (dips >= dipping * jumping)).tolist():
        if first >= done:
            begin, end, done = _extent(first, done, part > BACK * share, signs, bounds, frames_of(longest, recording))
            masked[begin:end] = True
    return masked


def _extent(first: int, done: int, large: np.ndarray, signs: Any, bounds: np.ndarray, longest: int) -> tuple[int, int, int]:
    """Return an artefact's first frame, the frame after its last, and the one from which on to look for the next."""
    start, stop = bounds[np.searchsorted(bounds, first, side="right") + np.array([-1, 0])].tolist()
    start, stop = max(start, done, first - longest), min(stop, first + longest + 1)
    jumped = signs[:, [first]].toarray()[:, 0].astype(np.int64)
    along = signs[:, start:stop].T.astype(np.int64) @ jumped  # over 0 where neurons go the way of this jump, under 0 back
    out, back = large[start:stop] & (along > 0), large[start:stop] & (along < 0)
    begin = first - start
    end = begin + 1
    while begin > 0 and out[begin - 1]:  # a slow way out
        begin -= 1
    returns = end + np.flatnonzero(back[end:])
    if len(returns) == 0:
        return start + begin, start + end, start + end
    end = int(returns[0])
    while end + 1 < len(back) and back[end + 1]:  # a slow way back: its last jump leads to a good frame
        end += 1
    return start + begin, start + end, start + end + 1


def _cut(recording: xr.Dataset, masked: np.ndarray) -> xr.Dataset:
    """Make each masked stretch an epoch of its own: at the end of another, its frames would look like the last one before."""
    starts = np.zeros(len(masked), bool)
    starts[epoch_bounds(recording)[:-1]] = True
    starts[1:] |= masked[1:] != masked[:-1]
    if starts.sum() == 1:
        return recording
    return recording.assign_coords(epoch=("frame", np.cumsum(starts) - 1, COORDINATES["epoch"]))


def mask_artifacts(
    recording: xr.Dataset,
    *,
    share: float = 0.3,
    threshold: float = 5.0,
    dipping: float = 0.05,
    longest: float = 2.0,
) -> xr.Dataset:
    """Mask movement and other artefacts at which many neurons jump together, and cut the recording there.

    No recipe does this unasked. A neuron jumps where it rises or falls from one frame to the next by over `threshold` σ, with
    the σ of its own differences by the median of their absolute values, over 0.6745; an artefact begins where over `share` of
    the neurons jump, whichever way, and some of them dip. It lasts until as many as half that share jump back.

    Args:
        recording: with `fluorescence`, or `fluorescence_corrected` or `dff` where it begins with those; at least 10 neurons.
        share: of the neurons that must jump in the same frame, between 0 and 1; default 0.3, above what most ensembles reach.
        threshold: in σ of a neuron's frame-to-frame differences; default 5, which noise never reaches. That is a change of
            7.4 % · ν · √rate (ν: noise level in %·Hz^-½): 16 % of the fluorescence at ν = 1 and 4.8 Hz, but 41 % at 30 Hz.
            Smaller artefacts are missed; 2.5 finds those half as large, and over that noise takes just one neuron in 80.
        dipping: share of the jumping neurons that must fall under what is low for them, the 20 % quantile of the last 10 s, by
            a quarter of the threshold or more; default 0.05. It tells movement, which moves some neurons or all of them down,
            from transients: these rise together, with a fast indicator within a frame, and decay to where they came from, but
            do not dip. 0 asks for no dip: it also masks a flash of light, and transients of over `share` of the neurons.
        longest: s, from the jump out to the jump back; default 2 s. Where none follows in time, only the frame of the jump is
            masked: the level has changed for good, and the new epoch gets a baseline of its own.

    Returns:
        The recording with `artifact` (frame), its traces NaN at those frames, and, where there are any, the coordinate `epoch`
        numbered anew: each masked stretch is an epoch of its own, and another begins after it, so that no baseline, filter,
        event or bin reaches across. What earlier steps made is dropped. The attributes of `artifact` hold the parameters and
        `masked_frames`, `masked_share` and `masked_stretches`.

        Masked values are lost from the recording returned: a second run adds to what is masked, and takes nothing back. Begin
        with the recording as it was read to mask less.

    Raises:
        MissingVariableError: the recording holds no trace.
        CalciumError: an argument is out of its range, or fewer than 10 neurons have differences to judge by.

    Warns:
        Over 10 % of the frames are masked.

    No difference across the edge of an epoch or beside a missing sample counts; neurons without samples or noise have no vote.
    All neurons have the same vote, also those not accepted as cells. Of a chunked recording, the artefacts are computed at once.
    """
    parameters: dict[str, float] = {"share": share, "threshold": threshold, "dipping": dipping, "longest": longest}
    _check(parameters)
    earlier, masked_before = _earlier(recording)
    array = var(latest_trace(recording, TRACES[::-1]) if isinstance(recording, xr.Dataset) else TRACES[0]).check(recording)
    recording = fresh(recording, "mask_artifacts").assign({str(array.name): array})  # ΔF/F that it begins with is not dropped
    names = [name for name in (*TRACES, "neuropil") if name in recording.variables]
    masked = _find(array, recording, **parameters) | masked_before
    frames, part = int(masked.sum()), float(masked.mean())
    if part > MUCH:
        warn(
            f"{frames} of {len(masked)} frames ({100 * part:.3g} %) are masked as artefacts; look at the traces there before "
            "going on, and give a higher threshold, share or dipping if that is too much"
        )
    counts = {"masked_frames": frames, "masked_share": part, "masked_stretches": len(runs(masked))}
    settings: dict[str, Attr] = {
        "share": share,
        "threshold": threshold,
        "dipping": dipping,
        "longest_s": longest,
        "trace": str(array.name),
    }
    artifact = var("artifact").wrap(masked, **settings, **counts)
    made = {name: recording[name].where(~artifact) for name in names}
    result = (_cut(recording, masked) if frames else recording).assign({**made, "artifact": artifact})
    for arguments in earlier:  # what they masked is masked still
        if arguments != parameters:
            result = record(result, "mask_artifacts", **arguments)
    return record(result, "mask_artifacts", **parameters)


def _earlier(recording: xr.Dataset) -> tuple[list[dict[str, Attr]], np.ndarray]:
    """Return the calls of this step that the recording has been through, and what they masked."""
    if not isinstance(recording, xr.Dataset) or "artifact" not in recording.variables:
        return [], np.array(False)
    calls = [arguments for name, arguments in recorded_calls(recording) if name == "mask_artifacts"]
    return calls, small_values(var("artifact").check(recording))


def _check(parameters: dict[str, float]) -> None:
    """Refuse what is no number, and numbers that mean nothing."""
    check_arguments(mask_artifacts, {name: plain(value) for name, value in parameters.items()})
    share, dipping = parameters["share"], parameters["dipping"]
    if not 0 < share < 1:
        raise CalciumError(f"share is {share}, but must be between 0 and 1; 0.3 is 30 % of the neurons")
    if not 0 <= dipping <= 1:
        raise CalciumError(f"dipping is {dipping}, but must be from 0 to 1; 0.05 is 5 % of the jumping neurons, 0 asks for none")
    for name, what in (("threshold", "number of σ"), ("longest", "number of seconds")):
        if not 0 < parameters[name] < np.inf:
            raise CalciumError(f"{name} is {parameters[name]}, but must be a positive {what}")
