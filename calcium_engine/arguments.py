"""Check keyword arguments that come from a file or a command line against the function that will take them."""

from __future__ import annotations

import difflib
import inspect
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from calcium_engine.schema import Attr, CalciumError

T = TypeVar("T")

_NAMES = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the function's keyword-only arguments, once those given are known to be among them and to fit.

    Raises:
        CalciumError: an argument that the function lacks, or a value of the wrong type; the message lists the right ones.
    """
    hints = get_type_hints(function)
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name, value in arguments.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise CalciumError(f"{function.__name__} has no argument {name!r}{did_you_mean(name, known)}; {takes}")
        if not _accepts(hints.get(name, Any), value):
            raise CalciumError(f"{function.__name__}.{name} is {_expected(hints[name])}, not {value!r}")
    return known


def fits(function: Callable[..., Any], name: str, value: Any) -> bool:
    """Tell whether the function has this argument and takes this type of value for it."""
    try:
        check_arguments(function, {name: value})
    except CalciumError:
        return False
    return True


def choose(table: dict[str, T], name: str, what: str) -> T:
    """Look a method up in its table, or list the right ones."""
    if name not in table:
        raise CalciumError(f"unknown {what} {name!r}; choose one of {', '.join(table)}")
    return table[name]


def parse_scalar(text: str) -> Attr:
    """Read a TOML scalar (number, true, false, quoted string); anything else is the string itself.

    >>> parse_scalar("0.2"), parse_scalar("true"), parse_scalar("noise")
    (0.2, True, 'noise')
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = parsed["value"]
    return value if len(parsed) == 1 and isinstance(value, (str, int, float)) else text


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" where a known name is close, else nothing.

    >>> did_you_mean("clasical", ["classical", "calibrated"])
    " (did you mean 'classical'?)"
    """
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _accepts(annotation: Any, value: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_accepts(part, value) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    return isinstance(value, annotation) if annotation in (bool, str) else annotation is not type(None)


def _expected(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_expected(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(repr, get_args(annotation)))}"
    return _NAMES.get(annotation, str(annotation))
