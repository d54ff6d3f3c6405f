"""`recording.calcium`: the functions that take a recording, as its methods; same names, signatures and docstrings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import xarray as xr

from calcium_engine import plot
from calcium_engine.analysis import analyze
from calcium_engine.io import save_recording
from calcium_engine.recipe import STEPS
from calcium_engine.report import write_report
from calcium_engine.tables import to_dataframe, write_tables

# Every public function whose first argument is a recording.
METHODS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *STEPS.values(),
        analyze,
        save_recording,
        to_dataframe,
        write_tables,
        plot.write_figures,
        write_report,
        *(getattr(plot, name) for name in plot.__all__ if name.startswith("plot_")),
    )
}


_register: Callable[[str], Callable[[type], type]] = xr.register_dataset_accessor  # xarray has no types for it


@_register("calcium")
class CalciumAccessor:
    """The steps, figures, tables and files of calcium_engine as methods: `recording.calcium.detect_events(detector="noise")`."""

    def __init__(self, recording: xr.Dataset) -> None:
        self._recording = recording


def _delegate(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def method(self: CalciumAccessor, *args: Any, **kwargs: Any) -> Any:
        return function(self._recording, *args, **kwargs)

    signature = inspect.signature(function)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    vars(method)["__signature__"] = signature.replace(parameters=[me, *list(signature.parameters.values())[1:]])
    return method


for _name, _function in METHODS.items():
    setattr(CalciumAccessor, _name, _delegate(_function))
