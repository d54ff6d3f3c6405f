"""Object arrays in .npy files, read without running anything that they ask for.

A pickle is a program: it names functions and has them called. Here every name on a short list stands for an inert class of this
file, which only keeps what it is given, and every other name is refused. No function of NumPy or of any other module is called
on behalf of the file, so nothing in it can run, and no crafted dtype can make NumPy read what it should not.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from calcium_engine.io.npy import header_of
from calcium_engine.schema import CalciumError


class _Kept:
    """Keeps the arguments and the state that a pickle gives it, and does nothing with them."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Kept):
    """What a pickle says an array is: version, shape, dtype, order, data."""

    def objects(self) -> list[Any]:
        """Return the elements of an array of objects."""
        data: Any = self.state[4]
        if not isinstance(data, list):
            raise TypeError("not an array of objects")
        return data

    def numbers(self) -> np.ndarray:
        """Return an array of numbers, flat."""
        _, _, dtype, _, data = self.state
        return np.frombuffer(_raw(data), dtype.plain())


class _Dtype(_Kept):
    def plain(self) -> np.dtype:
        """Return the dtype, if it is one of plain numbers; anything else could point into memory."""
        code, order = self.arguments[0], self.state[1] if self.state else "|"
        if not re.fullmatch(r"[biuf][1248]", code) or order not in ("<", ">", "|", "="):
            raise TypeError("not a dtype of plain numbers")
        return np.dtype(f"{order}{code}")


class _Scalar(_Kept):
    def number(self) -> float:
        """Return the number."""
        dtype, data = self.arguments
        return float(np.frombuffer(_raw(data), dtype.plain())[0])


class _Bytes(_Kept):
    """Bytes in the older protocols: a text and "latin1"."""


def _raw(data: Any) -> bytes:
    text = data.arguments[0] if isinstance(data, _Bytes) else data
    return text.encode("latin1") if isinstance(text, str) else bytes(memoryview(text))


class _Dict(dict[Any, Any]):
    """An ordered dictionary, which a dictionary is anyway."""

    def __setstate__(self, state: Any) -> None:
        """Attributes of a dictionary are nothing that we read."""


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_INERT: dict[tuple[str, str], type] = {
    **{(module, "_reconstruct"): _Array for module in _MULTIARRAY},
    **{(module, "scalar"): _Scalar for module in _MULTIARRAY},
    ("numpy", "ndarray"): _Kept,
    ("numpy", "dtype"): _Dtype,
    ("collections", "OrderedDict"): _Dict,
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in (("set", set), ("frozenset", frozenset))},
    ("_codecs", "encode"): _Bytes,
    # Dates and paths stand in the options of suite2p; nobody asks for their value.
    **{("datetime", name): _Kept for name in ("datetime", "date", "timedelta")},
    **{
        (module, name): _Kept
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _INERT[module, name]
        except KeyError:
            raise CalciumError(f"it asks for {module}.{name}, which no array of numbers, texts and lists needs") from None


def load_objects(path: Path) -> list[Any]:
    """Return the elements of an array of Python objects in a .npy file: dictionaries, lists, numbers, texts; nothing runs.

    Raises:
        FileNotFoundError: there is no such file.
        CalciumError: the file is damaged, or asks for anything beyond NumPy arrays and plain containers.
    """
    _, dtype, offset, _ = header_of(path)
    if not dtype.hasobject:
        raise CalciumError(f"{path.name} holds {dtype}, but dictionaries are needed")
    with path.open("rb") as file:
        file.seek(offset)
        try:
            array = _InertUnpickler(file, encoding="latin1").load()
            if not isinstance(array, _Array):
                raise TypeError(f"{type(array).__name__} where an array was expected")
            return array.objects()
        except CalciumError as error:
            raise CalciumError(f"{path.name} was not loaded, for it could run code: {error}") from None
        except Exception as error:  # a damaged pickle may fail in any way
            raise CalciumError(f"{path.name} cannot be read: {type(error).__name__}: {error}") from None


def numbers_in(value: Any) -> list[float]:
    """Return the numbers of something that `load_objects` read: a number, or a list, tuple or array of numbers."""
    if isinstance(value, _Scalar):
        return [value.number()]
    if isinstance(value, _Array):
        return [float(number) for number in value.numbers()]
    if isinstance(value, list | tuple):
        return [number for part in value for number in numbers_in(part)]
    return [float(value)]
