"""Coactivity: exact laws against shuffles, tails, false positives of every null and rule, threads; real recordings.

How each measure is taken stands in coactivity_laws.py (laws and threads), coactivity_tails.py, coactivity_chance.py (false
positives) and coactivity_real.py.
"""

from __future__ import annotations

import argparse
import time
import warnings

from accuracy_figures import draw_coactivity
from coactivity_bars import show
from coactivity_chance import CONDITIONS, MODULATED, judge_independent, judge_modulated, judge_widths
from coactivity_laws import judge_circular, judge_laws, judge_threads
from coactivity_real import judge_real
from coactivity_tails import judge_tails
from common import write_json


def run(arguments: argparse.Namespace) -> bool:
    """Measure all, print the tables, write JSON and the figure; return whether all bars are met."""
    warnings.filterwarnings("ignore", category=UserWarning)
    quick, first = arguments.quick, arguments.first_seed
    seeds = range(first, first + (1 if quick else arguments.seeds))
    many = range(first, first + (10 if quick else arguments.recordings))
    judges = {
        "circular": lambda: judge_circular(seeds, 10_000 if quick else 100_000),
        "laws": lambda: judge_laws(seeds[:2], 500 if quick else 5000),
        "tails": lambda: judge_tails(arguments.data, first, quick=quick),
        "widths": lambda: judge_widths(many[: 4 if quick else 40], 50 if quick else 200),
        "modulated": lambda: judge_modulated(seeds, ["steady", MODULATED] if quick else CONDITIONS),
        "independent": lambda: judge_independent(many, len(many) // 5),
        "threads": lambda: judge_threads(first, 100),
        "real": lambda: judge_real(arguments.data, first),
    }
    found, bars = {}, []
    for name, judge in judges.items():
        start = time.perf_counter()
        found[name], new = judge()
        bars += new
        print(f"[{name}: {time.perf_counter() - start:.0f} s]")
    met = show(bars)
    name = "accuracy_coactivity_quick" if quick else "accuracy_coactivity"
    plain = [
        {"bar": bar.name, "what": bar.what, "value": float(bar.value), "must be": bar.words, "met": bool(bar.met)} for bar in bars
    ]
    print("written:", write_json(name, {"seeds": list(seeds), "recordings": len(many), "bars": plain, **found}))
    draw_coactivity(found, arguments.figure)
    print("drawn:", arguments.figure)
    return met
