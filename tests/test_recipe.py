"""Recipes are checked before they run, run in order, and are kept with what they made."""

import functools
import tomllib
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from calcium_engine import recipe as recipes
from calcium_engine.analysis import analyze
from calcium_engine.arguments import check_arguments, parse_scalar
from calcium_engine.recipe import STEPS, load_recipe, recipe_names, recipe_text
from calcium_engine.schema import VARIABLES, CalciumError, MissingVariableError
from calcium_engine.simulate import simulate_recording

SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=20))


@functools.cache
def small():
    return simulate_recording(n_neurons=12, n_frames=600, sampling_rate=8.0, n_ensembles=1, ensemble_rate=6.0, seed=1)


def _recipe(*steps):
    return {"step": [{"use": step} if isinstance(step, str) else step for step in steps]}


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_right_and_described(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert tomllib.loads(recipe_text(name))["description"] == recipe.description


def test_both_recipes_of_the_documentation_are_shipped():
    assert {"classical", "calibrated"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_go_the_whole_path(name):
    result = analyze(small(), name)
    made = {step.use for step in load_recipe(name).for_recording(small())}
    for variable in VARIABLES.values():
        if variable.made_by in made and variable.name in result:
            assert set(result[variable.name].dims) == set(variable.dims)
    assert {"dff", "event_onset", "coactivity", "participation", "membership"} <= set(result.variables)
    assert (
        load_recipe(tomllib.loads(result.attrs["recipe"])).steps == load_recipe(name)._with_common("indicator", "GCaMP6s").steps
    )
    assert result.attrs["recipe_name"] == name


def test_a_recipe_is_a_name_a_path_or_a_mapping(tmp_path):
    by_name = load_recipe("classical")
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text("classical"), encoding="utf-8")
    for other in (path, str(path), tomllib.loads(recipe_text("classical")), by_name):
        assert load_recipe(other).steps == by_name.steps
    assert load_recipe(path).name == "mine"


@given(description=st.text(), wavelet=st.text(), ratio=st.floats(allow_nan=False), levels=st.integers())
def test_toml_reads_back_what_was_written(description, wavelet, ratio, levels):
    steps = [
        {"use": "denoise", "wavelet": wavelet, "levels": levels},
        {"use": "subtract_neuropil", "when": "neuropil", "ratio": ratio},
    ]
    recipe = load_recipe({"description": description, "step": steps})
    again = load_recipe(tomllib.loads(recipe.to_toml()))
    assert (again.steps, again.description) == (recipe.steps, recipe.description)


def test_numpy_scalars_are_written_as_numbers():
    recipe = load_recipe(_recipe({"use": "compute_coactivity", "bin": np.float64(0.25)}))
    assert "bin = 0.25" in recipe.with_settings({"compute_coactivity.bin": np.float64(0.25)}).to_toml()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("calibrate", ["'calibrate'", "did you mean 'calibrated'", "classical"]),
        (7, ["int"]),
        ({}, ["no steps", "[[step]]"]),
        ({"step": "compute_dff"}, ["no steps"]),
        ({"steps": []}, ["'steps'"]),
        ({"step": [{"window": 3}]}, ["step 1", "no step is named"]),
        (_recipe("compute_dff", "detect_event"), ["step 2", "did you mean 'detect_events'", "find_ensembles"]),
        (_recipe({"use": "detect_events", "min_df": 0.1}), ["did you mean 'min_dff'", "detector"]),
        (_recipe({"use": "compute_dff", "window": 1}), ["it takes normalize"]),
        (_recipe({"use": "estimate_baseline", "window": "long"}), ["window", "a number", "'long'"]),
        (_recipe({"use": "estimate_baseline", "window": True}), ["a number", "True"]),
        (_recipe({"use": "find_ensembles", "seed": 1.5}), ["a whole number", "1.5"]),
        (
            _recipe({"use": "find_ensembles", "cut": [1]}),
            ["cut", "'pca_shift', 'silhouette', 'gap', 'contrast' or a whole number or a number"],
        ),
        (_recipe({"use": "denoise", "when": "neuropill"}), ["did you mean 'neuropil'"]),
    ],
)
def test_a_wrong_recipe_says_what_is_right(bad, words):
    with pytest.raises(CalciumError) as caught:
        load_recipe(bad)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_recipe_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.toml"):
        load_recipe(tmp_path / "no.toml")
    with pytest.raises(CalciumError, match="unknown recipe"):
        load_recipe("no_such_recipe")
    path = tmp_path / "broken.toml"
    path.write_bytes(b"step = [")
    with pytest.raises(CalciumError, match="no TOML file"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalciumError, match="no TOML file"):
        load_recipe(path)
    with pytest.raises(CalciumError, match="unknown recipe"):
        recipe_text("no_such_recipe")


def test_settings_change_every_use_of_a_step():
    recipe = load_recipe(_recipe({"use": "denoise", "levels": 2}, "compute_dff", {"use": "denoise", "trace": "dff"}))
    changed = recipe.with_settings({"denoise.levels": "3", "denoise.wavelet": "haar"})
    assert [step.arguments for step in changed.steps] == [
        {"levels": 3, "wavelet": "haar"},
        {},
        {"trace": "dff", "levels": 3, "wavelet": "haar"},
    ]
    assert recipe.steps[0].arguments == {"levels": 2}


def test_a_string_that_looks_like_a_number_stays_one_where_only_strings_fit():
    recipe = load_recipe(_recipe("denoise", "find_ensembles"))
    assert recipe.with_settings({"denoise.wavelet": "3"}).steps[0].arguments == {"wavelet": "3"}
    assert recipe.with_settings({"find_ensembles.cut": "3"}).steps[1].arguments == {"cut": 3}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("min_dff", "1", ["step.argument"]),
        ("denoise.", "1", ["step.argument"]),
        ("compute_dff.x", "1", ["it takes normalize"]),
        ("denoise.level", "1", ["did you mean 'levels'"]),
        ("denoise.levels", "many", ["a whole number", "'many'"]),
        ("detect_events.min_dff", "1", ["cannot set", "compute_dff, denoise"]),
        ("denoize.levels", "1", ["no such step", "did you mean 'denoise'"]),
    ],
)
def test_a_wrong_setting_says_what_is_right(key, value, words):
    with pytest.raises(CalciumError) as caught:
        load_recipe(_recipe("compute_dff", "denoise")).with_settings({key: value})
    assert [word for word in words if word not in str(caught.value)] == []


@given(SCALARS)
def test_settings_read_scalars_as_toml_does(value):
    assert parse_scalar(recipes._toml(value)) == value


@pytest.mark.parametrize("text", ["noise", "", "1 2", "[1]", "2020-01-01", "1\nother = 2", "{a = 1}"])
def test_settings_that_are_no_scalar_are_strings(text):
    assert parse_scalar(text) == text


def test_choices_are_listed_and_none_has_no_toml():
    def step(recording, *, kind: Literal["a", "b"] = "a", level: int | None = None, other=1):
        return recording

    assert check_arguments(step, {"kind": "b", "level": 1, "other": object()}) == ["kind", "level", "other"]
    with pytest.raises(CalciumError, match=r"step\.kind is one of 'a', 'b', not 'c'"):
        check_arguments(step, {"kind": "c"})
    with pytest.raises(CalciumError, match=r"step\.level is a whole number, not None"):
        check_arguments(step, {"level": None})


def test_progress_names_each_step_before_it_runs():
    seen = []
    analyze(small(), _recipe("estimate_baseline", "compute_dff"), progress=lambda *stage: seen.append(stage))
    assert seen == [("estimate_baseline", 0, 2), ("compute_dff", 1, 2)]


def test_a_step_runs_only_where_its_variable_is():
    recipe = _recipe({"use": "subtract_neuropil", "when": "neuropil"}, {"use": "estimate_baseline", "when": "fluorescence"})
    assert "baseline" in analyze(small(), recipe)
    dff = small().rename(fluorescence="dff")
    assert "baseline" not in analyze(dff, recipe)


def test_a_step_before_its_input_exists():
    with pytest.raises(MissingVariableError, match=r"^compute_dff: .*estimate_baseline\(\)"):
        analyze(small(), _recipe("compute_dff"))


def test_what_is_no_recording():
    with pytest.raises(CalciumError, match="ndarray"):
        analyze(np.zeros((2, 3)))
    with pytest.raises(CalciumError, match="unknown indicator"):
        analyze(small(), indicator="GCaMP99")


def test_indicator_and_seed_reach_every_step_that_has_them():
    steps = _recipe("estimate_baseline", "compute_dff", "estimate_noise", {"use": "detect_events", "indicator": "jGCaMP8m"})

    def ran(**options):
        result = analyze(small().assign_attrs(indicator="GCaMP6f"), steps, **options)
        return result.attrs["indicator"], load_recipe(tomllib.loads(result.attrs["recipe"])).steps[-1].arguments["indicator"]

    assert ran() == ("GCaMP6f", "jGCaMP8m")  # the recipe is more definite than the recording
    assert ran(indicator="gcamp6s") == ("GCaMP6s", "GCaMP6s")
    assert ran(indicator="GCaMP6s", settings={"detect_events.indicator": "GCaMP6f"})[1] == "GCaMP6f"
    seeded = load_recipe("calibrated")._with_common("seed", 5)
    assert {step.arguments["seed"] for step in seeded.steps if "seed" in check_arguments(STEPS[step.use], {})} == {5}


def test_settings_are_named_with_the_result():
    result = analyze(small(), _recipe("estimate_baseline"), settings={"estimate_baseline.window": "20"})
    assert result.attrs["recipe_name"] == "mapping with estimate_baseline.window=20"
    assert "window = 20" in result.attrs["recipe"]


def test_running_again_leaves_nothing_of_the_earlier_run():
    once = analyze(small(), "calibrated")
    xr.testing.assert_identical(analyze(once, "calibrated"), once)
    events_only = analyze(once, _recipe("detect_events"))
    assert "dff" in events_only
    assert not {"bin", "ensemble", "ensemble_event"} & set(events_only.dims)
    assert "event_count" not in events_only


def test_the_recording_given_is_left_alone():
    before = small().copy(deep=True)
    analyze(small(), "calibrated")
    xr.testing.assert_identical(small(), before)
