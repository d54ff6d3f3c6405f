"""A25: both methods in processes of one thread and of two, the same seed: every bit of the results must be equal."""

from __future__ import annotations

import json
from typing import Any

from coactivity_bars import Bar
from common import run_child, table
from ensembles_methods import ICA, NULL, OURS

THREADS = (1, 2)
LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHILD = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
import calcium_engine as ce
from ensembles_conditions import draw, read_activity
seed, how = int(sys.argv[1]), json.loads(sys.argv[2])
_, arguments = draw("default", seed)
found = ce.find_ensembles(read_activity(ce.simulate_assemblies(**arguments), arguments), seed=seed, **how)
bits = {str(name): hashlib.sha256(found[name].values.tobytes()).hexdigest() for name in found.variables}
bits["attributes"] = hashlib.sha256(repr(sorted(found["ensemble_event_label"].attrs.items())).encode()).hexdigest()
print(json.dumps(bits))
"""


def judge_threads(seed: int) -> tuple[dict[str, Any], list[Bar]]:
    """Hash every variable of a recording in which assemblies were found, and name those whose bits depend on the threads."""
    rows, bars = [], []
    for method in (NULL, ICA):
        how = json.dumps({"compare": False, **OURS[method]})
        one, other = (
            json.loads(run_child(CHILD, str(seed), how, env=dict.fromkeys(LIMITS, str(threads)))) for threads in THREADS
        )
        differ = sorted(name for name in one if one[name] != other.get(name))
        rows.append([method, len(one), ", ".join(differ) or "none"])
        bars.append(Bar("A25", f"{method}: variables that differ by threads", float(len(differ)), 0.0))
    print(f"\nA25: {' and '.join(map(str, THREADS))} threads, from fluorescence to ensembles")
    table(["", "variables", "that differ"], rows)
    return {"rows": rows}, bars
