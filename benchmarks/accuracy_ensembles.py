"""Ensembles: published assemblies and series, false ensembles, halves, real recordings, threads; beside the rules of peers.

How each measure is taken stands in ensembles_published.py, ensembles_chance.py, ensembles_simulated.py, ensembles_real.py and
ensembles_threads.py; the conditions in ensembles_conditions.py, methods and peers in ensembles_methods.py and ensembles_peers.py.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

from coactivity_bars import Bar, show
from common import write_json
from ensembles_chance import judge_bursty
from ensembles_conditions import POINTS, SERIES
from ensembles_figures import draw_ensembles
from ensembles_published import judge_published
from ensembles_real import judge_real
from ensembles_simulated import conditions_of, judge_simulated
from ensembles_threads import judge_threads


def names_of(series: str) -> list[str]:
    """Points and series by their names; "points" are all those with bars, "all" is everything.

    >>> names_of("default,noises"), names_of("points")
    (['default', 'noises'], ['default', 'noise', 'duration', 'rate', 'none'])
    """
    known = {"points": list(POINTS), "all": [*POINTS, *SERIES]}
    names = [name for given in series.split(",") for name in known.get(given, [given])]
    unknown = [name for name in names if name not in POINTS and name not in SERIES]
    if unknown:
        raise SystemExit(f"no series {', '.join(unknown)}; there are points, all, {', '.join([*POINTS, *SERIES])}")
    return list(dict.fromkeys(names))


def run(arguments: argparse.Namespace) -> bool:
    """Measure all, print the tables, write JSON and the figure; return whether all bars are met."""
    warnings.filterwarnings("ignore", category=UserWarning)
    quick, first, workers = arguments.quick, arguments.first_seed, arguments.workers
    names = names_of(arguments.series)
    conditions = conditions_of(arguments.conditions, quick=quick)
    many = range(first, first + (2 if quick else arguments.runs))
    few = range(first, first + (1 if quick else arguments.seeds))
    bursty = range(first, first + (5 if quick else arguments.recordings))
    judges = {
        "published": lambda: judge_published(names, many, workers=workers),
        "bursty": lambda: judge_bursty(bursty, quick=quick, workers=workers),
        "simulated": lambda: judge_simulated(few, conditions, workers=workers),
        "threads": lambda: judge_threads(first),
        "real": lambda: (judge_real(arguments.data, first), []),
    }
    chosen = arguments.only.split(",") if arguments.only else list(judges)
    if set(chosen) - set(judges):
        raise SystemExit(f"--only knows {', '.join(judges)}, not {', '.join(sorted(set(chosen) - set(judges)))}")
    found, bars = {}, []
    for name in (name for name in judges if name in chosen):
        start = time.perf_counter()
        found[name], new = judges[name]()
        bars += new
        # after each, so that what took an hour is not lost with what comes next
        path = _write(quick, {"seeds from": first, "runs": len(many), "recordings": len(bursty), **found}, bars)
        print(f"[{name}: {time.perf_counter() - start:.0f} s; written: {path}]", flush=True)
    met = show(bars)
    if "published" in found:
        draw_ensembles(found["published"], arguments.figure)
        print("drawn:", arguments.figure)
    return met


def _write(quick: bool, about: dict[str, Any], bars: list[Bar]) -> Path:
    """Write all that was found so far."""
    plain = [
        {"bar": bar.name, "what": bar.what, "value": float(bar.value), "must be": bar.words, "met": bool(bar.met)} for bar in bars
    ]
    return write_json("accuracy_ensembles_quick" if quick else "accuracy_ensembles", {**about, "bars": plain})
