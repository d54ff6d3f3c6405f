"""What the published surrogate data promise: the tiling, the assemblies in it, when they are on, and the light they make."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calcium_engine import schema, simulate_assemblies
from calcium_engine.io import open_recording, save_recording
from calcium_engine.report import write_report
from calcium_engine.schema import CalciumError
from calcium_engine.simulate.assemblies import _fire, _lengthen, _switch, hexagonal_tiling

SHORT = {"degree": 8, "n_assemblies": 5, "duration": 300.0}
SIZES = {"small": (5, 15), "medium": (10, 20), "large": (15, 25)}


def overlaps(recording):
    """Jaccard similarity of each pair of planted assemblies."""
    sets = [set(np.flatnonzero(row)) for row in recording.true_member.values]
    return [len(a & b) / len(a | b) for i, a in enumerate(sets) for b in sets[:i]]


@pytest.mark.parametrize(("degree", "cells"), [(1, 7), (5, 91), (8, 217), (12, 469)])
def test_cells_tile_a_hexagon_at_unit_distance(degree, cells):
    where = hexagonal_tiling(degree)
    assert len(where) == cells == 3 * degree * (degree + 1) + 1
    apart = np.hypot(*(where[:, None] - where).T) + 9 * np.eye(cells)
    assert apart.min() == pytest.approx(1)
    neighbours = (apart < 1.01).sum(axis=1)
    inside = slice(0, 3 * degree * (degree - 1) + 1)  # all rings but the last
    assert (neighbours[inside] == 6).all() and (neighbours[inside.stop :] <= 4).all()
    assert (np.diff(np.hypot(*where.T)[[0, *np.cumsum(6 * np.arange(1, degree + 1))]]) > 0).all()


def test_every_planted_variable_is_as_declared():
    recording = simulate_assemblies(**SHORT)
    assert dict(recording.sizes) | {"true_ensemble_event": 0} == {
        "neuron": 217,
        "frame": 600,
        "true_ensemble": 5,
        "true_ensemble_event": 0,
    }
    for name in recording.data_vars:
        schema.var(name).check(recording)
        assert recording[name].attrs["made_by"] == ("make_recording" if name == "fluorescence" else "simulate_assemblies")
    assert recording.fluorescence.dtype == np.float32
    assert schema.sampling_rate(recording) == 2.0
    assert (recording.x.attrs["units"], recording.y.attrs["units"]) == ("cell spacing", "cell spacing")
    np.testing.assert_allclose(np.stack([recording.x, recording.y], axis=1), hexagonal_tiling(8))
    expected = {"degree": 8, "duration": 300.0, "kind": "medium", "overlap_most": 0.05, "half_life": 1.0, "seed": 0}
    assert expected.items() <= recording.true_spikes.attrs.items()
    _, (name, arguments) = schema.recorded_calls(recording)
    assert name == "simulate_assemblies"
    assert simulate_assemblies(**arguments).identical(recording)


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(SIZES)),
    st.sampled_from([(0.0, 0.05), (0.05, 0.15), (0.15, 0.3)]),
    st.integers(1, 20),
    st.integers(0, 99),
)
def test_assemblies_have_the_size_and_the_overlap_asked_for(kind, overlap, n_assemblies, seed):
    recording = simulate_assemblies(n_assemblies=n_assemblies, kind=kind, overlap=overlap, duration=2.0, seed=seed)
    fewest, most = SIZES[kind]
    size = recording.true_member.sum("neuron").values
    assert len(size) == n_assemblies and fewest <= size.min() and size.max() <= most
    if n_assemblies > 1:
        assert overlap[0] <= np.mean(overlaps(recording)) <= overlap[1]


def test_an_assembly_is_a_patch():
    recording = simulate_assemblies(duration=2.0, n_assemblies=20, seed=3)
    where = np.stack([recording.x, recording.y], axis=1)
    spread = [where[row].std(axis=0).mean() for row in recording.true_member.values]
    assert 0.8 < np.mean(spread) < 1.8 < where.std(axis=0).mean()
    centre = np.array([where[row].mean(axis=0) for row in recording.true_member.values])
    assert np.hypot(*centre.T).max() < math.sqrt(3) * 12 / 2 + 1


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    a, b, c = (simulate_assemblies(**SHORT, noise=1.0, seed=seed) for seed in (3, 3, 4))
    assert a.identical(b)
    for name in a.variables:
        assert a[name].values.tobytes() == b[name].values.tobytes()
    assert not np.array_equal(a.fluorescence, c.fluorescence)
    assert not np.array_equal(a.true_member, c.true_member)


def test_each_matter_has_random_numbers_of_its_own():
    plain = simulate_assemblies(**SHORT)
    seen = simulate_assemblies(**SHORT, noise=3.0, saturation=20.0)
    assert plain.drop_vars("fluorescence").equals(seen.drop_vars("fluorescence"))
    bright = simulate_assemblies(**SHORT, event_multiplier=20.0)
    for name in ("true_member", "true_ensemble_time", "true_ensemble_label"):
        assert np.array_equal(plain[name], bright[name])
    often = simulate_assemblies(**SHORT, event_rate=0.1)
    assert np.array_equal(plain.true_member, often.true_member)


def test_noise_has_the_sd_asked_for_and_is_cut_off_at_nothing():
    plain, noisy = (simulate_assemblies(**SHORT, noise=noise).fluorescence.values for noise in (0.0, 2.0))
    assert noisy.min() == 0 < plain.min() + 1
    bright = plain > 10  # so far from 0 that nothing is cut off
    assert (noisy - plain)[bright].std() == pytest.approx(2.0, rel=0.05)
    assert (noisy - plain)[bright].mean() == pytest.approx(0.0, abs=0.1)
    # at most half of what noise takes below zero is there
    assert (noisy == 0).mean() < 0.5


def test_saturation_bends_what_is_bright():
    plain, bent = (simulate_assemblies(**SHORT, saturation=k).fluorescence.values for k in (math.inf, 10.0))
    np.testing.assert_allclose(bent, 10 * plain / (10 + plain), rtol=1e-5)


def test_assemblies_and_cells_are_on_as_often_as_asked():
    recording = simulate_assemblies(n_assemblies=20, duration=7200.0, event_rate=0.02, event_multiplier=26.0, seed=5)
    label, time = recording.true_ensemble_label.values, recording.true_ensemble_time.values
    assert (np.diff(time) >= 0).all()
    # a stretch starts where a step is on and the one before is not: 14400 · p (1 - p) times in each of 20
    chance = 0.02 * 0.5
    expected = 14400 * chance * (1 - chance)
    assert np.bincount(label, minlength=21)[1:].sum() == pytest.approx(20 * expected, abs=4 * math.sqrt(20 * expected))
    # members of an assembly that is on have many spikes, and all take part
    taking_part, member = recording.true_participation.values, recording.true_member.values
    assert not (taking_part & ~member[label - 1]).any()
    assert taking_part.sum() / member[label - 1].sum() > 0.995
    # a cell in none is on as often: its rate is up for a share p of the steps
    alone = ~member.any(axis=0)
    spikes = recording.true_spikes.values[alone]
    usual = np.median(spikes, axis=1, keepdims=True) / 0.5
    much = spikes > 4 * 0.5 * np.maximum(usual, 1.5) + 6
    assert much.mean() == pytest.approx(chance, rel=0.15)


def test_base_rates_are_from_one_to_six_hertz():
    spikes = simulate_assemblies(n_assemblies=0, event_rate=0.0).true_spikes.values
    rate = spikes.mean(axis=1) / 0.5
    assert 0.9 < rate.min() < 1.2 and 5.8 < rate.max() < 6.2
    assert rate.mean() == pytest.approx(3.5, abs=0.3)
    # Poisson: the variance is the mean
    assert np.mean(spikes.var(axis=1) / spikes.mean(axis=1)) == pytest.approx(1.0, abs=0.02)


def test_participants_are_members_with_a_spike_while_their_assembly_is_on():
    recording = simulate_assemblies(**SHORT, sampling_rate=10.0, event_multiplier=2.0, event_rate=0.1)
    spikes, member = recording.true_spikes.values, recording.true_member.values
    shares = []
    for time, label, row in zip(
        recording.true_ensemble_time.values,
        recording.true_ensemble_label.values,
        recording.true_participation.values,
        strict=True,
    ):
        first = round(time * 10)
        within = spikes[:, first : first + 5].any(axis=1)  # 0.5 s and longer
        assert (within & member[label - 1] <= row).all()
        assert (row <= member[label - 1]).all()
        shares.append(row.sum() / member[label - 1].sum())
    assert 0.7 < np.mean(shares) < 1  # at 2 to 12 Hz not all have one


@pytest.mark.parametrize(("steps_on", "expected"), [(1.0, 1.0), (3.0, 3.0), (1.6, 1.6), (2.25, 2.25)])
def test_a_switch_is_on_for_its_duration(steps_on, expected):
    member = np.zeros((1, 400), dtype=bool)
    member[0, :200] = True
    started, on = _switch(np.random.default_rng(1), member, 20_000, 0.002, steps_on)
    assert on[200:].mean() == pytest.approx(0.002 * expected, rel=0.03)
    assert on[:200].mean() == pytest.approx(started.mean() * expected, rel=0.05)
    assert (_lengthen(started, int(steps_on)) <= on[:200]).all()


def test_zero_assemblies_leave_every_cell_to_itself():
    recording = simulate_assemblies(degree=5, n_assemblies=0, duration=1800.0, event_rate=0.05, event_multiplier=26.0)
    assert recording.sizes["true_ensemble"] == recording.sizes["true_ensemble_event"] == 0
    alike = np.corrcoef(recording.true_spikes)[np.triu_indices(91, 1)]
    assert abs(alike.mean()) < 0.005
    planted = simulate_assemblies(degree=5, n_assemblies=1, duration=1800.0, event_rate=0.05, event_multiplier=26.0)
    among = planted.true_member.values[0]
    alike = np.corrcoef(planted.true_spikes.values[among])
    assert alike[np.triu_indices(among.sum(), 1)].mean() > 0.5


@settings(max_examples=30)
@given(
    st.floats(0.05, 3.0), st.sampled_from([0.1, 0.3, 0.5]), st.floats(1.0, 26.0), st.integers(1, 60), st.integers(0, 2**32 - 1)
)
def test_fluorescence_is_the_sum_over_the_spikes(half_life, step, multiplier, n_steps, seed):
    """The same draws, spike by spike: each adds 2^(-(end of the frame - its time) / half-life) to all frames from its own on."""
    on = np.random.default_rng(seed).random((3, n_steps)) < 0.3
    spikes, calcium = _fire(np.random.default_rng(seed), on, multiplier, step, half_life)
    rng = np.random.default_rng(seed)
    rate = rng.uniform(1, 6, size=3)
    end = step * np.arange(1, n_steps + 1)
    for i in range(3):
        count = rng.poisson(rate[i] * step * np.where(on[i], multiplier, 1.0))
        assert np.array_equal(count, spikes[i])
        time = np.repeat(end, count) - step * rng.random(count.sum())
        age = end[:, None] - time
        expected = np.where(age >= 0, 2.0 ** (-np.maximum(age, 0) / half_life), 0.0).sum(axis=1)
        np.testing.assert_allclose(calcium[i], expected, rtol=1e-9, atol=1e-12)


def test_fluorescence_starts_in_the_midst_of_activity():
    light = simulate_assemblies(duration=600.0, n_assemblies=0, event_rate=0.0, half_life=2.0).fluorescence.values
    # twice the half-life before the first frame has brought three quarters of what there will be
    assert 0.7 < light[:, 0].mean() / light[:, 100:].mean() < 0.9
    # rate · half-life / ln 2 is the mean in the long run, less what decays until the end of a step: none on average in the sum
    assert light[:, 100:].mean() == pytest.approx(3.5 * 2.0 / math.log(2), rel=0.05)


@pytest.mark.parametrize(
    ("duration", "rate", "frames"), [(3600.0, 2.0, 7200), (1.0, 2.0, 2), (10.3, 2.0, 21), (0.3, 10.0, 3), (100.0, 1 / 0.3, 334)]
)
def test_there_are_as_many_frames_as_fit_the_duration(duration, rate, frames):
    recording = simulate_assemblies(degree=1, n_assemblies=0, duration=duration, sampling_rate=rate)
    assert recording.sizes["frame"] == frames


def test_it_is_stored_and_reported_like_any_recording(tmp_path):
    recording = simulate_assemblies(degree=3, n_assemblies=1, kind="small", duration=200.0, event_rate=0.03)
    save_recording(recording, tmp_path / "assemblies.zarr")
    back = open_recording(tmp_path / "assemblies.zarr").load()
    for name in recording.variables:
        np.testing.assert_array_equal(back[name].values, recording[name].values)
    assert back.true_spikes.attrs["n_assemblies"] == 1
    write_report(back, tmp_path / "report.html", figures={})
    assert "simulate_assemblies" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"degree": 0}, "degree is 0"),
        ({"degree": 2.5}, "whole number"),
        ({"n_assemblies": -1}, "n_assemblies is -1"),
        ({"kind": "huge"}, "unknown kind of assemblies 'huge'.*small, medium, large"),
        ({"overlap": 0.05}, r"overlap is 0.05.*two numbers"),
        ({"overlap": (0.1, 0.05)}, r"overlap is \(0.1, 0.05\)"),
        ({"overlap": (0.1, 1.5)}, "from 0 to 1"),
        ({"overlap": "low"}, "overlap is 'low'"),
        ({"duration": 0.5}, "1 frames, but a recording needs 2"),
        ({"duration": math.inf}, "duration is inf"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
        ({"event_rate": 2.5}, "event_rate is 2.5 per s.*2 Hz"),
        ({"event_duration": -1}, "event_duration is -1"),
        ({"event_multiplier": None}, "event_multiplier is None"),
        ({"half_life": 0}, "half_life is 0"),
        ({"saturation": 0}, "saturation is 0"),
        ({"saturation": "none"}, "saturation is 'none'"),
        ({"noise": -1}, "noise is -1"),
        ({"seed": None}, "seed is None"),
        ({"degree": 1}, "no 10 assemblies of 10 to 20 cells .* 7 cells.*raise degree"),
        ({"degree": 5, "n_assemblies": 20, "kind": "large"}, "20 large assemblies in 91 cells came to .*change overlap"),
        ({"overlap": (0.9, 1.0)}, "not to one from 0.9 to 1"),
    ],
)
def test_impossible_requests_are_refused(arguments, says):
    with pytest.raises(CalciumError, match=says):
        simulate_assemblies(**{"duration": 10.0, **arguments})
