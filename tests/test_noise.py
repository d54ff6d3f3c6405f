"""How noisy a trace is, whatever else is in it."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE
from scipy.ndimage import gaussian_filter1d

from calcium_engine.io import make_recording
from calcium_engine.noise import NOISES, estimate_noise, warn_of_correlated_noise
from calcium_engine.schema import NeuronsWarning, var


def _noise(sigma=0.05, shape=(20, 10000), seed=4):
    return np.random.default_rng(seed).normal(0, sigma, shape)


def _busy(shape, seed=1):
    """ΔF/F of transients that come every 10 s or so."""
    started = np.random.default_rng(seed).random(shape) < 0.1 / RATE
    return np.array([np.convolve(row, np.exp(-np.arange(40) / 6.0))[: shape[1]] for row in started])


def _estimated(array, rate=RATE, **how):
    return estimate_noise(make_recording(array, sampling_rate=rate, variable="dff"), **how)


@pytest.mark.parametrize("method", NOISES)
@pytest.mark.parametrize(("rate", "tolerance"), [(4.8, 0.08), (30.0, 0.03)])
def test_noise_of_white_noise_is_its_sd(method, rate, tolerance):
    result = _estimated(_noise(), rate, method=method)
    assert float(result["noise"].mean()) == pytest.approx(0.05, rel=tolerance)
    # nu by its definition: the median difference of white noise is 0.954 of its SD
    assert float(result["noise_level"].mean()) == pytest.approx(100 * 0.954 * 0.05 / np.sqrt(rate), rel=0.02)
    assert np.abs(result["noise_correlation"]).max() < 0.15
    assert not result["low_passed_input"].any()


def test_transients_do_not_pass_for_noise_in_the_default():
    array = _noise() + _busy((20, 10000))
    assert float(_estimated(array)["noise"].mean()) == pytest.approx(0.05, rel=0.1)
    assert float(_estimated(array, method="sd")["noise"].mean()) > 3 * 0.05
    assert not _estimated(array)["low_passed_input"].any()


@pytest.mark.parametrize("rate", [4.8, 30.0])
def test_a_smoothed_input_is_noticed_and_its_noise_seen_in_full(rate):
    array = gaussian_filter1d(_noise(1.0, (10, 8000)), 1.0, axis=1)
    array = 0.05 * array / array.std() + _busy(array.shape)
    with pytest.warns(UserWarning, match=r"in 10 of 10 neurons.*low_passed_input"):
        result = _estimated(array, rate)
    assert result["low_passed_input"].all()
    assert float(result["noise_correlation"].mean()) == pytest.approx(0.78, abs=0.08)
    assert float(result["noise"].mean()) == pytest.approx(0.05, rel=0.1)
    with pytest.warns(UserWarning, match="low_passed_input"):
        assert float(_estimated(array, rate, method="difference")["noise"].mean()) < 0.5 * 0.05


def test_cells_that_never_rest_are_not_taken_for_smoothed_ones():
    array = np.cumsum(_noise(0.05, (3, 4000)), axis=1)
    made = make_recording(array, sampling_rate=RATE, variable="dff")
    busy = made.assign(saturated_activity=var("saturated_activity").wrap(np.ones(3, bool)))
    assert not estimate_noise(busy)["low_passed_input"].any()


@settings(max_examples=15)
@given(st.sampled_from(list(NOISES)), st.sampled_from([0.25, 2.0, 64.0]), st.integers(-20, 20))
def test_noise_follows_scale_and_not_offset(method, scale, offset):
    array = np.random.default_rng(0).normal(0, 1, (3, 600)).round(4)
    expected = scale * _estimated(array, method=method)["noise"].values
    np.testing.assert_allclose(_estimated(scale * array + offset, method=method)["noise"], expected, rtol=1e-9)


@pytest.mark.parametrize("method", NOISES)
def test_short_or_empty_traces_have_no_noise(method):
    array = np.full((3, 400), np.nan)
    array[0] = _noise(shape=(1, 400))[0]
    array[1, 7] = 1.0
    found = _estimated(array, method=method)["noise"].values
    assert found[0] == pytest.approx(0.05, rel=0.2)
    assert not (found[1:] > 0).any()


def test_noise_in_units_of_sigma_has_no_level():
    made = make_recording(_noise(1.0, (2, 500)), sampling_rate=RATE, variable="dff")
    made["dff"].attrs["units"] = "sigma"
    result = estimate_noise(made)
    assert result["noise"].attrs["units"] == "sigma"
    assert np.isnan(result["noise_level"]).all()


@pytest.mark.parametrize("counts", [0.7, 3.0])
def test_traces_of_a_few_photons_have_noise(counts):
    array = np.random.default_rng(0).poisson(counts, (6, 6000)).astype(float)
    assert (_estimated(array)["noise"] > 0.35 * np.sqrt(counts)).all()
    assert (_estimated(np.maximum(_noise(1.0, (6, 6000)), 0.0))["noise"] > 0.25).all()


def test_neurons_that_are_worked_on_in_blocks_are_warned_of_once():
    made = make_recording(gaussian_filter1d(_noise(shape=(6, 4000)), 1.5), sampling_rate=RATE, variable="dff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeuronsWarning)
        blocks = [estimate_noise(made.isel(neuron=slice(first, first + 3))) for first in (0, 3)]
    whole = xr.concat(blocks, "neuron", data_vars="minimal", coords="minimal", compat="override")
    with pytest.warns(NeuronsWarning, match=r"in 6 of 6 neurons.*low_passed_input"):
        warn_of_correlated_noise(whole)
