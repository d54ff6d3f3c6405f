"""Imports only point up the list of rooms, in the order in which data flows."""

import ast
from pathlib import Path

import calcium_engine

STEPS = "levels neuropil baseline noise denoise deconvolve detectors events detectability features coactivity ensembles quality"
STEPS += " planting retention nulls shuffles significance ensemble_events synchrony pairwise artifacts"
STEPS += " chance spectra clustering membership components dynamics ensemble_methods power"
ROOMS = [
    "schema indicators arguments",
    "io",
    "kernels",
    "blocks",
    STEPS,
    "recipe",
    "blockwise",
    "analysis",
    "simulate",
    "score",
    "tables",
    "plot",
    "report",
]
ROOMS += ["accessor", "__init__", "cli", "__main__"]
FLOOR = {name: i for i, room in enumerate(ROOMS) for name in room.split()}
PACKAGE = Path(calcium_engine.__file__).parent


def _imported(tree):
    """Yield the room of each module of the package that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("calcium_engine."))
        elif isinstance(node, ast.ImportFrom) and node.module == "calcium_engine":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("calcium_engine."):
            yield node.module.split(".")[1]


def test_imports_only_point_up():
    down = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        assert room in FLOOR, f"{room} is in no room of this list"
        down += [f"{room} imports {name}" for name in _imported(ast.parse(path.read_text())) if FLOOR[name] > FLOOR[room]]
    assert down == []


def test_kernels_know_nothing_of_xarray():
    for path in (PACKAGE / "kernels").glob("*.py"):
        assert "xarray" not in path.read_text()
