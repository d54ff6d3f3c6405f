"""How accurate the results are where the truth is known, beside the methods that others use: one subject a command.

    python benchmarks/accuracy.py cleaning|events|coactivity|ensembles [--data DIR] [--seeds N] [--first-seed S] [--quick]
        [--figure PATH]

Seeds from 1000 on have not been looked at while methods were chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import accuracy_cleaning
import accuracy_coactivity
import accuracy_ensembles
import accuracy_events
from common import RESULTS

# Each has `run(arguments) -> bool`: it prints, writes JSON and figure, and tells whether the defaults meet all bars.
SUBJECTS = {
    "cleaning": accuracy_cleaning,
    "events": accuracy_events,
    "coactivity": accuracy_coactivity,
    "ensembles": accuracy_ensembles,
}


def main() -> None:
    """Run one subject; fail where a default misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="subject", required=True)
    for name, subject in SUBJECTS.items():
        command = commands.add_parser(name, help=(subject.__doc__ or "").splitlines()[0])
        command.add_argument("--data", type=Path, help="folder of real recordings; without it they are left out")
        command.add_argument("--seeds", type=int, default=4, help="simulated recordings of each kind")
        command.add_argument("--first-seed", type=int, default=1000)
        command.add_argument("--quick", action="store_true", help="one seed and few neurons: to see that it runs")
        if name in ("coactivity", "ensembles"):
            command.add_argument(
                "--recordings", type=int, default=200, help="of independent neurons, in which nothing is coactive"
            )
        if name == "ensembles":
            command.add_argument("--runs", type=int, default=40, help="recordings of each point and series of the publication")
            command.add_argument("--series", default="points", help="points, all, or names of points and series")
            command.add_argument(
                "--conditions", default="", help="names of simulated conditions, e.g. standard; all, where not given"
            )
            command.add_argument("--only", default="", help="published, bursty, simulated, threads, real: some of them")
            command.add_argument("--workers", type=int, default=2, help="processes of one thread each")
        command.add_argument("--figure", type=Path, default=RESULTS / f"accuracy_{name}.png")
    arguments = parser.parse_args()
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"{arguments.data} is no folder")
    if not SUBJECTS[arguments.subject].run(arguments):
        raise SystemExit("a default misses its bar")


if __name__ == "__main__":
    main()
