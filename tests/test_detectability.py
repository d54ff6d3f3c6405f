"""What the detector could have seen, and what it sees where there is nothing."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from strategies import chunkings

from calcium_engine.detectability import BINS, SIZES, Detectability
from calcium_engine.events import detect_events
from calcium_engine.features import complete_features, compute_features, see_traces
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.simulate import simulate_recording

RATE = 10.0


def noisy(sigma, n_neurons=6, n_frames=6000, seed=0):
    """White noise of one σ, or one a neuron."""
    noise = np.random.default_rng(seed).standard_normal((n_neurons, n_frames)) * np.reshape(sigma, (-1, 1))
    return estimate_noise(make_recording(noise.astype(np.float32), sampling_rate=RATE, variable="dff"))


@pytest.fixture(scope="module")
def two_levels():
    return compute_features(detect_events(noisy([0.02, 0.02, 0.02, 0.1, 0.1, 0.1])))


def test_five_times_the_noise_needs_transients_five_times_as_large(two_levels):
    lod = two_levels["lod50"].values
    assert lod[3:].mean() / lod[:3].mean() == pytest.approx(5.0, rel=0.1)
    assert np.ptp(lod[:3]) < 0.15 * lod[0]
    # a transient of 8 frames FWHM is found by all of them: under the σ-fold threshold of a single frame
    assert lod[0] < 4.0 * 0.02


def test_a_planted_transient_of_the_limit_is_found_half_the_time(two_levels):
    from calcium_engine.indicators import get_indicator

    lod, indicator, n = float(two_levels["lod50"][0]), get_indicator("GCaMP6s"), 300
    frames = np.arange(400)
    shape = indicator.shape((frames[:, None] - 200 + (np.arange(8) + 0.5) / 8 - 0.5) / RATE).mean(axis=1)
    for size, low, high in ((1.0, 0.3, 0.7), (1.8, 0.9, 1.0), (0.4, 0.0, 0.1)):
        traces = np.random.default_rng(5).normal(0, 0.02, (n, 400)) + size * lod * shape / shape.max()
        made = make_recording(traces.astype(np.float32), sampling_rate=RATE, variable="dff")
        made = made.assign(noise=("neuron", np.full(n, 0.02)))
        events = detect_events(made, threshold=two_levels["event_onset"].attrs["k"])
        near = np.abs(events["event_onset"].values - 20.0) < 0.6
        found = len(np.unique(events["event_neuron"].values[near])) / n
        assert low <= found <= high, (size, found)


def test_detectability_rises_with_the_amplitude_from_none_to_all(two_levels):
    shares = two_levels["detectability"].values
    assert (np.diff(shares, axis=1) >= 0).all()
    assert (shares[3:, 0] < 0.05).all()
    assert (shares[:, -1] > 0.95).all()
    amplitudes = two_levels["detectability_amplitude"]
    assert amplitudes.attrs["units"] == "1"
    assert (np.diff(amplitudes) > 0).all()


@pytest.mark.parametrize("rate", [4.8, 10.0, 30.0])
def test_planted_transients_are_measured_as_events_are(rate):
    """At 4.8 Hz on the searched trace, at 30 Hz on the denoised one, at 10 Hz on a mean of both."""
    from calcium_engine.denoise import denoise
    from calcium_engine.indicators import get_indicator

    time = np.arange(round(300 * rate)) / rate
    onsets = np.arange(10.0, 290.0, 14.0)
    clean = sum(get_indicator("GCaMP6s").shape(time - onset) for onset in onsets)
    lod = float(compute_features(detect_events(denoise(noisy_at(rate, np.zeros_like(time)))))["lod50"].median())
    made = compute_features(detect_events(denoise(noisy_at(rate, 2.0 * lod * clean))))
    true = 60 * len(onsets) / 300
    assert float(made["event_rate"].mean()) == pytest.approx(true, rel=0.05)
    assert float(made["event_rate_corrected"].mean()) == pytest.approx(true, rel=0.1)


def noisy_at(rate, clean):
    noise = np.random.default_rng(2).normal(0, 0.05, (12, len(clean)))
    return estimate_noise(make_recording((noise + clean).astype(np.float32), sampling_rate=rate, variable="dff"))


def test_corrected_rates_of_quiet_and_noisy_neurons_agree_where_the_counted_ones_do_not():
    rates = {}
    for noise in (1.0, 4.0):
        recording = simulate_recording(
            n_neurons=40, n_frames=4000, n_ensembles=0, event_rate=4.0, spikes_per_event=2.0, noise_level=noise, drift=0, seed=3
        )
        recording = recording.assign(dff=recording["fluorescence"] / recording["true_baseline"] - 1)
        made = compute_features(detect_events(estimate_noise(recording)))
        rates[noise] = [float(made[name].mean()) for name in ("event_rate", "event_rate_corrected")]
    (quiet, quiet_corrected), (noisy_rate, noisy_corrected) = rates[1.0], rates[4.0]
    assert noisy_rate < 0.8 * quiet
    assert quiet_corrected == pytest.approx(quiet, rel=0.06)
    assert noisy_corrected == pytest.approx(quiet, rel=0.2)


def test_symmetric_noise_has_events_on_either_side_and_transients_on_one():
    quiet = compute_features(detect_events(noisy(0.05, n_neurons=30), threshold=2.8))
    count, negative = int(quiet["event_count"].sum()), float(quiet["negative_event_count"].sum())
    assert count > 50
    assert negative == pytest.approx(count, rel=0.35)
    assert quiet["negative_ratio"].attrs["pooled"] == pytest.approx(negative / count, rel=0.1)
    simulated = simulate_recording(n_neurons=10, n_frames=4000, n_ensembles=0, event_rate=3.0, seed=1)
    simulated = simulated.assign(dff=simulated["fluorescence"] / simulated["true_baseline"] - 1)
    made = compute_features(detect_events(estimate_noise(simulated)))
    assert made["negative_ratio"].attrs["pooled"] < 0.03


@pytest.mark.parametrize("detector", ["template", "noise", "ridge", "sd"])
def test_every_detector_has_its_limit(detector):
    recording = noisy(0.05, n_neurons=4, n_frames=4000)
    recording["dff"][:, 2000:2004] += 1.0
    made = compute_features(detect_events(recording, detector=detector))
    assert (made["lod50"] > 0.05).all()
    assert (made["lod50"] < 0.5).all()


def test_where_nothing_can_be_planted_nothing_is_said():
    rng = np.random.default_rng(0)
    for made in (
        noisy(0.05, n_frames=12),
        estimate_noise(make_recording(rng.normal(size=(2, 300)), sampling_rate=RATE, variable="dff")),
    ):
        busy = detect_events(made)
        busy = busy.assign(active=xr.ones_like(busy["active"]))
        result = compute_features(busy)
        assert result["lod50"].isnull().all()
        assert result["event_rate_corrected"].isnull().all()
        assert result["event_rate"].notnull().all()


def test_events_of_unknown_origin_have_features_but_no_limit():
    made = detect_events(noisy(0.05))
    for name in made.data_vars:
        made[name].attrs.pop("detector", None)
    assert "lod50" not in compute_features(made)
    gone = detect_events(noisy(0.05)).drop_vars("dff")
    with pytest.raises(ValueError, match="dff"):
        compute_features(gone)


def test_sizes_are_unfolded_from_what_was_measured():
    # two sizes; the small one is found a fifth of the time, and then looks as large as the other
    share = np.zeros((1, len(SIZES)))
    share[0, 3:] = 1.0
    share[0, 2] = 0.2
    measured = np.zeros((len(SIZES) - 1, len(BINS) - 1))
    bin_of = np.searchsorted(BINS, SIZES[1:], side="right") - 1
    measured[np.arange(len(bin_of)), bin_of] = 100.0
    judged = Detectability(np.ones(1), share, np.zeros(1), np.ones(1), measured)
    amplitude = np.concatenate([np.full(10, SIZES[2]), np.full(30, SIZES[6])])
    assert judged.expected_counts(np.zeros(40, int), amplitude)[0] == pytest.approx(10 / 0.2 + 30, rel=0.02)


def test_limits_are_in_the_units_of_the_trace():
    recording = noisy(0.05)
    recording["dff"].attrs["units"] = "sigma"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = compute_features(detect_events(estimate_noise(recording)))
    assert made["lod50"].attrs["units"] == made["detectability_amplitude"].attrs["units"] == "sigma"


@pytest.fixture(scope="module")
def events_of_nine():
    from calcium_engine.denoise import denoise

    recording = simulate_recording(n_neurons=9, n_frames=2500, n_ensembles=0, event_rate=3.0, seed=7)
    recording = recording.assign(dff=recording["fluorescence"] / recording["true_baseline"] - 1)
    return detect_events(denoise(estimate_noise(recording)))


def _joined(seen):
    joined = xr.concat([block.drop_vars("measured") for block in seen], "neuron")
    return joined.assign(measured=xr.concat([block["measured"] for block in seen], "block"))


@settings(max_examples=4)
@given(chunkings(9))
def test_any_blocks_of_neurons_have_the_features_of_all_at_once(events_of_nine, blocks):
    edges = np.concatenate([[0], np.cumsum(blocks)])
    seen = [see_traces(events_of_nine.isel(neuron=slice(first, last)), first) for first, last in pairwise(edges)]
    without_traces = events_of_nine.drop_vars(["fluorescence", "dff", "denoised", "active"])
    made, expected = complete_features(without_traces, _joined(seen)), compute_features(events_of_nine)
    xr.testing.assert_identical(made, expected.drop_vars(["fluorescence", "dff", "denoised", "active"]))


def test_features_are_of_the_neurons_that_were_seen(events_of_nine):
    with pytest.raises(ValueError, match="other neurons"):
        complete_features(events_of_nine, see_traces(events_of_nine.isel(neuron=slice(8))))
