"""What the command line makes, and what it says."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import calcium_engine
from calcium_engine import io
from calcium_engine.cli import commands, main
from calcium_engine.cli.result import summary
from calcium_engine.recipe import load_recipe, recipe_names, recipe_text
from calcium_engine.simulate import simulate_recording

RATE = 8.0  # Hz: bins of 0.5 s are whole frames
RESULT = {"recording.zarr", "recipe.toml", "tables", "figures", "report.html"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    recording = simulate_recording(n_neurons=12, n_frames=600, sampling_rate=RATE, n_ensembles=2, ensemble_rate=6.0, seed=2)
    return io.save_recording(recording, tmp_path_factory.mktemp("given") / "given.zarr")


@pytest.fixture(scope="module")
def result(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("result") / "out"
    assert main(["run", str(store), "--out", str(out), "--seed", "7", "--set", "compute_features.burst_interval=1"]) == 0
    return out


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_writes_the_whole_result(result):
    assert {path.name for path in result.iterdir()} == RESULT
    tables = {path.stem for path in (result / "tables").iterdir()}
    assert tables == {"neurons", "events", "coactivity", "ensemble_events", "ensembles", "members", "transitions"}
    assert len(list((result / "figures").glob("*.png"))) >= 8
    assert "<html" in (result / "report.html").read_text(encoding="utf-8")
    recording = io.open_recording(result / "recording.zarr")
    assert len(pd.read_csv(result / "tables/events.csv")) == recording.sizes["event"] > 0
    none = recording.sizes["ensemble"] == 0
    assert ("ensemble_power" in recording) == (result / "figures/20_power.png").exists() == none
    assert (result / "recipe.toml").read_text(encoding="utf-8") == recording.attrs["recipe"]


def test_settings_and_seed_are_kept_with_the_result(result):
    steps = {step.use: step.arguments for step in load_recipe(result / "recipe.toml").steps}
    assert steps["compute_features"]["burst_interval"] == 1
    assert steps["find_ensembles"]["seed"] == 7


def test_the_recipe_of_a_result_makes_the_same_again(result, tmp_path, capsys):
    again = tmp_path / "again"
    command = ["run", str(result), "--recipe", str(result / "recipe.toml"), "--out", str(again), "--no-figures"]
    assert main(command) == 0
    for table in ("neurons", "events", "coactivity", "ensemble_events", "ensembles", "members", "transitions"):
        assert (again / f"tables/{table}.csv").read_bytes() == (result / f"tables/{table}.csv").read_bytes()
    assert {path.name for path in again.iterdir()} == RESULT - {"figures"}
    assert "<img" not in (again / "report.html").read_text(encoding="utf-8")


def test_a_run_says_what_was_found_and_where(store, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(store), "--out", str(out), "--no-figures", "--quiet"]) == 0
    said = capsys.readouterr()
    found = io.open_recording(out / "recording.zarr").sizes
    assert said.out.startswith(f"12 neurons, 1.2 min: {found['event']} event")
    assert said.out.endswith(f"report: {out / 'report.html'}\n")
    assert said.err == ""


def test_overwrite_replaces_a_result_and_nothing_else(store, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["run", str(store), "--out", str(out), "--no-figures", "--overwrite"]
    assert main(command) == 0
    (out / "tables/events.csv").write_text("old")
    assert main(command) == 0
    assert (out / "tables/events.csv").read_text() != "old"
    (out / "notes.txt").write_text("mine")
    assert main(command) == 1
    assert "notes.txt" in capsys.readouterr().err
    assert (out / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    assert main([*command[:3], str(file), "--overwrite"]) == 1
    assert file.read_text() == "mine"


def test_traces_that_are_dff_already(store, tmp_path):
    dff = simulate_recording(n_neurons=5, n_frames=600, sampling_rate=RATE, n_ensembles=0)["true_dff"].values
    np.save(tmp_path / "dff.npy", dff + np.random.default_rng(0).normal(0, 0.05, dff.shape).astype("float32"))
    out = tmp_path / "out"
    options = ["--sampling-rate", "8", "--input-is", "dff", "--indicator", "gcamp6f", "--no-figures"]
    assert main(["run", str(tmp_path / "dff.npy"), "--out", str(out), *options]) == 0
    recording = io.open_recording(out / "recording.zarr")
    assert "baseline" not in recording
    assert recording.attrs["indicator"] == "GCaMP6f"
    assert recording.sizes["event"] > 0


def test_neurons_in_columns(tmp_path, capsys):
    table = tmp_path / "columns.csv"
    np.savetxt(table, np.random.default_rng(0).normal(100, 1, (50, 3)), delimiter=",")
    assert main(["info", str(table), "--sampling-rate", "8", "--orientation", "columns"]) == 0
    said = capsys.readouterr()
    assert "3 neurons × 50 frames at 8 Hz" in said.out
    assert said.err == ""


def test_a_warning_is_one_line(tmp_path, capsys):
    table = tmp_path / "columns.csv"
    np.savetxt(table, np.random.default_rng(0).normal(100, 1, (50, 3)), delimiter=",")
    assert main(["info", str(table), "--sampling-rate", "8"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calcium: warning: ")
    assert "orientation" in line


def test_the_demo_compares_with_the_truth_and_can_be_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["demo", "--neurons", "20", "--frames", "500", "--no-figures"]) == 0
        said = capsys.readouterr().out
        assert "planted" in said
        assert f"report: {Path('calcium_demo/report.html')}" in said
    assert main(["demo", "--neurons", "20", "--frames", "500", "--out", "calcium_demo"]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_demo_with_half_a_recipe(tmp_path, capsys):
    recipe = tmp_path / "half.toml"
    recipe.write_text('[[step]]\nuse = "estimate_baseline"\n\n[[step]]\nuse = "compute_dff"\n')
    command = ["demo", "--neurons", "3", "--frames", "500", "--no-figures", "--out", str(tmp_path / "out")]
    assert main([*command, "--recipe", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "no events were sought" in said
    assert "not compared with the planted truth" in said


@pytest.mark.parametrize("suffix", ["zarr", "csv", "npy"])
def test_simulate_writes_what_run_reads(suffix, tmp_path, capsys):
    out = tmp_path / f"simulated.{suffix}"
    command = ["simulate", "--out", str(out), "--neurons", "4", "--frames", "300", "--seed", "3", "--set", "n_ensembles=0"]
    assert main(command) == 0
    assert "4 neurons × 300 frames at 4.8 Hz" in capsys.readouterr().out
    expected = simulate_recording(n_neurons=4, n_frames=300, seed=3, n_ensembles=0)
    recording = io.read(out, **({"sampling_rate": 4.8} if suffix == "npy" else {}))
    np.testing.assert_allclose(recording["fluorescence"], expected["fluorescence"], rtol=1e-5)
    assert float(recording["sampling_rate"]) == pytest.approx(4.8)
    assert main(command) == 1
    assert main([*command, "--overwrite"]) == 0


def test_convert_and_info(result, tmp_path, capsys):
    out = tmp_path / "copy.zarr"
    assert main(["convert", str(result), str(out)]) == 0
    xr.testing.assert_identical(io.open_recording(out).load(), io.open_recording(result / "recording.zarr").load())
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    said = capsys.readouterr().out
    for words in ("12 neurons × 600 frames at 8 Hz", "GCaMP6s", "ensemble_event_time", "calibrated", "detect_events("):
        assert words in said
    assert summary(io.open_recording(out)).partition(": ")[2] in said
    assert max(map(len, said.splitlines())) <= 120


def test_recipes_are_listed_and_printed(capsys, tmp_path):
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == recipe_names()
    assert main(["recipes", "classical"]) == 0
    printed = capsys.readouterr().out
    assert printed == recipe_text("classical")
    path = tmp_path / "mine.toml"
    path.write_text(printed, encoding="utf-8")
    assert main(["recipes", str(path)]) == 0
    assert load_recipe(tomllib.loads(capsys.readouterr().out)).steps == load_recipe("classical").steps


def test_fetch_says_where_the_file_is(capsys, monkeypatch):
    monkeypatch.setitem(commands.DOWNLOADS, "intro", lambda: Path("cache/intro.csv"))
    assert main(["fetch", "intro"]) == 0
    assert 'calcium run "cache/intro.csv" --sampling-rate 4.8' in capsys.readouterr().out


def test_version_help_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"calcium {calcium_engine.__version__}\n"
    assert main([]) == 0
    everything = capsys.readouterr().out
    for command in ("run", "demo", "simulate", "info", "convert", "recipes", "fetch"):
        assert command in everything
        assert main([command, "--help"]) == 0
        assert f"usage: calcium {command}" in capsys.readouterr().out


def test_the_module_is_the_command():
    said = subprocess.run([sys.executable, "-m", "calcium_engine", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"calcium {calcium_engine.__version__}\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
def test_progress_is_shown_on_a_terminal_and_only_there(store, tmp_path):
    import pty

    def watched(*options):
        ours, theirs = pty.openpty()
        out = tmp_path / f"out{len(options)}"
        command = [sys.executable, "-m", "calcium_engine", "run", str(store), "--out", str(out), "--no-figures", *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            with contextlib.suppress(OSError):  # how Linux says that the other end is closed
                while piece := os.read(ours, 4096):
                    seen += piece
            os.close(ours)
            assert process.wait() == 0
        return seen.decode()

    seen = watched()
    assert "report.html" in seen
    assert "0:00:" in seen  # time left
    assert watched("--quiet") == ""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(number, code, tmp_path):
    command = [sys.executable, "-m", "calcium_engine", "demo", "--out", str(tmp_path / "out"), "--neurons", "300"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == code
    assert said.splitlines()[-1] == "calcium: error: interrupted"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "calcium_engine", "recipes", "classical"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141


def test_only_accepted_cells_are_analysed_unless_all_are_wanted(tmp_path, capsys):
    recording = simulate_recording(n_neurons=6, n_frames=600, sampling_rate=RATE, n_ensembles=0, seed=2)
    store = tmp_path / "six.zarr"
    marked = recording.assign_coords(is_cell=("neuron", [True, False, True, True, False, False]))
    io.save_recording(marked, store)
    assert main(["run", str(store), "--out", str(tmp_path / "three"), "--no-figures", "--quiet"]) == 0
    assert "3 of 6 neurons are accepted as cells" in capsys.readouterr().out
    assert io.open_recording(tmp_path / "three" / "recording.zarr")["neuron"].values.tolist() == [0, 2, 3]
    assert main(["run", str(store), "--out", str(tmp_path / "six"), "--no-figures", "--quiet", "--cells", "all"]) == 0
    assert io.open_recording(tmp_path / "six" / "recording.zarr").sizes["neuron"] == 6
    io.save_recording(recording.assign_coords(is_cell=("neuron", [False] * 6)), store, overwrite=True)
    assert main(["run", str(store), "--out", str(tmp_path / "none"), "--quiet"]) == 1
    assert "--cells all" in capsys.readouterr().err
