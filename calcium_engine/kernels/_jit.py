"""The only Numba policy of the project: serial and parallel twins, cache, threads.

A kernel is a loop over rows that writes into `out` arrays: parallel across rows, sequential inside, so that no bit of its result
depends on the number of threads. The parallel twin runs on the main thread, the serial one everywhere else: dask's workers are
threads of their own, and Numba's default threading layer aborts when two of them enter a parallel region at once.

Set CALCIUM_ENGINE_CACHE=0 to compile anew at every start.
"""

from __future__ import annotations

import functools
import os
import threading
import types
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types as numba_types
from numba.extending import intrinsic

CACHE = os.environ.get("CALCIUM_ENGINE_CACHE", "1") != "0"


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small function that kernels of the same file call."""
    return numba.njit(cache=CACHE, nogil=True)(function)


def threads() -> int:
    """How many threads this one may start: none beside itself where it is a worker, such as one of dask's."""
    return int(numba.get_num_threads()) if threading.current_thread() is threading.main_thread() else 1


class kernel:  # noqa: N801  (a decorator, named as one)
    """Compile a loop over rows twice, serial and parallel, and pick the twin that the calling thread can run."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Take the loop; nothing is made of it until the first call, so that importing many costs little."""
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    @functools.cached_property
    def parallel(self) -> Any:
        """The twin that shares its rows among threads."""
        return numba.njit(parallel=True, cache=CACHE, nogil=True)(self.__wrapped__)

    @functools.cached_property
    def serial(self) -> Any:
        """The twin that runs on the calling thread alone."""
        function = self.__wrapped__
        # the twins would share one entry of Numba's cache if they shared a qualified name
        twin = types.FunctionType(
            function.__code__.replace(co_name=f"{function.__name__}_serial", co_qualname=f"{function.__qualname__}_serial"),
            function.__globals__,
            f"{function.__name__}_serial",
            function.__defaults__,
        )
        twin.__qualname__ = f"{function.__qualname__}_serial"
        twin.__module__ = function.__module__
        return numba.njit(cache=CACHE, nogil=True)(twin)

    def __call__(self, *args: Any) -> Any:
        """Run the twin that is safe on this thread."""
        on_main = threading.current_thread() is threading.main_thread()
        return (self.parallel if on_main else self.serial)(*args)


@intrinsic
def ones_of(typing_context: Any, word: Any) -> Any:
    """Count the set bits of a 64-bit word, in one instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return numba_types.uint64(numba_types.uint64), generate


@intrinsic
def funnel(typing_context: Any, low: Any, high: Any, bit: Any) -> Any:
    """Read 64 bits from some bit (0 to 63) of the 128 of two words on; one instruction where the machine has it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low, high, bit = arguments
        shift = builder.module.declare_intrinsic("llvm.fshr", [low.type], ir.FunctionType(low.type, [low.type] * 3))
        return builder.call(shift, [high, low, bit])

    return numba_types.uint64(*[numba_types.uint64] * 3), generate
