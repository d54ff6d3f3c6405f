"""A recipe is an ordered list of steps and their arguments, kept as TOML and checked before anything runs.

```toml
description = "what this recipe is for"

[[step]]
use = "subtract_neuropil"   # a function of STEPS
when = "neuropil"           # optional: only where the recording given to analyze() holds this variable
ratio = 0.7                 # every other key is an argument of the function
```
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import xarray as xr

from calcium_engine.arguments import check_arguments, did_you_mean, fits, parse_scalar
from calcium_engine.artifacts import mask_artifacts
from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.deconvolve import deconvolve
from calcium_engine.denoise import denoise
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.ensembles import find_ensembles
from calcium_engine.events import detect_events
from calcium_engine.features import compute_features
from calcium_engine.indicators import get_indicator
from calcium_engine.neuropil import subtract_neuropil
from calcium_engine.noise import estimate_noise
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.power import ensemble_power
from calcium_engine.retention import retention_test
from calcium_engine.schema import COORDINATES, VARIABLES, Attr, CalciumError, plain

# In the order in which data flows.
STEPS: dict[str, Callable[..., xr.Dataset]] = {
    step.__name__: step
    for step in (
        mask_artifacts,
        subtract_neuropil,
        estimate_noise,
        estimate_baseline,
        compute_dff,
        subtract_background,
        denoise,
        deconvolve,
        detect_events,
        retention_test,
        compute_features,
        compute_coactivity,
        compute_pairwise,
        find_ensemble_events,
        find_ensembles,
        ensemble_power,
    )
}

# Called before each step with its name (or how many neurons are done), its 0-based place and the number of steps and blocks.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the function's name, its arguments, and the variable without which it is skipped."""

    use: str
    arguments: dict[str, Attr]
    when: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its steps exist and take the arguments that it gives them."""

    name: str
    description: str
    steps: tuple[Step, ...]

    def for_recording(self, recording: xr.Dataset) -> list[Step]:
        """Return the steps that run on this recording: those whose `when` it holds, and those that have none."""
        return [step for step in self.steps if step.when is None or step.when in recording.variables]

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some arguments changed, in every use of their step.

        Args:
            settings: "step.argument" -> value. A string is read as a TOML scalar where it is one: "0.2" is the number.

        Raises:
            CalciumError: where the recipe has no such step, the step no such argument, or the argument takes no such value.

        >>> recipe = load_recipe({"step": [{"use": "compute_coactivity"}]})
        >>> recipe.with_settings({"compute_coactivity.bin": "0.25"}).steps[0].arguments
        {'bin': 0.25}
        """
        recipe = self
        for key, value in settings.items():
            recipe = recipe._with_setting(key, value)
        return recipe

    def fitted_to(
        self,
        recording: xr.Dataset,
        *,
        settings: Mapping[str, Any] | None = None,
        indicator: str | None = None,
        seed: int | None = None,
    ) -> Recipe:
        """Return the recipe as it runs on this recording: with its indicator, a seed and settings; see `analyze`."""
        fitted = self
        if kind := indicator or recording.attrs.get("indicator"):
            fitted = fitted._with_common("indicator", get_indicator(kind).name, fill=indicator is None)
        if seed is not None:
            fitted = fitted._with_common("seed", seed)
        changes = ", ".join(f"{key}={value}" for key, value in (settings or {}).items())
        return replace(fitted.with_settings(settings or {}), name=f"{self.name} with {changes}" if changes else self.name)

    def _with_setting(self, key: str, value: Any) -> Recipe:
        name, dot, argument = key.partition(".")
        if not (name and dot and argument):
            raise CalciumError(f"{key!r} is not a setting; write step.argument, such as detect_events.min_dff")
        used = list(dict.fromkeys(step.use for step in self.steps))
        if name not in used:
            known = "" if name in STEPS else "there is no such step; "
            raise CalciumError(
                f"cannot set {key!r}: {known}the steps of recipe {self.name!r} are {', '.join(used)}{did_you_mean(name, used)}"
            )
        value = _read_setting(STEPS[name], argument, value)
        check_arguments(STEPS[name], {argument: value})
        return self._map(lambda step: {**step.arguments, argument: value} if step.use == name else step.arguments)

    def _with_common(self, argument: str, value: Attr, *, fill: bool = False) -> Recipe:
        """Put a value into every step that has the argument; with `fill`, only where the recipe names none."""

        def arguments(step: Step) -> dict[str, Attr]:
            if argument not in check_arguments(STEPS[step.use], {}) or (fill and argument in step.arguments):
                return step.arguments
            check_arguments(STEPS[step.use], {argument: value})
            return {**step.arguments, argument: value}

        return self._map(arguments)

    def _map(self, arguments: Callable[[Step], dict[str, Attr]]) -> Recipe:
        return replace(self, steps=tuple(replace(step, arguments=arguments(step)) for step in self.steps))

    def to_toml(self) -> str:
        """Return the recipe as TOML, which `load_recipe` reads back to the same steps."""
        lines = [f"description = {_toml(self.description)}"]
        for step in self.steps:
            lines += ["", "[[step]]", f"use = {_toml(step.use)}"]
            if step.when is not None:
                lines.append(f"when = {_toml(step.when)}")
            lines += [f"{key} = {_toml(value)}" for key, value in step.arguments.items()]
        return "\n".join(lines) + "\n"


def run_step(step: Step, recording: xr.Dataset) -> xr.Dataset:
    """Run one step; what goes wrong says in which."""
    try:
        return STEPS[step.use](recording, **step.arguments)
    except CalciumError as error:
        raise type(error)(f"{step.use}: {error}") from error


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package.

    >>> "classical" in recipe_names()
    True
    """
    return sorted(Path(entry.name).stem for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """Return the TOML of a recipe that comes with the package, comments included."""
    if name not in recipe_names():
        raise CalciumError(f"unknown recipe {name!r}{did_you_mean(name, recipe_names())}; known: {', '.join(recipe_names())}")
    return _shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """Read a recipe and check it against the functions that it calls.

    Args:
        recipe: the name of one that comes with the package (see `recipe_names`), the path of a .toml file, or what such a file
            holds as a mapping. A Recipe is returned as it is.

    Raises:
        CalciumError: an unknown recipe, step, argument or value; the message lists the right ones.
        FileNotFoundError: no such file.

    >>> load_recipe({"step": [{"use": "detect_event"}]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    calcium_engine.schema.CalciumError: step 1 of the recipe: unknown step 'detect_event' (did you mean 'detect_events'?); ...
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _build("mapping", recipe)
    if not isinstance(recipe, (str, Path)):
        raise CalciumError(f"a recipe is a name, a path or a mapping, but this is a {type(recipe).__name__}")
    if isinstance(recipe, str) and recipe in recipe_names():
        return _build(recipe, tomllib.loads(recipe_text(recipe)))
    path = Path(recipe)
    if not (path.suffix == ".toml" or path.is_file() or len(path.parts) > 1):
        raise CalciumError(
            f"unknown recipe {str(recipe)!r}{did_you_mean(str(recipe), recipe_names())}; "
            f"known: {', '.join(recipe_names())}, or the path of a .toml file"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no recipe file {str(path)!r}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CalciumError(f"{str(path)!r} is no TOML file: {error}") from error
    return _build(path.stem, content)


def _shipped() -> Traversable:
    return resources.files("calcium_engine") / "recipes"


def _build(name: str, content: Mapping[str, Any]) -> Recipe:
    """Check what a recipe file holds."""
    unknown = [key for key in content if key not in ("description", "step")]
    if unknown:
        raise CalciumError(f"recipe {name!r} has an unknown entry {unknown[0]!r}; it holds a description and [[step]] tables")
    tables = content.get("step", [])
    if not isinstance(tables, (list, tuple)) or not tables or not all(isinstance(table, Mapping) for table in tables):
        raise CalciumError(f'recipe {name!r} has no steps; each is a [[step]] table such as use = "compute_dff"')
    return Recipe(name, str(content.get("description", "")), tuple(_build_steps(tables)))


def _build_steps(tables: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    for i, table in enumerate(tables, start=1):
        arguments = {key: plain(value) for key, value in table.items() if key not in ("use", "when")}
        use, when = table.get("use"), table.get("when")
        known = [*VARIABLES, *COORDINATES]
        try:
            if use is None:
                raise CalciumError(f'no step is named; write use = "..." with one of {", ".join(STEPS)}')
            if not isinstance(use, str) or use not in STEPS:
                raise CalciumError(f"unknown step {use!r}{did_you_mean(use, STEPS)}; known: {', '.join(STEPS)}")
            if when is not None and when not in known:
                raise CalciumError(f"'when' names a variable of the recording, not {when!r}{did_you_mean(when, known)}")
            check_arguments(STEPS[use], arguments)
        except CalciumError as error:
            raise CalciumError(f"step {i} of the recipe: {error}") from error
        yield Step(use, arguments, when)


def _read_setting(step: Callable[..., Any], argument: str, value: Any) -> Any:
    """Read a string as a TOML scalar, unless only the string itself fits the argument."""
    if not isinstance(value, str):
        return plain(value)
    scalar = parse_scalar(value)
    return value if fits(step, argument, value) and not fits(step, argument, scalar) else scalar


def _toml(value: Attr) -> str:
    """Write a scalar as TOML; JSON's strings are TOML's but for the delete character."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
