"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from calcium_engine import __version__
from calcium_engine.cli import commands


class _Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"calcium: error: {message}; see '{self.prog} --help'\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses holds the function to call as `command`."""
    parser = _Parser(prog="calcium", description="From the fluorescence of neurons to calcium events and neuronal ensembles.")
    parser.add_argument("--version", action="version", version=f"calcium {__version__}")
    parser.set_defaults(command=lambda arguments: parser.print_help(sys.stdout))
    add = parser.add_subparsers(title="commands", metavar="COMMAND").add_parser
    _run(add("run", help="analyse a recording: traces in, a folder of results out"))
    _demo(add("demo", help="simulate a recording with known ensembles, analyse it, and say how much of the truth came back"))
    _simulate(add("simulate", help="write a simulated recording"))
    _info(add("info", help="say what a file or a result holds"))
    _convert(add("convert", help="convert a recording to a Zarr store"))
    _recipes(add("recipes", help="list the recipes that come with calcium, or print one"))
    _fetch(add("fetch", help="download a public recording into your cache"))
    return parser


def _run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write DIR/recording.zarr, recipe.toml, tables/*.csv, figures/*.png and report.html."
    parser.set_defaults(command=commands.run)
    _add_input(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make for the results")
    parser.add_argument(
        "--cells",
        choices=("accepted", "all"),
        default="accepted",
        help="where the input marks which neurons are cells, take those (default), or all",
    )
    _add_analysis(parser)
    parser.add_argument("--indicator", metavar="NAME", help="calcium indicator, such as GCaMP6s")
    parser.add_argument("--overwrite", action="store_true", help="replace DIR, where it holds results of an earlier run")
    _add_scale(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.description = "Without --out, results go to ./calcium_demo, and those of an earlier demo there are replaced."
    parser.set_defaults(command=commands.demo)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make for the results (default: calcium_demo)")
    _add_size(parser)
    _add_analysis(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace DIR, where it holds results of an earlier run")


def _simulate(parser: argparse.ArgumentParser) -> None:
    parser.description = "The file's suffix names its format; only .zarr keeps the planted truth."
    parser.set_defaults(command=commands.simulate)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".zarr, .csv or .npy file to make")
    _add_size(parser)
    parser.add_argument("--sampling-rate", type=float, default=4.8, metavar="HZ", help="frames per second (default: %(default)s)")
    parser.add_argument("--indicator", default="GCaMP6s", metavar="NAME", help="calcium indicator (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)")
    _add_settings(parser, "ARGUMENT=VALUE", "set any other argument of simulate_recording, such as n_ensembles=3")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def _info(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=commands.info)
    _add_input(parser)
    parser.add_argument("--check", action="store_true", help="read every chunk of a store, and name those that are damaged")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Whatever its size, the recording is never held in memory as a whole. Text, and files that keep it frame by frame, need "
        "room for a temporary file beside OUT.zarr: 4 bytes a value."
    )
    parser.set_defaults(command=commands.convert)
    _add_input(parser)
    parser.add_argument("out", type=Path, metavar="OUT.zarr", help="store to make")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.zarr")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _recipes(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=commands.recipes)
    parser.add_argument("name", nargs="?", metavar="NAME", help="recipe to print as TOML, to copy and change")


def _fetch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=commands.fetch)
    parser.add_argument("name", choices=sorted(commands.DOWNLOADS), help="which recording")


def _add_input(parser: argparse.ArgumentParser) -> None:
    """Add what tells how to read a file."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="CSV or text, .npy, HDF5, suite2p folder, .zarr store, or results of a run"
    )
    parser.add_argument("--sampling-rate", type=float, metavar="HZ", help="frames per second, where the file does not say")
    parser.add_argument("--dataset", metavar="NAME", help="which dataset of an HDF5 file, where several may be traces")
    parser.add_argument("--orientation", choices=("rows", "columns"), help="where the neurons of a table are (default: rows)")
    parser.add_argument(
        "--input-is", choices=("fluorescence", "dff"), help="what the traces are: raw fluorescence (default), or ΔF/F already"
    )


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    """Add what tells how to analyse."""
    parser.add_argument(
        "--recipe", default="calibrated", metavar="NAME|PATH", help="see 'calcium recipes' (default: %(default)s)"
    )
    _add_settings(parser, "STEP.ARGUMENT=VALUE", "change an argument of the recipe, such as detect_events.min_dff=0.2")
    parser.add_argument("--seed", type=int, help="seed of the random numbers (default: the recipe's)")
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="leave out the figures, in the report too")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_scale(parser: argparse.ArgumentParser) -> None:
    """Add what is said about recordings that are larger than memory."""
    group = parser.add_argument_group(
        "recordings larger than memory",
        "Such a recording (a .zarr store; see 'calcium convert') is analysed in blocks of neurons by itself, or if any of these "
        "is given. What is not finished yet stands in DIR.unfinished.",
    )
    group.add_argument(
        "--memory", metavar="SIZE", help="what the program may hold, such as 2GB (default: a quarter of what is free)"
    )
    group.add_argument(
        "--keep",
        metavar="NAMES",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        help="variables and groups of results to keep, such as dff,events,ensembles (default: all but fluorescence_corrected, "
        "baseline, background)",
    )
    group.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    group.add_argument("--workers", type=int, metavar="N", help="processes to share the work, on this machine")
    group.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work, such as tcp://host:8786")


def _add_settings(parser: argparse.ArgumentParser, form: str, text: str) -> None:
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], type=_setting, metavar=form, help=f"{text}; may be given often"
    )


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    return key.strip(), value.strip()


def _add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=int, default=324, metavar="N", help="neurons to simulate (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=15000, metavar="N", help="frames to simulate (default: %(default)s)")
