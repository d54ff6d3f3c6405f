"""What is shown and said of noise, of F0, and of the neurons that are not to be trusted."""

import numpy as np
import pytest
from drawn import axes_of, draw, words
from finished import finished_recording

from calcium_engine import plot
from calcium_engine.plot import FIGURES
from calcium_engine.report import facts, quality, write_report
from calcium_engine.schema import MissingVariableError

SCALED = ("dff", "background", "detrended", "denoised", "noise", "event_amplitude", "amplitude_median")


@pytest.fixture(scope="module")
def recording():
    return finished_recording()


def in_sigma(recording):
    """The recording as compute_dff(normalize="sigma") makes it."""
    made = {name: (recording[name] / 0.06).assign_attrs({**recording[name].attrs, "units": "sigma"}) for name in SCALED}
    return recording.assign(made | {"noise_level": recording["noise_level"] * np.nan})


def flagged(recording, **flags):
    """The recording with these flags on these rows of neurons and no others."""
    rows = np.arange(recording.sizes["neuron"])
    names = ("f0_floored", "low_passed_input", "saturated_activity", "drifting", "bleaching")
    return recording.assign({name: recording[name].copy(data=np.isin(rows, flags.get(name, []))) for name in names})


def everything_written(made):
    legends = [one.get_legend() for one in made if one.get_legend()]
    said = [f"{words(one)} {one.get_title()} {one.get_xlabel()} {one.get_ylabel()}" for one in made]
    return " ".join(said + [text.get_text() for legend in legends for text in legend.get_texts()])


@pytest.mark.parametrize(("share", "said"), [(1.0, "below it 1.0"), (0.5, "below it 2.0"), (2.0, "below it 0.5")])
def test_a_wrong_noise_does_not_follow_the_normal_curve(share, said, recording):
    title = draw(plot.plot_noise, recording.assign(noise=recording["noise"] * share))[2].get_title()
    assert said in title


def test_a_baseline_that_is_off_moves_the_resting_level(recording):
    off = recording.assign(detrended=recording["detrended"] + 0.12)
    assert "rest at +2." in draw(plot.plot_noise, off)[2].get_title()


def test_neurons_whose_noise_is_in_doubt_are_marked(recording):
    levels, brightness, _ = draw(plot.plot_noise, flagged(recording, f0_floored=[0], low_passed_input=[0, 3], drifting=[5]))
    assert "2 of 12 flagged" in brightness.get_title()
    said = everything_written([brightness])
    assert "F0 floored (1)" in said and "low-passed (2)" in said and "saturated" not in said
    assert f"median {np.median(recording['noise_level']):.3g}" in levels.get_title()
    dim = recording.assign(baseline=recording["baseline"] - recording["baseline"].isel(neuron=1))
    assert "1 off the axes" in draw(plot.plot_noise, dim)[1].get_title()


def test_what_cannot_be_drawn_of_the_noise_is_said(recording):
    of_dff = recording.drop_vars(["fluorescence", "baseline"])
    assert "the input was ΔF/F" in words(draw(plot.plot_noise, of_dff)[1])
    silent = recording.assign(noise=recording["noise"] * np.nan, noise_level=recording["noise_level"] * np.nan)
    levels, brightness, spread = draw(plot.plot_noise, silent)
    assert "no noise levels" in words(levels) and "no noise" in words(brightness) and "no noise" in words(spread)
    with pytest.raises(MissingVariableError, match="estimate_noise"):
        plot.plot_noise(recording.drop_vars("noise"))
    with pytest.raises(MissingVariableError, match="compute_dff"):
        plot.plot_noise(recording.drop_vars(["dff", "detrended"]))


def test_thousands_of_neurons_with_gaps_have_their_noise_drawn():
    many = finished_recording(neurons=1500, frames=60, ensembles=0, gap=True)
    many["detrended"][::7, 10:30] = np.nan
    many["detrended"][3] = np.nan
    many["noise"][3] = np.nan
    assert "of 1,500 flagged" in draw(plot.plot_noise, many)[1].get_title()


def test_the_whole_recording_shows_the_baseline_closely(recording):
    tall = recording.assign(fluorescence=recording["fluorescence"] * np.where(recording["frame"] == 700, 5, 1))
    whole = draw(plot.plot_stages, tall, neurons=[1])[0]
    low, high = whole.get_ylim()
    trace, baseline = tall["fluorescence"].values[0], tall["baseline"].values[0]
    assert low < baseline.min() and baseline.max() < high < trace.max()
    assert "peaks cut" in whole.get_ylabel()
    everything = draw(plot.plot_stages, recording, neurons=[1])[0]
    assert everything.get_ylim()[1] > recording["fluorescence"].values[0].max() and "cut" not in everything.get_ylabel()
    corrected = recording.assign(fluorescence_corrected=recording["fluorescence"] - 50, baseline=recording["baseline"] - 50)
    whole, raw = draw(plot.plot_stages, corrected, neurons=[1])[:2]
    assert "F0" in [line.get_label() for line in whole.lines] and "F0" not in [line.get_label() for line in raw.lines]


def test_flags_and_edges_are_shown_over_the_traces(recording):
    first, second = draw(plot.plot_stages, flagged(recording, drifting=[0], bleaching=[0]), neurons=[1, 2])[:2]
    assert (words(first), words(second)) == ("drifting, bleaching", "")
    shaded = draw(plot.plot_stages, recording, neurons=[1], start=0.0, duration=60.0)
    assert "near an end" in everything_written(shaded)
    inside = draw(plot.plot_stages, recording, neurons=[1], start=60.0, duration=60.0)
    assert "near an end" not in everything_written(inside)


def test_traces_in_units_of_the_noise_are_shown_in_sigma(recording):
    scaled = in_sigma(recording)
    stages = draw(plot.plot_stages, scaled, neurons=[1])
    assert [one.get_ylabel() for one in stages[2:]] == ["ΔF (σ)", "background\nremoved (σ)", "denoised (σ)"]
    for name in ("01_stages", "04_events", "07_features"):
        said = everything_written(draw(FIGURES[name], scaled))
        assert "σ" in said and "%" not in said and "ΔF/F" not in said, name
    assert " σ " in facts.about_features(scaled)[0] and "%" in facts.about_features(recording)[0]
    assert "amplitudes compare within a neuron" in quality.about_traces(scaled)[0]


def test_flags_are_told_in_sentences(recording):
    said = " ".join(quality.about_traces(recording))
    assert "In 1 neuron too little of the trace lies at rest" in said and "(saturated_activity): 2." in said
    assert "In 2 neurons F0 decays exponentially, with a time constant of 6.5 min in the median (bleaching): 3, 4." in said
    assert "Found in no neuron: an F0 too small to divide by (f0_floored)" in said
    assert "25 % of the frames lie within half a window of an end" in said
    nothing = " ".join(quality.about_traces(flagged(recording)))
    assert "In 1" not in nothing and nothing.count("Found in no neuron") == 1 and "an F0 that drifts (drifting)" in nothing


def test_the_summary_warns_of_sizes_and_thresholds_in_doubt(recording, tmp_path):
    doubtful = flagged(recording, f0_floored=[0, 1], low_passed_input=[2], drifting=[3])
    floored, smoothed = quality.warnings_of(doubtful)
    assert 'normalize="sigma"' in floored and "more false events" in smoothed
    text = write_report(doubtful, tmp_path / "report.html", figures={}).read_text(encoding="utf-8")
    assert text.count("(f0_floored)") == 2 and text.count("(low_passed_input)") == 2  # in short, and in its section
    assert quality.warnings_of(recording) == []


def test_flagged_neurons_are_tabled_the_worst_first(recording):
    heads, rows = quality.flagged_table(flagged(recording, bleaching=[3, 1], drifting=[1], f0_floored=[7]))
    assert [(row[0], row[-1]) for row in rows] == [("8", "F0 floored"), ("2", "drifting, bleaching"), ("4", "bleaching")]
    assert rows[2][2] == "7 min" and rows[0][2] == "–" and len(heads) == len(rows[0])
    assert quality.flagged_table(flagged(recording)) is None
    assert quality.flagged_table(recording[["dff"]]) is None
    many = finished_recording(neurons=90, ensembles=0)
    rows = quality.flagged_table(flagged(many, drifting=range(80)))[1]
    assert len(rows) == 31 and rows[-1][0] == "and 50 more"


def test_axes_can_be_given(recording):
    from matplotlib.figure import Figure

    three = Figure().subplots(1, 3)
    assert axes_of(plot.plot_noise(recording, axes=three)) == list(three)
