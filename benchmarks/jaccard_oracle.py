"""Our Jaccard matrices and z-scores against those that others computed and published.

The file `population/Jac_Time_Series_Vader_R_2023_03_09.RData` holds the binarised activity of 11 cells (`spikedata`: one row a
0.2 s frame, columns `fwd5_C01` ... `fwd5_C17`: an event in this frame or the five after it) and the Jaccard similarity of every
pair of cells in two sessions. The rows that reproduce them, to the last bit:

* `p.spon["jaccard"]`: the rows of `session == "Spontaneous"` without the last four, which are NA (6010 rows);
* `p.ts["jaccard"]`: the rows of `session == "Task"` without the last four, which are NA (2586 rows).

Two conventions differ, and neither is a matter of arithmetic: the published diagonal is 0, and the similarity of two cells that
never fire (C01 and C07 in the task) is NaN there and 0 here.

`z.jaccard` of the same lists is how far each similarity lies from that of shuffles. The numbers tell how it was made: all
p-values (`unadjusted.p`) are whole multiples of 1 / 1001, so that there were 1000 shuffles and the recorded one was counted
among them; and mean (`jaccard` over `norm.jaccard`) and standard deviation are those of circular shifts, not of permuted
frames, whose deviation is half as large here, as each event is six frames long. Whether one cell was shifted or both cannot be
told, nor matters: the shift of one against the other is uniform either way. Ours are exact, over all shifts, so that the
difference is the noise of 1000 shuffles: for a null of skewness g and kurtosis k, z has the standard error sqrt((1 + g z + (k -
1) z² / 4) / 1000). Their p-values are two-sided, by distance from the mean in either direction; those of `compute_pairwise` are
one-sided, for more overlap than chance. Ours made two-sided differ most where an overlap as far below the mean as the recorded
one is above lies on the bound.

    python benchmarks/jaccard_oracle.py --data DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import table, write_json

from calcium_engine.kernels import jaccard_similarity, pair_overlaps

FILE = Path("population") / "Jac_Time_Series_Vader_R_2023_03_09.RData"
SESSIONS = {"p.spon": "Spontaneous", "p.ts": "Task"}
TOLERANCE = 1e-12
CORRELATION = 0.99  # of z over pairs, which the noise of their shuffles allows
SHUFFLES = 1000


def sessions(path: Path) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Yield name, activity (cell × row) and the published matrices of each session."""
    import rdata

    stored = rdata.read_rda(path)
    spikes = stored["spikedata"]
    columns = [name for name in spikes.columns if name.startswith("fwd5_")]
    for key, session in SESSIONS.items():
        activity = spikes.loc[spikes["session"] == session, columns].dropna().to_numpy(dtype=bool).T
        yield key, activity, {str(name): np.asarray(matrix) for name, matrix in stored[key].items()}


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


def similarities(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jaccard similarity of two cells at every shift of one against the other, by plain correlation; as recorded first."""
    common = np.rint(np.fft.irfft(np.fft.rfft(one).conj() * np.fft.rfft(other), len(one)))
    return common / (one.sum() + other.sum() - common)


def compare_z(activity: np.ndarray, published: dict[str, np.ndarray]) -> dict[str, float]:
    """Our z-scores and two-sided p-values against the published ones, over the pairs of which both cells fire."""
    rows, bins = np.nonzero(activity)
    law = pair_overlaps(bins, np.searchsorted(rows, np.arange(len(activity) + 1)), activity.shape[1])
    found = []
    for i, j in zip(*np.triu_indices(len(activity), 1), strict=True):
        if not (activity[i].any() and activity[j].any()):
            continue
        null = similarities(activity[i], activity[j])
        z = (null[0] - law.jaccard_expected[i, j]) / law.jaccard_deviation[i, j]
        standard = (null - null.mean()) / null.std()
        error = np.sqrt((1 + (standard**3).mean() * z + ((standard**4).mean() - 1) * z**2 / 4) / SHUFFLES)
        p = np.mean(np.abs(standard) >= abs(standard[0]) - 1e-9)
        found.append((z, published["z.jaccard"][i, j], error, p, published["unadjusted.p"][i, j]))
    z, theirs, error, p, their_p = np.array(found).T
    if not np.allclose(their_p * (SHUFFLES + 1), np.rint(their_p * (SHUFFLES + 1))):
        raise SystemExit(f"the published p-values are not those of {SHUFFLES} shuffles")
    difference = theirs - z
    return {
        "pairs": len(z),
        "correlation": float(np.corrcoef(z, theirs)[0, 1]),
        "slope": float(np.polyfit(z, theirs, 1)[0]),
        "largest difference": float(np.abs(difference).max()),
        "root mean square": float(np.sqrt(np.mean(difference**2))),
        "of shuffles": float(np.sqrt(np.mean(error**2))),
        "largest in errors": float(np.abs(difference / error).max()),
        "p, largest difference": float(np.abs(p - their_p).max()),
    }


def main() -> None:
    """Print the comparisons; fail where the similarity differs, or z is another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds population/")
    path = parser.parse_args().data / FILE
    if not path.exists():
        parser.error(f"{path} does not exist; --data takes the folder that holds population/")
    stored = list(sessions(path))
    found = {key: compare(activity, published["jaccard"]) for key, activity, published in stored}
    table(["session", *next(iter(found.values()))], [[key, *row.values()] for key, row in found.items()])
    scores = {key: compare_z(activity, published) for key, activity, published in stored}
    print("\nz against all shifts, beside theirs of 1000")
    table(["session", *next(iter(scores.values()))], [[key, *row.values()] for key, row in scores.items()])
    write_json("jaccard_oracle", {"similarity": found, "z": scores})
    worst = max(row["largest difference"] for row in found.values())
    if not worst <= TOLERANCE:
        raise SystemExit(f"the largest difference is {worst:g}, over {TOLERANCE:g}")
    least = min(row["correlation"] for row in scores.values())
    if not least >= CORRELATION:
        raise SystemExit(f"the z-scores correlate by {least:.4f}, under {CORRELATION:g}")
    print(f"equal to {TOLERANCE:g}: largest difference {worst:g}; z correlates by {least:.4f} or more")


if __name__ == "__main__":
    main()
