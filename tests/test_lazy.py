"""Traces that stay in a store: figures, tables and the report read those of the neurons that they show, and no others."""

import numpy as np
import pytest
from finished import finished_recording
from lazy import lazily

from calcium_engine.io import open_recording, save_recording
from calcium_engine.plot import FIGURES, render_figures, write_figures
from calcium_engine.plot.sample import is_read, some_of
from calcium_engine.report import facts, write_report
from calcium_engine.tables import write_tables

FEW = 0.08  # of all samples
HISTORY = "subtract_neuropil()\nestimate_baseline()\ncompute_dff()\nsubtract_background()\ndenoise()\ndetect_events()"
TRACES = ["fluorescence", "baseline", "dff", "background", "detrended", "denoised", "active"]


@pytest.fixture(scope="module")
def large():
    return finished_recording(neurons=500, frames=900).assign_attrs(history=HISTORY)


def test_figures_tables_and_report_read_a_few_traces_of_many(large, tmp_path):
    recording, read, samples = lazily(large)
    assert not read
    assert [path.stem for path in write_figures(recording, tmp_path / "figures")] == list(FIGURES)
    assert 0 < sum(read) < FEW * samples
    drawn = sum(read)
    write_report(recording, tmp_path / "report.html", figures=tmp_path / "figures")
    assert sum(read) - drawn < 0.02 * samples
    said = sum(read)
    write_tables(recording, tmp_path / "tables")
    assert sum(read) == said


def test_without_events_a_few_neurons_are_looked_at_for_those_to_show(large):
    recording, read, samples = lazily(large.drop_dims("event"))
    assert "01_stages" in render_figures(recording, ["01_stages"], dpi=30)
    assert sum(read) < FEW * samples


def test_a_small_recording_has_the_same_figures_from_a_store_as_from_memory(tmp_path):
    recording = finished_recording()
    save_recording(recording, tmp_path / "r.zarr")
    assert is_read(open_recording(tmp_path / "r.zarr")["dff"]) and not is_read(recording["dff"])
    assert render_figures(open_recording(tmp_path / "r.zarr"), dpi=40) == render_figures(recording, dpi=40)


@pytest.mark.parametrize(
    "gone", [["baseline"], ["background"], ["fluorescence", "baseline"], ["denoised"], ["active"], ["dff", "background"], TRACES]
)
def test_what_was_not_kept_is_named_and_figures_draw_what_is_there(gone, tmp_path):
    recording = finished_recording().assign_attrs(history=HISTORY).drop_vars(gone)
    drawn = render_figures(recording, dpi=30)
    left_out = {"01_stages", "02_noise", "04_events", "05_transient"} if gone is TRACES else set()
    assert set(FIGURES) - set(drawn) == left_out
    named = dict(facts.recording_facts(recording))["not kept"]
    assert all(name in named for name in gone)
    page = write_report(recording, tmp_path / "report.html", figures=drawn).read_text(encoding="utf-8")
    assert "not kept" in page
    assert "The input was ΔF/F already" not in page


def test_missing_samples_are_told_of_the_neurons_looked_at(large):
    holes = large["fluorescence"].copy()
    holes[:, :9] = np.nan
    recording, _, _ = lazily(large.assign(fluorescence=holes))
    said = dict(facts.recording_facts(recording))["missing samples"]
    assert said == "1 % (in 64 of 64 neurons looked at)"
    assert dict(facts.recording_facts(large.assign(fluorescence=holes)))["missing samples"] == "1 % (in 500 neurons)"
    assert dict(facts.recording_facts(lazily(large)[0]))["missing samples"] == "none in 64 neurons looked at"


def test_traces_in_memory_are_all_drawn(large):
    assert len(some_of(np.arange(500), large["dff"])) == 500
