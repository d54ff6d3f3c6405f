"""What was found, as tables: one row a neuron, event, bin, ensemble event, ensemble, member or transition."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from calcium_engine.schema import VARIABLES, CalciumError, MissingVariableError

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2**16  # written at a time

# File stem -> what a row is: a dim, or a pair of two (see _CROSSED).
TABLES = {
    "neurons": "neuron",
    "events": "event",
    "coactivity": "bin",
    "ensemble_events": "ensemble_event",
    "ensembles": "ensemble",
    "members": "member",
    "transitions": "transition",
    "pairs": "pair",
}

# Who takes part: dim -> columns, each with its variable, of the dim and the one whose ids are listed.
_WHO = {
    "bin": {"activated_ensembles": ("is_activated", "ensemble")},
    "ensemble_event": {"participants": ("participation", "neuron")},
    "ensemble": {"core_neurons": ("is_core", "neuron"), "peripheral_neurons": ("is_peripheral", "neuron")},
    "compared_ensemble": {"core_neurons": ("compared_is_core", "neuron")},
    "true_ensemble_event": {"participants": ("true_participation", "neuron")},
    "true_ensemble": {"members": ("true_member", "neuron")},
}

# Rows that are pairs: what one is -> the variable that makes it, whose two dims name the first columns.
_CROSSED = {"member": "is_core", "transition": "transition_count", "pair": "pair_overlap"}


def to_dataframe(recording: xr.Dataset, dim: str) -> pd.DataFrame:
    """Return everything that the recording holds along one dim as a table.

    Args:
        recording: what a step or `analyze` returned.
        dim: what a row is: "neuron", "event", "bin", "ensemble_event" or "ensemble"; "member" is a core or peripheral neuron of
            an ensemble, "transition" an ensemble and the next, "pair" two neurons; any other dim with one-dimensional variables
            works too ("frame" gives the times, "cut_step" the evidence for the cut).

    Returns:
        A DataFrame with a column per one-dimensional variable or coordinate of that dim, under its name, coordinates first. Rows
        of bins, ensemble events and ensembles end with the ids of the ensembles that are activated (`activated_ensembles`), and
        of the neurons that take part (`participants`) or are core or peripheral (`core_neurons`, `peripheral_neurons`), separated
        by blanks, or by semicolons where an id holds a blank.

    Raises:
        MissingVariableError: the step that makes this table has not run.
        CalciumError: the recording has no such dim.

    >>> recording = xr.Dataset({"noise": ("neuron", [0.1, 0.2])}, coords={"neuron": ["a", "b"]})
    >>> to_dataframe(recording, "neuron")
      neuron  noise
    0      a    0.1
    1      b    0.2
    """
    import pandas as pd

    if dim in _CROSSED:
        return _crossed(recording, dim)
    if dim not in recording.dims:
        makers = dict.fromkeys(variable.made_by for variable in VARIABLES.values() if dim in variable.dims)
        if makers:
            calls = " or ".join(f"{maker}()" for maker in makers)
            raise MissingVariableError(f"the recording has no {dim!r} table; {calls} makes it")
        raise CalciumError(f"{dim!r} is no dim of the recording; it has {', '.join(map(str, recording.dims))}")
    names = [name for name in (*recording.coords, *recording.data_vars) if recording[name].dims == (dim,)]
    order = [dim, *recording.coords, *VARIABLES]  # the same whether just made or read from a store
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    columns = {str(name): recording[name].values for name in names}
    for column, (variable, whose) in _WHO.get(dim, {}).items():
        if variable in recording.variables:
            columns[column] = _join_ids(recording[whose].values, recording[variable].transpose(dim, whose).values)
    return pd.DataFrame(columns)


def _crossed(recording: xr.Dataset, what: str) -> pd.DataFrame:
    """Return pairs as rows: neurons once each, ensembles both ways, of neurons and ensembles those that belong together."""
    import pandas as pd

    first = VARIABLES[_CROSSED[what]].check(recording)
    rows = np.ones(first.shape, bool)
    if what == "pair":
        rows = np.triu(rows, 1)
    elif what == "member":
        outer = VARIABLES["is_peripheral"].check(recording).values if "is_peripheral" in recording.variables else False
        rows = first.values | outer
    one, other = np.nonzero(rows)
    columns = {str(dim): recording[dim].values[index] for dim, index in zip(first.dims, (one, other), strict=True)}
    same = [name for name, variable in VARIABLES.items() if variable.dims == first.dims and name in recording.variables]
    return pd.DataFrame(columns | {name: VARIABLES[name].check(recording).values[one, other] for name in same})


def write_tables(recording: xr.Dataset, folder: str | os.PathLike[str]) -> list[Path]:
    """Write each table that the recording holds as a CSV file; a table without rows keeps its header.

    Args:
        recording: what a step or `analyze` returned.
        folder: where to put neurons.csv, events.csv, coactivity.csv, ensemble_events.csv, ensembles.csv, members.csv,
            transitions.csv and, where pairs were compared, pairs.csv; made if need be.

    Returns:
        The files written. Numbers have seven significant digits, which is what float32 holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, dim in TABLES.items():
        if _CROSSED[dim] in recording.variables if dim in _CROSSED else dim in recording.dims:
            paths.append(folder / f"{stem}.csv")
            _write_csv(_pieces(recording, dim), paths[-1])
    return paths


def _pieces(recording: xr.Dataset, dim: str) -> Iterator[pd.DataFrame]:
    """Yield a table some rows at a time: of events there may be millions; at least once."""
    if dim in _CROSSED:
        yield to_dataframe(recording, dim)
        return
    for first in range(0, max(1, recording.sizes[dim]), ROWS):
        yield to_dataframe(recording.isel({dim: slice(first, first + ROWS)}), dim)


def _write_csv(pieces: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table with seven significant digits, NaN as a blank cell (in a third of the time that pandas takes)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for place, table in enumerate(pieces):
            if place == 0:
                writer.writerow(table.columns)
            columns = [
                ["" if value != value else f"{value:.7g}" for value in table[name].tolist()]
                if table[name].dtype.kind == "f"
                else table[name].tolist()
                for name in table
            ]
            writer.writerows(zip(*columns, strict=True))


def _join_ids(ids: np.ndarray, takes_part: np.ndarray) -> np.ndarray:
    names = np.array([str(name) for name in ids], dtype=object)
    separator = ";" if any(" " in name for name in names) else " "
    return np.array([separator.join(names[row]) for row in takes_part], dtype=object)
