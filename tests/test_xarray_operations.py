"""What xarray does between steps: selecting, joining, grouping, chunking leave a recording, or the next step says what to do."""

import numpy as np
import pytest
import xarray as xr
from recordings import run

from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.denoise import denoise
from calcium_engine.events import detect_events
from calcium_engine.features import compute_features
from calcium_engine.io import open_recording, save_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.plot import render_figures
from calcium_engine.recipe import STEPS
from calcium_engine.report import write_report
from calcium_engine.schema import CalciumError
from calcium_engine.simulate import simulate_recording
from calcium_engine.tables import write_tables

OF_EVENTS = ("compute_coactivity", "compute_pairwise", "find_ensemble_events", "find_ensembles", "ensemble_power")
KEPT = {"data_vars": "minimal", "coords": "minimal", "compat": "override"}


def clean(recording):
    for step in (estimate_baseline, compute_dff, subtract_background, estimate_noise, denoise):
        recording = step(recording)
    return recording


def events_of(recording):
    return sorted(zip(recording["event_neuron"].values.tolist(), recording["event_onset"].values.tolist(), strict=True))


@pytest.fixture(scope="module")
def raw():
    made = simulate_recording(n_neurons=12, n_frames=900, n_ensembles=1, ensemble_rate=6.0, seed=5)
    made = made.drop_vars([name for name in made.variables if str(name).startswith("true_")])
    return made.assign_coords(side=("neuron", np.arange(12) // 6))


@pytest.fixture(scope="module")
def cleaned(raw):
    return clean(raw)


@pytest.fixture(scope="module")
def found(raw):
    """A finished recording, with neuropil and pairs."""
    with_neuropil = raw.assign(neuropil=(0.2 * raw["fluorescence"]).assign_attrs(raw["fluorescence"].attrs))
    made = run(with_neuropil, retention_test__neurons=2, compute_coactivity__binning="frames")
    return compute_pairwise(made)


@pytest.fixture(scope="module")
def two_epochs(raw):
    time = raw["time"].values + 60.0 * (np.arange(900) >= 450)
    return raw.assign_coords(time=("frame", time, raw["time"].attrs), epoch=("frame", (np.arange(900) >= 450).astype(int)))


@pytest.mark.filterwarnings("ignore:bins of")
@pytest.mark.parametrize("name", [name for name in STEPS if name != "ensemble_power"])
def test_on_frames_in_chunks_a_step_works_or_names_the_call_that_mends_it(found, name):
    chunked = found.chunk(frame=300)
    try:
        made = STEPS[name](chunked)
    except CalciumError as error:
        assert ".chunk(frame=-1)" in str(error)
        STEPS[name](chunked.chunk(frame=-1))
    else:
        xr.testing.assert_identical(made.compute(), STEPS[name](found))


def test_frames_in_chunks_are_saved_drawn_and_reported_alike(found, tmp_path):
    chunked = found.chunk(frame=300)
    save_recording(chunked, tmp_path / "r.zarr")
    xr.testing.assert_identical(open_recording(tmp_path / "r.zarr").load(), found)
    some = ["01_stages", "02_noise", "04_events", "05_transient", "07_features"]  # those that look at traces
    drawn = render_figures(chunked, some, dpi=30)
    assert drawn == render_figures(found, some, dpi=30)
    assert write_report(chunked, tmp_path / "r.html", figures=drawn).stat().st_size > 10_000
    assert write_tables(chunked, tmp_path / "tables")


@pytest.mark.parametrize("selected", [{"neuron": [7, 1, 4]}, {"neuron": slice(2, 6)}])
def test_selected_neurons_are_analysed_as_they_are_among_the_others(cleaned, selected):
    part = cleaned.sel(selected)
    ids = set(part["neuron"].values.tolist())
    expected = [event for event in events_of(detect_events(cleaned)) if event[0] in ids]
    assert events_of(detect_events(part)) == expected


def test_events_of_selected_neurons_are_kept_by_the_call_that_the_error_names(found):
    part = found.isel(neuron=slice(5))
    for name in ("compute_features", *OF_EVENTS):
        with pytest.raises(CalciumError, match=r"does not hold; run detect_events\(\) again, or keep the events"):
            STEPS[name](part)
    kept = part.isel(event=part["event_neuron"].isin(part["neuron"]))
    of_all = compute_features(found).isel(neuron=slice(5))
    xr.testing.assert_identical(compute_features(kept)["event_rate"], of_all["event_rate"])
    assert render_figures(part, ["06_raster", "07_features"], dpi=30).keys() == {"06_raster", "07_features"}


def test_one_neuron_keeps_its_dim_when_selected_by_a_list(cleaned):
    with pytest.raises(CalciumError, match=r"select by a list to keep 'neuron', such as \.isel\(neuron=\[0\]\)"):
        detect_events(cleaned.isel(neuron=3))
    assert detect_events(cleaned.isel(neuron=[3])).sizes["neuron"] == 1


def test_a_stretch_of_time_is_a_recording_of_its_own(found):
    part = found.isel(frame=slice(200, 700))
    fresh = detect_events(part)
    assert fresh["event_onset"].min() >= part["time"][0]
    assert fresh["event_onset"].max() <= part["time"][-1]
    for name in ("compute_features", *OF_EVENTS):
        with pytest.raises(CalciumError, match=r"outside the recording's time, as after a selection; run detect"):
            STEPS[name](part)
    with pytest.raises(CalciumError, match=r"after taking every n-th frame, say \.assign_coords\(sampling_rate"):
        detect_events(found.isel(frame=slice(None, None, 2)))


def test_groups_of_neurons_are_the_blocks_that_they_are(two_epochs):
    whole = clean(two_epochs)
    groups = [clean(group) for _, group in two_epochs.groupby("side")]
    xr.testing.assert_identical(xr.concat(groups, "neuron", **KEPT), whole)
    mapped = two_epochs.groupby("side").map(clean)
    for name in ("dff", "noise", "denoised", "drifting"):
        xr.testing.assert_identical(mapped[name], whole[name])
    assert "01_stages" in render_figures(mapped, ["01_stages"], dpi=30)
    found = [events_of(detect_events(group)) for _, group in whole.groupby("side")]
    assert sorted([*found[0], *found[1]]) == events_of(detect_events(whole))
    with pytest.raises(ValueError, match="'event'"):  # xarray's own: it could not number them anew
        whole.groupby("side").map(detect_events)


def test_groups_of_frames_are_epochs_each_for_itself(two_epochs):
    groups = {key: clean(group) for key, group in two_epochs.groupby("epoch")}
    assert {key: group.sizes["frame"] for key, group in groups.items()} == {0: 450, 1: 450}
    for group in groups.values():
        assert compute_features(detect_events(group))["event_rate"].notnull().all()
    mapped = two_epochs.groupby("epoch").map(estimate_baseline)
    xr.testing.assert_identical(mapped["baseline"], estimate_baseline(two_epochs)["baseline"])


def test_sessions_of_other_neurons_join_along_neuron(raw, cleaned):
    parts = [raw.isel(neuron=slice(5)), raw.isel(neuron=slice(5, None))]
    xr.testing.assert_identical(clean(xr.concat(parts, "neuron")), cleaned)
    xr.testing.assert_identical(xr.concat([clean(part) for part in parts], "neuron", **KEPT), cleaned)
    twice = detect_events(xr.concat([cleaned, cleaned], "neuron", **KEPT))
    with pytest.raises(CalciumError, match="neuron 0 is there more than once"):
        compute_features(twice)


def test_sessions_one_after_another_join_along_frame(raw, cleaned):
    later = raw.assign_coords(time=raw["time"] + 500.0, frame=raw["frame"] + 900)
    with pytest.raises(CalciumError, match="first shift the times of the second"):
        estimate_baseline(xr.concat([raw, raw], "frame"))
    joined = clean(xr.concat([raw, later], "frame"))
    xr.testing.assert_equal(joined["dff"].isel(frame=slice(900)), cleaned["dff"])
    events = detect_events(joined)
    onset = events["event_onset"].values
    assert not ((onset > raw["time"].values[-1]) & (onset < 500.0)).any()
    with pytest.warns(UserWarning, match="bins of"):
        assert compute_coactivity(compute_features(events))["coactivity"].sum() > 0


def test_cleaned_sessions_that_xarray_spreads_over_frames_say_how_to_join_them(raw, cleaned):
    later = clean(raw.assign_coords(time=raw["time"] + 500.0, frame=raw["frame"] + 900))
    spread = xr.concat([cleaned, later], "frame", data_vars="all", coords="different", compat="equals")
    for step, name in ((detect_events, "noise"), (estimate_noise, "saturated_activity")):
        with pytest.raises(CalciumError, match=f"'{name}' has dims .* makes it anew, and .*data_vars='minimal'"):
            step(spread)
    kept = xr.concat([cleaned, later], "frame", **KEPT)
    assert detect_events(estimate_noise(kept)).sizes["event"] > 0


def test_the_order_of_dims_and_neurons_changes_nothing(raw, cleaned):
    turned = clean(raw.transpose("frame", "neuron"))
    xr.testing.assert_identical(turned.transpose(*cleaned.dims), cleaned)
    found = compute_features(detect_events(cleaned))
    backwards = compute_features(detect_events(cleaned.sortby("neuron", ascending=False))).sortby("neuron")
    xr.testing.assert_equal(backwards["event_rate"], found["event_rate"])
    xr.testing.assert_equal(backwards["population_coupling"], found["population_coupling"])
