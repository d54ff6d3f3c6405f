"""A store that is not whole is told: when it is opened, when it is read, and by calcium info --check."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from calcium_engine import io
from calcium_engine.cli import main
from calcium_engine.io import integrity, store
from calcium_engine.schema import CalciumError

FRAMES, ROWS = 400, 4


@pytest.fixture(scope="module", autouse=True)
def _small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_BYTES", 4 * FRAMES * ROWS)
        yield


def _recording(n, seed):
    traces = np.random.default_rng(seed).normal(100, 5, (n, FRAMES)).astype(np.float32)
    made = io.make_recording(traces, sampling_rate=8.0, neuron=[f"cell {i}" for i in range(n)])
    return made.assign(noise=("neuron", np.arange(float(n))), active=(("neuron", "frame"), traces > 105))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A recording, another one of the same size, and one with more neurons: all with metadata as like as can be."""
    folder = tmp_path_factory.mktemp("stores")
    made = {"r": _recording(10, 1), "twin": _recording(10, 2), "larger": _recording(12, 3)}
    for name, recording in made.items():
        io.save_recording(recording, folder / f"{name}.zarr")
    return folder


@pytest.fixture
def path(stores, tmp_path):
    return shutil.copytree(stores / "r.zarr", tmp_path / "r.zarr")


def _cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def _empty(file):
    file.write_bytes(b"")


def _flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


LAST = r"chunk fluorescence/c\.2\.0 \(neuron 8 to 9, counted from 0\) of 'fluorescence'"
STRANGERS = "do not belong together: one is another recording's"
FAULTS = {
    "deleted": (lambda path, _: (path / "fluorescence/c.2.0").unlink(), LAST + " is missing"),
    "cut short": (lambda path, _: _cut(path / "fluorescence/c.2.0"), LAST + " is cut short or changed"),
    "empty": (lambda path, _: _empty(path / "fluorescence/c.2.0"), LAST + " is cut short or changed"),
    "deleted scalar": (
        lambda path, _: (path / "sampling_rate/c").unlink(),
        "chunk sampling_rate/c of 'sampling_rate' is missing",
    ),
    "variable gone": (lambda path, _: shutil.rmtree(path / "noise"), r"'noise' is missing: there is no noise/zarr\.json"),
    "damaged metadata": (lambda path, _: (path / "noise/zarr.json").write_text("{}"), "metadata of 'noise' .* is damaged"),
    "array of another": (
        lambda path, stores: shutil.copy(stores / "larger.zarr/active/zarr.json", path / "active/zarr.json"),
        rf"metadata of 'active' \(active/zarr\.json\) and the metadata of the store \(zarr\.json\) {STRANGERS}",
    ),
    "store of a larger one": (
        lambda path, stores: shutil.copy(stores / "larger.zarr/zarr.json", path / "zarr.json"),
        rf"metadata of 'active' .* {STRANGERS}",
    ),
    "store of a twin": (
        lambda path, stores: shutil.copy(stores / "twin.zarr/zarr.json", path / "zarr.json"),
        rf"values of 'active' and the metadata of the store \(zarr\.json\) {STRANGERS}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_when_opening_and_by_info(path, stores, fault, capsys):
    plant, words = FAULTS[fault]
    plant(path, stores)
    with pytest.raises(CalciumError, match=rf"r\.zarr is not whole: .*{words}.* calcium info r\.zarr --check lists"):
        io.open_recording(path)
    assert any(re.search(words, line) for line in io.check_store(path))
    capsys.readouterr()
    assert main(["info", str(path), "--check"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert any(re.search(words, line) for line in said.out.splitlines())
    assert main(["run", str(path), "--out", str(path.parent / "out")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("calcium: error: ")
    assert said.err.count("\n") == 1
    assert re.search(words, said.err)
    assert not (path.parent / "out").exists()


@pytest.mark.parametrize("chunks", [None, {}, {"neuron": 3}])
def test_what_changes_while_it_is_open_is_named_when_it_is_read(path, chunks):
    opened = io.open_recording(path, chunks=chunks)
    _flip(path / "fluorescence/c.2.0")
    (path / "active/c.0.0").unlink()
    _cut(path / "noise/c.0")
    np.testing.assert_array_equal(opened["fluorescence"][:6], _recording(10, 1)["fluorescence"][:6])
    with pytest.raises(CalciumError, match=LAST + " is cut short or changed"):
        opened["fluorescence"].mean().compute()
    with pytest.raises(CalciumError, match=r"active/c\.0\.0 \(neuron 0 to 3, counted from 0\) of 'active' is missing"):
        opened["active"].compute()
    with pytest.raises(CalciumError, match=r"noise/c\.0 \(neuron 0 to 9, counted from 0\) of 'noise' is cut short or changed"):
        opened["noise"].compute()


def test_a_flipped_bit_is_named_by_any_step(path, capsys):
    """It leaves the size as it was: found where it is read."""
    _flip(path / "fluorescence/c.2.0")
    opened = io.open_recording(path)
    with pytest.raises(CalciumError, match=LAST + " is cut short or changed"):
        opened.calcium.estimate_baseline(window=20.0)
    assert main(["run", str(path), "--out", str(path.parent / "out")]) == 1
    assert "chunk fluorescence/c.2.0 (neuron 8 to 9" in capsys.readouterr().err
    assert main(["info", str(path), "--check"]) == 1
    assert capsys.readouterr().out.startswith("chunk fluorescence/c.2.0 (neuron 8 to 9")
    _flip(path / "neuron/c.0")
    with pytest.raises(CalciumError, match=r"neuron/c\.0 .* of 'neuron' is cut short or changed"):
        io.open_recording(path)
    assert [line.split()[1] for line in io.check_store(path)] == ["fluorescence/c.2.0", "neuron/c.0"]


def test_a_chunk_of_another_layout_is_named_when_it_is_read(path, stores):
    opened = io.open_recording(path)
    shutil.copy(path / "neuron/c.0", path / "fluorescence/c.1.0")
    with pytest.raises(CalciumError, match=r"fluorescence/c\.1\.0 .* is that of another array"):
        opened["fluorescence"].load()


def test_all_faults_are_listed(path, capsys):
    (path / "fluorescence/c.0.0").unlink()
    _cut(path / "fluorescence/c.1.0")
    _flip(path / "active/c.1.0")
    (path / "time/zarr.json").write_text((path / "frame/zarr.json").read_text())
    assert main(["info", str(path), "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["active/c.1.0", "fluorescence/c.0.0", "fluorescence/c.1.0", "metadata"]


def test_a_whole_store_is_told_to_be_whole(path, capsys):
    assert io.check_store(path) == []
    assert main(["info", str(path), "--check"]) == 0
    said = capsys.readouterr().out
    chunks = sum(1 for file in path.rglob("c*") if file.is_file())
    assert f"whole:     7 variables, {chunks} chunks, " in said
    assert "4 neurons × 400 frames, blosc lz4 5 bitshuffle, crc32c" in said
    total = sum(file.stat().st_size for file in path.rglob("c*") if file.is_file())
    assert f"on disk:   {total / 1e3:.3g} kB: fluorescence " in said
    assert "needs:" in said
    assert main(["info", str(path)]) == 0
    assert "whole:" not in capsys.readouterr().out


def test_the_seal_is_no_attribute_of_the_recording(path):
    opened = io.open_recording(path)
    assert set(opened.attrs) == {"source", "schema_version", "history"}
    xr.testing.assert_identical(opened.load(), _recording(10, 1))


def test_a_change_on_purpose_can_be_sealed(path):
    changed = xr.Dataset({"noise": ("neuron", np.ones(10))})
    changed.to_zarr(path, mode="r+", region={"neuron": slice(0, 10)}, consolidated=False)
    with pytest.raises(CalciumError, match="values of 'noise'"):
        io.open_recording(path)
    io.seal(path)
    assert (io.open_recording(path)["noise"] == 1).all()


def _unsealed(path):
    """A store as they were written before there were checksums and seals."""
    recording = _recording(10, 1).drop_vars("neuron").assign_coords(neuron=np.arange(10))
    encoding = {name: {"_FillValue": None} for name, variable in recording.variables.items() if variable.dtype.kind == "f"}
    recording.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    return recording


def test_older_stores_open_as_before(tmp_path, capsys):
    path = tmp_path / "old.zarr"
    recording = _unsealed(path)
    xr.testing.assert_identical(io.open_recording(path).load(), recording)
    xr.testing.assert_identical(io.open_recording(path, chunks={}).load(), recording)
    assert main(["info", str(path), "--check"]) == 0
    assert "7 variables" in capsys.readouterr().out
    (path / "fluorescence/c/0/0").write_bytes(b"nothing")
    (fault,) = io.check_store(path)
    assert "of 'fluorescence' cannot be decoded" in fault


def test_checking_what_is_no_store(tmp_path, capsys):
    np.savetxt(tmp_path / "a.csv", np.ones((3, 5)))
    assert main(["info", str(tmp_path / "a.csv"), "--check"]) == 1
    assert "is not a store" in capsys.readouterr().err
    with pytest.raises(CalciumError, match="not a Zarr v3 store"):
        io.check_store(tmp_path)


def test_info_reads_no_traces_of_a_large_store(path, capsys, monkeypatch):
    monkeypatch.setattr("calcium_engine.cli.stored.READ_AT_MOST", 100)
    _flip(path / "fluorescence/c.0.0")
    assert main(["info", str(path)]) == 0
    assert "missing:   not counted in 16 kB of fluorescence; --check counts them" in capsys.readouterr().out


def test_the_entry_of_a_store_says_what_it_is_made_of(path):
    entry = integrity.root_of(path)["attributes"]["integrity"]
    assert entry["digest"] == "sha256"
    assert set(entry["arrays"]) == {"fluorescence", "noise", "active", "neuron", "frame", "time", "sampling_rate"}
    assert entry["arrays"]["fluorescence"]["chunks"] == 3
    assert json.loads((path / "zarr.json").read_text())["node_type"] == "group"
