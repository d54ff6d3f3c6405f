"""The neuropil's share, given and fitted."""

import numpy as np
import pytest
import xarray as xr
from recordings import RATE

from calcium_engine.io import make_recording
from calcium_engine.neuropil import subtract_neuropil
from calcium_engine.schema import VARIABLES, CalciumError


def _contaminated(share, n=4000, seed=0, activity=40.0):
    """Cells with transients over neuropil that wanders, and both of them noisy."""
    rng = np.random.default_rng(seed)
    wander = np.cumsum(rng.normal(size=(len(share), n)), axis=1)
    wander -= [np.convolve(row, np.ones(200) / 200, mode="same") for row in wander]
    cloud = 60 + 1.5 * wander
    started = rng.random((len(share), n)) < 0.01
    decay = np.exp(-np.arange(40) / 6.0)
    cell = 100 + activity * np.array([np.convolve(row, decay)[:n] for row in started]) + rng.normal(0, 2, cloud.shape)
    made = make_recording((cell + np.array(share)[:, None] * (cloud - 60)).astype(np.float32), sampling_rate=RATE)
    noisy = (cloud + rng.normal(0, 0.5, cloud.shape)).astype(np.float32)
    return made.assign(neuropil=VARIABLES["neuropil"].wrap(noisy)), cell


def test_what_is_subtracted_and_what_is_left():
    made, cell = _contaminated([0.7, 0.7], activity=0.0)
    result = subtract_neuropil(made)
    assert float(result["fluorescence_corrected"].mean()) == pytest.approx(100, abs=0.5)  # F keeps its level
    np.testing.assert_allclose(result["fluorescence_corrected"], cell, atol=5.0)
    np.testing.assert_array_equal(result["neuropil_ratio"], [0.7, 0.7])
    assert result["fluorescence_corrected"].dtype == np.float32


def test_a_fit_finds_the_share_that_was_mixed_in():
    share = [0.0, 0.3, 0.5, 0.7, 0.9, 1.0]
    made, _ = _contaminated(share)
    found = subtract_neuropil(made, ratio="fit")["neuropil_ratio"].values
    np.testing.assert_allclose(found, share, atol=0.08)


def test_a_fit_stays_within_its_bounds_and_works_on_each_neuron_alone():
    made, _ = _contaminated([-0.5, 1.8, 0.6])
    made["neuropil"][2, 100:300] = np.nan
    made["fluorescence"][2, 2000:2100] = np.nan
    result = subtract_neuropil(made, ratio="fit")
    np.testing.assert_allclose(result["neuropil_ratio"], [0.0, 1.0, 0.6], atol=0.08)
    alone = subtract_neuropil(made.isel(neuron=[2]), ratio="fit")
    np.testing.assert_array_equal(alone["neuropil_ratio"], result["neuropil_ratio"][2:])
    chunked = subtract_neuropil(made.chunk(neuron=1), ratio="fit")
    xr.testing.assert_identical(chunked.compute(), result)


def test_neuropil_that_does_not_vary_takes_nothing_away():
    made, _ = _contaminated([0.5])
    made["neuropil"][:] = 50.0
    result = subtract_neuropil(made, ratio="fit")
    assert float(result["neuropil_ratio"][0]) == 0.0
    np.testing.assert_array_equal(result["fluorescence_corrected"], made["fluorescence"])


@pytest.mark.parametrize("ratio", [7, -0.1, "fitted", float("nan")])
def test_a_ratio_that_no_tissue_has_is_refused(ratio):
    made, _ = _contaminated([0.5])
    with pytest.raises(CalciumError, match='0 to 2, or "fit"'):
        subtract_neuropil(made, ratio=ratio)
