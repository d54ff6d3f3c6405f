"""What a simulated recording promises: the truth it holds, the noise and kinetics it was asked for, the same bytes every time."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from calcium_engine import schema
from calcium_engine.indicators import INDICATORS
from calcium_engine.io import open_recording, save_recording
from calcium_engine.schema import CalciumError
from calcium_engine.simulate import _transients, simulate_recording

QUIET = {"n_ensembles": 0, "event_rate": 0.0}
SMALL = {"n_neurons": 40, "n_frames": 3000}


def one_spike(indicator, rate, spikes=1):
    """The ΔF/F of a neuron that fires so many spikes at once 10 s into 30 s, and the middle of each frame after the spike."""
    fired = np.zeros(spikes, dtype=int), np.full(spikes, 10.0)
    trace = _transients(fired, 1, int(30 * rate), 1 / rate, INDICATORS[indicator])[0]
    return trace, (np.arange(len(trace)) + 0.5) / rate - 10.0


def test_every_planted_variable_is_as_declared():
    recording = simulate_recording(**SMALL)
    planted = [name for name in recording.data_vars if name.startswith("true_")]
    assert set(planted) == {name for name in schema.VARIABLES if name.startswith("true_")}
    for name in ["fluorescence", *planted]:
        schema.var(name).check(recording)
        assert recording[name].attrs["long_name"]
    assert recording.fluorescence.dtype == np.float32
    assert recording.true_spikes.attrs["seed"] == 0
    assert recording.attrs["indicator"] == "GCaMP6s"
    assert "simulate_recording(" in recording.attrs["history"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    a, b, c = (simulate_recording(**SMALL, missing_frames=5, seed=seed) for seed in (3, 3, 4))
    assert a.identical(b)
    for name in a.variables:
        assert a[name].values.tobytes() == b[name].values.tobytes()
    assert not np.array_equal(a.fluorescence, c.fluorescence, equal_nan=True)


def test_optics_leave_the_spikes_as_they_were():
    a = simulate_recording(**SMALL)
    b = simulate_recording(**SMALL, indicator="jgcamp8m", noise_level=8.0, drift=0.3, bleaching=0.5, missing_frames=9)
    assert a.true_spikes.values.tobytes() == b.true_spikes.values.tobytes()
    assert np.array_equal(a.true_participation, b.true_participation)
    assert b.attrs["indicator"] == "jGCaMP8m"


@pytest.mark.parametrize("rate", [4.8, 30.0])
@pytest.mark.parametrize("level", [1.0, 5.0])
def test_noise_has_the_level_asked_for(rate, level):
    recording = simulate_recording(n_neurons=30, n_frames=6000, sampling_rate=rate, noise_level=level, **QUIET)
    relative = (recording.fluorescence / recording.true_baseline - 1).values
    achieved = 100 * np.median(np.abs(np.diff(relative, axis=1)), axis=1) / math.sqrt(rate)
    assert np.mean(achieved) == pytest.approx(level, rel=0.02)
    assert achieved == pytest.approx(level, rel=0.1)


def test_noise_grows_with_the_root_of_fluorescence():
    recording = simulate_recording(n_neurons=30, n_frames=10000, event_rate=20.0, n_ensembles=0, drift=0.0, bleaching=0.0)
    bright = recording.true_dff.values
    residual = (recording.fluorescence / recording.true_baseline).values - 1 - bright
    at_rest = residual[bright < 0.01].std()
    for low, high in ((0.5, 1.0), (1.5, 2.5)):
        among = (bright > low) & (bright < high)
        assert residual[among].std() / at_rest == pytest.approx(math.sqrt(1 + bright[among].mean()), rel=0.03)


@pytest.mark.parametrize("name", list(INDICATORS))
def test_one_spike_has_the_indicators_size_and_kinetics(name):
    known = INDICATORS[name]
    trace, time = one_spike(name, 1000.0)
    peak = int(trace.argmax())
    half = peak + int(np.argmax(trace[peak:] < trace[peak] / 2))
    assert trace[peak] == pytest.approx(known.amplitude, rel=0.01)
    assert time[peak] == pytest.approx(known.time_to_peak, abs=0.003)
    assert time[half] - time[peak] == pytest.approx(known.half_decay, abs=0.004)
    assert not trace[time < -0.001].any()


@pytest.mark.parametrize(
    ("name", "ratios", "tolerance"),
    [
        ("GCaMP6s", (2.3, 3.6, 5.4), 0.05),
        ("GCaMP6f", (1.9, 3.7, 5.3), 0.21),  # a power law cannot follow two spikes' 1.9 and three spikes' 3.7 at once
        ("jGCaMP8m", (1.9, 2.8, 3.8), 0.05),
    ],
)
def test_several_spikes_add_up_as_measured(name, ratios, tolerance):
    single = one_spike(name, 30.0)[0].max()
    sums = [one_spike(name, 30.0, spikes)[0].max() / single for spikes in (2, 3, 4)]
    assert sums == pytest.approx(ratios, rel=tolerance)


@pytest.mark.parametrize("name", list(INDICATORS))
def test_a_frame_is_the_mean_over_its_exposure(name):
    """Frames of 1/4.8 s against the mean of 200 fine ones, wherever the spikes fall."""
    spikes = np.zeros(6, dtype=int), np.array([0.01, 1.0, 1.05, 2.31, 2.35, 4.0])
    fine = _transients(spikes, 1, 24 * 200, 1 / 960, INDICATORS[name]).reshape(24, 200).mean(axis=1)
    coarse = _transients(spikes, 1, 24, 1 / 4.8, INDICATORS[name])[0]
    assert coarse == pytest.approx(fine, abs=0.01 * INDICATORS[name].amplitude)


def test_spike_times_and_counts_tell_the_same():
    recording = simulate_recording(**SMALL)
    edges = np.append(recording.time.values, recording.time.values[-1] + 1 / 4.8) - 0.5 / 4.8
    for i, neuron in enumerate(recording.neuron.values):
        times = recording.true_spike_time.values[recording.true_spike_neuron.values == neuron]
        assert (np.diff(times) >= 0).all()
        assert np.array_equal(np.histogram(times, edges)[0], recording.true_spikes.values[i])


def test_transients_start_at_their_spikes():
    recording = simulate_recording(n_neurons=20, n_frames=2000, n_ensembles=0, event_rate=1.0)
    dff, spikes = recording.true_dff.values, recording.true_spikes.values
    first = [int(np.argmax(row > 0)) for row in spikes if row.any()]
    assert [int(np.argmax(row > 0)) for row in dff if row.any()] == pytest.approx(first, abs=1)


def test_rates_are_those_asked_for():
    recording = simulate_recording(n_neurons=2000, n_frames=1500, event_rate=4.0, spikes_per_event=3.0, n_ensembles=0)
    per_minute = recording.true_spikes.sum("frame").values / (1500 / 4.8 / 60)
    assert per_minute.mean() == pytest.approx(12.0, rel=0.1)
    assert per_minute.std() > per_minute.mean() / 2  # unequal, as neurons are


def test_ensembles_fire_as_asked():
    recording = simulate_recording(
        n_neurons=100,
        n_frames=30000,
        n_ensembles=3,
        ensemble_size=20,
        ensemble_rate=2.0,
        reliability=0.6,
        event_rate=0.0,
        jitter=0.05,
    )
    minutes = 30000 / 4.8 / 60
    member, fired = recording.true_member.values, recording.true_participation.values
    label, when = recording.true_ensemble_label.values, recording.true_ensemble_time.values
    assert list(recording.true_ensemble.values) == [1, 2, 3]
    assert (member.sum(axis=1) == 20).all()
    assert np.bincount(label, minlength=4)[1:] == pytest.approx(2.0 * minutes, rel=0.25)
    assert (np.diff(when) >= 2.0).all()
    assert not (fired & ~member[label - 1]).any()
    assert fired.sum() / (20 * len(label)) == pytest.approx(0.6, abs=0.02)
    # nobody fires but in ensemble events, and close to them
    time, neuron = recording.true_spike_time.values, recording.true_spike_neuron.values
    nearest = np.abs(time[:, None] - when[None, :]).argmin(axis=1)
    assert fired[nearest, neuron].all()
    assert np.median(np.abs(time - when[nearest])) < 0.1


def test_drift_and_bleaching_change_the_baseline_by_no_more_than_asked():
    drifting = simulate_recording(n_neurons=50, drift=0.2, bleaching=0.0, **QUIET).true_baseline
    swing = (drifting / drifting.mean("frame")).values
    assert 1.05 < swing.max() < 1.45
    fading = simulate_recording(n_neurons=50, drift=0.0, bleaching=0.3, **QUIET).true_baseline.values
    assert fading[:, -1] / fading[:, 0] == pytest.approx(0.7, rel=0.001)
    assert 200 < np.median(fading) < 500
    flat = simulate_recording(n_neurons=2, n_frames=50, drift=0.0, bleaching=0.0, **QUIET).true_baseline.values
    assert np.ptp(flat, axis=1) == pytest.approx(0, abs=1e-3)


def test_missing_frames_are_missing_in_every_neuron_but_not_in_the_truth():
    recording = simulate_recording(**SMALL, missing_frames=30)
    lost = recording.fluorescence.isnull()
    assert int(lost.all("neuron").sum()) == int(lost.any("neuron").sum()) == 30
    assert not recording.true_dff.isnull().any()


def test_without_noise_the_recording_is_its_truth():
    recording = simulate_recording(**SMALL, noise_level=0.0)
    clean = recording.true_baseline * (1 + recording.true_dff)
    np.testing.assert_allclose(recording.fluorescence, clean, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_neurons": 1, "n_frames": 2},
        {"n_neurons": 1, "n_frames": 2, **QUIET},
        {"n_neurons": 16, "n_frames": 50},
        {"n_neurons": 17, "n_frames": 50, "noise_level": 0, "reliability": 0, "jitter": 0},
        {"n_neurons": 3, "n_frames": 20, "sampling_rate": 0.5, "n_ensembles": 2, "ensemble_size": 3},
        {"n_neurons": 3, "n_frames": 2000, "sampling_rate": 500, "spikes_per_event": 1, "reliability": 1},
        {"n_neurons": 2, "n_frames": 100, "missing_frames": 99},
    ],
)
def test_small_and_odd_recordings(arguments):
    recording = simulate_recording(**arguments)
    assert recording.sizes["neuron"] == arguments["n_neurons"]
    assert recording.fluorescence.notnull().any()
    assert np.isfinite(recording.true_dff).all()
    assert recording.true_dff.any() == recording.true_spikes.any()


def test_a_silent_recording_holds_no_activity():
    recording = simulate_recording(n_neurons=5, n_frames=100, **QUIET)
    assert not recording.true_spikes.any()
    assert not recording.true_dff.any()
    assert recording.sizes["true_ensemble_event"] == recording.sizes["true_ensemble"] == recording.sizes["true_spike"] == 0


def test_small_recordings_get_small_ensembles():
    assert int(simulate_recording(n_neurons=40, n_frames=10).true_member.sum("neuron").max()) == 8
    assert int(simulate_recording(n_neurons=200, n_frames=10).true_member.sum("neuron").max()) == 25


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n_neurons": 0}, "n_neurons is 0"),
        ({"n_neurons": 2.5}, "whole number"),
        ({"n_neurons": True}, "n_neurons is True"),
        ({"n_frames": 1}, "n_frames is 1.*2 or more"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
        ({"sampling_rate": math.nan}, "sampling_rate is nan"),
        ({"sampling_rate": "fast"}, "sampling_rate is 'fast'"),
        ({"indicator": "OGB"}, "unknown indicator"),
        ({"event_rate": -1}, "event_rate"),
        ({"event_rate": math.inf}, "event_rate"),
        ({"spikes_per_event": 0.5}, "from 1 to 100"),
        ({"n_ensembles": -1}, "n_ensembles"),
        ({"ensemble_size": 26, "n_neurons": 25}, "does not fit into 25 neurons"),
        ({"ensemble_size": 0}, "ensemble_size is 0"),
        ({"ensemble_rate": 10.0}, "60 events a minute"),
        ({"reliability": 1.5}, "from 0 to 1"),
        ({"jitter": -0.1}, "jitter"),
        ({"noise_level": None}, "noise_level is None"),
        ({"drift": 1.0}, "drift"),
        ({"bleaching": 1.0}, "bleaching"),
        ({"missing_frames": 15000}, "leaves none of 15000"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_impossible_requests_are_refused(arguments, says):
    with pytest.raises(CalciumError, match=says):
        simulate_recording(**arguments)


def test_the_truth_survives_the_store(tmp_path):
    recording = simulate_recording(n_neurons=5, n_frames=300, missing_frames=2)
    save_recording(recording, tmp_path / "simulated.zarr")
    back = open_recording(tmp_path / "simulated.zarr")
    for name in recording.variables:
        np.testing.assert_array_equal(back[name].values, recording[name].values)
    assert back.true_spikes.attrs["seed"] == 0


def test_the_sample_is_what_its_script_makes(tmp_path):
    folder = Path(__file__).parents[1] / "data"
    runpy.run_path(str(folder / "make_sample.py"))["main"](tmp_path / "sample.csv")
    made, kept = (np.loadtxt(place / "sample.csv", delimiter=",") for place in (tmp_path, folder))
    assert kept.shape == (40, 3000)
    np.testing.assert_allclose(made, kept, atol=0.15)  # machines may round the last digit their own way
