"""Blocks on this process, or on the workers of a Dask cluster where a client of one is at hand."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from calcium_engine.blockwise.memory import budget_of
from calcium_engine.schema import CalciumError, warn

AHEAD = 2  # blocks per thread of a worker that wait for it
SHARE_OF_WORKER = 0.5  # of a worker's memory limit, where no budget is given


def current_client() -> Any | None:
    """Return the Dask client that is in use, if there is one; nothing is imported to find out."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None


def room(client: Any | None, memory: str | float | None) -> tuple[int, int]:
    """Return the budget in bytes of a process that works on blocks, and how many it works on at once.

    Without a client that is this process, and its threads share a block. On a cluster each thread of a worker has a block of its
    own, so that no core is asked for twice.

    Raises:
        CalciumError: the cluster has no workers.
    """
    if client is None:
        return budget_of(memory), 1
    workers = list(client.scheduler_info()["workers"].values())
    if not workers:
        raise CalciumError("the Dask cluster has no workers yet; start some, or wait for them with client.wait_for_workers(1)")
    limit = min(worker["memory_limit"] or budget_of(None) / SHARE_OF_WORKER / len(workers) for worker in workers)
    budget = int(SHARE_OF_WORKER * limit) if memory is None else budget_of(memory)
    return budget, max(client.nthreads().values())


def each(work: Callable[..., int], jobs: Iterable[tuple[Any, ...]], client: Any | None) -> Iterator[int]:
    """Do the work for each job, here one after another or on the cluster's workers; yield what it returns as it is done.

    A job whose worker dies is given to another worker; the work must do no harm when it is done twice.

    Raises:
        CalciumError: the same job's workers died again and again.
    """
    if client is None:
        for job in jobs:
            yield work(*job)
        return
    from distributed import KilledWorker, as_completed

    waiting = iter(jobs)
    threads = sum(client.nthreads().values())
    futures = as_completed([client.submit(work, *job, pure=False) for job in islice(waiting, AHEAD * max(1, threads))])  # type: ignore[no-untyped-call]
    try:
        for future in futures:
            yield future.result()
            futures.update([client.submit(work, *job, pure=False) for job in islice(waiting, 1)])  # type: ignore[no-untyped-call]
    except KilledWorker as error:
        raise CalciumError(
            f"the workers that took a block died, again and again ({error}); give them less at a time (memory), or more memory"
        ) from error
    finally:
        client.cancel(list(futures.futures))


@contextmanager
def cluster(workers: int | None, scheduler: str | None, memory: str | float | None) -> Iterator[str | float | None]:
    """Start a cluster on this machine, or use one that runs, while the block lasts; give the memory that each process may take.

    Args:
        workers: processes to start; as many as there are cores at most, which they share.
        scheduler: address of a Dask scheduler that runs, such as tcp://host:8786, instead.
        memory: budget of this machine, which this process and its workers share; or of each worker of that scheduler.

    Raises:
        CalciumError: both are asked for, the number is not positive, or nothing answers at the address.
    """
    if workers is None and scheduler is None:
        yield memory
        return
    if workers is not None and scheduler is not None:
        raise CalciumError("workers are started here, or a scheduler has them already: give --workers or --scheduler, not both")
    from distributed import Client, LocalCluster

    if scheduler is not None:
        from distributed.comm.addressing import get_address_host_port

        try:
            get_address_host_port(scheduler)  # a client that fails over the address itself complains again at exit
            client = Client(scheduler, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise CalciumError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client, client.as_current():
            yield memory
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None or workers < 1:
        raise CalciumError(f"the number of workers is {workers}, but must be positive")
    if workers > cores:
        warn(f"there are {cores} cores for {workers} workers: {cores} are started, or they would be in each other's way")
    processes = min(workers, cores)
    started = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=processes,
        threads_per_worker=cores // processes,
        memory_limit=0,  # blocks are cut to fit
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    with started, Client(started):  # type: ignore[no-untyped-call]
        yield budget_of(memory) // (processes + 1)
