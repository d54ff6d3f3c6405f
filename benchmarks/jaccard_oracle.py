"""Our Jaccard matrix against one that others computed and published.

The file `population/Jac_Time_Series_Vader_R_2023_03_09.RData` holds the binarised activity of 11 cells (`spikedata`: one row a
0.2 s frame, columns `fwd5_C01` ... `fwd5_C17`: an event in this frame or the five after it) and the Jaccard similarity of every
pair of cells in two sessions. The rows that reproduce them, to the last bit:

* `p.spon["jaccard"]`: the rows of `session == "Spontaneous"` without the last four, which are NA (6010 rows);
* `p.ts["jaccard"]`: the rows of `session == "Task"` without the last four, which are NA (2586 rows).

Two conventions differ, and neither is a matter of arithmetic: the published diagonal is 0, and the similarity of two cells that
never fire (C01 and C07 in the task) is NaN there and 0 here.

    python benchmarks/jaccard_oracle.py --data DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import table, write_json

from calcium_engine.kernels import jaccard_similarity

FILE = Path("population") / "Jac_Time_Series_Vader_R_2023_03_09.RData"
SESSIONS = {"p.spon": "Spontaneous", "p.ts": "Task"}
TOLERANCE = 1e-12


def sessions(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, activity (cell × row) and the published matrix of each session."""
    import rdata

    stored = rdata.read_rda(path)
    spikes = stored["spikedata"]
    columns = [name for name in spikes.columns if name.startswith("fwd5_")]
    for key, session in SESSIONS.items():
        activity = spikes.loc[spikes["session"] == session, columns].dropna().to_numpy(dtype=bool).T
        yield key, activity, np.asarray(stored[key]["jaccard"])


def compare(activity: np.ndarray, published: np.ndarray) -> dict[str, float]:
    """Largest difference off the diagonal, over the pairs of which at least one cell fires."""
    ours = jaccard_similarity(activity)
    upper = np.triu_indices(len(ours), 1)
    fires = activity.any(axis=1)
    defined = (fires[:, None] | fires[None, :])[upper]
    if not np.array_equal(defined, np.isfinite(published[upper])):
        raise SystemExit("the published matrix is NaN elsewhere than where both cells are silent: these are not its rows")
    pairs = np.abs(ours - published)[upper][defined]
    return {"cells": len(activity), "rows": activity.shape[1], "pairs": len(pairs), "largest difference": float(pairs.max())}


def main() -> None:
    """Print the comparison; fail where it exceeds the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds population/")
    path = parser.parse_args().data / FILE
    if not path.exists():
        parser.error(f"{path} does not exist; --data takes the folder that holds population/")
    found = {key: compare(activity, published) for key, activity, published in sessions(path)}
    table(["session", *next(iter(found.values()))], [[key, *row.values()] for key, row in found.items()])
    write_json("jaccard_oracle", found)
    worst = max(row["largest difference"] for row in found.values())
    if not worst <= TOLERANCE:
        raise SystemExit(f"the largest difference is {worst:g}, over {TOLERANCE:g}")
    print(f"equal to {TOLERANCE:g}: largest difference {worst:g}")


if __name__ == "__main__":
    main()
