"""A recipe on a recording of any size: block after block of neurons into a store, then the steps that look at all of them."""

from __future__ import annotations

import errno
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calcium_engine.blockwise.choice import FEATURES, MASK, holds, is_read, kept_traces, not_asked_for, results_of, sequence
from calcium_engine.blockwise.cluster import current_client, each, room
from calcium_engine.blockwise.memory import bytes_per_neuron, neurons_at_a_time
from calcium_engine.blockwise.notes import Notes, Plan, discard, same_plan, state_of, unfinished, working_in
from calcium_engine.features import complete_features, see_traces
from calcium_engine.io.atomic import check_parent, refuse_to_replace, swap
from calcium_engine.io.integrity import MARKER, ArrayOnDisk, chunk_fault
from calcium_engine.io.regions import finish, lay_out, open_unfinished, write_rows
from calcium_engine.io.store import is_trace, open_recording, rows_per_chunk
from calcium_engine.noise import warn_of_correlated_noise
from calcium_engine.recipe import Progress, Recipe, Step, run_step
from calcium_engine.schema import TRACE, TRACES, CalciumError, NeuronsWarning, fresh, warn

SEEN = "seen_"  # marks what a block's traces say for the features

Finish = Callable[[xr.Dataset], xr.Dataset]


def analyze_in_blocks(
    recording: xr.Dataset,
    recipe: Recipe,
    out: Path,
    *,
    keep: Sequence[str] | None = None,
    memory: str | float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    last: Finish = lambda results: results,
) -> xr.Dataset:
    """Run a recipe block by block into a new store, and return the store, opened; see `analyze`, which calls this.

    `last` is done to the results before they are written.
    """
    out, folder = out.resolve(), unfinished(out)
    if resume and out.exists() and not Notes(folder).store.exists():
        done = _finished(out, recording, recipe, keep or ())
        discard(folder)
        return done
    check_parent(out)
    refuse_to_replace(out, overwrite, MARKER)
    if folder.exists() and not (resume or overwrite):
        raise FileExistsError(f"{folder}: {state_of(folder)}")
    client, show = current_client(), progress or (lambda *_: None)
    with telling_of_disk(out), working_in(folder) as notes:
        analysis = _Analysis(recording, recipe, notes, keep)
        analysis.begin(*room(client, memory), resume=resume)
        analysis.run_blocks(client, show)
        analysis.finish(last, show)
        refuse_to_replace(out, overwrite, MARKER)
        swap(notes.store, out)
        notes.remove()
    return open_recording(out)


def _finished(out: Path, recording: xr.Dataset, recipe: Recipe, keep: Sequence[str]) -> xr.Dataset:
    """Return what an analysis that was not interrupted, after all, has made."""
    done = open_recording(out)
    if done.attrs.get("recipe") != recipe.to_toml():
        raise FileExistsError(
            f"{out} is finished, and was made by another recipe or with other settings; choose another name, or --overwrite it"
        )
    if not all(np.array_equal(done[name].values, recording[name].values) for name in ("neuron", "time")):
        raise FileExistsError(f"{out} is finished, and was made of another recording; choose another name, or --overwrite it")
    lacking = next((name for name in keep if not holds(done, name, recipe)), None)
    if lacking:
        raise FileExistsError(f"{out} is finished, and was made without {lacking!r}; choose another name, or --overwrite it")
    return done


@contextmanager
def telling_of_disk(out: Path) -> Iterator[None]:
    """Say what a full disk, or one that cannot be written to, means here."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CalciumError(
                f"no space left in {out.parent} for {out.name}; what is done is kept: free some and go on with --resume "
                f"(resume=True), or remove {unfinished(out)}"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(f"no permission to write in {out.parent}; choose another place for {out.name}") from error
        raise


@dataclass(frozen=True)
class Work:
    """What is done with a block, wherever that is."""

    steps: tuple[Step, ...]
    traces: tuple[str, ...]  # to be written
    folder: Path

    def __call__(self, block: xr.Dataset, number: int, first: int) -> int:
        """Run the steps on a block of neurons, the first of which is so many rows into the recording; return its number."""
        block = loaded(block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not count neurons was said when they were tried out
            result, seen = self.results(block, first)
        notes = Notes(self.folder)
        for name in self.traces:
            write_rows(notes.store, name, first, result[name].transpose(*TRACE).values, flush=True)
        small = {name: result[name].variable for name in results_of(result, {step.use for step in self.steps})}
        small |= {f"{SEEN}{name}": part.variable for name, part in seen.data_vars.items()}
        about = {"made_from": checksum(block), "history": result.attrs.get("history", "")}
        notes.keep(number, xr.Dataset(small, attrs=about))
        return number

    def results(self, block: xr.Dataset, first: int) -> tuple[xr.Dataset, xr.Dataset]:
        """Return what the steps make of a block, and what its traces say for the features."""
        result, seen = block, xr.Dataset()
        for step in self.steps:
            if step.use == FEATURES:
                seen = see_traces(result, first)
            else:
                result = run_step(step, result)
        return result, seen


def loaded(block: xr.Dataset) -> xr.Dataset:
    """Read a block into memory; artefacts are masked."""
    block = block.load(scheduler="synchronous")  # a worker's thread has no others to spare
    if "artifact" not in block.variables:
        return block
    return block.assign({name: block[name].where(~block["artifact"]) for name in _maskable(block)})


def _maskable(recording: xr.Dataset) -> list[str]:
    """Return the traces in which artefacts are masked."""
    return [name for name in (*TRACES, "neuropil") if name in recording.data_vars]


def _in_chunks(array: Any) -> Any:
    """Chunk traces as a store does, so that dask reads no more of them than it is asked for."""
    return array.chunk(neuron=rows_per_chunk(array.sizes["frame"]), frame=-1)


def checksum(block: xr.Dataset) -> int:
    """Return a checksum of all that a block is made of."""
    value = 0
    for name in sorted(map(str, block.data_vars)):
        values = np.ascontiguousarray(block[name].transpose(*TRACE, missing_dims="ignore").values)
        value = zlib.crc32(values.reshape(-1).view(np.uint8).data, value)
    return value


class _Analysis:
    """An analysis on its way: what it has to do, and how far it is."""

    def __init__(self, recording: xr.Dataset, recipe: Recipe, notes: Notes, keep: Sequence[str] | None) -> None:
        self.recipe, self.notes, self.keep = recipe, notes, keep
        before, in_blocks, self.after = sequence(recipe.for_recording(recording))
        if recording["neuron"].dtype == object:
            recording = recording.assign_coords(neuron=recording["neuron"].astype(str))  # as a store has them
        self.prepared = _masked(recording, before) if before else recording
        if in_blocks:
            self.prepared = fresh(self.prepared, in_blocks[0].use)
        passed = [name for name, array in self.prepared.data_vars.items() if is_trace(array) and not is_read(str(name))]
        self.unread = [str(name) for name in passed if keep is not None and name not in keep]
        self.work = Work(tuple(in_blocks), (), notes.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NeuronsWarning)  # told of all neurons at the end
            # a mistake in the recipe shows before anything is made, and so does what it makes
            sample, _ = self.work.results(loaded(self.block(0, 1)), 0)
        self.traces = {str(name): array for name, array in sample.data_vars.items() if is_trace(array)}
        self.work = replace(self.work, traces=kept_traces(keep, list(self.traces), self.after))
        self.edges: list[int] = []

    def block(self, first: int, stop: int) -> xr.Dataset:
        """Return some neurons, not read yet: what the steps can look at, and what is written as it is."""
        names = [
            name
            for name, array in self.prepared.data_vars.items()
            if array.dims and set(array.dims) <= set(TRACE) and name not in self.unread
        ]
        return self.prepared[names].isel(neuron=slice(first, stop))

    def begin(self, budget: int, at_once: int, *, resume: bool) -> None:
        """Part the neurons into blocks and lay out the store; or find out what was done before.

        Raises:
            CalciumError: there is no room for a block; what was done was another analysis.
        """
        n_neurons, n_frames = (self.prepared.sizes[dim] for dim in TRACE)
        per_neuron = bytes_per_neuron([array.dtype for array in self.traces.values()], n_frames)
        rows = neurons_at_a_time(budget, at_once, per_neuron, rows_per_chunk(n_frames), n_neurons)
        self.edges = [*range(0, n_neurons, rows), n_neurons]
        begun = self.notes.plan() if resume and self.notes.store.exists() else None
        if begun is not None:
            same_plan(begun, self.plan())
            self.edges = begun["edges"]
            return
        self.notes.clear()
        lay_out(self.notes.store, self.template(), n_neurons)
        self.notes.begin(self.plan())

    def plan(self) -> Plan:
        """Return all that makes a finished block what it is, but for the values of its traces."""
        labels = [self.prepared[name].values for name in ("neuron", "time", "epoch") if name in self.prepared.coords]
        return {
            "recipe": self.recipe.to_toml(),
            "shape": [self.prepared.sizes[dim] for dim in TRACE],
            "source": str(self.prepared.attrs.get("source", "")),
            "neuron ids, times or epochs": [zlib.crc32(values.tobytes()) for values in labels],
            "list of what to keep": list(self.work.traces),
            "edges": self.edges,
        }

    def template(self) -> xr.Dataset:
        """Return the recording to be made, with its traces yet to be written."""
        import dask.array

        shape = tuple(self.prepared.sizes[dim] for dim in TRACE)
        empty = {
            name: (TRACE, dask.array.zeros(shape, dtype=self.traces[name].dtype, chunks=shape), self.traces[name].attrs)
            for name in self.work.traces
        }
        labels = {name: coord for name, coord in self.prepared.coords.items() if set(coord.dims) <= set(TRACE)}
        return xr.Dataset(empty, attrs=self.prepared.attrs).assign_coords(labels)

    def run_blocks(self, client: Any | None, progress: Progress) -> None:
        """Run the steps on every block that is not done yet, or was made of other values."""
        spans = list(pairwise(self.edges))
        undone = [k for k in range(len(spans)) if not self.is_done(k)]
        sizes = np.diff(self.edges)
        done, start, earlier = int(sizes.sum() - sizes[undone].sum()), time.perf_counter(), len(spans) - len(undone)
        total, already = len(spans) + len(self.after), done
        progress(f"{done} of {self.edges[-1]} neurons", earlier, total)
        jobs = ((self.block(*spans[k]), k, spans[k][0]) for k in undone)
        with warnings.catch_warnings():  # workers that are threads of this process leave the filters in any state
            for number, k in enumerate(each(self.work, jobs, client), start=earlier + 1):
                done += int(sizes[k])
                speed = (done - already) / (time.perf_counter() - start)
                progress(f"{done} of {self.edges[-1]} neurons, {speed:.3g}/s", number, total)

    def is_done(self, block: int) -> bool:
        """Tell whether a block is finished, and its traces are what they were then."""
        record = self.notes.recall(block)
        first, stop = self.edges[block : block + 2]
        if record is None or not self.is_written(first, stop):
            return False
        same = bool(record.attrs["made_from"] == checksum(loaded(self.block(first, stop))))
        if not same:
            warn(f"the traces of neurons {first} to {stop - 1} changed since they were analysed: it is done again")
        return same

    def is_written(self, first: int, stop: int) -> bool:
        """Tell whether all chunks of some neurons are in the store, and whole."""
        rows = rows_per_chunk(self.prepared.sizes["frame"])
        for array in (ArrayOnDisk.read(self.notes.store / name) for name in self.work.traces):
            keys = [array.key(i, 0) for i in range(first // rows, -(-stop // rows))]
            if any(chunk_fault(array, key, array.data(key)) for key in keys):
                return False
        return True

    def finish(self, last: Finish, progress: Progress) -> None:
        """Join what the blocks left, run the steps that look at all neurons, and complete the store."""
        n_blocks = len(self.edges) - 1
        whole, seen = self.joined(n_blocks)
        for place, step in enumerate(self.after):
            progress(step.use, n_blocks + place, n_blocks + len(self.after))
            if step.use == FEATURES:
                whole = complete_features(fresh(whole, FEATURES), seen, **step.arguments)  # type: ignore[arg-type]
            else:
                whole = run_step(step, whole)
        if any(step.use == "estimate_noise" for step in self.work.steps) and "low_passed_input" in whole:
            warn_of_correlated_noise(whole)
        whole = last(whole)
        small = whole.drop_vars([name for name, array in whole.data_vars.items() if is_trace(array)])
        finish(self.notes.store, small.drop_vars(not_asked_for(small, self.keep)))

    def joined(self, n_blocks: int) -> tuple[xr.Dataset, xr.Dataset]:
        """Return the recording after all blocks, its traces and events not read yet, and what the traces say for the features."""
        left = self.notes.joined(n_blocks)
        whole = self.prepared
        if "artifact" in whole.variables:
            whole = whole.assign({name: _in_chunks(whole[name]).where(~whole["artifact"]) for name in _maskable(whole)})
        for step in self.work.steps:
            whole = fresh(whole, step.use)
        small = {name: variable for name, variable in left.variables.items() if not str(name).startswith(SEEN)}
        written = open_unfinished(self.notes.store)
        whole = whole.assign(small | {name: written.variables[name] for name in self.work.traces})
        seen = {str(name).removeprefix(SEEN): variable for name, variable in left.variables.items() if name not in small}
        return (
            whole.assign_attrs(history=left.attrs["history"]),
            xr.Dataset(seen, coords={"neuron": self.prepared["neuron"].variable}),
        )


def _masked(recording: xr.Dataset, before: list[Step]) -> xr.Dataset:
    """Find the artefacts, which takes a look at all traces; these are masked when they are read (`loaded`)."""
    masked = _in_chunks(recording)
    for step in before:
        masked = run_step(step, masked)
    found = fresh(recording, MASK).assign(artifact=masked["artifact"].compute())
    if "epoch" in masked.coords:
        found = found.assign_coords(epoch=masked["epoch"].compute())
    return found.assign_attrs(masked.attrs)
