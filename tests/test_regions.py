"""Stores that are written block by block of neurons: they equal what is saved at once, and nothing misaligned gets lost."""

import filecmp
import os
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from calcium_engine import io
from calcium_engine.io import integrity, regions, store
from calcium_engine.schema import CalciumError, var

FRAMES, ROWS = 50, 4


@pytest.fixture(scope="module", autouse=True)
def _small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_BYTES", 4 * FRAMES * ROWS)
        yield


def _recording(n=11, seed=0):
    """Traces of three dtypes, some of nothing but the fill value, and what else a recording may hold."""
    rng = np.random.default_rng(seed)
    traces = rng.normal(size=(n, FRAMES)).astype(np.float32)
    traces[0, 1:] = np.nan
    made = io.make_recording(traces, sampling_rate=5.0, neuron=[f"µ{i}" for i in range(n)], source="é")
    made = made.assign(
        dff=(("neuron", "frame"), rng.normal(size=(n, FRAMES)).round(1)),
        active=var("active").wrap(np.zeros((n, FRAMES), bool), detector="sd"),
        noise=("neuron", rng.random(n)),
        artifact=("frame", rng.random(FRAMES) < 0.1),
        event_neuron=("event", np.array(["µ0", "µ1"])),
        event_onset=("event", np.array([0.5, 1.5])),
        coactivity=("bin", np.arange(4)),
    )
    return made.assign_coords(bin_time=("bin", np.arange(4.0)), is_cell=("neuron", rng.random(n) < 0.5))


TRACES = ["fluorescence", "dff", "active"]


def _template(recording):
    template = recording[TRACES].drop_vars("bin_time", errors="ignore")
    return template.map(lambda trace: trace.copy(data=dask.array.zeros(trace.shape, dtype=trace.dtype)), keep_attrs=True)


def _in_blocks(recording, path, size=ROWS):
    io.lay_out(path, _template(recording), recording.sizes["neuron"])
    for first in range(0, recording.sizes["neuron"], size):
        for name in TRACES:
            io.write_rows(path, name, first, recording[name].values[first : first + size], flush=False)
    io.finish(path, recording.drop_vars(TRACES))


def _files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def _assert_same_files(one, other):
    assert _files(one) == _files(other)
    assert [file for file in _files(one) if not filecmp.cmp(one / file, other / file, shallow=False)] == []


@settings(max_examples=10)
@given(n=st.integers(1, 14), blocks=st.integers(1, 4), seed=st.integers(0, 3))
def test_blocks_make_the_store_that_saving_at_once_makes(n, blocks, seed):
    recording = _recording(n, seed)
    with TemporaryDirectory() as folder:
        whole, parts, lazy = (store.Path(folder) / name for name in ("whole.zarr", "parts.zarr", "lazy.zarr"))
        io.save_recording(recording, whole)
        _in_blocks(recording, parts, blocks * ROWS)
        _assert_same_files(whole, parts)
        xr.testing.assert_identical(io.open_recording(parts).load(), recording)
        io.save_recording(recording.chunk(neuron=3), lazy)
        _assert_same_files(whole, lazy)


def test_the_chunks_are_what_zarr_itself_writes(tmp_path):
    recording = _recording()
    io.save_recording(recording, tmp_path / "a.zarr")
    for name in TRACES:
        ours = zarr.open_array(tmp_path / "a.zarr" / name, mode="r")
        np.testing.assert_array_equal(ours[:], recording[name])
        encoding = {name: store.encoding_of(recording[name].variable)}
        alone = recording[[name]].drop_vars("neuron")
        alone.to_zarr(tmp_path / name, zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=True)
        chunks = [file for file in _files(tmp_path / name / name) if file != "zarr.json"]
        assert chunks == [f"c.{i}.0" for i in range(3)]
        assert filecmp.cmpfiles(tmp_path / name / name, tmp_path / "a.zarr" / name, chunks, shallow=False)[0] == chunks


@given(n_frames=st.integers(0, 10**7))
def test_all_traces_share_the_rows_of_a_chunk(n_frames):
    rows = io.rows_per_chunk(n_frames)
    assert rows >= 1
    assert rows == 1 or 4 * rows * n_frames <= store.CHUNK_BYTES


def test_traces_of_any_dtype_are_cut_alike(tmp_path):
    recording = _recording()
    io.save_recording(recording, tmp_path / "a.zarr")
    assert {zarr.open_array(tmp_path / "a.zarr" / name, mode="r").chunks for name in TRACES} == {(ROWS, FRAMES)}
    lazy = io.open_recording(tmp_path / "a.zarr", chunks={})
    assert {lazy[name].chunks for name in TRACES} == {((4, 4, 3), (FRAMES,))}


N = 11
# xarray itself stumbles over slices that go back from nowhere to nowhere.
SLICES = st.slices(N).filter(lambda s: len(range(*s.indices(N))) > 0 or (s.step or 1) > 0)
PLACES = SLICES | st.lists(st.integers(-N, N - 1), max_size=8).map(np.array) | st.integers(-N, N - 1)
INSTANTS = (
    st.slices(FRAMES).filter(lambda s: len(range(*s.indices(FRAMES))) > 0)
    | st.lists(st.integers(0, FRAMES - 1), max_size=5).map(np.array)
    | st.integers(-FRAMES, FRAMES - 1)
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    recording = _recording(N)
    return recording, io.save_recording(recording, tmp_path_factory.mktemp("saved") / "r.zarr")


@given(rows=PLACES, frames=INSTANTS, name=st.sampled_from(TRACES), chunked=st.booleans())
def test_any_part_can_be_read(saved, rows, frames, name, chunked):
    rows, frames = (part.astype(int) if isinstance(part, np.ndarray) else part for part in (rows, frames))
    recording, path = saved
    opened = io.open_recording(path, chunks={} if chunked else None)
    xr.testing.assert_identical(
        opened[name].isel(neuron=rows, frame=frames).compute(), recording[name].isel(neuron=rows, frame=frames)
    )


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    return io.lay_out(tmp_path_factory.mktemp("laid_out") / "r.zarr", _template(_recording(N)), N)


@given(first=st.integers(-3, 12), n=st.integers(0, 13))
def test_misaligned_rows_are_refused_and_change_nothing(laid_out, first, n):
    before, values = _files(laid_out), np.full((n, FRAMES), 7.0)
    aligned = first >= 0 and n > 0 and first % ROWS == 0 and (first + n == N or ((first + n) % ROWS == 0 and first + n <= N))
    if aligned:
        io.write_rows(laid_out, "dff", first, values, flush=False)
        assert (io.open_unfinished(laid_out)["dff"][first : first + n].values == 7).all()
    else:
        with pytest.raises(CalciumError, match="no whole chunks: begin at a multiple of 4"):
            io.write_rows(laid_out, "dff", first, values, flush=False)
    written = [f"dff/c.{i}.0" for i in range(3) if aligned and first <= i * ROWS < first + n]
    assert sorted(set(_files(laid_out)) - set(before)) == written
    for file in written:
        (laid_out / file).unlink()


def test_rows_that_do_not_fit_are_refused(tmp_path):
    path = io.lay_out(tmp_path / "r.zarr", _template(_recording()), 11)
    for values in (np.zeros((4, FRAMES)), np.zeros((4, FRAMES - 1), np.float32), np.zeros(FRAMES, np.float32)):
        with pytest.raises(CalciumError, match="takes rows of 50 frames of float32"):
            io.write_rows(path, "fluorescence", 0, values)
    with pytest.raises(CalciumError, match="no variable 'denoised'"):
        io.write_rows(path, "denoised", 0, np.zeros((4, FRAMES)))
    with pytest.raises(CalciumError, match="rows are written of"):
        io.write_rows(path, "time", 0, np.zeros((4, FRAMES)))
    with pytest.raises(CalciumError, match="11 neurons, but the recording 12"):
        io.lay_out(tmp_path / "s.zarr", _template(_recording()), 12)
    with pytest.raises(CalciumError, match=r"not noise; finish\(\) writes these"):
        io.lay_out(tmp_path / "s.zarr", _template(_recording()).assign(noise=("neuron", np.zeros(11))), 11)
    with pytest.raises(CalciumError, match="not fluorescence, dff, active"):
        io.finish(path, _recording())
    assert not (tmp_path / "s.zarr").exists()


def test_a_store_is_refused_until_it_is_finished(tmp_path):
    recording = _recording()
    path = io.lay_out(tmp_path / "r.zarr", _template(recording), 11)
    with pytest.raises(CalciumError, match=r"r\.zarr is half made: .* go on with --resume \(resume=True\), or .* --overwrite"):
        io.open_recording(path)
    with pytest.raises(CalciumError, match=r"chunk dff/c\.0\.0 \(neuron 0 to 3, counted from 0\) of 'dff' is missing"):
        io.open_unfinished(path)["dff"].load()
    with pytest.raises(CalciumError, match=r"cannot be finished: chunk active/c\.0\.0 \(neuron 0 to 3.* was not written"):
        io.finish(path, recording.drop_vars(TRACES))
    assert "it is half made" in io.check_store(path)[0]
    for name in TRACES:
        io.write_rows(path, name, 0, recording[name].values)
    io.finish(path, recording.drop_vars(TRACES))
    xr.testing.assert_identical(io.open_recording(path).load(), recording)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.zarr"]


@pytest.mark.parametrize("at", [1, 2, 5, 8, 10])
def test_an_interrupted_finish_can_be_repeated(tmp_path, monkeypatch, at):
    """The first one has other variables and other coordinates: what it left behind is replaced."""
    recording = _recording()
    path = io.lay_out(tmp_path / "r.zarr", _template(recording), 11)
    for name in TRACES:
        io.write_rows(path, name, 0, recording[name].values)
    (path / "dff" / ".c.0.0.abc.partial").write_bytes(b"a process that was killed left this")
    calls = iter(range(1, 100))
    real = regions.flush_files

    def interrupted(files):
        if next(calls) == at:
            raise KeyboardInterrupt
        real(files)

    monkeypatch.setattr(regions, "flush_files", interrupted)
    first = recording.drop_vars([*TRACES, "event_onset"]).assign(
        ensemble_size=("ensemble", [3, 4]), noise=("neuron", np.ones(11))
    )
    with pytest.raises(KeyboardInterrupt):
        io.finish(path, first.assign_coords(ensemble=[1, 2]))
    monkeypatch.undo()
    store.CHUNK_BYTES = 4 * FRAMES * ROWS
    with pytest.raises(CalciumError, match="half made"):
        io.open_recording(path)
    io.finish(path, recording.drop_vars(TRACES))
    io.save_recording(recording, tmp_path / "s.zarr")
    _assert_same_files(path, tmp_path / "s.zarr")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.zarr", "s.zarr"]


def test_blocks_can_be_written_at_once(tmp_path):
    recording = _recording(40)
    path = io.lay_out(tmp_path / "r.zarr", _template(recording), 40)
    with ThreadPoolExecutor(4) as pool:
        jobs = [(name, first) for first in range(0, 40, ROWS) for name in TRACES]
        list(pool.map(lambda job: io.write_rows(path, *job, recording[job[0]].values[job[1] : job[1] + ROWS]), jobs))
    io.finish(path, recording.drop_vars(TRACES))
    xr.testing.assert_identical(io.open_recording(path).load(), recording)


def test_flush_waits_for_the_disk(tmp_path, monkeypatch):
    path = io.lay_out(tmp_path / "r.zarr", _template(_recording()), 11)
    flushed = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (flushed.append(number), real(number)))
    io.write_rows(path, "dff", 0, np.zeros((11, FRAMES)), flush=False)
    assert flushed == []
    io.write_rows(path, "dff", 0, np.zeros((11, FRAMES)))
    assert len(flushed) == 3 + (os.name == "posix")  # the chunks, and the folder with their names


def test_laying_out_keeps_what_exists(tmp_path):
    recording = _recording()
    path = io.save_recording(recording, tmp_path / "r.zarr")
    with pytest.raises(FileExistsError, match="exists already"):
        io.lay_out(path, _template(recording), 11)
    io.lay_out(path, _template(recording), 11, overwrite=True)
    assert integrity.root_of(path)["attributes"]["unfinished"] is True
