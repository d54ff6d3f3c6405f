"""Common artefacts: movement is found and masked, transients are kept, and nothing is computed across."""

import functools
import warnings

import numpy as np
import pytest
import xarray as xr
from recordings import run

from calcium_engine.analysis import analyze
from calcium_engine.artifacts import mask_artifacts, runs
from calcium_engine.baseline import compute_dff, estimate_baseline
from calcium_engine.io import make_recording, open_recording, save_recording
from calcium_engine.plot import plot_stages
from calcium_engine.recipe import recipe_text
from calcium_engine.report.facts import recording_facts
from calcium_engine.report.quality import about_traces
from calcium_engine.schema import CalciumError, MissingVariableError, epoch_bounds, recorded_calls
from calcium_engine.simulate import simulate_recording


@functools.cache
def moved(**options):
    options = {"n_neurons": 60, "n_frames": 1500, "noise_level": 0.5, "movement": 10, "seed": 3} | options
    return simulate_recording(**options)


def _quiet(n_neurons=40, n_frames=400, seed=0):
    """Neurons at rest, at 10 Hz."""
    return 100 + np.random.default_rng(seed).normal(0, 1, (n_neurons, n_frames)).astype(np.float32)


def _masked(array, **options):
    return np.flatnonzero(mask_artifacts(make_recording(array, sampling_rate=10.0), **options)["artifact"]).tolist()


@pytest.mark.parametrize("rate", [4.8, 30.0])
def test_planted_movement_is_found_frame_by_frame(rate):
    recording = moved(n_neurons=150, n_frames=4000, sampling_rate=rate, movement=30)
    found, true = mask_artifacts(recording)["artifact"].values, recording["true_movement"].values
    assert (found & true).sum() / true.sum() > 0.97
    assert (found & true).sum() / found.sum() > 0.97


def test_small_movement_in_noise_needs_a_lower_threshold():
    recording = moved(n_neurons=150, noise_level=2.0)
    assert not mask_artifacts(recording)["artifact"].any()
    np.testing.assert_array_equal(mask_artifacts(recording, threshold=2.5)["artifact"], recording["true_movement"])


@pytest.mark.parametrize("indicator", ["GCaMP6s", "jGCaMP8m"])
def test_ensembles_of_half_the_neurons_are_kept(indicator):
    dense = {"n_ensembles": 3, "ensemble_size": 80, "ensemble_rate": 4.0, "reliability": 0.9, "jitter": 0.03}
    recording = simulate_recording(n_neurons=160, n_frames=2000, indicator=indicator, noise_level=0.5, seed=4, **dense)
    assert not mask_artifacts(recording)["artifact"].any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert mask_artifacts(recording, dipping=0.0)["artifact"].mean() > 0.05  # the jumps are there


def test_an_artefact_lasts_from_the_jump_out_to_the_jump_back():
    for depth in (-20, 20):
        array = _quiet()
        array[:30, 200:207] += depth
        array[30:, 200:207] -= depth
        assert _masked(array) == list(range(200, 207))
    array = _quiet()
    array[:, 200:203] -= [10, 20, 10]  # a slower one
    assert _masked(array) == [200, 201, 202]


def test_a_level_that_changes_for_good_is_masked_at_the_jump_alone():
    array = _quiet()
    array[:, 200:] -= 20
    assert _masked(array) == [200]
    array[:, 215:] += 20
    assert _masked(array, longest=1.0) == [200]  # a rise without a dip might be transients
    assert _masked(array, longest=2.0) == list(range(200, 215))


def test_a_flash_is_masked_only_where_no_dip_is_asked_for():
    array = _quiet()
    array[:, 200:202] += 30
    assert _masked(array) == []
    assert _masked(array, dipping=0.0) == [200, 201]


def test_the_share_decides_whichever_way_neurons_jump():
    array = _quiet(n_neurons=100)
    array[:15, 200] -= 30
    array[15:30, 200] += 30
    assert _masked(array) == []  # 30 of 100 are not over 30 %
    array[30, 200] -= 30
    assert _masked(array) == [200]
    assert _masked(array, share=0.4) == []


def test_neurons_without_samples_or_noise_have_no_vote():
    array = _quiet(n_neurons=60)
    array[:20, 200] -= 30
    array[40:50] = np.nan
    array[50:] = 7.0
    assert _masked(array) == [200]  # 20 of 40 that can be asked
    array[8:40, 200] = np.nan  # 8 are too few, all the same
    assert _masked(array) == []


def test_the_edge_of_an_epoch_and_a_missing_frame_are_no_jump():
    array = _quiet()
    array[:, 150:] -= 30
    array[:, 300] = np.nan
    array[:, 301:] += 50
    time = np.arange(400) / 10.0 + np.where(np.arange(400) < 150, 0.0, 5.0)
    found = mask_artifacts(make_recording(array, time=time))
    assert not found["artifact"].any()
    np.testing.assert_array_equal(found["epoch"], np.arange(400) >= 150)
    array[:, 147:150] -= 60  # up to the edge: nothing comes back
    np.testing.assert_array_equal(np.flatnonzero(mask_artifacts(make_recording(array, time=time))["artifact"]), [147])


def test_traces_are_missing_there_and_nothing_else_changes():
    recording = moved(neuropil=0.7, gap=30.0)
    before = recording.copy(deep=True)
    result = mask_artifacts(recording)
    xr.testing.assert_identical(recording, before)
    masked = result["artifact"].values
    assert masked.any()
    for name in ("fluorescence", "neuropil"):
        assert result[name].dtype == np.float32
        assert result[name].attrs == recording[name].attrs
        assert np.isnan(result[name].values[:, masked]).all()
        np.testing.assert_array_equal(result[name].values[:, ~masked], recording[name].values[:, ~masked])
    added = {"artifact", "fluorescence", "neuropil", "epoch"}
    xr.testing.assert_equal(result.drop_vars(added), recording.drop_vars(added - {"artifact"}))
    # stretches are epochs of their own, and the gap still is one
    starts = {start for stretch in runs(masked) for start in stretch} | {0, 750, 1500}
    assert epoch_bounds(result).tolist() == sorted(starts)
    assert np.unique(np.diff(result["epoch"])).tolist() == [0, 1]
    attributes = result["artifact"].attrs
    assert attributes["masked_frames"] == masked.sum()
    assert attributes["masked_share"] == masked.mean()
    assert attributes["masked_stretches"] == len(runs(masked))
    assert (attributes["share"], attributes["threshold"], attributes["trace"]) == (0.3, 5.0, "fluorescence")


def test_a_recording_without_artefacts_stays_as_it_is():
    recording = moved(movement=0)
    result = mask_artifacts(recording)
    assert "epoch" not in result.coords
    assert result["artifact"].attrs["masked_frames"] == 0
    xr.testing.assert_equal(result.drop_vars("artifact"), recording)


def test_chunks_and_the_order_of_neurons_change_nothing():
    recording = moved()
    expected = mask_artifacts(recording)
    for blocks in (7, (1, 29, 30)):
        chunked = mask_artifacts(recording.chunk(neuron=blocks))
        assert chunked["fluorescence"].chunks is not None
        xr.testing.assert_identical(chunked.compute(), expected)
    order = np.random.default_rng(0).permutation(60)
    shuffled = mask_artifacts(recording.isel(neuron=order))
    np.testing.assert_array_equal(shuffled["artifact"], expected["artifact"])
    np.testing.assert_array_equal(shuffled["fluorescence"].sel(neuron=expected["neuron"]), expected["fluorescence"])
    with pytest.raises(CalciumError, match=r"\.chunk\(frame=-1\)"):
        mask_artifacts(recording.chunk(frame=100))


def test_masks_only_add_up():
    recording = moved(noise_level=1.4)
    careful = mask_artifacts(recording)
    again = mask_artifacts(careful, threshold=2.5)
    masked = again["artifact"].values
    assert masked[careful["artifact"].values].all()
    assert masked.sum() > careful["artifact"].sum()
    np.testing.assert_array_equal(np.isnan(again["fluorescence"]).all("neuron"), masked)
    assert mask_artifacts(again, threshold=50.0)["artifact"].attrs["masked_frames"] == masked.sum()
    calls = [arguments["threshold"] for name, arguments in recorded_calls(again) if name == "mask_artifacts"]
    assert calls == [5.0, 2.5]
    xr.testing.assert_identical(mask_artifacts(careful), careful)


def test_what_was_made_before_is_dropped_and_dff_can_be_the_beginning():
    cleaned = compute_dff(estimate_baseline(moved()))
    result = mask_artifacts(cleaned)
    assert not {"dff", "baseline"} & set(result.variables)
    assert "compute_dff" not in result.attrs["history"]
    given = make_recording(cleaned["dff"].values, sampling_rate=4.8, variable="dff")
    masked = mask_artifacts(given)
    assert masked["artifact"].attrs["trace"] == "dff"
    np.testing.assert_array_equal(masked["artifact"], result["artifact"])
    np.testing.assert_array_equal(np.isnan(masked["dff"]).all("neuron"), result["artifact"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 30.0}, "between 0 and 1; 0.3"),
        ({"share": "most"}, "mask_artifacts.share is a number"),
        ({"threshold": 0.0}, "positive number of σ"),
        ({"threshold": True}, "mask_artifacts.threshold is a number"),
        ({"dipping": -0.1}, "from 0 to 1"),
        ({"longest": float("inf")}, "positive number of seconds"),
        ({"longest": None}, "mask_artifacts.longest is a number"),
    ],
)
def test_a_bad_argument_is_one_clear_error(arguments, message):
    with pytest.raises(CalciumError, match=message):
        mask_artifacts(moved(), **arguments)


def test_inputs_that_cannot_be_judged():
    with pytest.raises(CalciumError, match=r"at most 9 .* 10 are needed"):
        mask_artifacts(moved().isel(neuron=slice(0, 9)))
    with pytest.raises(MissingVariableError, match="fluorescence"):
        mask_artifacts(moved().drop_vars("fluorescence"))
    with pytest.raises(CalciumError, match="Dataset"):
        mask_artifacts(moved()["fluorescence"])


def test_a_tenth_of_the_frames_is_warned_of():
    array = _quiet()
    array[:, 50:400:20] -= 30
    array[:, 51:400:20] -= 30
    array[:, 52:400:20] -= 30
    with pytest.warns(UserWarning, match=r"54 of 400 frames \(13.5 %\) are masked"):
        mask_artifacts(make_recording(array, sampling_rate=10.0))


@pytest.mark.parametrize("name", ["classical", "calibrated"])
def test_a_recipe_can_begin_with_it(name, tmp_path):
    path = tmp_path / "mine.toml"
    head, bar, steps = recipe_text(name).partition("[[step]]")
    path.write_text(f'{head}[[step]]\nuse = "mask_artifacts"\nthreshold = 4.0\n\n{bar}{steps}', encoding="utf-8")
    recording = moved(n_frames=4000, movement=12, noise_level=1.0, neuropil=0.3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of|.*epochs are shorter|.*correlated", UserWarning)
        result = analyze(recording, path)
        xr.testing.assert_identical(analyze(result, path), result)
    masked = result["artifact"].values
    assert (masked & result["true_movement"].values).sum() > 0.9 * masked.sum() > 0
    for trace in ("fluorescence_corrected", "dff", "detrended", "denoised"):
        np.testing.assert_array_equal(np.isnan(result[trace]).all("neuron"), masked)
        assert np.isfinite(result[trace].values[:, ~masked]).all()
    assert result.sizes["event"] > 100
    assert not result["active"].values[:, masked].any()
    bounds = result["time"].values[epoch_bounds(result)[1:-1]]
    ends = [np.searchsorted(bounds, result[f"event_{end}"], side="right") for end in ("onset", "offset")]
    np.testing.assert_array_equal(*ends)  # no event reaches across
    saved = save_recording(result, tmp_path / "masked.zarr")
    np.testing.assert_array_equal(open_recording(tmp_path / "masked.zarr" if saved is None else saved)["artifact"], masked)


def test_masked_stretches_are_no_short_epochs():
    array = _quiet(n_frames=1500)
    array[:, 700:703] -= 30
    masked = mask_artifacts(make_recording(array, sampling_rate=10.0))
    estimate_baseline(masked, window=60.0)  # both halves are longer: no warning, which would be an error


def test_the_report_says_what_is_masked():
    array = _quiet(n_frames=1500)
    array[:, 500:503] -= 30
    array[:, 900] -= 30
    recording = mask_artifacts(make_recording(array, sampling_rate=10.0))
    assert dict(recording_facts(recording))["epochs"] == "3 (2 stretches masked; nothing is computed across them)"
    said = [line for line in about_traces(recording) if "(artifact)" in line]
    assert len(said) == 1
    assert "4 frames in 2 stretches, 0.267 % of the recording; the longest lasts 0.3 s" in said[0]
    assert not [line for line in about_traces(make_recording(array, sampling_rate=10.0)) if "artifact" in line]
    none = mask_artifacts(make_recording(_quiet(), sampling_rate=10.0))
    assert "nothing is masked" in " ".join(about_traces(none))
    gap = moved(gap=30.0, movement=2)
    assert dict(recording_facts(mask_artifacts(gap)))["epochs"].startswith("4 (gaps of 30.2 s and 2 stretches masked")


def test_figures_shade_masked_stretches():
    array = _quiet(n_frames=1500)
    array[:, 500:503] -= 30
    recording = make_recording(array, sampling_rate=10.0)
    shades = [len(plot_stages(one, [0])[0, 0].patches) for one in (recording, mask_artifacts(recording))]
    assert shades[1] == shades[0] + 1


def test_the_whole_path_without_it_has_no_artifact():
    assert "artifact" not in run(moved(movement=0)).variables


def test_a_recording_masked_throughout_has_no_bins():
    from recordings import with_events

    from calcium_engine.coactivity import compute_coactivity
    from calcium_engine.schema import var

    made = with_events(2, 40, np.array([0]), np.array([3])).assign(artifact=var("artifact").wrap(np.ones(40, bool)))
    with pytest.raises(CalciumError, match="all frames are masked"):
        compute_coactivity(made, bin=1.0)


def test_masked_frames_are_in_no_bin_and_no_place():
    from recordings import with_events

    from calcium_engine.coactivity import activity_of, compute_coactivity
    from calcium_engine.ensemble_events import find_ensemble_events
    from calcium_engine.schema import var

    masked = np.zeros(40, bool)
    masked[10:14] = True
    made = with_events(2, 40, np.array([0, 0, 1]), np.array([3, 20, 21])).assign(artifact=var("artifact").wrap(masked))
    made = made.assign_coords(epoch=("frame", np.repeat([0, 1, 2], [10, 4, 26])))
    for binning, n_bins, chance in (("frames", 18, 3 / 18), ("sliding", 9 + 25, 6 / 36)):
        result = find_ensemble_events(compute_coactivity(made, bin=2 / 4.8, binning=binning), significance="percentile")
        assert result.sizes["bin"] == n_bins
        assert not np.isin(np.flatnonzero(masked), activity_of(result).bins.first).any()
        assert result["coactivity_expected"].values[0] == pytest.approx(chance)
