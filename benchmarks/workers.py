"""Many recordings, one after the other, in processes of one thread each."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

WORKERS = 2


def in_workers(task: Callable[..., Any], *arguments: Iterable[Any], workers: int = WORKERS) -> list[Any]:
    """Call `task` in processes of one thread each; results in the order of the arguments."""
    return list(_workers(workers).map(task, *arguments))


@cache
def _workers(workers: int) -> ProcessPoolExecutor:
    """They stay for all that is to be done: to import and compile takes each of them some seconds."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_alone)


def _alone() -> None:
    import numba
    from threadpoolctl import threadpool_limits

    numba.set_num_threads(1)
    threadpool_limits(1)
    warnings.simplefilter("ignore", UserWarning)
