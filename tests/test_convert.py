"""Converting block by block gives what reading and saving gives, to the byte; whatever goes wrong leaves nothing behind."""

import errno
import gzip
import io as text_io
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calcium_engine import io, simulate_recording
from calcium_engine.cli import main
from calcium_engine.io import convert_recording, lines, open_recording, read, save_recording, store, stream, tables
from calcium_engine.schema import CalciumError

TRACES = np.random.default_rng(0).normal(100, 9, (7, 90)).round(3).astype(np.float32)
TRACES[2, 5] = np.nan
RATE = {"sampling_rate": 4.8}


@pytest.fixture
def small_blocks(monkeypatch):
    """Make batches, blocks, slabs and chunks so small that these recordings consist of many."""
    for module, name, size in (
        (lines, "BATCH_BYTES", 700),
        (tables, "BLOCK_BYTES", 1000),
        (stream, "SLAB_BYTES", 500),
        (stream, "BLOCK_BYTES", 800),
        (store, "BLOCK_BYTES", 800),
        (store, "CHUNK_BYTES", 400),
    ):
        monkeypatch.setattr(module, name, size)


def files_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def check_same(path, folder, **options):
    """Convert in both ways and compare every file of the two stores."""
    expected = save_recording(read(path, **options), folder / "expected.zarr", overwrite=True)
    found = convert_recording(path, folder / "found.zarr", overwrite=True, **options)
    assert files_of(found) == files_of(expected)
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]
    return open_recording(found)


def cell(value):
    return "" if np.isnan(value) else f"{value:g}"


def text_of(table, mark=",", head=(), first=None):
    rows = [[cell(value) for value in row] for row in table]
    if first is not None:
        rows = [[str(name), *row] for name, row in zip(first, rows, strict=True)]
    return "\n".join(mark.join(row) for row in [*head, *rows]) + "\n"


NAMES = [f"n{i}" for i in range(7)]
TIME = [f"{i / 10:.3f}" for i in range(90)]
TEXTS = {
    "rows": (text_of(TRACES), RATE),
    "rows with ids": (text_of(TRACES, head=[["id", *map(str, range(90))]], first=NAMES), RATE),
    "rows with numbers as ids": (text_of(TRACES, ";", head=[["id", *map(str, range(90))]], first=range(3, 10)), RATE),
    "rows with a delimiter at the end": (text_of(TRACES).replace("\n", ",\n"), RATE),
    "rows with blank lines around": ("\n\n" + text_of(TRACES) + "\n \n\n", RATE),
    "rows with decimal commas": (text_of(TRACES, ";").replace(".", ","), RATE),
    "rows of Windows": (text_of(TRACES).replace("\n", "\r\n"), RATE),
    "rows of old Macs": (text_of(TRACES).replace("\n", "\r"), RATE),
    "rows in quotes": ('"' + text_of(TRACES).strip().replace(",", '","').replace("\n", '"\n"') + '"\n', RATE),
    "columns": (text_of(TRACES.T), {**RATE, "orientation": "columns"}),
    "columns with names": (text_of(TRACES.T, "\t", head=[NAMES]), RATE),
    "columns with times": (text_of(TRACES.T, head=[["time (s)", *NAMES]], first=TIME), {}),
    "columns with frames": (text_of(TRACES.T, head=[["frame", *NAMES]], first=range(90)), {**RATE, "orientation": "columns"}),
    "columns with a pause": (text_of(TRACES.T, head=[["time", *NAMES]], first=[*TIME[:60], *range(100, 130)]), {}),
    "columns of ΔF/F with ids": (text_of(TRACES.T), {**RATE, "orientation": "columns", "variable": "dff", "neuron": NAMES}),
    "Inscopix": (
        text_of(TRACES.T, head=[[" ", *NAMES], ["Time(s)/Cell Status", *["accepted", "rejected"] * 3, "accepted"]], first=TIME),
        {},
    ),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_text(case, packed, tmp_path, small_blocks):
    text, options = TEXTS[case]
    path = tmp_path / "traces.csv"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    recording = check_same(path, tmp_path, **options)
    name = options.get("variable", "fluorescence")
    np.testing.assert_array_equal(recording[name], TRACES)


def test_a_blank_last_cell_in_the_first_rows_is_no_delimiter_at_the_end(tmp_path, small_blocks):
    table = TRACES.repeat(8, axis=0)
    table[:40, -1] = np.nan
    path = tmp_path / "traces.csv"
    path.write_text(text_of(table))
    recording = check_same(path, tmp_path, orientation="rows", **RATE)
    np.testing.assert_array_equal(recording["fluorescence"], table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
        elements=st.floats(width=32, allow_infinity=False),
    ),
    st.sampled_from(["rows", "columns"]),
    st.sampled_from([",", ";", "\t", " "]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_any_table(small_blocks, tmp_path_factory, table, orientation, mark, newline, named, packed):
    assume(not np.isnan(table).all())
    folder = tmp_path_factory.mktemp("any")
    rows = [[repr(float(value)) for value in row] for row in table]
    if named and orientation == "rows":
        rows = [[f"n{i}", *row] for i, row in enumerate(rows)]
    if named and orientation == "columns":
        rows = [[f"n{i}" for i in range(table.shape[1])], *rows]
    text = newline.join(mark.join(row) for row in rows).encode()
    path = folder / "table.txt"
    path.write_bytes(gzip.compress(text) if packed else text)
    recording = check_same(path, folder, orientation=orientation, **RATE)
    np.testing.assert_array_equal(recording["fluorescence"], table if orientation == "rows" else table.T)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "i2", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("orientation", ["rows", "columns"])
def test_npy(dtype, order, orientation, tmp_path, small_blocks):
    array = np.nan_to_num(TRACES).astype(dtype)
    path = tmp_path / "traces.npy"
    np.save(path, np.asarray(array if orientation == "rows" else array.T, order=order))
    recording = check_same(path, tmp_path, orientation=orientation, **RATE)
    np.testing.assert_array_equal(recording["fluorescence"], array.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_suite2p(order, tmp_path, small_blocks):
    plane = tmp_path / "plane0"
    plane.mkdir()
    for i, name in enumerate(("F", "Fneu", "spks")):
        np.save(plane / f"{name}.npy", np.asarray(TRACES + i, order=order))
    np.save(plane / "iscell.npy", np.c_[np.arange(7) % 2, np.arange(7) / 7])
    recording = check_same(plane, tmp_path, **RATE)
    np.testing.assert_array_equal(recording["spikes_suite2p"], TRACES + 2)
    assert check_same(plane, tmp_path, accepted_only=True, **RATE)["neuron"].values.tolist() == [1, 3, 5]


@pytest.mark.parametrize("chunks", [None, True, (1, 90), (7, 2), (3, 20)])
@pytest.mark.parametrize("orientation", ["rows", "columns"])
def test_hdf5(chunks, orientation, tmp_path, small_blocks):
    path = tmp_path / "traces.h5"
    table, chunks = (
        (TRACES, chunks) if orientation == "rows" else (TRACES.T, chunks[::-1] if isinstance(chunks, tuple) else chunks)
    )
    with h5py.File(path, "w") as file:
        file.create_dataset("a/traces", data=table, chunks=chunks, compression="gzip" if chunks else None)
    recording = check_same(path, tmp_path, orientation=orientation, **RATE)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)


def test_a_store_is_converted_to_a_store(tmp_path):
    given = save_recording(simulate_recording(n_neurons=4, n_frames=200, seed=1), tmp_path / "given.zarr")
    check_same(given, tmp_path)


def test_memory_does_not_grow_with_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2**18)
    monkeypatch.setattr(stream, "SLAB_BYTES", 2**19)
    for module in (stream, store):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2**19)
    monkeypatch.setattr(store, "CHUNK_BYTES", 2**18)
    path = tmp_path / "traces.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40_000, 100)).astype(np.float32))
    convert_recording(path, tmp_path / "once.zarr", orientation="columns", **RATE)  # imports come first
    tracemalloc.start()
    try:
        convert_recording(path, tmp_path / "again.zarr", orientation="columns", **RATE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize("orientation", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_progress_ends_where_everything_is_done(kind, orientation, tmp_path, small_blocks):
    table = TRACES if orientation == "rows" else TRACES.T
    path = tmp_path / f"traces.{kind}"
    np.save(path, np.ascontiguousarray(table)) if kind == "npy" else path.write_text(text_of(table))
    told = []
    convert_recording(path, tmp_path / "out.zarr", orientation=orientation, progress=lambda *what: told.append(what), **RATE)
    stages = {stage: [(done, total) for name, done, total in told if name == stage] for stage, _, _ in told}
    assert list(stages) == (["writing"] if (kind, orientation) == ("npy", "rows") else ["reading", "writing"])
    for steps in stages.values():
        assert steps == sorted(steps)
        assert len(steps) > 1
        assert steps[-1][0] == steps[-1][1] == steps[0][1]


def refused(path, folder, error, message, **options):
    """Convert in both ways: the same error, and the folder is as it was."""
    before = files_of(folder)
    with pytest.raises(error, match=message) as read_says:
        read(path, **options)
    with pytest.raises(error) as convert_says:
        convert_recording(path, folder / "out.zarr", **options)
    assert str(convert_says.value) == str(read_says.value)
    assert files_of(folder) == before
    assert sorted(file.name for file in folder.iterdir() if file.name != path.name) == []


@pytest.mark.parametrize("orientation", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["csv", "npy", "h5"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({(5, 60): np.inf}, "1 values are infinite, first at neuron 'n5', frame 60"),
        ({(5, 60): -np.inf, (3, 70): np.inf, (3, 80): np.inf}, "3 values are infinite, first at neuron 'n3', frame 70"),
        ({...: np.nan}, "all 630 values are NaN"),
    ],
)
def test_values_are_refused_in_the_same_words(values, message, kind, orientation, tmp_path, small_blocks):
    traces = TRACES.copy()
    for place, value in values.items():
        traces[place] = value
    table = traces if orientation == "rows" else traces.T
    path = tmp_path / f"traces.{kind}"
    if kind == "csv":
        path.write_text("\n".join(",".join(f"{value:g}" for value in row) for row in table))
    elif kind == "npy":
        np.save(path, table)
    else:
        with h5py.File(path, "w") as file:
            file["traces"] = table
    refused(path, tmp_path, CalciumError, message, orientation=orientation, neuron=NAMES, **RATE)


@pytest.mark.parametrize("orientation", ["rows", "columns"])
def test_text_is_refused_in_the_same_words(orientation, tmp_path, small_blocks):
    table = TRACES if orientation == "rows" else TRACES.T
    rows = text_of(table).splitlines()
    path = tmp_path / "traces.csv"
    last = len(rows)
    for bad, message in (
        (rows[-1] + ",1", f"row {last} has"),
        (rows[-1].replace("1", "x", 1), f"row {last}, column"),
        ("\n" + rows[-1], f"row {last} is empty"),
        ("\0", "no text file"),
    ):
        path.write_text("\n".join([*rows[:-1], bad]))
        refused(path, tmp_path, CalciumError, message, orientation=orientation, **RATE)
    path.write_bytes(gzip.compress("\n".join(rows).encode())[:-200])
    refused(path, tmp_path, CalciumError, "damaged gzip", orientation=orientation, **RATE)
    path.write_text("\n".join(rows))
    refused(path, tmp_path, CalciumError, "sampling rate is missing", orientation=orientation)
    refused(path, tmp_path, CalciumError, "more than once: 3", orientation=orientation, neuron=[1, 2, 3, 3, 4, 5, 6], **RATE)


def _write(path):
    path.write_text(text_of(TRACES.T))
    return {"orientation": "columns", **RATE}


def test_a_full_disk_gives_one_clear_error_and_leaves_nothing(tmp_path, small_blocks, monkeypatch):
    path = tmp_path / "traces.csv"
    options = _write(path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("_slabs", "write_store"):
        with monkeypatch.context() as patched, pytest.raises(CalciumError, match=r"no space left in .* for out\.zarr; nothing"):
            patched.setattr(stream, name, full)
            convert_recording(path, tmp_path / "out.zarr", **options)
        assert [file.name for file in tmp_path.iterdir()] == ["traces.csv"]


@pytest.mark.parametrize("stage", ["reading", "writing"])
def test_an_interruption_leaves_nothing_but_the_old_store(stage, tmp_path, small_blocks):
    path, out = tmp_path / "traces.csv", tmp_path / "out.zarr"
    options = _write(path)
    save_recording(simulate_recording(n_neurons=2, n_frames=50), out)
    before = files_of(tmp_path)

    def interrupt(name, done, total):
        if name == stage and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_recording(path, out, overwrite=True, progress=interrupt, **options)
    assert files_of(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_target_is_refused_before_anything_is_read(tmp_path):
    path, out = tmp_path / "traces.csv", tmp_path / "out.zarr"
    options = _write(path)
    unread = {"progress": lambda *_: pytest.fail("it was read")}
    with pytest.raises(FileNotFoundError, match="make it first"):
        convert_recording(path, tmp_path / "no" / "out.zarr", **unread, **options)
    out.mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        convert_recording(path, out, **unread, **options)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not written here"):
        convert_recording(path, out, overwrite=True, **unread, **options)
    assert files_of(out) == {"thesis.txt": b"mine"}


class Terminal(text_io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_shows_progress_on_a_terminal(quiet, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    path = tmp_path / "traces.h5"
    with h5py.File(path, "w") as file:
        file["one"], file["other"] = TRACES.T, TRACES.T
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    command = ["convert", str(path), str(tmp_path / "out.zarr"), "--sampling-rate", "4.8", "--orientation", "columns"]
    assert main(command) == 1
    said = terminal.getvalue()
    assert all(words in said for words in ("2 datasets that may be traces", "'one' (90 × 7)", "'other' (90 × 7)"))
    terminal.truncate(0)
    assert main([*command, "--dataset", "other", *(["--quiet"] if quiet else [])]) == 0
    assert ("writing" in terminal.getvalue()) is not quiet
    assert "7 neurons × 90 frames at 4.8 Hz" in capsys.readouterr().out
    np.testing.assert_array_equal(io.open_recording(tmp_path / "out.zarr")["fluorescence"], TRACES)
