"""Our events of a real recording beside those that were published with it, made by another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import table

import calcium_engine as ce
from calcium_engine.score.truth import GROUP_GAP, match

RAW = "population/Time_Series_Vader_R_2023_03_09_Raw.csv"
EVENTS = "population/Time_Series_Vader_R_2023_03_09_Spikes.csv"
NEAR = 1.0  # s
STRENGTHS = ((0.0, 4.0), (4.0, 6.0), (6.0, 10.0), (10.0, np.inf))  # published values, or our amplitudes over σ


def judge_published(data: Path | None) -> dict[str, Any]:
    """Print and return how many events of either are in the other, by how strong they are."""
    import pandas as pd

    if data is None or not (data / EVENTS).exists():
        print("\npublished events: left out; --data DIR names their folder")
        return {}
    recording = ce.read(data / RAW).calcium.analyze()
    theirs = pd.read_csv(data / EVENTS, skipinitialspace=True)
    ids = recording.indexes["neuron"]
    kept = theirs["Cell Name"].isin(ids[recording["is_cell"].values])
    row, time = ids.get_indexer(theirs["Cell Name"][kept]), theirs["Time (s)"][kept].to_numpy()
    value = theirs["Value"][kept].to_numpy()
    # one rise of the trace is published as several events, a frame apart
    order = np.lexsort((time, row))
    row, time, value = row[order], time[order], value[order]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(row) > 0) | (np.diff(time) > GROUP_GAP)]))
    single, row, time, value = len(time), row[starts], time[starts], np.maximum.reduceat(value, starts)
    ours = ce.to_dataframe(recording.isel(event=recording["is_cell"].sel(neuron=recording["event_neuron"]).values), "event")
    own_row = ids.get_indexer(ours["event_neuron"])
    # the published time is that of a peak or a rise, it is not said of which
    partner, own_partner = match(time, row, ours["event_peak"].to_numpy(), own_row, (-NEAR, NEAR))
    hit, own_hit = partner >= 0, own_partner >= 0
    lag = time[hit] - ours["event_onset"].to_numpy()[partner[hit]]
    print(f"\npublished events of {Path(RAW).name}, accepted cells, within {NEAR:g} s of our peaks")
    print(f"{single} published, in {len(time)} groups with gaps of up to {GROUP_GAP:g} s; {len(ours)} ours; {hit.sum()} in both")
    print(f"a group begins {np.median(lag):.2f} s after our onset (median)")
    rows = []
    for low, high in STRENGTHS:
        those, own = (value >= low) & (value < high), (ours["event_z"] >= low).to_numpy() & (ours["event_z"] < high).to_numpy()
        name = f"{low:g} to {high:g}"
        rows.append([name, int(those.sum()), 100 * hit[those].mean(), int(own.sum()), 100 * own_hit[own].mean()])
    table(["value, or σ", "published", "of them ours, %", "ours", "of them published, %"], rows)
    return {"published": len(time), "ours": len(ours), "both": int(hit.sum()), "by_strength": rows}
