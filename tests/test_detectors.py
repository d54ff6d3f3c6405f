"""Every detector keeps its budget, and makes one event of one transient, whatever the frame rate."""

import warnings

import numpy as np
import pytest

from calcium_engine.events import detect_events
from calcium_engine.indicators import get_indicator
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise
from calcium_engine.schema import CalciumError

EVERY = [
    {"detector": "pulse"},
    {"detector": "template"},
    {"detector": "template", "criterion": "clements_bekkers"},
    {"detector": "noise"},
    {"detector": "ridge"},
]


def _recorded(traces, rate):
    return estimate_noise(make_recording(traces.astype(np.float32), sampling_rate=rate, variable="dff"))


def _planted(rate, onsets, sizes, seconds=60, n=4, sigma=0.05, seed=0):
    """White noise with transients of one action potential's shape."""
    time = np.arange(round(seconds * rate)) / rate
    shape = get_indicator("GCaMP6s").shape
    clean = sum(size * shape(time - onset) for onset, size in zip(onsets, sizes, strict=True))
    return np.random.default_rng(seed).normal(0, sigma, (n, len(time))) + clean


@pytest.mark.parametrize("rate", [2.0, 5.0, 30.0])
@pytest.mark.parametrize("how", EVERY, ids=lambda how: how.get("criterion", how["detector"]))
def test_white_noise_keeps_the_budget(how, rate):
    made = _recorded(np.random.default_rng(6).normal(0, 0.1, (100, 5000)), rate)
    budget = 0.5
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a template of")
        found = detect_events(made, false_positives_per_minute=budget, **how)
    expected = budget * made["dff"].size / rate / 60
    assert found.sizes["event"] < 1.2 * expected + 4 * np.sqrt(expected)
    assert found.sizes["event"] > 0.2 * expected or how.get("criterion")


@pytest.mark.parametrize("rate", [2.0, 5.0, 30.0, 100.0])
@pytest.mark.parametrize("how", [how for how in EVERY if "criterion" not in how], ids=lambda how: how["detector"])
def test_one_clear_transient_is_one_event(how, rate):
    made = _recorded(_planted(rate, [10.1, 25.1, 40.1], [0.8, 1.2, 2.0]), rate)
    found = detect_events(made, **how)
    assert abs(found.sizes["event"] - 12) <= 1
    late = found["event_onset"].values[:, None] - np.array([10.1, 25.1, 40.1])
    assert (np.abs(late).min(axis=1) < 0.15 + 1 / rate).mean() > 0.9


def test_what_is_too_small_to_be_an_event_does_not_cut_off_its_neighbour():
    # a hump on the tail: an event by itself, but under min_dff
    traces = _planted(10.0, [20.0, 21.0], [2.0, 0.6], sigma=0.01)
    both, one = (detect_events(_recorded(traces, 10.0), min_dff=least) for least in (0.0, 1.0))
    assert both.sizes["event"] == 8
    assert one.sizes["event"] == 4
    alone = detect_events(_recorded(_planted(10.0, [20.0], [2.0], sigma=0.01), 10.0))
    assert (one["event_flags"] == 0).all()
    # its width is that of a transient with a hump on its tail, not one that ends where the hump begins
    assert (one["event_offset"].values > both["event_onset"].values[1::2]).all()
    assert (one["event_fwhm"].values >= alone["event_fwhm"].values - 0.05).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"threshold": "5"}, "threshold is a number"),
        ({"min_dff": "a"}, "min_dff is a number"),
        ({"false_positives_per_minute": None}, "false_positives_per_minute is a number"),
        ({"threshold": True}, "threshold is a number"),
        ({"criterion": "none"}, "matched_filter, clements_bekkers"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(arguments, says):
    with pytest.raises(CalciumError, match=says):
        detect_events(_recorded(np.random.default_rng(0).normal(size=(2, 200)), 5.0), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"criterion": "clements_bekkers"},
        {"detector": "sd", "false_positives_per_minute": 1.0},
        {"threshold": 4.0, "false_positives_per_minute": 1.0},
    ],
)
def test_what_changes_nothing_is_said(arguments):
    with pytest.warns(UserWarning, match="changes nothing"):
        detect_events(_recorded(np.random.default_rng(0).normal(size=(2, 200)), 5.0), **arguments)


def test_a_template_of_few_frames_is_warned_of():
    with pytest.warns(UserWarning, match=r"template of \d frames .*matched_filter"):
        made = _recorded(np.random.default_rng(0).normal(size=(2, 200)), 2.0)
        detect_events(made, detector="template", criterion="clements_bekkers")
