"""Transients are planted in a recording, cleaned as it was, and looked for: known cleaning has known results."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE

from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.denoise import denoise
from calcium_engine.io import make_recording, open_recording, save_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.planting import APART, WIDTHS, plan, template
from calcium_engine.plot import plot_retention
from calcium_engine.plot._canvas import offscreen
from calcium_engine.report.retention import about_retention
from calcium_engine.retention import retention_test
from calcium_engine.schema import VARIABLES, CalciumError
from calcium_engine.simulate import simulate_recording


def clean(recording, method="masked", window=60.0):
    """All of the cleaning of a recording of fluorescence."""
    recording = compute_dff(estimate_baseline(recording, method=method, window=window))
    return denoise(estimate_noise(subtract_background(recording, method=method, window=window)))


@pytest.fixture(scope="module")
def simulated():
    return simulate_recording(n_neurons=24, n_frames=6000, n_ensembles=0, seed=11)


@pytest.fixture(scope="module")
def tested(simulated):
    return retention_test(clean(simulated))


def flat(neurons=4, frames=3000, level=100.0, noise=2.0, seed=0, **options):
    """Neurons without activity."""
    rng = np.random.default_rng(seed)
    array = rng.normal(level, noise, (neurons, frames)).astype(np.float32)
    return make_recording(array, sampling_rate=RATE, **options)


def test_default_cleaning_keeps_transients_and_says_so(tested):
    share = tested["retention_amplitude"]
    typical = share.sel(planted_amplitude=0.5, planted_fwhm=1.0)
    assert (typical.sel(retention_stage=["dff", "detrended"]) > 0.97).all()
    assert typical.sel(retention_stage="denoised") > 0.85
    fwhm = tested["retention_fwhm"].sel(planted_amplitude=0.5, planted_fwhm=1.0)
    np.testing.assert_allclose(fwhm.sel(retention_stage="detrended"), 1.0, atol=0.05)
    assert (np.abs(tested["retention_slope"].sel(retention_stage="detrended") - 1) < 0.05).all()
    assert about_retention(tested)[0].startswith(
        "Cleaning kept transients: of the amplitude of planted ones of 50 % ΔF/F and 1 s, "
    )


def test_everything_is_declared_and_labelled(tested):
    names = [name for name, variable in VARIABLES.items() if variable.made_by == "retention_test"]
    for name in names:
        assert tested[name].dims == VARIABLES[name].dims
        assert tested[name].dtype.kind in VARIABLES[name].kind
    assert tested["retention_stage"].values.tolist() == ["dff", "detrended", "denoised"]
    assert tested["planted_fwhm"].attrs["units"] == "s"
    assert tested.attrs["history"].endswith("retention_test(neurons=32, seed=0)")
    # every kind has its share
    assert tested["retention_count"].mean() > 30
    assert tested["retention_count"].min() >= 0.7 * tested["retention_count"].mean()


def test_a_window_too_short_is_caught(simulated):
    tested = retention_test(clean(simulated, "rolling_quantile", 5.0))
    long = tested["retention_amplitude"].sel(retention_stage="dff", planted_fwhm=5.0)
    assert (long < 0.6).all()
    assert (tested["retention_drift"].sel(retention_stage="dff", planted_fwhm=5.0) < -0.005).all()
    said = " ".join(about_retention(tested))
    assert "Cleaning cost transients" in said and "a longer window" in said


def test_what_is_only_shifted_and_divided_is_kept_whole():
    # one quantile of the whole trace moves by next to nothing where a transient is added, and takes no part of a slow wave
    recording = compute_dff(estimate_baseline(flat(frames=20000), method="global_quantile", quantile=0.5))
    tested = retention_test(recording)
    np.testing.assert_allclose(tested["retention_amplitude"], 1.0, atol=0.03)
    np.testing.assert_allclose(tested["retention_fwhm"], 1.0, atol=0.03)
    np.testing.assert_allclose(tested["retention_onset"], 0.0, atol=0.02)
    np.testing.assert_allclose(tested["retention_slope"], 1.0, atol=0.01)
    np.testing.assert_allclose(tested["slow_attenuation"], 0.0, atol=0.1)


def test_a_recording_of_dff_is_planted_in_dff():
    recording = subtract_background(flat(level=0.0, noise=0.05, variable="dff"), window=30.0)
    tested = retention_test(recording)
    assert tested["retention_stage"].values.tolist() == ["detrended"]
    assert (tested["retention_amplitude"].sel(planted_amplitude=0.5, planted_fwhm=[0.5, 1.0]) > 0.95).all()


def test_a_baseline_of_ones_own_is_kept():
    own = flat().assign(baseline=VARIABLES["baseline"].wrap(np.full((4, 3000), 100.0, np.float32)))
    np.testing.assert_allclose(retention_test(compute_dff(own))["retention_amplitude"], 1.0, atol=1e-4)


def test_units_of_sigma_make_little_difference():
    raw = estimate_baseline(flat(neurons=6))
    shares = [retention_test(compute_dff(raw, normalize=how))["retention_amplitude"] for how in ("baseline", "sigma")]
    # σ itself is estimated anew, and differs by a few percent
    np.testing.assert_allclose(*shares, atol=0.06)


def test_where_every_f0_is_too_small_the_floor_stands_for_it():
    tested = retention_test(clean(flat(level=0.0)))
    assert tested["f0_floored"].all()
    assert float(tested["retention_amplitude"].sel(retention_stage="dff", planted_fwhm=1.0, planted_amplitude=2.0)) > 0.9


@settings(max_examples=3)
@given(st.integers(1, 24))
def test_any_chunking_gives_the_identical_result(simulated, tested, block):
    chunked = retention_test(clean(simulated.chunk(neuron=block)))
    for name, variable in VARIABLES.items():
        if variable.made_by == "retention_test":
            xr.testing.assert_identical(chunked[name], tested[name])


def test_only_the_chosen_neurons_of_a_lazy_recording_are_computed(simulated):
    computed = []
    lazy = clean(simulated.chunk(neuron=1)).map(lambda array: array)
    lazy["fluorescence"] = lazy["fluorescence"].copy(
        data=lazy["fluorescence"].data.map_blocks(lambda block: computed.append(len(block)) or block, meta=np.zeros((0, 0)))
    )
    with dask.config.set(scheduler="synchronous"):
        tested = retention_test(lazy, neurons=3)
    assert tested["denoised"].chunks is not None
    assert sum(computed) == 3


def test_it_is_saved_and_opened_as_it_was(tested, tmp_path):
    opened = open_recording(save_recording(tested, tmp_path / "tested.zarr"))
    for name in ("retention_amplitude", "retention_count", "slow_attenuation", "retention_stage"):
        xr.testing.assert_identical(opened[name].compute(), tested[name])
    xr.testing.assert_identical(retention_test(opened)["retention_amplitude"], tested["retention_amplitude"])


def test_another_seed_plants_elsewhere_and_finds_about_the_same(tested):
    other = retention_test(tested, seed=1)
    assert not other["retention_amplitude"].equals(tested["retention_amplitude"])
    difference = (other["retention_amplitude"] - tested["retention_amplitude"]).sel(planted_amplitude=[0.5, 1.0, 2.0])
    assert float(np.abs(difference).max()) < 0.05
    assert other.attrs["history"].count("retention_test") == 1


def test_gaps_and_missing_frames_are_no_obstacle(simulated):
    time = simulated["time"].values.copy()
    time[3000:] += 40.0
    gappy = simulated.assign_coords(time=("frame", time)).copy(deep=True)
    gappy["fluorescence"][:, 500:520] = np.nan
    gappy["fluorescence"][3, 4000:] = np.nan
    tested = retention_test(clean(gappy))
    assert tested["retention_count"].min() > 20
    assert (tested["retention_amplitude"].sel(retention_stage="detrended", planted_fwhm=1.0, planted_amplitude=0.5) > 0.95).all()
    assert np.isfinite(tested["slow_attenuation"]).all()


@pytest.mark.parametrize("frames", [20, 60, 400])
def test_short_recordings_give_what_they_can(frames):
    recording = flat(frames=frames)
    tested = retention_test(clean(recording, window=frames / RATE))
    count, share = tested["retention_count"], tested["retention_amplitude"].sel(retention_stage="dff")
    np.testing.assert_array_equal(np.isnan(share), count == 0)
    assert (count.sel(planted_fwhm=5.0) == 0).all() == (frames == 20)
    assert np.isnan(tested["slow_attenuation"]).all()
    assert "transients" in about_retention(tested)[0]


def test_without_a_quiet_stretch_nothing_is_planted():
    wild = make_recording(100 + 50 * (np.arange(1200) % 12 < 4)[None] * np.ones((3, 1)), sampling_rate=RATE)
    recording = compute_dff(estimate_baseline(wild, method="global_quantile", quantile=0.1))
    tested = retention_test(recording)
    assert tested["retention_count"].sum() == 0
    assert np.isnan(tested["retention_amplitude"]).all()
    assert "could not be tested" in about_retention(tested)[0]
    with offscreen():
        assert "no transients planted" in [text.get_text() for text in plot_retention(tested)[0, 0].texts]


def test_what_was_not_cleaned_cannot_be_tested(simulated):
    with pytest.raises(CalciumError, match="no cleaning to test"):
        retention_test(simulated)
    with pytest.raises(CalciumError, match="neurons must be 1 or more"):
        retention_test(clean(flat(frames=300), window=30.0), neurons=0)
    assert about_retention(simulated) == []


@given(st.floats(0.3, 8.0), st.floats(2.0, 60.0))
def test_a_template_has_its_width_and_its_area(fwhm, rate):
    fine = template(fwhm, round(20 * fwhm * 1000), 1000.0)
    assert fine.max() == pytest.approx(1.0, abs=0.01)
    assert (fine >= 0.5).sum() / 1000 == pytest.approx(fwhm, abs=0.003)
    # what a slow camera sees is the mean over its frames: the area stays, whatever the rate
    seen = template(fwhm, round(20 * fwhm * rate) + 2, rate)
    assert seen.sum() / rate == pytest.approx(fine.sum() / 1000, rel=1e-3)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.0, 0.02))
def test_plants_keep_away_from_events_from_edges_and_from_each_other(seed, busyness):
    rng = np.random.default_rng(seed)
    time = np.arange(4000) / RATE
    time[2500:] += 30
    recording = make_recording(np.zeros((3, 4000)), sampling_rate=RATE, time=time)
    busy = rng.random((3, 4000)) < busyness
    plants = plan(busy, recording, rng)
    for row, frame, width in zip(plants.row, plants.frame, plants.width, strict=True):
        until = frame + round(2 * WIDTHS[width] * RATE)
        assert not busy[row, frame - round(RATE) : until].any()
        assert round(RATE) <= frame < until < 2500 or 2500 + round(RATE) <= frame < until < 4000
    for row in range(3):
        assert (np.diff(plants.frame[plants.row == row]) >= round(APART * RATE)).all()
