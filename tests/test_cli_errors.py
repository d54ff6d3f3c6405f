"""Bad input: one line that says what to do, a non-zero exit, no traceback, and nothing written."""

import errno
import os
import pickle

import numpy as np
import pytest

from calcium_engine import io
from calcium_engine.cli import commands, main
from calcium_engine.simulate import simulate_recording

TRACES = np.random.default_rng(0).normal(100, 3, (3, 800)).astype("float32")


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ("pickle_ran",)


def _csv(name, rows, **options):
    np.savetxt(name, rows, delimiter=",", **options)


def _text(name, text):
    with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123 (a bare name in the current folder)
        file.write(text)


def _pickle(name):
    with open(name, "wb") as file:  # noqa: PTH123
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (2,)})
        pickle.dump(_Hostile(), file)


def _suite2p():
    os.mkdir("plane0")  # noqa: PTH102
    np.save("plane0/F.npy", TRACES)
    np.save("plane0/iscell.npy", np.ones((3, 2)))
    _pickle("plane0/stat.npy")
    _pickle("plane0/ops.npy")


def _infinite():
    rows = TRACES.copy()
    rows[1, 5] = np.inf
    np.save("in.npy", rows)


def _store():
    io.save_recording(io.make_recording(TRACES, sampling_rate=8.0), "in.zarr")


# What to put into the current folder, the arguments, and words of the answer.
RATE = ["--sampling-rate", "10"]
INPUT = {
    "missing file": (lambda: None, ["no_such.csv", *RATE], ["no_such.csv"]),
    "empty file": (lambda: _text("in.csv", ""), ["in.csv", *RATE], ["in.csv", "empty"]),
    "ragged rows": (lambda: _text("in.csv", "1,2,3\n4,5\n6,7,8\n"), ["in.csv", *RATE], ["row 2"]),
    "text for a number": (lambda: _text("in.csv", "1,2,3\n4,five,6\n"), ["in.csv", *RATE], ["five", "row 2", "column 2"]),
    "one column": (lambda: _text("in.csv", "1\n2\n3\n"), ["in.csv", *RATE], ["column"]),
    "no rate": (lambda: _csv("in.csv", TRACES), ["in.csv"], ["sampling"]),
    "zero rate": (lambda: _csv("in.csv", TRACES), ["in.csv", "--sampling-rate", "0"], ["sampling", "0"]),
    "negative rate": (lambda: _csv("in.csv", TRACES), ["in.csv", "--sampling-rate", "-4.8"], ["-4.8"]),
    "rate is not a number": (lambda: _csv("in.csv", TRACES), ["in.csv", "--sampling-rate", "nan"], ["nan"]),
    "rate contradicts the file": (
        lambda: _csv("in.csv", np.c_[np.arange(800) / 5, TRACES.T], header="time (s),a,b,c", comments=""),
        ["in.csv", *RATE],
        ["10", "5"],
    ),
    "one frame": (lambda: np.save("in.npy", TRACES[:, :1]), ["in.npy", *RATE], ["frame"]),
    "all NaN": (lambda: np.save("in.npy", np.full((3, 50), np.nan)), ["in.npy", *RATE], ["NaN"]),
    "infinite values": (_infinite, ["in.npy", *RATE], ["infinite"]),
    "duplicate ids": (lambda: _text("in.csv", "id,1,2,3\na,1,2,3\na,4,5,6\n"), ["in.csv", *RATE], ["'a'"]),
    "pickle as npy": (lambda: _pickle("in.npy"), ["in.npy", *RATE], ["in.npy"]),
    "pickle in suite2p": (_suite2p, ["plane0", *RATE], ["could run code"]),
    "an option of another format": (_store, ["in.zarr", "--orientation", "columns"], ["in.zarr", "orientation"]),
    "a rate that contradicts the store": (_store, ["in.zarr", *RATE], ["10", "8"]),
    "a store that is none": (lambda: os.mkdir("in.zarr"), ["in.zarr"], ["in.zarr"]),  # noqa: PTH102
}

REQUEST = {
    "unknown recipe": (["--recipe", "clasical"], ["'clasical'", "did you mean 'classical'"]),
    "no such recipe file": (["--recipe", "no/such.toml"], ["such.toml"]),
    "unknown step": (["--set", "detect_event.min_dff=1"], ["did you mean 'detect_events'"]),
    "unknown argument": (["--set", "detect_events.min_df=1"], ["did you mean 'min_dff'"]),
    "value of the wrong kind": (["--set", "detect_events.min_dff=high"], ["a number", "'high'"]),
    "unknown value": (["--set", "detect_events.detector=puls"], ["puls", "pulse"]),
    "unknown indicator": (["--indicator", "GCaMP99"], ["GCaMP99", "GCaMP6s"]),
    "window longer than the recording": (["--set", "estimate_baseline.window=6000"], ["estimate_baseline", "6000"]),
    "no such folder": (["--out", "no/such/folder"], ["folder"]),
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _refused(command, words, capsys, code=1):
    """Run a command that must fail, and check that it says so in one line and writes nothing."""
    before = sorted(os.walk("."))
    assert main(command) == code
    said = capsys.readouterr()
    *warned, line = said.err.splitlines()
    assert all(text.startswith("calcium: warning: ") for text in warned)
    assert line.startswith("calcium: error: ")
    assert [word for word in words if word not in line] == [], line
    assert said.out == ""
    assert sorted(os.walk(".")) == before


@pytest.mark.parametrize("case", INPUT)
@pytest.mark.parametrize("command", ["run", "convert"])
def test_bad_input(command, case, capsys):
    make, arguments, words = INPUT[case]
    make()
    _refused([command, *arguments, *(["--out", "out"] if command == "run" else ["out.zarr"])], words, capsys)


@pytest.mark.parametrize("case", REQUEST)
def test_bad_request(case, capsys):
    arguments, words = REQUEST[case]
    np.save("in.npy", TRACES)
    _refused(["run", "in.npy", *RATE, "--out", "out", *arguments], words, capsys)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ('[[step]]\nuse = "compute_dff"\n', ["compute_dff", "estimate_baseline()"]),
        ('[[step]]\nuse = "compute_df"\n', ["did you mean 'compute_dff'"]),
        ("[[step", ["TOML"]),
        ("", ["no steps"]),
    ],
)
def test_bad_recipe_file(recipe, words, capsys):
    np.save("in.npy", TRACES)
    _text("mine.toml", recipe)
    _refused(["run", "in.npy", *RATE, "--out", "out", "--recipe", "mine.toml"], words, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "in.npy"],
        ["run", "--out", "out"],
        ["run", "in.npy", "--out", "out", "--sampling-rate", "fast"],
        ["run", "in.npy", "--out", "out", "--set", "detect_events.min_dff"],
        ["run", "in.npy", "--out", "out", "--orientation", "diagonal"],
        ["run", "in.npy", "--out", "out", "--over"],
        ["fetch", "everything"],
        ["analyse"],
    ],
)
def test_bad_arguments(arguments, capsys):
    _refused(arguments, ["--help"], capsys, code=2)


def test_an_output_that_exists_is_refused_before_any_work(capsys, monkeypatch):
    monkeypatch.setattr(commands, "read", lambda *_, **__: pytest.fail("the input was read"))
    os.mkdir("out")  # noqa: PTH102
    np.save("in.npy", TRACES)
    _refused(["run", "in.npy", *RATE, "--out", "out"], ["out", "--overwrite"], capsys)
    _refused(["convert", "in.npy", "out", *RATE], ["out", "--overwrite"], capsys)
    _refused(["simulate", "--out", "in.npy"], ["in.npy", "--overwrite"], capsys)


def test_a_folder_that_no_run_wrote_is_never_overwritten(capsys):
    os.mkdir("out")  # noqa: PTH102
    _text("out/thesis.txt", "mine")
    np.save("in.npy", TRACES)
    _refused(["run", "in.npy", *RATE, "--out", "out", "--overwrite"], ["thesis.txt"], capsys)


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere")
def test_no_permission(capsys):
    np.save("in.npy", TRACES)
    os.mkdir("locked", mode=0o555)  # noqa: PTH102
    _refused(["run", "in.npy", *RATE, "--out", "locked/out"], ["permission", "locked"], capsys)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out"), 1, ["o space left"]),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 1, ["ermission"]),
        (MemoryError("Unable to allocate 9 GiB"), 1, ["not enough memory", "9 GiB"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (ZeroDivisionError("two\nlines"), 70, ["bug", "ZeroDivisionError: two lines", "CALCIUM_DEBUG=1"]),
    ],
)
def test_what_goes_wrong_while_writing(error, code, words, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("calcium_engine.cli.result.write_tables", fail)
    recording = simulate_recording(n_neurons=3, n_frames=600, sampling_rate=8.0)
    monkeypatch.setattr(commands, "simulate_recording", lambda **_: recording)
    _refused(["demo", "--out", "out"], words, capsys, code)


def test_a_traceback_is_shown_to_those_who_ask(capsys, monkeypatch):
    monkeypatch.setenv("CALCIUM_DEBUG", "1")
    assert main(["info", "nothing"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("calcium: error: ")


def test_simulate_needs_a_format_and_right_arguments(capsys):
    _refused(["simulate", "--out", "traces.mat"], [".csv", ".npy", ".zarr"], capsys)
    _refused(["simulate", "--out", "traces.npy", "--set", "n_ensemble=1"], ["did you mean 'n_ensembles'"], capsys)
    _refused(["simulate", "--out", "traces.npy", "--neurons", "0"], ["0"], capsys)


def test_a_failed_overwrite_keeps_the_old_result(capsys):
    io.save_recording(simulate_recording(n_neurons=3, n_frames=600, sampling_rate=8.0), "in.zarr")
    assert main(["run", "in.zarr", "--out", "out", "--no-figures"]) == 0
    capsys.readouterr()
    _refused(["run", "in.zarr", "--out", "out", "--overwrite", "--set", "compute_coactivity.bin=-1"], ["bin"], capsys)


def test_a_store_never_replaces_a_file(tmp_path, capsys):
    raw = tmp_path / "raw.csv"
    raw.write_text("1,2,3\n4,5,6\n")
    assert main(["convert", str(raw), str(raw), "--sampling-rate", "10", "--overwrite"]) == 1
    assert "is a file" in capsys.readouterr().err
    assert raw.read_text() == "1,2,3\n4,5,6\n"
