"""The accessor is the functions, by the same names."""

import inspect

import pytest
import xarray as xr

import calcium_engine
from calcium_engine.accessor import METHODS, CalciumAccessor
from calcium_engine.schema import MissingVariableError


@pytest.mark.parametrize("name", METHODS)
def test_same_name_signature_and_docstring(name):
    function, method = METHODS[name], getattr(CalciumAccessor, name)
    first, *rest = inspect.signature(function).parameters.values()
    me, *of_method = inspect.signature(method).parameters.values()
    assert (first.name, me.name, of_method) == ("recording", "self", rest)
    assert method.__doc__ == function.__doc__
    assert method.__name__ == name


def test_every_public_function_of_a_recording_is_a_method():
    public = {name: getattr(calcium_engine, name) for name in calcium_engine.__all__}
    takes_recording = {
        name
        for name, value in public.items()
        if inspect.isfunction(value) and next(iter(inspect.signature(value).parameters), None) == "recording"
    }
    assert takes_recording <= {*METHODS, "score_recovery", "score_events", "score_ensembles"}


def test_a_method_passes_its_recording_on():
    recording = xr.Dataset({"noise": ("neuron", [0.5])}, coords={"neuron": ["a"]})
    assert recording.calcium.to_dataframe("neuron").to_dict("list") == {"neuron": ["a"], "noise": [0.5]}
    assert recording.calcium.to_dataframe(dim="neuron").shape == (1, 2)


def test_a_step_called_too_early_says_what_is_missing():
    with pytest.raises(MissingVariableError, match=r"detect_events\(\)"):
        xr.Dataset(coords={"neuron": [0], "frame": [0, 1], "sampling_rate": 1.0}).calcium.compute_features()
