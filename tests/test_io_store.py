import errno
import json
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr

from calcium_engine.io import make_recording, open_recording, read, save_recording
from calcium_engine.io.atomic import replacing
from calcium_engine.schema import CalciumError, var


@pytest.fixture
def recording():
    traces = np.random.default_rng(0).normal(size=(70, 200)).astype(np.float32)
    traces[3, 5:9] = np.nan
    recording = make_recording(traces, sampling_rate=4.8, neuron=[f"Zelle {i} µ" for i in range(70)], source="é")
    recording = recording.assign(
        active=var("active").wrap(traces > 1, min_dff=0.1, strict=True, frames=3, detector="sd"),
        event_neuron=("event", np.array([], dtype="U9")),
        event_onset=("event", np.array([])),
        event_count=("neuron", np.arange(70)),
        participation=(("ensemble_event", "neuron"), np.zeros((0, 70), bool)),
        names=("ensemble", np.array(["a", "bé"], dtype=object)),
    )
    return recording.assign_coords(
        bin_time=("bin", np.arange(4) / 2), is_cell=("neuron", np.arange(70) % 2 == 0), ensemble=[1, 2]
    )


def test_round_trip_is_identical(recording, tmp_path):
    path = save_recording(recording, tmp_path / "r.zarr")
    again = open_recording(path)
    assert not again["fluorescence"].variable._in_memory
    assert again["neuron"].dtype.kind == again["event_neuron"].dtype.kind == "U"
    xr.testing.assert_identical(again.load().drop_vars("names"), recording.drop_vars("names"))
    assert again["names"].values.tolist() == ["a", "bé"]
    assert {name: v.dtype for name, v in again.variables.items() if v.dtype.kind in "bif"} == {
        name: v.dtype for name, v in recording.variables.items() if v.dtype.kind in "bif"
    }
    assert again["active"].attrs["strict"] is True
    assert list(again.data_vars)[:3] == ["fluorescence", "event_count", "active"]
    # once more: what the first reading left in encodings must not matter
    xr.testing.assert_identical(open_recording(save_recording(again, tmp_path / "s.zarr")).load(), again)


def test_labels_that_no_variable_has_are_kept(recording, tmp_path):
    events = recording[["event_neuron"]].assign_coords(recording.coords)
    xr.testing.assert_identical(open_recording(save_recording(events, tmp_path / "r.zarr")), events)


def test_chunks_are_whole_traces(recording, tmp_path):
    path = save_recording(recording.transpose("frame", ...), tmp_path / "r.zarr")
    lazy = open_recording(path, chunks={})
    assert lazy["fluorescence"].dims == ("neuron", "frame")
    assert lazy["fluorescence"].chunks == ((70,), (200,))
    assert open_recording(path, chunks={"neuron": 64})["active"].chunks == ((64, 6), (200,))
    np.testing.assert_array_equal(lazy["fluorescence"], recording["fluorescence"])


@pytest.mark.parametrize("chunks", [(1, 200), (70, 7), (33, 11), (70, 200)])
def test_dask_in_any_chunks(recording, tmp_path, chunks):
    lazy = recording.assign(fluorescence=recording["fluorescence"].chunk(dict(zip(("neuron", "frame"), chunks, strict=True))))
    again = open_recording(save_recording(lazy, tmp_path / "r.zarr"))
    np.testing.assert_array_equal(again["fluorescence"], recording["fluorescence"])


def test_a_store_can_replace_itself(recording, tmp_path):
    path = save_recording(recording, tmp_path / "r.zarr")
    lazy = open_recording(path, chunks={})
    save_recording(lazy.assign(fluorescence=lazy["fluorescence"] + 1), path, overwrite=True)
    np.testing.assert_array_equal(open_recording(path)["fluorescence"], recording["fluorescence"] + 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.zarr"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_save_leaves_what_was_there(recording, tmp_path, error):
    def fail(block):
        raise error("stop")

    bad = dask.array.from_array(recording["fluorescence"].values, chunks=(32, 200)).map_blocks(
        fail, dtype="f4", meta=np.empty((0, 0), "f4")
    )
    bad = recording.assign(dff=(("neuron", "frame"), bad))
    with pytest.raises(error):
        save_recording(bad, tmp_path / "r.zarr")
    assert [entry.name for entry in tmp_path.iterdir()] == []
    save_recording(recording, tmp_path / "r.zarr")
    with pytest.raises(error):
        save_recording(bad, tmp_path / "r.zarr", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.zarr"]
    assert "dff" not in open_recording(tmp_path / "r.zarr")


def test_saving_refuses(recording, tmp_path):
    path = save_recording(recording, tmp_path / "r.zarr")
    with pytest.raises(FileExistsError, match="exists already"):
        save_recording(recording, path)
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("")
    with pytest.raises(FileExistsError, match="not written here"):
        save_recording(recording, home, overwrite=True)
    assert (home / "thesis.txt").exists()
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        save_recording(recording, tmp_path / "nowhere" / "r.zarr")
    with pytest.raises(CalciumError, match="lies inside the store"):
        save_recording(recording, path / "s.zarr")
    for text in ("no JSON", '{"attributes": null}', "[1]"):  # nothing of ours
        (home / "zarr.json").write_text(text)
        save_recording(recording, home / "r.zarr", overwrite=True)
    with pytest.raises(CalciumError, match="is a DataArray"):
        save_recording(recording["fluorescence"], tmp_path / "s.zarr")
    with pytest.raises(CalciumError, match="no neuron, frame, time, sampling_rate"):
        save_recording(xr.Dataset(), tmp_path / "s.zarr")


def test_opening_refuses(recording, tmp_path):
    with pytest.raises(FileNotFoundError, match="no recording at"):
        open_recording(tmp_path / "r.zarr")
    with pytest.raises(CalciumError, match="not a Zarr v3 store"):
        open_recording(tmp_path)
    (tmp_path / ".zgroup").write_text("{}")
    with pytest.raises(CalciumError, match="Zarr v2"):
        open_recording(tmp_path)
    xr.Dataset({"a": ("b", [1.0])}).to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(CalciumError, match="not a recording"):
        open_recording(tmp_path / "a.zarr")
    path = save_recording(recording, tmp_path / "r.zarr")
    meta = json.loads((path / "zarr.json").read_text())
    for version, message in ((99, "schema_version 99"), (None, "without schema_version")):
        meta["attributes"]["schema_version"] = version
        (path / "zarr.json").write_text(json.dumps(meta))
        with pytest.raises(CalciumError, match=message):
            open_recording(path)
    (path / "zarr.json").write_text("{not json")
    with pytest.raises(CalciumError, match="cannot be read as a recording"):
        open_recording(path)


def test_read_opens_stores_and_checks_the_rate(recording, tmp_path):
    path = save_recording(recording, tmp_path / "r.zarr")
    xr.testing.assert_identical(read(path, sampling_rate=4.8).load(), open_recording(path).load())
    assert read(path, chunks={})["fluorescence"].chunks is not None
    with pytest.raises(CalciumError, match=r"given as 10 Hz, but by r\.zarr it is 4\.8 Hz"):
        read(path, sampling_rate=10)
    with pytest.raises(CalciumError, match=r"open_recording\(\), which takes chunks, not orientation"):
        read(path, orientation="rows")


def test_replacing_files_and_folders(tmp_path):
    target = tmp_path / "a"
    with replacing(target) as temporary:
        temporary.write_text("one")
        assert temporary.parent == tmp_path
        assert not target.exists()
    with pytest.raises(FileExistsError, match="overwrite"), replacing(target):
        pass
    with replacing(target, overwrite=True) as temporary:
        temporary.write_text("two")
        assert target.read_text() == "one"
    assert target.read_text() == "two"
    with replacing(target, overwrite=True) as temporary:  # a folder in a file's place
        temporary.mkdir()
        (temporary / "marker").write_text("")
    with pytest.raises(FileExistsError, match="not written here"), replacing(target, overwrite=True):
        pass
    with replacing(target, overwrite=True, marker="marker") as temporary:
        temporary.mkdir()
    with replacing(target, overwrite=True) as temporary:  # an empty folder is nobody's
        temporary.write_text("three")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_replacing_puts_the_old_back(tmp_path, monkeypatch):
    target = tmp_path / "a"
    target.mkdir()
    (target / "marker").write_text("old")
    real = Path.rename

    def rename(self, to):
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "broken disk")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="broken disk"), replacing(target, overwrite=True, marker="marker") as temporary:
        temporary.mkdir()
    assert (target / "marker").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_replacing_follows_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "real" / "a")
    with replacing(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EACCES, PermissionError, "no permission to write"),
        (errno.ENOSPC, CalciumError, "no space left"),
        (errno.EIO, OSError, "odd"),
    ],
)
def test_replacing_explains_the_disk(tmp_path, number, kind, message):
    with pytest.raises(kind, match=message), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError(number, "odd", str(temporary))
    assert [entry.name for entry in tmp_path.iterdir()] == []
    with pytest.raises(OSError, match="elsewhere") as caught, replacing(tmp_path / "a"):  # an input that cannot be read
        raise OSError(number, "elsewhere", "/elsewhere/b")
    assert not isinstance(caught.value, CalciumError)
