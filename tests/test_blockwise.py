"""Block by block, an analysis gives what it gives in memory, survives whatever ends it, and never leaves half a result."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from calcium_engine import analyze, open_recording, save_recording, simulate_recording
from calcium_engine.blockwise import memory, run
from calcium_engine.blockwise.notes import load_small, save_small, unfinished, working_in
from calcium_engine.cli import main, result
from calcium_engine.io import store
from calcium_engine.recipe import load_recipe
from calcium_engine.schema import CalciumError, NeuronsWarning, not_kept

CHUNK = 7  # neurons in a chunk of the stores below
FRAMES = 700
LIGHT = {
    "step": [
        {"use": "estimate_baseline"},
        {"use": "compute_dff"},
        {"use": "estimate_noise"},
        {"use": "detect_events", "detector": "noise"},
        {"use": "compute_coactivity", "bin": 0.5},
    ]
}


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_BYTES", 4 * FRAMES * CHUNK)
        patch.setattr(memory, "resident", lambda: 0)  # budgets are those of the blocks alone
        yield


@pytest.fixture(scope="module")
def planted():
    return simulate_recording(n_neurons=45, n_frames=FRAMES, sampling_rate=8.0, n_ensembles=2, ensemble_rate=6.0, seed=3)


@pytest.fixture
def given_store(planted, tmp_path):
    save_recording(planted[["fluorescence"]], tmp_path / "given.zarr")
    return open_recording(tmp_path / "given.zarr")


def budget(neurons, traces=3.25):
    """Bytes in which so many neurons of these traces fit: by default fluorescence, baseline, dff and active."""
    return int(neurons * FRAMES * (4 * traces + 8 * memory.WORKING))


def same(blocks, whole):
    """Compare what was kept with the results in memory."""
    xr.testing.assert_identical(blocks.load(), whole.drop_vars(not_kept(blocks)))


def blocks_of(folder):
    return len(list((folder / "blocks").glob("*.npz")))


@pytest.mark.parametrize("recipe", ["calibrated", "classical"])
def test_blocks_give_what_memory_gives(recipe, planted, tmp_path):
    stages = []
    save_recording(planted, tmp_path / "given.zarr")
    made = analyze(
        open_recording(tmp_path / "given.zarr"),
        recipe,
        out=tmp_path / "out.zarr",
        memory=budget(12, traces=10),
        progress=lambda *now: stages.append(now),
    )
    assert not_kept(made) == ["baseline", "background"]
    same(made, analyze(planted, recipe))
    assert not unfinished(tmp_path / "out.zarr").exists()
    blocks = [stage for stage in stages if "neurons" in stage[0]]
    assert len(blocks) >= 4
    assert [done for _, done, _ in stages] == sorted(done for _, done, _ in stages)
    assert all(done <= total for _, done, total in stages)


@settings(max_examples=12)
@given(neurons=st.integers(1, 30), rows=st.integers(1, 60))
def test_any_parting_into_blocks_gives_the_same(neurons, rows, tmp_path_factory):
    recording = simulate_recording(n_neurons=30, n_frames=FRAMES, sampling_rate=8.0, n_ensembles=1, seed=2)
    recording = recording[["fluorescence"]].isel(neuron=slice(neurons))
    short = {"step": LIGHT["step"][:4]}
    made = analyze(recording, short, out=tmp_path_factory.mktemp("any") / "out.zarr", memory=budget(max(rows, CHUNK + 1)))
    same(made, analyze(recording, short))


@pytest.mark.filterwarnings("ignore:.*epochs are shorter")
def test_masked_artefacts_neuropil_and_epochs(tmp_path):
    size = {"n_neurons": 30, "n_frames": FRAMES, "sampling_rate": 8.0}
    recording = simulate_recording(**size, n_ensembles=1, movement=2, neuropil=0.5, seed=4)
    steps = {"step": [{"use": "mask_artifacts", "threshold": 2.5}, {"use": "subtract_neuropil"}, *LIGHT["step"]]}
    save_recording(recording, tmp_path / "given.zarr")
    steps["step"] += [{"use": "retention_test", "neurons": 4}]
    whole = analyze(recording, steps)
    for keep in (None, ["events", "retention"]):  # also where the masked traces themselves are not written
        out = tmp_path / f"{len(keep or [])}.zarr"
        made = analyze(open_recording(tmp_path / "given.zarr"), steps, out=out, memory=budget(12, traces=10), keep=keep)
        xr.testing.assert_identical(made["retention_amplitude"].load(), whole["retention_amplitude"])
    made = open_recording(tmp_path / "0.zarr")
    assert whole["artifact"].any()
    same(made, whole)


def test_an_earlier_analysis_is_made_anew(given_store, planted, tmp_path):
    first = analyze(given_store, LIGHT, out=tmp_path / "first.zarr", memory=budget(14))
    changed = {"detect_events.false_positives_per_minute": 1.0}
    again = analyze(first, LIGHT, settings=changed, out=tmp_path / "again.zarr", memory=budget(14))
    assert again.sizes["event"] > first.sizes["event"]
    whole = analyze(planted, LIGHT, settings=changed)
    xr.testing.assert_equal(again.load(), whole[["fluorescence"]].merge(whole).drop_vars(["baseline"])[list(again.data_vars)])


def test_only_what_is_asked_for_is_kept(planted, tmp_path):
    save_recording(planted[["fluorescence", "true_dff"]], tmp_path / "given.zarr")
    given_store = open_recording(tmp_path / "given.zarr")
    made = analyze(given_store, LIGHT, out=tmp_path / "out.zarr", keep=["dff", "events"], memory=budget(14))
    assert {"dff", "event_onset", "event_amplitude"} <= set(made.data_vars)
    assert not {"fluorescence", "active", "baseline", "noise", "coactivity"} & set(made.data_vars)
    left_out = ["estimate_baseline", "compute_dff", "estimate_noise", "compute_coactivity"]
    assert not_kept(made) == ["fluorescence", "baseline", "active", *(f"results of {step}" for step in left_out)]
    with pytest.raises(CalciumError, match=r"keep names 'evnts'.*dff, active, and events, features"):
        analyze(given_store, LIGHT, out=tmp_path / "other.zarr", keep=["evnts"])
    bursts = {"step": [*LIGHT["step"][:3], {"use": "deconvolve"}, {"use": "compute_coactivity", "source": "deconvolved"}]}
    with pytest.raises(CalciumError, match="reads 'deconvolved', which must be among what is kept"):
        analyze(given_store, bursts, out=tmp_path / "other.zarr", keep=["coactivity"])
    made = analyze(given_store, bursts, out=tmp_path / "bursts.zarr", memory=budget(14))
    same(made, analyze(given_store.load(), bursts))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bursts.zarr", "given.zarr", "out.zarr"]


class _Stopped(BaseException):
    pass


def _stopping(monkeypatch, after, error=_Stopped):
    """Let writing end with an error after so many calls; return the calls that were made."""
    calls = []
    write = run.write_rows

    def stopping(path, name, first, values, **options):
        calls.append((name, first))
        if len(calls) > after:
            raise error
        write(path, name, first, values, **options)

    monkeypatch.setattr(run, "write_rows", stopping)
    return calls


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("after", [0, 4, 9, 11])
def test_what_is_interrupted_is_gone_on_with(after, given_store, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    analyze(given_store, LIGHT, out=whole, memory=budget(14))
    with monkeypatch.context() as patched:
        _stopping(patched, after)
        with pytest.raises(_Stopped):
            analyze(given_store, LIGHT, out=out, memory=budget(14))
    assert not out.exists()
    xr.open_zarr(unfinished(out) / "recording.zarr", consolidated=False).load()  # a valid store at every moment
    with pytest.raises(CalciumError, match="half made"):
        open_recording(unfinished(out) / "recording.zarr")
    with pytest.raises(FileExistsError, match=r"of 4 blocks done, \d+ of 45 neurons; interrupted: go on with --resume"):
        analyze(given_store, LIGHT, out=out, memory=budget(14))
    done = blocks_of(unfinished(out))
    calls = _stopping(monkeypatch, 10**6)
    analyze(given_store, LIGHT, out=out, memory=budget(28), resume=True)
    assert len({first for _, first in calls}) == 4 - done  # what was finished is not done again
    assert _files(out) == _files(whole)
    for keep in (None, ["dff", "events", "ensembles"]):  # nothing is left to do; there never were ensembles
        analyze(given_store, LIGHT, out=out, keep=keep, resume=True)
    with pytest.raises(FileExistsError, match="made without 'baseline'"):
        analyze(given_store, LIGHT, out=out, keep=["events", "baseline"], resume=True)
    with pytest.raises(FileExistsError, match="another recipe"):
        analyze(given_store, "classical", out=out, resume=True)
    with pytest.raises(FileExistsError, match="exists"):
        analyze(given_store, LIGHT, out=out)


def test_other_values_or_another_analysis_are_noticed(given_store, planted, tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patched:
        _stopping(patched, 7)
        with pytest.raises(_Stopped):
            analyze(given_store, LIGHT, out=out, memory=budget(14))
    with pytest.raises(CalciumError, match="another recipe"):
        analyze(given_store, "classical", out=out, resume=True)
    with pytest.raises(CalciumError, match="another shape"):
        analyze(given_store.isel(neuron=slice(40)), LIGHT, out=out, resume=True)
    other = planted[["fluorescence"]].copy(deep=True)
    other["fluorescence"][3] += 1
    with pytest.warns(UserWarning, match="neurons 0 to 13 changed since"):
        made = analyze(other, LIGHT, out=out, resume=True)
    same(made, analyze(other, LIGHT))


def test_overwriting_keeps_the_old_until_the_new_is_whole(given_store, tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"
    analyze(given_store, {"step": LIGHT["step"][:2]}, out=out)
    before = _files(out)
    with monkeypatch.context() as patched:
        _stopping(patched, 5)
        with pytest.raises(_Stopped):
            analyze(given_store, LIGHT, out=out, memory=budget(14), overwrite=True)
    assert _files(out) == before
    made = analyze(given_store, LIGHT, out=out, memory=budget(14), overwrite=True)
    assert "event_onset" in made
    assert not unfinished(out).exists()


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(errno.ENOSPC, CalciumError, "no space left.*--resume"), (errno.EROFS, PermissionError, "no permission to write")],
)
def test_a_full_or_forbidden_disk(code, kind, said, given_store, tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patched:
        _stopping(patched, 7, OSError(code, os.strerror(code), "c/0"))
        with pytest.raises(kind, match=said):
            analyze(given_store, LIGHT, out=out, memory=budget(14))
    assert not out.exists()
    same(analyze(given_store, LIGHT, out=out, resume=True), analyze(given_store.load(), LIGHT))


def test_mistakes_show_before_anything_is_made(given_store, tmp_path):
    out = tmp_path / "out.zarr"
    for options, said in (
        ({"memory": "much"}, "must be a number of bytes"),
        ({"memory": "-1GB"}, "must be positive"),
        ({"memory": budget(3)}, r"takes at least .* \(7 neurons, a chunk of the store\); give"),
        ({"settings": {"detect_events.threshold": -1.0}}, "detect_events: threshold is -1.0"),
    ):
        with pytest.raises(CalciumError, match=said):
            analyze(given_store, LIGHT, out=out, **options)
    back = {"step": [*LIGHT["step"], {"use": "detect_events"}]}
    with pytest.raises(CalciumError, match="runs detect_events after compute_coactivity"):
        analyze(given_store, back, out=out)
    with pytest.raises(CalciumError, match="about the store that out= makes"):
        analyze(given_store, LIGHT, memory="1GB")
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        analyze(given_store, LIGHT, out=tmp_path / "nowhere" / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["given.zarr"]


def test_warnings_count_all_neurons_once(tmp_path):
    smooth = simulate_recording(n_neurons=20, n_frames=FRAMES, sampling_rate=8.0, n_ensembles=1, seed=2)[["fluorescence"]]
    smooth["fluorescence"] = smooth["fluorescence"].rolling(frame=3, min_periods=1, center=True).mean().astype(np.float32)
    steps = {"step": LIGHT["step"][:4]}
    with pytest.warns(NeuronsWarning, match=r"in \d+ of 20 neurons") as in_memory:
        analyze(smooth, steps)
    with pytest.warns(NeuronsWarning) as in_blocks:
        analyze(smooth, steps, out=tmp_path / "out.zarr", memory=budget(8))
    assert [str(one.message) for one in in_blocks] == [str(one.message) for one in in_memory]


@given(
    columns=st.dictionaries(st.text("abc_", min_size=1, max_size=4), st.lists(st.floats(), max_size=4), max_size=3),
    attrs=st.dictionaries(
        st.text(max_size=5), st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text(max_size=9))
    ),
)
def test_small_results_come_back_as_they_were(columns, attrs, tmp_path_factory):
    variables = {name: (name + "_dim", np.array(values), attrs) for name, values in columns.items()}
    dataset = xr.Dataset(variables, {"ids": ("ids", np.array(["a", "µ3"]))}, attrs)
    path = tmp_path_factory.mktemp("small") / "one.npz"
    save_small(dataset, path)
    xr.testing.assert_identical(load_small(path), dataset)


RUN = """
import sys
from calcium_engine import analyze, open_recording
from calcium_engine.blockwise import memory
from calcium_engine.io import store
import calcium_engine.blockwise.run as run
if __name__ == "__main__":
    store.CHUNK_BYTES = 4 * {frames} * {chunk}
    memory.resident = lambda: 0
    write, calls = run.write_rows, []
    def slowly(path, name, first, values, **options):
        if len(calls) == {pause}:
            print("now", flush=True)
            sys.stdin.read()
        calls.append(name)
        write(path, name, first, values, **options)
    run.write_rows = slowly
    analyze(open_recording(sys.argv[1]), {recipe}, out=sys.argv[2], memory={budget})
"""


def _started(given, out, pause):
    code = RUN.format(frames=FRAMES, chunk=CHUNK, pause=pause, recipe=LIGHT, budget=budget(14))
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(given), str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"now\n"
    return child


def test_a_second_run_is_refused_and_a_killed_one_is_gone_on_with(given_store, tmp_path):
    out = tmp_path / "out.zarr"
    child = _started(tmp_path / "given.zarr", out, pause=7)
    with pytest.raises(FileExistsError, match=rf"being written by process {child.pid} on \S+, for 0 min"):
        analyze(given_store, LIGHT, out=out)
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(CalciumError, match=rf"is being written by process {child.pid} on"):
            analyze(given_store, LIGHT, out=out, **options)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert blocks_of(unfinished(out)) == 2
    made = analyze(given_store, LIGHT, out=out, memory=budget(14), resume=True)
    same(made, analyze(given_store.load(), LIGHT))


CLUSTER = """
import os, signal, sys
from distributed import Client, LocalCluster
from calcium_engine import analyze, open_recording
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=60) as cluster:
        with Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
            def progress(stage, done, total):
                if done == 1:
                    os.kill(pids[0], signal.SIGKILL)
            made = analyze(open_recording(sys.argv[1]), {recipe}, out=sys.argv[2], memory="500MB", progress=progress)
            print(len(pids), client.run(os.getpid) != dict.fromkeys(pids))
"""


def test_workers_share_the_blocks_and_one_may_die(planted, tmp_path):
    wide = xr.concat([planted[["fluorescence"]].assign_coords(neuron=planted["neuron"] + 1000 * k) for k in range(30)], "neuron")
    save_recording(wide, tmp_path / "given.zarr")
    steps = {"step": LIGHT["step"][:4]}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLUSTER.format(recipe=steps), tmp_path / "given.zarr", tmp_path / "out.zarr"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["2", "True"], done.stderr
    same(open_recording(tmp_path / "out.zarr"), analyze(wide, steps))


@pytest.fixture
def steps_file(tmp_path):
    path = tmp_path / "light.toml"
    path.write_text(load_recipe(LIGHT).to_toml(), encoding="utf-8")
    return str(path)


def test_the_command_line_goes_block_by_block(planted, given_store, steps_file, tmp_path, capsys, monkeypatch):
    given, out = str(tmp_path / "given.zarr"), tmp_path / "out"
    asked = ["run", given, "--out", str(out), "--recipe", steps_file, "--no-figures", "--memory", str(budget(14))]
    with monkeypatch.context() as patched:
        _stopping(patched, 5, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "c/0"))
        assert main(asked) == 1
    said = capsys.readouterr()
    assert "no space left" in said.err
    assert "--resume" in said.err
    assert len(said.err.splitlines()) == 1
    assert main(["info", str(out)]) == 0
    assert "1 of 4 blocks done, 14 of 45 neurons; interrupted: go on with --resume" in capsys.readouterr().out
    assert main(asked) == 1
    assert "1 of 4 blocks done" in capsys.readouterr().err
    assert main([*asked, "--resume"]) == 0
    assert {path.name for path in out.iterdir()} == {"recording.zarr", "recipe.toml", "tables", "report.html"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.zarr", "light.toml", "out"]
    same(open_recording(out / "recording.zarr"), analyze(planted[["fluorescence"]], steps_file))
    before = _files(out)
    assert main([*asked, "--resume"]) == 0  # nothing is left to do
    assert main(asked) == 1
    assert _files(out) == before
    capsys.readouterr()
    assert main([*asked, "--overwrite", "--keep", "dff,events"]) == 0
    assert main(["info", str(out)]) == 0
    assert "not kept:  fluorescence, baseline, active, results of estimate_baseline" in capsys.readouterr().out


def test_what_does_not_fit_goes_block_by_block_unasked(given_store, steps_file, tmp_path, monkeypatch):
    monkeypatch.setattr(result, "budget_of", lambda _: 0)
    asked = ["run", str(tmp_path / "given.zarr"), "--out", str(tmp_path / "out"), "--recipe", steps_file, "--no-figures"]
    assert main(asked) == 0
    assert not_kept(open_recording(tmp_path / "out" / "recording.zarr")) == ["baseline"]


def test_mistakes_on_the_command_line_leave_nothing(given_store, steps_file, tmp_path, capsys):
    asked = ["run", str(tmp_path / "given.zarr"), "--out", str(tmp_path / "out"), "--recipe", steps_file]
    before = sorted(path.name for path in tmp_path.iterdir())
    for options, said in (
        (["--memory", "1"], "a chunk of the store"),
        (["--keep", "dff,evnts"], "keep names 'evnts'"),
        (["--workers", "0"], "must be positive"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "not both"),
        (["--scheduler", "nowhere"], "no Dask scheduler answers at nowhere"),
    ):
        assert main([*asked, *options]) == 1
        error = capsys.readouterr().err.strip()
        assert said in error
        assert len(error.splitlines()) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def interrupted(recording, out, **options):
    """Analyse until two blocks are done, then stop as Ctrl-C does."""

    def stop(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(recording, LIGHT, out=out, memory=budget(12), progress=stop, **options)
    assert blocks_of(unfinished(out)) == 2


def test_what_was_to_replace_a_store_can_be_gone_on_with(planted, tmp_path):
    recording, out = planted[["fluorescence"]], tmp_path / "out.zarr"
    analyze(recording, LIGHT, out=out, memory=budget(12))
    brighter = recording.assign(fluorescence=recording["fluorescence"] + np.float32(1))
    interrupted(brighter, out, overwrite=True)
    with pytest.raises(FileExistsError, match="exists already"):
        analyze(brighter, LIGHT, out=out, resume=True)
    assert blocks_of(unfinished(out)) == 2
    same(analyze(brighter, LIGHT, out=out, resume=True, overwrite=True), analyze(brighter, LIGHT))
    with pytest.raises(FileExistsError, match="made of another recording"):
        analyze(recording.isel(neuron=slice(20)), LIGHT, out=out, resume=True)


def test_what_was_damaged_is_done_again_or_told(planted, tmp_path):
    recording = planted[["fluorescence"]]
    for number, damage in enumerate(
        (
            lambda folder: (folder / "blocks" / "000000.npz").write_bytes(bytes(500)),
            lambda folder: (folder / "blocks" / "000000.npz").write_bytes(b"P"),
            lambda folder: (folder / "recording.zarr" / "dff" / "c.0.0").unlink(),
            lambda folder: (folder / "recording.zarr").rename(folder / "elsewhere"),
            lambda folder: (folder / "blocks").rename(folder / "elsewhere"),
        )
    ):
        out = tmp_path / f"{number}.zarr"
        interrupted(recording, out)
        damage(unfinished(out))
        same(analyze(recording, LIGHT, out=out, resume=True), analyze(recording, LIGHT))
    for number, text in enumerate(("", "{}", "[]")):
        out = tmp_path / f"plan{number}.zarr"
        interrupted(recording, out)
        (unfinished(out) / "plan.json").write_text(text)
        for resume in (True, False):
            with pytest.raises(CalciumError, match=r"plan\.json is damaged; begin anew with --overwrite"):
                analyze(recording, LIGHT, out=out, resume=resume)


@pytest.mark.filterwarnings("ignore:.*epochs are shorter")
def test_other_epochs_or_other_noise_are_another_analysis(planted, tmp_path):
    recording = planted[["fluorescence"]]
    interrupted(recording, tmp_path / "out.zarr")
    parted = recording.assign_coords(epoch=("frame", np.repeat([0, 1], FRAMES // 2)))
    with pytest.raises(CalciumError, match="had another neuron ids, times or epochs"):
        analyze(parted, LIGHT, out=tmp_path / "out.zarr", resume=True)
    block = recording.assign(noise=("neuron", np.ones(45)))
    assert run.checksum(block) != run.checksum(block.assign(noise=("neuron", np.full(45, 2.0))))


def test_ids_that_are_objects(planted, tmp_path):
    names = np.array([f"cell {i}" for i in range(45)])
    recording = planted[["fluorescence"]]
    made = analyze(recording.assign_coords(neuron=names.astype(object)), LIGHT, out=tmp_path / "out.zarr", memory=budget(12))
    same(made, analyze(recording.assign_coords(neuron=names), LIGHT))


def test_a_link_stays_a_link(planted, tmp_path):
    recording, link = planted[["fluorescence"]].isel(neuron=slice(9)), tmp_path / "link.zarr"
    (tmp_path / "there").mkdir()
    save_recording(recording, tmp_path / "there" / "real.zarr")
    link.symlink_to(tmp_path / "there" / "real.zarr")
    same(analyze(recording, LIGHT, out=link, memory=budget(12), overwrite=True), analyze(recording, LIGHT))
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.zarr", "there"]


def test_no_result_inside_a_store(given_store, tmp_path):
    with pytest.raises(CalciumError, match="lies inside the store"):
        analyze(given_store, LIGHT, out=tmp_path / "given.zarr" / "out.zarr")
    assert not [path for path in (tmp_path / "given.zarr").iterdir() if "out" in path.name]


def test_relative_paths_hold_where_workers_are(given_store, planted, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    recording = open_recording("given.zarr")

    def leave(*_):
        os.chdir(tmp_path / "elsewhere")

    same(analyze(recording, LIGHT, out="out.zarr", memory=budget(12), progress=leave), analyze(planted[["fluorescence"]], LIGHT))
    assert (tmp_path / "out.zarr").is_dir()


def test_resuming_does_not_fill_a_folder_of_others(given_store, tmp_path, capsys, monkeypatch):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    given = str(tmp_path / "given.zarr")
    assert main(["run", given, "--out", str(tmp_path / "notes"), "--resume", "--memory", "1GB"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]
    monkeypatch.chdir(given)
    assert main(["info", "."]) == 0


def test_a_run_in_memory_leaves_alone_what_another_process_makes(given_store, tmp_path, capsys):
    out = tmp_path / "out"
    with working_in(unfinished(out)) as notes:
        notes.begin({"edges": [0, 45], "shape": [45, FRAMES]})
        assert main(["run", str(tmp_path / "given.zarr"), "--out", str(out), "--overwrite", "--no-figures"]) == 1
    assert f"being written by process {os.getpid()}" in capsys.readouterr().err
    assert (unfinished(out) / "plan.json").is_file()
    assert not out.exists()


def test_progress_never_goes_back(given_store, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        result.Stages, "show", lambda self, stage, done, steps: (setattr(self, "steps", steps), shown.append(done))
    )
    given = str(tmp_path / "given.zarr")
    assert main(["run", given, "--out", str(tmp_path / "out"), "--memory", str(budget(8, traces=10)), "--no-figures"]) == 0
    assert shown == sorted(shown)
