"""How many of the groups of spikes were found as events, and when."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from calcium_engine.schema import CalciumError, var
from calcium_engine.score.truth import GROUP_GAP, RESAMPLES, match, rows_of, share_of, spike_groups

_WINDOW = (-0.5, 0.75)  # from a group's first spike to the onset of the event that finds it, s
_SIZES = {"1": (1, 1), "2_3": (2, 3), "4": (4, np.inf)}  # spikes in a group


def score_events(
    found: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    window: tuple[float, float] = _WINDOW,
    group_gap: float = GROUP_GAP,
    seed: int = 0,
) -> dict[str, float]:
    """Score events against groups of spikes.

    Spikes of a neuron with gaps of up to `group_gap` make a group. An event finds a group where its onset lies within the window
    around the group's first spike; each finds at most one, the nearest pair first.

    Args:
        found: a recording with events.
        truth: a recording with `true_spike_neuron` and `true_spike_time`, such as spikes recorded at the same time; neurons are
            matched by their ids. Default: `found` itself, which was simulated.
        window: from a group's first spike to the event's onset, s. The default lets a slow indicator rise.
        group_gap: s. The default is near the rise of a slow indicator: closer spikes make one transient.
        seed: of the intervals, for which the neurons are drawn anew 1000 times.

    Returns:
        `spike_groups` and `events` (counts); of all neurons pooled `event_precision`, `event_recall`, `event_f1`, and the recall
        of groups of one, of two or three, and of four or more spikes (`event_recall_1`, `_2_3`, `_4`); `event_f1_median`, that of
        the neurons with spikes or events; `onset_error`, the median distance of an event's onset from its group's first spike,
        and `onset_bias`, the median difference (s; later is positive). The 95 % interval of each but the counts stands beside it
        as `event_f1_low`, `event_f1_high` and so on. NaN where a score has nothing to rest on.

    Raises:
        MissingVariableError: there is no `event_onset` (see `detect_events`), or no truth.
        CalciumError: the window or the gap is none.
    """
    numbers = np.asarray([*np.ravel(window), group_gap, seed], dtype=object)
    if any(isinstance(one, (bool, str)) or not isinstance(one, (int, float, np.number)) for one in numbers):
        raise CalciumError(
            f"window is {window!r}, group_gap {group_gap!r} and seed {seed!r}, but they are numbers: two, one and one"
        )
    if not (len(numbers) == 4 and -np.inf < window[0] < window[1] < np.inf and 0 <= group_gap < np.inf and seed >= 0):
        raise CalciumError(
            f"window is {window} s and group_gap {group_gap} s, but a window has a start and a later end, a gap is 0 or more, "
            "and so is the seed"
        )
    time, row, spikes = spike_groups(found, found if truth is None else truth, group_gap)
    onset = var("event_onset").check(found).values
    event_row = rows_of(found, var("event_neuron").check(found).values)
    onset, event_row = onset[event_row >= 0], event_row[event_row >= 0]
    partner, _ = match(time, row, onset, event_row, window)
    hit = partner >= 0
    late = np.full(len(time), np.nan)
    late[hit] = onset[partner[hit]] - time[hit]
    n = found.sizes["neuron"]
    table = np.stack(
        [
            np.bincount(event_row, minlength=n),
            *(np.bincount(row, weights=one, minlength=n) for one in (np.ones(len(row)), hit)),
            *(
                np.bincount(row, weights=one & (least <= spikes) & (spikes <= most), minlength=n)
                for least, most in _SIZES.values()
                for one in (np.ones(len(row), bool), hit)
            ),
        ]
    )
    scores = _scores(table, late)
    counts = {"spike_groups": float(len(time)), "events": float(len(onset))}
    return counts | _with_intervals(scores, table, late, row, seed)


def _scores(table: np.ndarray, late: np.ndarray) -> dict[str, float]:
    """Return the scores of a table (count × neuron) of events, groups and hits, and those two by size; and of the delays."""
    events, groups, hits, *by_size = table.sum(axis=1)
    sought = table[0] + table[1]
    own = 2 * table[2][sought > 0] / sought[sought > 0]
    late = late[~np.isnan(late)]
    return {
        "event_precision": share_of(hits, events),
        "event_recall": share_of(hits, groups),
        "event_f1": share_of(2 * hits, events + groups),
        **{
            f"event_recall_{name}": share_of(found, planted)
            for name, planted, found in zip(_SIZES, by_size[::2], by_size[1::2], strict=True)
        },
        "event_f1_median": float(np.median(own)) if own.size else np.nan,
        "onset_error": float(np.median(np.abs(late))) if late.size else np.nan,
        "onset_bias": float(np.median(late)) if late.size else np.nan,
    }


def _with_intervals(
    scores: dict[str, float], table: np.ndarray, late: np.ndarray, row: np.ndarray, seed: int
) -> dict[str, float]:
    """Put the 95 % interval beside each score, from drawing the neurons anew."""
    n = table.shape[1]
    edges = np.searchsorted(row, np.arange(n + 1))  # groups are in order of their neurons
    own = [late[start:stop] for start, stop in pairwise(edges)]
    rng = np.random.default_rng(seed)
    again = [
        list(_scores(table[:, drawn], np.concatenate([own[i] for i in drawn])).values())
        for drawn in rng.integers(n, size=(RESAMPLES, n))
    ]
    spread = np.array(again)
    result: dict[str, float] = {}
    for place, (name, value) in enumerate(scores.items()):
        known = spread[:, place][~np.isnan(spread[:, place])]
        low, high = np.quantile(known, [0.025, 0.975]).tolist() if known.size else (np.nan, np.nan)
        result |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return result
