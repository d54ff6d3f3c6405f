"""How fast traces go into a store and come back, by chunk size, shards, codec and way, beside the codec and the disk themselves.

The limit is the slower of two: the codec on the same buffers by itself, on as many threads, and the compressed buffers written to
plain files (or read from them). Where files are in the system's cache, both are work of the same cores, and add up: "both" is the
least loop that does the one after the other. Figures are of values as they are in memory. On a machine that others use too,
--cpu counts the processor's time, of all threads, instead of the clock's: MB/s are then of one core, without waits for the disk.

    python benchmarks/layout.py [--neurons 2000] [--frames 20000] [--rounds 5] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from common import SAMPLING_RATE, table, write_json
from numcodecs import Blosc
from scipy.signal import lfilter
from zarr.codecs import BloscCodec, Crc32cCodec

from calcium_engine import io
from calcium_engine.io.chunks import WORKERS
from calcium_engine.io.integrity import checksum_of
from calcium_engine.io.store import BLOCK_BYTES

MB = 2**20
CHUNKS = (0.5, 1, 2, 4, 8)
CODECS = ("none", "lz4 5 shuffle", "lz4 5 bitshuffle", "zstd 1 shuffle", "zstd 1 bitshuffle", "zstd 3 shuffle")
CHOSEN = "lz4 5 bitshuffle"
SETTINGS = {"cpu": False}


def simulated(n_neurons: int, n_frames: int) -> dict[str, np.ndarray]:
    """ΔF/F with transients and noise, fluorescence with the brightness of each neuron, and where ΔF/F is high."""
    rng = np.random.default_rng(0)
    spikes = (rng.random((n_neurons, n_frames)) < 0.002).astype(np.float32)
    dff = lfilter([1], [1, -0.85], spikes, axis=1).astype(np.float32)
    dff += rng.normal(0, 0.05, dff.shape).astype(np.float32)
    brightness = rng.uniform(100, 1000, (n_neurons, 1)).astype(np.float32)
    return {"dff": dff, "fluorescence": (1 + dff) * brightness, "active": dff > 0.3}


def clock() -> float:
    """Seconds by the clock that was chosen."""
    return time.process_time() if SETTINGS["cpu"] else time.perf_counter()


def best(rounds: int, *jobs: Callable[[], Any]) -> list[float]:
    """The least seconds of each job, taken in turns."""
    spent = [[] for _ in jobs]
    for _ in range(rounds):
        for times, job in zip(spent, jobs, strict=True):
            start = clock()
            job()
            times.append(clock() - start)
    return [min(times) for times in spent]


class Limit:
    """The codec and the disk by themselves, on the buffers of one layout."""

    def __init__(self, values: np.ndarray, rows: int, codec: str, folder: Path) -> None:
        self.blocks = [np.ascontiguousarray(values[i : i + rows]) for i in range(0, len(values), rows)]
        self.codec, self.folder = _numcodec(codec), folder
        self.packed = [self.codec.encode(block) if self.codec else block.tobytes() for block in self.blocks]
        self.values, self.rows = values, rows

    def _all(self, job: Callable[[int], Any]) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(job, range(len(self.blocks))))

    def encode(self) -> None:
        self._all(lambda i: self.codec.encode(self.blocks[i]) if self.codec else None)

    def decode(self, *, with_files: bool = False) -> None:
        out = np.empty_like(self.values)

        def one(i: int) -> None:
            place = out[i * self.rows : (i + 1) * self.rows]
            packed = (self.folder / str(i)).read_bytes() if with_files else self.packed[i]
            if self.codec:
                self.codec.decode(packed, place)
            else:
                place[:] = np.frombuffer(packed, place.dtype).reshape(place.shape)

        self._all(one)

    def write(self, *, flush: bool = False) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self._all(lambda i: _write(self.folder / str(i), self.packed[i], flush))

    def encode_and_write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self._all(lambda i: _write(self.folder / str(i), self.codec.encode(self.blocks[i]), False))

    def read(self) -> None:
        self._all(lambda i: (self.folder / str(i)).read_bytes())

    def checksums(self) -> None:
        self._all(lambda i: checksum_of(self.packed[i]))


def _write(file: Path, data: bytes, flush: bool) -> None:
    with file.open("wb", buffering=0) as opened:
        opened.write(data)
        if flush:
            os.fsync(opened.fileno())


def _numcodec(codec: str) -> Blosc | None:
    if codec == "none":
        return None
    name, level, shuffle = codec.split()
    return Blosc(name, int(level), {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}[shuffle])


def _zarr_codecs(codec: str, checksum: bool) -> list[Any]:
    name, level, shuffle = codec.split() if codec != "none" else ("", "0", "")
    return ([BloscCodec(cname=name, clevel=int(level), shuffle=shuffle)] if name else []) + [Crc32cCodec()] * checksum


class ByZarr:
    """A Zarr array written and read as `array[a:b]`, in blocks of whole chunks (or shards) of about 25 MB."""

    def __init__(self, values: np.ndarray, rows: int, codec: str, folder: Path, *, checksum: bool, shard: int = 1) -> None:
        self.values, self.folder, self.rows, self.shard = values, folder, rows, shard
        self.codecs = _zarr_codecs(codec, checksum)
        piece = rows * shard
        self.block = piece * max(1, BLOCK_BYTES // (piece * values[:1].nbytes))

    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        frames = self.values.shape[1]
        shards = (self.rows * self.shard, frames) if self.shard > 1 else None
        array = zarr.create_array(
            self.folder,
            shape=self.values.shape,
            chunks=(self.rows, frames),
            shards=shards,
            dtype=self.values.dtype,
            compressors=self.codecs,
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
        )
        for first in range(0, len(self.values), self.block):
            array[first : first + self.block] = self.values[first : first + self.block]

    def read(self) -> None:
        array = zarr.open_array(self.folder, mode="r")
        for first in range(0, len(self.values), self.block):
            array[first : first + self.block]


def _disk(folder: Path) -> tuple[float, int]:
    """MB and number of files."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / MB, len(files)


def codecs(values: dict[str, np.ndarray], rounds: int, folder: Path) -> list[list[Any]]:
    """Each codec by itself on 2 MB of float32 a buffer, and the checksum."""
    lines = []
    for name, traces in values.items():
        rows = io.rows_per_chunk(traces.shape[1])
        for codec in CODECS[1:]:
            limit = Limit(traces, rows, codec, folder / "plain")
            encode, decode, check = best(rounds, limit.encode, limit.decode, limit.checksums)
            size = sum(map(len, limit.packed)) / traces.nbytes
            lines.append([f"{name}, {codec}", size, *(traces.nbytes / MB / seconds for seconds in (encode, decode, check))])
    return lines


def by_zarr(traces: np.ndarray, rounds: int, folder: Path) -> list[list[Any]]:
    """Zarr's own reading and writing in each layout."""
    layouts = [(2.0, codec, checksum, 1) for codec in CODECS for checksum in (False, True)]
    layouts += [(chunk, CHOSEN, True, 1) for chunk in CHUNKS if chunk != 2] + [(2.0, CHOSEN, True, shard) for shard in (4, 16)]
    lines = []
    for chunk, codec, checksum, shard in layouts:
        rows = max(1, int(chunk * MB) // traces[:1].nbytes)
        limit = Limit(traces, rows, codec, folder / "plain")
        ours = ByZarr(traces, rows, codec, folder / "zarr", checksum=checksum, shard=shard)
        jobs = (limit.encode, limit.write, limit.decode, limit.read, ours.write, ours.read)
        encode, write, decode, read, w, r = best(rounds, *jobs)
        what = f"{chunk:g} MB, {codec}{', crc32c' if checksum else ''}{f', shards of {shard}' if shard > 1 else ''}"
        lines.append([what, *_against(traces, w, r, max(encode, write), max(decode, read)), *_disk(folder / "zarr")])
    return lines


def _against(traces: np.ndarray, write: float, read: float, write_limit: float, read_limit: float) -> list[float]:
    size = traces.nbytes / MB
    return [size / write, write / write_limit, size / read, read / read_limit]


def ways(traces: np.ndarray, rounds: int, folder: Path) -> tuple[list[list[Any]], dict[str, float]]:
    """The ways to write and read one variable in the layout that `save_recording` chooses."""
    n, frames = traces.shape
    rows = io.rows_per_chunk(frames)
    recording = io.make_recording(traces, sampling_rate=SAMPLING_RATE, variable="dff")
    lazy = recording.assign(dff=(recording["dff"].dims, dask.array.from_array(traces, chunks=(rows * 12, frames), name=False)))
    template = recording.assign(dff=(recording["dff"].dims, dask.array.zeros(traces.shape, dtype=traces.dtype)))
    block = rows * max(1, BLOCK_BYTES // (rows * traces[:1].nbytes))
    limit = Limit(traces, rows, CHOSEN, folder / "plain")
    plain_zarr = ByZarr(traces, rows, CHOSEN, folder / "zarr", checksum=True)
    by_xarray = {"dff": {"chunks": (rows, frames), "compressors": _zarr_codecs(CHOSEN, True)}}

    def through_xarray() -> None:
        lazy.to_zarr(folder / "xarray.zarr", mode="w", zarr_format=3, consolidated=False, encoding=by_xarray)

    def from_xarray() -> None:
        _through_dask(xr.open_zarr(folder / "xarray.zarr", consolidated=False, chunks={}))

    def rows_alone(flush: bool) -> None:
        for first in range(0, n, block):
            io.write_rows(folder / "rows.zarr", "dff", first, traces[first : first + block], flush=flush)

    def in_blocks() -> None:
        path = io.lay_out(folder / "ours.zarr", template, n, overwrite=True)
        for first in range(0, n, block):
            io.write_rows(path, "dff", first, traces[first : first + block], flush=False)
        io.finish(path, xr.Dataset(attrs=recording.attrs))

    io.lay_out(folder / "rows.zarr", template, n, overwrite=True)
    names = ["limit: codec", "limit: files", "limit: both", "limit: files, fsync", "zarr, array[a:b]", "xarray through dask"]
    names += ["save_recording", "save_recording, dask", "write_rows", "write_rows, flush=True", "lay_out, write_rows, finish"]
    writes = best(
        rounds,
        limit.encode,
        lambda: limit.write(flush=False),
        limit.encode_and_write,
        lambda: limit.write(flush=True),
        plain_zarr.write,
        through_xarray,
        lambda: io.save_recording(recording, folder / "ours.zarr", overwrite=True),
        lambda: io.save_recording(lazy, folder / "ours.zarr", overwrite=True),
        lambda: rows_alone(False),
        lambda: rows_alone(True),
        in_blocks,
    )
    readers = ["limit: codec", "limit: files", "limit: both", "zarr, array[a:b]", "xarray through dask"]
    readers += ["open_recording", "open_recording, dask", "check_store"]
    reads = best(
        rounds,
        limit.decode,
        limit.read,
        lambda: limit.decode(with_files=True),
        plain_zarr.read,
        from_xarray,
        lambda: _in_turn(io.open_recording(folder / "ours.zarr"), block),
        lambda: _through_dask(io.open_recording(folder / "ours.zarr", chunks={"neuron": block})),
        lambda: io.check_store(folder / "ours.zarr"),
    )
    lines = _ways("write", traces, names, writes) + _ways("read", traces, readers, reads)
    opened = best(rounds, lambda: io.open_recording(folder / "ours.zarr"))[0]
    return lines, {"open_ms": 1000 * opened, "chunks": -(-n // rows)}


def _through_dask(recording: xr.Dataset) -> None:
    """Read all blocks, and keep next to nothing of them."""
    recording["dff"].data.map_blocks(lambda block: block[:, :1], chunks=(recording["dff"].chunks[0], (1,))).compute()


def _in_turn(recording: xr.Dataset, block: int) -> None:
    for first in range(0, recording.sizes["neuron"], block):
        recording["dff"][first : first + block].values  # noqa: B018


def _ways(what: str, traces: np.ndarray, names: Sequence[str], seconds: Sequence[float]) -> list[list[Any]]:
    by_name = dict(zip(names, seconds, strict=True))
    slower = max(by_name["limit: codec"], by_name["limit: files"])
    lines = []
    for name, spent in by_name.items():
        limit = max(slower, by_name["limit: files, fsync"]) if "flush" in name else slower
        reached = "" if "limit" in name else "yes" if spent <= 1.3 * limit else "NO"
        lines.append([f"{what}: {name}", traces.nbytes / MB / spent, spent / limit, spent / by_name["limit: both"], reached])
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--ways-only", action="store_true", help="leave out the layouts that were not chosen")
    parser.add_argument("--cpu", action="store_true", help="count the time of the processor")
    arguments = parser.parse_args()
    SETTINGS["cpu"] = arguments.cpu
    values = simulated(arguments.neurons, arguments.frames)
    result: dict[str, Any] = {"neurons": arguments.neurons, "frames": arguments.frames}
    print(f"{arguments.neurons} neurons × {arguments.frames} frames, {values['dff'].nbytes / MB:.0f} MB a trace variable\n")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if not arguments.ways_only:
            result["codecs"] = codecs(values, arguments.rounds, folder)
            table(["codec by itself", "size", "encode, MB/s", "decode, MB/s", "crc32c, MB/s"], result["codecs"])
            print()
            result["zarr"] = by_zarr(values["dff"], arguments.rounds, folder)
            table(["ΔF/F by zarr", "write, MB/s", "/limit", "read, MB/s", "/limit", "MB", "files"], result["zarr"])
            print()
        for trace in ("dff", "fluorescence"):
            result[trace], opening = ways(values[trace], arguments.rounds, folder)
            table([f"{trace} in the chosen layout", "MB/s", "/limit", "/both", "within 1.3 of the limit"], result[trace])
            print(f"opening a store of {opening['chunks']} chunks: {opening['open_ms']:.1f} ms\n")
    write_json(f"layout_{arguments.neurons}x{arguments.frames}{'_cpu' * arguments.cpu}", result)


if __name__ == "__main__":
    main()
