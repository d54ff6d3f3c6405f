"""What a simulated recording promises: the truth it holds, the noise and kinetics it was asked for, the same bytes every time."""

import math
import runpy
import zlib
from pathlib import Path

import numpy as np
import pytest

from calcium_engine import schema, subtract_neuropil
from calcium_engine.indicators import INDICATORS
from calcium_engine.io import open_recording, save_recording
from calcium_engine.schema import CalciumError
from calcium_engine.simulate import simulate_recording
from calcium_engine.simulate.transients import transients

QUIET = {"n_ensembles": 0, "event_rate": 0.0}
SMALL = {"n_neurons": 40, "n_frames": 3000}
ALL = {"modulation": 0.5, "neuropil": 0.7, "movement": 4, "low_pass": 0.7, "gap": 30.0, "missing_frames": 5}


def without_neuropil(recording):
    """The fluorescence from which each neuron's own share of its neuropil is taken."""
    neuropil = recording.neuropil
    return recording.fluorescence - recording.true_neuropil_ratio * (neuropil - neuropil.median("frame"))


def measured_noise(relative, rate):
    """ν of each row of F/F0, %·Hz^-½."""
    return 100 * np.median(np.abs(np.diff(relative, axis=1)), axis=1) / math.sqrt(rate)


def one_spike(indicator, rate, spikes=1):
    """The ΔF/F of a neuron that fires so many spikes at once 10 s into 30 s, and the middle of each frame after the spike."""
    fired = np.zeros(spikes, dtype=int), np.full(spikes, 10.0)
    trace = transients(fired, 1, int(30 * rate), 1 / rate, INDICATORS[indicator])[0]
    return trace, (np.arange(len(trace)) + 0.5) / rate - 10.0


def test_every_planted_variable_is_as_declared():
    recording = simulate_recording(**SMALL, **ALL, order=0.5)
    planted = {name for name in recording.data_vars if name.startswith("true_")}
    assert planted == {name for name in schema.VARIABLES if name.startswith("true_")}
    plain = set(simulate_recording(**SMALL).variables)
    assert set(recording.variables) - plain == {
        "neuropil",
        "true_neuropil_ratio",
        "true_movement",
        "true_latency",
        "x",
        "y",
        "epoch",
    }
    for name in ["fluorescence", "neuropil", *planted]:
        schema.var(name).check(recording)
        assert recording[name].attrs["long_name"]
    assert recording.fluorescence.dtype == np.float32
    assert recording.true_spikes.attrs["seed"] == 0
    assert recording.attrs["indicator"] == "GCaMP6s"
    assert "simulate_recording(" in recording.attrs["history"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    a, b, c = (simulate_recording(**SMALL, **ALL, seed=seed) for seed in (3, 3, 4))
    assert a.identical(b)
    for name in a.variables:
        assert a[name].values.tobytes() == b[name].values.tobytes()
    assert not np.array_equal(a.fluorescence, c.fluorescence, equal_nan=True)


@pytest.mark.parametrize(
    ("seed", "spikes", "corners", "baseline", "lost"),
    [
        (0, 3064340610, [457.26978, 265.91882, 293.41672], 329.649141, [524, 552, 971, 1303, 1956]),
        (1, 3499919097, [653.82513, 329.07254, 682.63367], 339.432511, [1158, 1355, 1831, 2248, 2325]),
    ],
)
def test_seeds_keep_their_recordings(seed, spikes, corners, baseline, lost):
    recording = simulate_recording(**SMALL, missing_frames=5, seed=seed)
    assert zlib.crc32(recording.true_spikes.values.astype("<u2").tobytes()) == spikes
    assert recording.fluorescence.values[[0, 20, 39], [0, 1500, 2999]] == pytest.approx(corners, rel=1e-5)
    assert float(recording.true_baseline.mean(dtype=float)) == pytest.approx(baseline, rel=1e-6)
    assert list(np.flatnonzero(recording.fluorescence.isnull().all("neuron"))) == lost


def test_optics_leave_the_spikes_as_they_were():
    a = simulate_recording(**SMALL)
    seen = ALL | {"modulation": 0.0, "indicator": "jgcamp8m", "noise_level": 8.0, "drift": 0.3, "bleaching": 0.5}
    b = simulate_recording(**SMALL, **seen)
    assert a.true_spikes.values.tobytes() == b.true_spikes.values.tobytes()
    assert np.array_equal(a.true_participation, b.true_participation)
    assert b.attrs["indicator"] == "jGCaMP8m"


@pytest.mark.parametrize("neuropil", [0.0, 0.7])
@pytest.mark.parametrize(("rate", "level"), [(1.0, 2.0), (4.8, 5.0), (30.0, 1.0), (100.0, 0.5), (100.0, 8.0)])
def test_noise_has_the_level_asked_for(rate, level, neuropil):
    recording = simulate_recording(n_neurons=30, n_frames=6000, sampling_rate=rate, noise_level=level, neuropil=neuropil, **QUIET)
    own = without_neuropil(recording) if neuropil else recording.fluorescence
    achieved = measured_noise((own / recording.true_baseline).values, rate)
    assert np.mean(achieved) == pytest.approx(level, rel=0.03)
    assert achieved == pytest.approx(level, rel=0.15 if neuropil else 0.1)  # the annulus adds noise of its own


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
    fine = transients(spikes, 1, 24 * 200, 1 / 960, INDICATORS[name]).reshape(24, 200).mean(axis=1)
    coarse = transients(spikes, 1, 24, 1 / 4.8, INDICATORS[name])[0]
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


@pytest.mark.parametrize(("overlap", "shared"), [(0.0, 0), (0.3, 6), (0.5, 10), (1.0, 20)])
def test_ensembles_share_the_members_asked_for(overlap, shared):
    member = simulate_recording(
        n_neurons=120, n_frames=20, ensemble_size=20, ensemble_overlap=overlap, n_ensembles=6
    ).true_member.values
    assert (member.sum(axis=1) == 20).all()
    for k in range(1, 6):
        assert (member[k] & member[:k].any(axis=0)).sum() == shared


def test_members_start_in_the_order_of_their_ensemble():
    arguments = {"n_neurons": 100, "n_frames": 20000, "event_rate": 0.0, "ensemble_rate": 3.0, "n_ensembles": 2, "jitter": 0.01}
    plain, ordered = (simulate_recording(**arguments, spikes_per_event=1, order=order) for order in (0.0, 0.4))
    assert "true_latency" not in plain
    for name in ("true_member", "true_ensemble_time", "true_ensemble_label"):
        assert np.array_equal(plain[name], ordered[name])
    latency, member = ordered.true_latency.values, ordered.true_member.values
    assert np.array_equal(np.isnan(latency), ~member)
    for row in latency:
        np.testing.assert_allclose(np.sort(row[~np.isnan(row)]), np.linspace(-0.2, 0.2, 20), atol=1e-12)
    assert not np.array_equal(np.argsort(latency[0][member[0]]), np.arange(20))
    time, neuron = ordered.true_spike_time.values, ordered.true_spike_neuron.values
    event = np.abs(time[:, None] - ordered.true_ensemble_time.values).argmin(axis=1)
    late = time - ordered.true_ensemble_time.values[event]
    expected = latency[ordered.true_ensemble_label.values[event] - 1, neuron]
    assert np.abs(late - expected).max() < 0.06 and (late - expected).std() == pytest.approx(0.01, rel=0.1)


def test_drift_and_bleaching_change_the_baseline_by_no_more_than_asked():
    drifting = simulate_recording(n_neurons=50, drift=0.2, bleaching=0.0, **QUIET).true_baseline
    swing = (drifting / drifting.mean("frame")).values
    assert 1.05 < swing.max() < 1.45
    fading = simulate_recording(n_neurons=50, drift=0.0, bleaching=0.3, **QUIET).true_baseline.values
    assert fading[:, -1] / fading[:, 0] == pytest.approx(0.7, rel=0.001)
    assert 200 < np.median(fading) < 500
    flat = simulate_recording(n_neurons=2, n_frames=50, drift=0.0, bleaching=0.0, **QUIET).true_baseline.values
    assert np.ptp(flat, axis=1) == pytest.approx(0, abs=1e-3)


def test_modulation_moves_spontaneous_bursts_and_nothing_else():
    plain, moved = (simulate_recording(**SMALL, event_rate=20.0, modulation=depth) for depth in (0.0, 0.8))
    assert int(plain.true_spikes.sum()) == pytest.approx(int(moved.true_spikes.sum()), abs=20)  # some at the end are cut off
    assert np.array_equal(plain.true_participation, moved.true_participation)
    assert np.array_equal(plain.true_baseline, moved.true_baseline)
    alone = simulate_recording(
        n_neurons=200, n_frames=9000, n_ensembles=0, event_rate=20.0, modulation=0.8, modulation_period=90.0
    )
    wave = np.sin(2 * np.pi * alone.true_spike_time.values / 90)
    # the mean of sin under a rate of 1 + d sin, over whole periods or nearly, is d / 2
    assert wave.mean() == pytest.approx(0.4, abs=0.03)


def test_neuropil_is_shared_and_leaves_the_neuron_when_it_is_subtracted():
    recording = simulate_recording(n_neurons=60, n_frames=3000, noise_level=0.0, neuropil=0.7, ensemble_rate=2.0)
    plain = simulate_recording(n_neurons=60, n_frames=3000, noise_level=0.0, ensemble_rate=2.0)
    ratio = recording.true_neuropil_ratio.values
    assert 0.63 <= ratio.min() < 0.67 < 0.73 < ratio.max() <= 0.77
    clean = recording.true_baseline * (1 + recording.true_dff)
    np.testing.assert_allclose(without_neuropil(recording), clean, rtol=1e-5)
    assert np.array_equal(recording.true_dff, plain.true_dff)
    added = (recording.true_baseline - plain.true_baseline).values
    level = ratio * recording.neuropil.median("frame").values
    np.testing.assert_allclose(added, np.broadcast_to(level[:, None], added.shape), rtol=1e-4)
    assert (recording.neuropil > 0).all()
    assert 0.5 < float(recording.neuropil.median() / plain.true_baseline.median()) < 2.0
    # taken out by the step, too, though it knows 0.7 only: what is left is far less than what was there
    left = (subtract_neuropil(recording).fluorescence_corrected - clean).std("frame").mean()
    assert left < 0.15 * (recording.fluorescence - clean).std("frame").mean()


def test_neighbours_share_more_neuropil():
    recording = simulate_recording(n_neurons=100, n_frames=6000, n_ensembles=0, event_rate=10.0, bleaching=0.0, neuropil=1.0)
    x, y = recording.x.values, recording.y.values
    apart = np.hypot(x[:, None] - x, y[:, None] - y)[np.triu_indices(100, 1)]
    alike = np.corrcoef(recording.neuropil)[np.triu_indices(100, 1)]
    assert apart.min() >= 14  # no neuron lies on another
    assert alike[apart < 30].mean() > alike[apart > 150].mean() + 0.03
    assert alike[apart > 150].mean() > 0.15  # the slow wave is everywhere
    # a neuron's transients are in its neighbours' annuli, not in its own
    near = np.array([np.argmin(np.where(np.arange(100) == i, np.inf, np.hypot(x - x[i], y - y[i]))) for i in range(100)])
    dff, neuropil = recording.true_dff.values, recording.neuropil.values
    of = [[np.corrcoef(dff[i], neuropil[j])[0, 1] for i, j in enumerate(js)] for js in (near, np.arange(100))]
    assert np.mean(of[0]) > np.mean(of[1]) + 0.05


def test_movement_makes_neurons_jump_together():
    still, moved = (simulate_recording(**SMALL, noise_level=0.0, movement=times) for times in (0, 40))
    factor = (moved.fluorescence / still.fluorescence).values
    when = moved.true_movement.values
    assert (factor[:, ~when] == 1).all()
    change = np.abs(factor[:, when] - 1)
    assert change.min() > 0.099 and change.max() < 0.301
    first = np.flatnonzero(np.diff(when.astype(int)) == 1) + 1
    lengths = np.flatnonzero(np.diff(when.astype(int)) == -1) + 1 - first
    assert len(lengths) == 40 and set(lengths) == {1, 2, 3, 4, 5}
    risen = (factor[:, first] > 1).mean(axis=0)
    assert np.maximum(risen, 1 - risen).mean() > 0.75
    assert 0 < (risen > 0.5).sum() < 40  # up at times, down at others


def test_a_low_pass_correlates_the_noise():
    def correlation(**arguments):
        recording = simulate_recording(n_neurons=10, n_frames=6000, drift=0.0, bleaching=0.0, **QUIET, **arguments)
        noise = (recording.fluorescence / recording.true_baseline - 1).values
        return np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2)

    assert abs(correlation()) < 0.02
    # a Gaussian of SD s leaves a correlation of exp(-1 / (4 s^2)) from sample to sample
    assert correlation(low_pass=1.0) == pytest.approx(math.exp(-1 / 4), abs=0.02)
    assert correlation(low_pass=2.0, gap=10.0) == pytest.approx(math.exp(-1 / 16), abs=0.02)


def test_a_gap_makes_a_second_epoch_into_which_nothing_leaks():
    whole, parted = (simulate_recording(**SMALL, event_rate=20.0, drift=0.3, noise_level=0.0, gap=pause) for pause in (0.0, 40.0))
    assert list(schema.epoch_bounds(parted)) == [0, 1500, 3000]
    assert set(parted.epoch.values) == {0, 1}
    later = np.where(np.arange(3000) >= 1500, 40.0, 0.0)
    np.testing.assert_allclose(parted.time - whole.time, later, atol=1e-9)
    assert np.array_equal(whole.true_spikes, parted.true_spikes)
    late = parted.true_spike_time.values > parted.time.values[1500] - 0.5 / 4.8
    np.testing.assert_allclose((parted.true_spike_time - whole.true_spike_time).values, 40.0 * late, atol=1e-9)
    assert np.array_equal(whole.true_dff[:, :1500], parted.true_dff[:, :1500])
    silent = parted.true_spikes.values[:, 1500] == 0
    assert whole.true_dff.values[silent, 1500].max() > 0.1
    assert not parted.true_dff.values[silent, 1500].any()

    # drift goes on meanwhile: the level after the gap is another one
    def step(recording):
        return np.abs(np.diff(recording.true_baseline.values[:, 1499:1501] / recording.true_baseline.values[:, 1499:1500])).mean()

    assert step(parted) > 20 * step(whole)


def test_missing_frames_are_missing_in_every_neuron_but_not_in_the_truth():
    recording = simulate_recording(**SMALL, missing_frames=30, neuropil=0.7)
    assert np.array_equal(recording.fluorescence.isnull(), recording.neuropil.isnull())
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
        {"n_neurons": 1, "n_frames": 100, "order": 10.0, "ensemble_overlap": 1.0},
        {"n_neurons": 1, "n_frames": 25, **ALL},
        {"n_neurons": 2, "n_frames": 4, "gap": 1.5, "neuropil": 2.0, "low_pass": 100, "modulation": 1.0},
        {"n_neurons": 5, "n_frames": 300, "bleaching": 0.99, "drift": 0.9, "neuropil": 2.0, "movement": 49, "noise_level": 0},
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
        ({"ensemble_overlap": 1.5}, "ensemble_overlap is 1.5.*from 0 to 1"),
        ({"ensemble_overlap": 0.1, "n_neurons": 100}, "6 ensembles of 20 .* of 0.1 need 110"),
        ({"order": -1}, "order is -1"),
        ({"ensemble_rate": 10.0}, "60 events a minute"),
        ({"reliability": 1.5}, "from 0 to 1"),
        ({"jitter": -0.1}, "jitter"),
        ({"noise_level": None}, "noise_level is None"),
        ({"drift": 1.0}, "drift"),
        ({"bleaching": 1.0}, "bleaching"),
        ({"missing_frames": 15000}, "leaves none of 15000"),
        ({"modulation": 1.1}, "modulation is 1.1"),
        ({"modulation_period": 0}, "modulation_period is 0"),
        ({"neuropil": -0.1}, "neuropil is -0.1"),
        ({"movement": 1.5}, "movement is 1.5.*whole number"),
        ({"movement": 50, "n_frames": 300}, "50 movements need 301"),
        ({"low_pass": -1}, "low_pass"),
        ({"gap": 1.0}, "only over 1 s"),
        ({"gap": math.inf}, "gap is inf"),
        ({"gap": 9, "n_frames": 3}, "a gap of 9 s .* 4 or more"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_impossible_requests_are_refused(arguments, says):
    with pytest.raises(CalciumError, match=says):
        simulate_recording(**arguments)


def test_the_truth_survives_the_store(tmp_path):
    recording = simulate_recording(n_neurons=5, n_frames=300, **ALL)
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
