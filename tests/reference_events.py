"""The plain definition of what finds and measures events: slow, obvious, one trace at a time."""

from itertools import pairwise

import numpy as np


def _squares(trace, frames, decay):
    """Level, at their first frame, of the decay that comes closest to these frames, and the squares that it leaves."""
    frames = np.array([t for t in frames if not np.isnan(trace[t])])
    response = decay ** (frames - frames[0])
    level = response @ trace[frames] / (response @ response)
    return level, np.sum((trace[frames] - level * response) ** 2)


def _pools(trace, first, last, decay):
    """Lists of frames that decay from one level, in non-negative least squares without a penalty.

    Calcium that is divided by its decay never falls, and is the isotonic regression of the trace that is divided by it: at each
    frame the highest, over all beginnings, of the lowest mean, over all ends, of a stretch around it; clipped at 0.
    """
    frames = [t for t in range(first, last) if not np.isnan(trace[t])]
    n = len(frames)
    level = np.full((n, n), -np.inf)
    for a in range(n):
        for b in range(a, n):
            level[a, b] = _squares(trace, frames[a : b + 1], decay)[0]
    pools, calcium = [], np.inf
    for t in range(n):
        decayed = calcium * decay ** (frames[t] - frames[t - 1])
        lowest = [level[a, t:].min() * decay ** (frames[t] - frames[a]) for a in range(t + 1)]
        calcium = max(*lowest, 0.0)
        if pools and calcium <= decayed * (1 + 1e-9):
            pools[-1].append(frames[t])
        else:
            pools.append([frames[t]])
    return pools


def _is_at_rest(trace, pool, decay):
    return _squares(trace, pool, decay)[0] <= 0


def _worth(trace, before, pool, decay):
    """Squares that are added where this pool is the decay of the one before, or is at rest where that one is."""
    level, apart = _squares(trace, pool, decay)
    if _is_at_rest(trace, before, decay):
        together = np.nansum(trace[pool] ** 2)
        rises = level > 0
    else:
        apart += _squares(trace, before, decay)[1]
        together = _squares(trace, before + pool, decay)[1]
        rises = level > _squares(trace, before, decay)[0] * decay ** (pool[0] - before[0])
    return together - apart if rises else -1.0


def _eliminate(trace, pools, least, decay):
    """Take out pulses worth under `least` that are worth no more than their neighbours, the last first, as each next is known."""
    known = pools[:1]
    for following in [*pools[1:], None]:
        if following is not None:
            known.append(following)
        while True:
            worth = [np.inf, *(_worth(trace, a, b, decay) for a, b in pairwise(known)), np.inf]
            judged = range(1, len(known) - (following is not None))
            out = [k for k in judged if worth[k] < least and worth[k] <= min(worth[k - 1], worth[k + 1])]
            if not out:
                break
            gone = known.pop(out[-1])
            if not _is_at_rest(trace, known[out[-1] - 1], decay):
                known[out[-1] - 1] = known[out[-1] - 1] + gone
    return known, worth[1:-1]


def _stretches(trace, first, last, decay, least, around):
    """Where pulses may be: around frames from which on what decays is worth `least`."""
    known = np.nan_to_num(trace[first:last])
    frames = []
    for t in range(len(known)):
        response = decay ** np.arange(len(known) - t)
        if response @ known[t:] >= least * np.linalg.norm(response):
            frames.append(first + t)
    lasting = int(2 / (1 - decay))
    stretches = []
    for t in frames:
        if stretches and t < stretches[-1][1]:
            stretches[-1][1] = min(t + lasting, last)
        else:
            free = stretches[-1][1] if stretches else first
            stretches.append([max(t - around - 1, free), min(t + lasting, last)])
    return stretches


def find_pulses(trace, noise, decay, high, bounds, climb=0.0, share=0.0, reach=1, around=1):
    """Frames and sizes of one trace's pulses."""
    trace, found = trace.astype(np.float64), []
    for epoch in pairwise(bounds):
        for first, last in _stretches(trace, *epoch, decay, 0.7 * high, around):
            pools = _pools(trace, first, last, decay)
            if not pools:
                continue
            known, worth = _eliminate(trace, pools, high**2, decay)
            latest = -np.inf
            for k in range(1, len(known)):
                t = known[k][0]
                following = known[k + 1][0] if k + 1 < len(known) else last
                top = min(t + reach, following) - 1
                before = trace[max(t - around, known[k - 1][0]) : t]
                after = trace[top : min(top + around, following)]
                before, after = before[~np.isnan(before)], after[~np.isnan(after)]
                if len(before) and len(after):
                    spread = climb * noise * np.sqrt(1 / len(before) + 1 / len(after))
                    level = _squares(trace, known[k], decay)[0]
                    if not after.mean() - before.mean() > max(spread, share * level):
                        continue
                size = np.sqrt(worth[k - 1]) / noise
                if t - latest <= reach:
                    found[-1][1] = max(found[-1][1], size)
                else:
                    found.append([t, size])
                latest = t
    return found


def _windows(trace, template, before, bounds):
    """Frames of the trace around each frame, 0 beyond its epoch and where they are missing."""
    n = len(template)
    for first, last in pairwise(bounds):
        padded = np.pad(np.nan_to_num(trace[first:last].astype(np.float64)), [before, n])
        for t in range(last - first):
            yield padded[t : t + n]


def matched_filter(traces, template, before, bounds):
    shape = template - template.mean()
    fits = [[shape @ window / np.linalg.norm(shape) for window in _windows(row, template, before, bounds)] for row in traces]
    return np.where(np.isnan(traces), np.nan, np.array(fits).reshape(traces.shape))


def clements_bekkers(traces, template, before, bounds):
    out = np.full(traces.shape, np.nan)
    model = np.stack([template, np.ones_like(template)], axis=1)
    for i, row in enumerate(traces):
        for t, window in enumerate(_windows(row, template, before, bounds)):
            if not np.isnan(row[t]):
                scale, offset = np.linalg.lstsq(model, window)[0]
                error = np.sum((window - model @ [scale, offset]) ** 2)
                out[i, t] = scale / np.sqrt(error / (len(template) - 1)) if np.any(window) else 0.0
    return out


def _extreme(trace, start, stop, sign):
    """First highest (sign 1) or lowest (-1) valid frame from start to stop, both included; `stop` where there is none."""
    valid = [t for t in range(start, stop + 1) if not np.isnan(trace[t])]
    return max(valid, key=lambda t: sign * trace[t]) if valid else stop


def find_summits(trace, reach, bounds, peaks):
    """Highest frame near each detection; a valley parts it from the next, and it goes on to where the trace no longer rises."""
    summits = []
    for free, end in pairwise(bounds):
        here = [p for p in peaks if free <= p < end]
        for peak, following in zip(here, [*here[1:], None][: len(here)], strict=True):
            last = end - 1
            if following is not None:
                last = _extreme(trace, peak, following, -1)
                last = max(peak, following - reach - 1) if last == peak else last
            start = max(peak - reach, free)
            top = _extreme(trace, start, max(min(peak + reach, last), start), 1)
            while top < last and trace[top + 1] > trace[top]:
                top += 1
            summits.append(top)
            free = min(last + 1, end - 1)
    return summits


def _crossing(height, peak, end, level):
    """Time nearest to the peak at which a straight line between frames crosses the level; None if not before `end` or a gap."""
    step = 1 if end > peak else -1
    for t in range(peak + step, end + step, step):
        if np.isnan(height[t]):
            return None
        if height[t] < level:
            return t - step * (level - height[t]) / (height[t - step] - height[t])
    return None


def _reached(height, peak, end):
    """Last frame from the peak towards `end` before a missing one."""
    step = 1 if end > peak else -1
    t = peak
    while t != end and not np.isnan(height[t + step]):
        t += step
    return t


def _measure(trace, rest, tau, peak, start, stop, valley, epoch):
    """One event within frames start..stop, as a dict."""
    event = dict.fromkeys(("onset", "peak", "offset"), float(peak)) | {"peak_value": trace[peak], "flags": set()}
    left = max(trace[valley] - rest, 0.0) if valley is not None and not np.isnan(trace[valley]) else 0.0
    since = np.arange(len(trace)) - (start if valley is None else valley)
    height = trace - rest - left * np.exp(-np.maximum(since, 0) / tau)
    amplitude = event["amplitude"] = height[peak]
    if not amplitude > 0:
        return event
    first, last = _reached(height, peak, start), _reached(height, peak, stop)
    rise = {share: _crossing(height, peak, start, share * amplitude) if start < peak else None for share in (0.8, 0.5, 0.2)}
    fall = {
        share: _crossing(height, peak, stop, share * amplitude) if stop > peak else None for share in (0.5, np.exp(-1.0), 0.2)
    }
    onset, offset = (first if rise[0.2] is None else rise[0.2]), (last if fall[0.2] is None else fall[0.2])
    if left > 0.2 * amplitude:
        event["flags"].add("compound")
    if rise[0.2] is None and (first > start or valley is None):
        event["flags"] |= {"edge", "onset_unseen"}
    if (fall[0.2] is None and last < stop) or (stop == epoch[1] - 1 and offset >= stop):
        event["flags"].add("edge")
    if rise[0.5] is None or fall[0.5] is None:
        event["flags"].add("fwhm_censored")
    before = onset if rise[0.5] is None else rise[0.5]
    after = fall[0.5]
    if after is None:
        after = last + tau * np.log(max(height[last] / (0.5 * amplitude), 1.0))
    time = float(peak)
    if start < peak and peak != epoch[1] - 1:
        bend = trace[peak - 1] - 2 * trace[peak] + trace[peak + 1]
        if bend < 0:
            time += np.clip(0.5 * (trace[peak - 1] - trace[peak + 1]) / bend, -0.5, 0.5)
    time = min(max(time, onset), offset)
    inside = [t for t in range(len(trace)) if onset <= t <= offset]
    return event | {
        "onset": onset,
        "peak": time,
        "offset": offset,
        "fwhm": after - before,
        "rise": np.nan if None in (rise[0.8], rise[0.2]) else rise[0.8] - rise[0.2],
        "decay": np.nan if fall[np.exp(-1.0)] is None else fall[np.exp(-1.0)] - time,
        "area": height[inside].sum(),
    }


def measure_events(trace, rest, tau, bounds, summits):
    """One dict for each summit of one trace."""
    trace, events = trace.astype(np.float64), []
    for first, last in pairwise(bounds):
        tops = [top for top in summits if first <= top < last]
        valleys = [None, *(_extreme(trace, a, b - 1, -1) for a, b in pairwise(tops))]
        for k, top in enumerate(tops):
            start = first if valleys[k] is None else valleys[k]
            stop = valleys[k + 1] if k + 1 < len(tops) else last - 1
            event = _measure(trace, rest, tau, top, start, stop, valleys[k], (first, last) if k + 1 == len(tops) else (0, -1))
            climb = event["amplitude"] if valleys[k] is None else trace[top] - trace[valleys[k]]
            events.append(event | {"climb": climb})
    return events
