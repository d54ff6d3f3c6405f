import io
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from drawn import draw, legend, silent, words
from finished import finished_recording, with_detectability
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calcium_engine import plot
from calcium_engine.indicators import get_indicator
from calcium_engine.plot import FIGURES, _canvas, render_figures, write_figures
from calcium_engine.plot.expected import expected_measures, expected_transient
from calcium_engine.plot.features import intervals_of
from calcium_engine.plot.transient import isolated
from calcium_engine.schema import CalciumError, MissingVariableError, var

CASES = {
    "numbers": {"neurons": 12},
    "names and a gap": {"neurons": 9, "strings": True, "gap": True},
    "no ensembles": {"neurons": 6, "ensembles": 0},
    "one neuron": {"neurons": 1, "ensembles": 0},
    "one ensemble": {"neurons": 8, "ensembles": 1, "seed": 3},
    "many neurons": {"neurons": 90, "ensembles": 8, "frames": 900},
    "unknown indicator": {"neurons": 5, "indicator": "mine"},
}


@pytest.fixture(scope="module")
def recording():
    return finished_recording()


def planted(spikes, sizes, *, base=0.0, fs=5.0, frames=1500, gap=None, flags=None):
    """Transients of GCaMP6s without noise, one neuron a row of spike times, and their events as they are; `gap` is a frame."""
    time, exposure = np.arange(frames) / fs, (np.arange(20) + 0.5) / 20 / fs
    dff, size = np.full((len(spikes), frames), base), np.concatenate(sizes)
    rows = np.repeat(np.arange(len(spikes)), [len(one) for one in spikes])
    onset = np.zeros(size.size)
    for i, (row, spike) in enumerate(zip(rows, np.concatenate(spikes), strict=True)):
        seen = get_indicator("GCaMP6s").shape(time[:, None] + exposure - spike).mean(axis=1)
        seen /= seen.max()
        dff[row] += size[i] * seen
        first = int(np.argmax(seen >= 0.2))
        onset[i] = np.interp(0.2, seen[first - 1 : first + 1], time[first - 1 : first + 1])
    table = {"onset": onset, "peak": onset + 0.35, "offset": onset + 1.6, "amplitude": size, "peak_dff": size + base}
    table |= {"fwhm": np.full(size.size, 0.75), "rise": np.full(size.size, 0.19), "decay": np.full(size.size, 0.78)}
    settings = {"detector": "pulse", "trace": "dff", "indicator": "GCaMP6s"}
    values = {"dff": dff, "active": dff > 0.2 * size.max() + base, "event_neuron": rows}
    values["event_flags"] = np.zeros(size.size, dtype=np.uint8) if flags is None else np.array(flags, dtype=np.uint8)
    variables = {name: var(name).wrap(value) for name, value in values.items()}
    variables |= {f"event_{name}": var(f"event_{name}").wrap(value, **settings) for name, value in table.items()}
    time = time + (60.0 * (np.arange(frames) >= gap) if gap else 0.0)
    coords = {"neuron": np.arange(len(spikes)), "frame": np.arange(frames), "time": ("frame", time), "sampling_rate": fs}
    return xr.Dataset(variables, coords)


def segments(axes):
    """Every line of the collections of lines: their ends, as (x, y) pairs, and whether it is dotted."""
    from matplotlib.collections import LineCollection

    for lines in axes.collections:
        if isinstance(lines, LineCollection):
            for ends in lines.get_segments():
                yield ends, lines.get_linestyle()[0][1] is not None


def in_sigma(recording):
    """The recording in units of its noise, as far as events and what can be detected go."""
    names = ("dff", "detrended", "denoised", "noise", "event_amplitude", "event_peak_dff", "lod50", "detectability_amplitude")
    return recording.assign(
        {name: (recording[name] / 0.06).assign_attrs({**recording[name].attrs, "units": "sigma"}) for name in names}
    ).assign(noise_level=recording["noise_level"] * np.nan)


def older(recording):
    """The recording as stored before events had so many columns."""
    kept = recording.drop_vars(["event_peak_dff", "event_rise", "event_decay", "event_z", "event_flags"])
    return kept.drop_vars(["noise_level", "event_rate_corrected", "detection_recall", "negative_ratio", "negative_event_count"])


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn_and_its_axes_are_labelled(case):
    recording = finished_recording(**CASES[case])
    for name, function in FIGURES.items():
        made = draw(function, recording)
        assert all(isinstance(one, Axes) for one in made), name
        assert made[-1].get_xlabel() and made[0].get_ylabel(), name


@pytest.mark.parametrize("name", FIGURES)
def test_where_there_is_nothing_the_figure_says_so(name, recording):
    made = draw(FIGURES[name], silent(recording))
    said = " ".join(words(one) + " " + one.get_title() for one in made)
    assert "no " in said or name in ("01_stages", "02_noise", "03_retention")
    assert made[-1].get_xlabel()


def test_traces_without_a_valid_sample_are_drawn_empty(recording):
    traces = ("fluorescence", "baseline", "dff", "background", "detrended", "denoised")
    blank = recording.assign({name: recording[name] * np.nan for name in traces})
    assert "no valid samples" in words(draw(plot.plot_stages, blank, neurons=[1])[0])
    draw(plot.plot_events, blank)
    draw(plot.plot_features, blank)


def test_constant_traces_and_few_frames(recording):
    flat = recording.assign({name: recording[name] * 0 for name in ("fluorescence", "baseline", "dff", "detrended", "denoised")})
    for axes in (draw(plot.plot_stages, flat), draw(plot.plot_events, flat)):
        low, high = np.ravel(axes)[0].get_ylim()
        assert low < high
    short = xr.Dataset({"fluorescence": recording["fluorescence"].isel(frame=slice(0, 2))})
    assert len(np.ravel(draw(plot.plot_stages, short))) > 0


@pytest.mark.parametrize(
    ("name", "needs"), [(name, "detect_events") for name in ("04_events", "05_transient", "06_raster", "16_ensembles")]
)
def test_a_figure_asked_for_too_early_names_the_step_that_is_missing(name, needs, recording):
    raw = recording.drop_dims("event").drop_vars("active")
    with pytest.raises(MissingVariableError, match=needs):
        FIGURES[name](raw)


@pytest.mark.parametrize("name", FIGURES)
def test_a_bare_recording_is_refused_without_leaving_a_figure_open(name, recording):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    with pytest.raises(MissingVariableError):
        FIGURES[name](recording[["f0_floored"]])
    assert pyplot.get_fignums() == before


def test_a_recording_of_dff_alone_has_its_stages(recording):
    made = draw(plot.plot_stages, recording[["dff", "detrended"]])
    assert [one.get_ylabel() for one in made[::3]] == ["whole\nrecording", "ΔF/F (%)", "background\nremoved (%)"]


@pytest.mark.parametrize("function", [plot.plot_stages, plot.plot_events, plot.plot_raster])
def test_neurons_are_chosen_by_id_and_unknown_ids_are_refused(function):
    recording = finished_recording(strings=True)
    draw(function, recording, neurons=["C03", "C01"])
    with pytest.raises(CalciumError, match=r"C99.*C00"):
        function(recording, neurons=["C03", "C99"])


def test_the_raster_holds_every_event_at_its_time_and_neuron(recording):
    (axes,) = draw(plot.plot_raster, recording)
    times, rows = axes.lines[0].get_data()
    order = np.lexsort((times, rows))
    expected = np.lexsort((recording.event_onset.values, recording.event_neuron.values))
    np.testing.assert_allclose(times[order], recording.event_onset.values[expected])
    np.testing.assert_array_equal(recording.neuron.values[rows[order].astype(int)], recording.event_neuron.values[expected])


def test_events_of_neurons_that_were_selected_away_are_not_drawn(recording):
    few = recording.isel(neuron=slice(0, 3))
    (axes,) = draw(plot.plot_raster, few)
    assert len(axes.lines[0].get_xdata()) == int(np.isin(recording.event_neuron, few.neuron).sum())
    for function in FIGURES.values():
        draw(function, few)


def test_the_stretch_can_be_chosen(recording):
    axes, *close_ups = draw(plot.plot_events, recording, start=30.0, duration=20.0)
    assert axes.get_xlim() == (30.0, 50.0)
    assert all(30.0 <= low < high <= 50.0 for low, high in (one.get_xlim() for one in close_ups))
    with pytest.raises(CalciumError, match="outside the recording"):
        plot.plot_events(recording, start=1e6)
    with pytest.raises(CalciumError, match="positive"):
        plot.plot_stages(recording, duration=0)


def test_no_line_crosses_a_gap():
    recording = finished_recording(gap=True)
    bounds = (119.8, 160.0)
    for function in (plot.plot_stages, plot.plot_coactivity):
        axes = draw(function, recording)[0]
        for line in axes.lines:
            x, y = line.get_data()
            if line.get_linestyle() == "-" and len(x) > 2:
                before = np.flatnonzero(x <= bounds[0])[-1]
                assert np.isnan(y[before]) or np.isnan(y[before + 1])


def test_intervals_do_not_reach_across_gaps():
    assert intervals_of(finished_recording(gap=True, seed=1)).max() < 120.0
    # the gap follows from the times alone
    unmarked = finished_recording(gap=True, seed=1).drop_vars("epoch")
    assert len(intervals_of(unmarked)) == len(intervals_of(finished_recording(gap=True, seed=1)))


def test_long_lines_are_thinned_and_keep_their_extremes():
    rng = np.random.default_rng(0)
    time, y = np.arange(50_001.0), rng.standard_normal(50_001)
    y[1234], y[777:800] = 9.0, np.nan
    t, thin = _canvas.thinned(time, y, np.array([0, 20_000, 50_001]))
    assert len(t) == len(thin) < 8000
    assert (np.nanmax(thin), np.nanmin(thin)) == (9.0, np.nanmin(y))
    assert abs(t[np.nanargmax(thin)] - 1234) < 30
    assert np.isnan(thin).sum() >= 2


def test_significant_pairs_are_above_the_diagonal_by_ensemble_and_pvalues_beside_what_chance_gives(recording):
    matrix, pvalues = draw(plot.plot_pairwise, recording)
    shown = matrix.images[0].get_array().filled(np.nan)
    active = np.isfinite(recording["pair_pvalue"].values).any(axis=1)
    assert len(shown) == active.sum()
    assert np.isfinite(shown[np.triu_indices(len(shown), 1)]).sum() == recording["is_pair_significant"].sum() // 2
    assert np.isfinite(shown[np.tril_indices(len(shown), -1)]).all()
    assert "ensemble" in matrix.get_xlabel()
    assert f"{int(recording['is_pair_significant'].sum()) // 2:,} of" in legend(pvalues)
    observed = next(line for line in pvalues.lines if line.get_label() == "observed")
    at, share = observed.get_data()
    one = recording["pair_pvalue"].values[np.triu_indices(len(active), 1)]
    np.testing.assert_allclose(share, [np.mean(one[np.isfinite(one)] <= p) for p in at])
    few = recording.isel(neuron=[3, 1, 7])
    assert draw(plot.plot_pairwise, few)[0].images[0].get_array().shape == (3, 3)


def test_a_threshold_that_no_count_can_reach_is_not_drawn(recording):
    assert any("threshold" in str(line.get_label()) for line in draw(plot.plot_coactivity, recording)[0].lines)
    out_of_reach = recording.assign(coactivity_threshold=recording["coactivity_threshold"] * np.nan)
    assert not any("threshold" in str(line.get_label()) for line in draw(plot.plot_coactivity, out_of_reach)[0].lines)
    draw(plot.plot_null, out_of_reach)
    draw(plot.plot_coactivity, recording.drop_vars(["is_coactive", "coactivity_expected"]))


def test_neurons_without_positions_are_told_how_to_get_them(recording):
    with pytest.raises(MissingVariableError, match="assign_coords"):
        plot.plot_positions(recording.drop_vars("x"))


def test_any_id_is_drawn_as_it_is():
    recording = finished_recording(neurons=4, ensembles=0, strings=True)
    recording = recording.assign_coords(neuron=["$a", r"\frac{", "<b>", "a name that is much too long for a label"])
    recording["event_neuron"] = recording["event_neuron"].copy(data=np.full(recording.sizes["event"], "$a"))
    (axes,) = draw(plot.plot_raster, recording)
    assert [one.get_text() for one in axes.get_yticklabels()] == [r"\$a", r"\frac{", "<b>", "a name that i…"]
    draw(plot.plot_stages, recording)


def test_axes_or_a_figure_can_be_given(recording):
    figure = Figure(figsize=(9, 5))
    left, right = figure.subfigures(1, 2)
    assert plot.plot_raster(recording, axes=left).figure is left
    assert plot.plot_features(recording, axes=right)[0].figure is right
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    one = Figure().subplots()
    assert plot.plot_null(recording, axes=one) is one
    two = Figure().subplots(1, 2)
    assert list(plot.plot_cut(recording, axes=two)) == list(two)
    with pytest.raises(CalciumError, match="2 panels, but axes holds 1"):
        plot.plot_cut(recording, axes=one)


def test_without_axes_the_figure_is_pyplots(recording):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    axes = plot.plot_null(recording)
    assert axes.figure.number in pyplot.get_fignums()
    pyplot.close(axes.figure)


def test_figures_are_written_as_png_and_leave_nothing_behind(recording, tmp_path):
    import matplotlib
    from matplotlib import pyplot

    before, open_figures = matplotlib.rcParams.copy(), pyplot.get_fignums()
    written = write_figures(recording, tmp_path / "figures", dpi=40)
    assert [path.stem for path in written] == list(FIGURES)
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in written)
    assert matplotlib.rcParams == before
    assert pyplot.get_fignums() == open_figures


def test_the_same_recording_makes_the_same_bytes(recording):
    assert render_figures(recording, ["10_null"], dpi=40) == render_figures(recording, ["10_null"], dpi=40)


def test_figures_whose_inputs_were_not_made_are_left_out(recording):
    traces = recording[["fluorescence", "baseline", "dff"]]
    assert list(render_figures(traces, dpi=40)) == ["01_stages"]
    until_events = recording.drop_dims(
        ["bin", "count", "neuron_other", "ensemble_event", "ensemble", "merge", "component", "planted_reliability"]
    ).drop_vars("x")
    drawn = [name for name in FIGURES if name < "09"]
    assert list(render_figures(until_events, dpi=40)) == drawn


def test_a_chunked_recording_makes_the_same_figure(recording):
    chunked = recording.chunk({"neuron": 5})
    names = ["01_stages", "02_noise", "04_events", "05_transient", "08_detectability"]
    assert render_figures(chunked, names, dpi=40) == render_figures(recording, names, dpi=40)


def test_ids_in_a_script_that_the_font_lacks_are_no_obstacle(recording):
    named = recording.assign_coords(neuron=[f"神経{i}" for i in range(recording.sizes["neuron"])]).isel(event=slice(0, 0))
    assert render_figures(named, ["06_raster"], dpi=40)


def test_importing_the_plots_does_not_load_matplotlib():
    code = "import sys, calcium_engine.plot; assert not any(m.split('.')[0] == 'matplotlib' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


EVENT_FIGURES = ("04_events", "05_transient", "07_features", "08_detectability")


@pytest.mark.parametrize("name", EVENT_FIGURES)
def test_figures_of_events_hold_for_units_of_sigma_older_stores_and_gaps(name, recording):
    said = draw(FIGURES[name], in_sigma(recording))
    everything = " ".join(f"{words(one)} {one.get_title()} {one.get_xlabel()} {one.get_ylabel()}" for one in said)
    assert "σ" in everything and "%" not in everything.replace("found (%)", "") and "action potential" not in everything
    draw(FIGURES[name], older(recording))
    holes = np.random.default_rng(0).random(recording["dff"].shape) < 0.2
    draw(FIGURES[name], recording.assign({one: recording[one].where(~holes) for one in ("detrended", "denoised", "dff")}))


def test_events_are_drawn_with_the_shape_that_was_measured():
    recording = planted([np.array([10.1, 40.1, 70.1])], [np.array([1.0, 1.0, 0.5])], base=0.2, flags=[0, 1, 4])
    onset, peak = recording["event_onset"].values, recording["event_peak"].values
    overview, close_up = draw(plot.plot_events, recording, neurons=[0], start=0.0, duration=100.0)
    assert close_up.get_xlim() == pytest.approx((onset[0] - 1.8, onset[0] + 13.2))  # the flagged ones are worth less
    lines = [ends for ends, _ in segments(close_up)]
    assert any(np.allclose(ends, [[peak[0], 20.0], [peak[0], 120.0]]) for ends in lines)  # from the base to the peak
    assert any(np.allclose(ends, [[onset[0], 20.0], [onset[0] + 1.6, 20.0]]) for ends in lines)  # the base
    width = next(ends for ends in lines if np.allclose(ends[:, 1], 70.0))  # at half height between them
    assert np.ptp(width[:, 0]) == pytest.approx(0.75)
    assert np.interp(width[0][0], recording["time"], recording["dff"][0]) == pytest.approx(0.7)  # from where the trace rises
    widths = {round(float(ends[0][0])): dotted for ends, dotted in segments(overview) if np.isclose(np.ptp(ends[:, 0]), 0.75)}
    assert widths == {10: False, 40: False, 70: True}
    hollow = [line.get_xdata() for line in overview.lines if line.get_marker() == "o" and line.get_mfc() == "white"]
    assert np.concatenate(hollow) == pytest.approx(peak[1:2])


def test_shapes_are_drawn_on_the_trace_on_which_they_were_measured(recording):
    halfway = 50 * (recording["detrended"] + recording["denoised"]).sel(neuron=1).values

    def dark(axes):
        return next(line.get_ydata() for line in axes.lines if line.get_color() == _canvas.INK and line.get_linestyle() == "-")

    of = {"neurons": [1], "start": 0.0, "duration": 240.0}
    assert dark(draw(plot.plot_events, recording, **of)[1])[:1199] == pytest.approx(halfway[:1199], abs=1e-4)
    before = recording["event_peak"].copy()
    before.attrs = {"trace": "detrended", "measured_on": "denoised"}
    of_older = draw(plot.plot_events, recording.assign(event_peak=before), **of)[1]
    assert dark(of_older)[:1199] == pytest.approx(100 * recording["denoised"].sel(neuron=1).values[:1199], abs=1e-4)
    asked = draw(plot.plot_events, recording, trace="dff", **of)[1]
    assert dark(asked)[:1199] == pytest.approx(100 * recording["dff"].sel(neuron=1).values[:1199], abs=1e-4)


def test_close_ups_are_of_a_clear_a_middling_and_a_faint_neuron_and_none_where_one_panel_is_given(recording):
    heights = [np.full(4, size) for size in (0.2, 3.0, 1.0, 0.5, 2.0)]
    made = draw(plot.plot_events, planted([np.array([20.0, 60.0, 65.0, 140.0])] * 5, heights), duration=120.0)
    assert {one.get_title() for one in made[1:]} == {"neuron 0", "neuron 1", "neuron 2"}
    one = Figure().subplots()
    assert list(plot.plot_events(recording, axes=one)) == [one]
    assert len(plot.plot_events(recording, axes=Figure().subplots(1, 2))) == 2
    overview, *close_ups = draw(plot.plot_events, silent(recording))
    assert "no events" in words(overview) and not close_ups


def test_the_average_of_events_that_are_as_expected_is_as_expected():
    rng = np.random.default_rng(3)
    spikes = [np.sort(rng.uniform(0, 6, 12) + np.arange(12) * 22 + 10) for _ in range(6)]
    sizes = [rng.uniform(0.1, 2.0, 12) for _ in spikes]
    scaled, raw = draw(plot.plot_transient, planted(spikes, sizes, base=0.3))
    assert scaled.get_title() == "72 isolated of 72 events"
    median, expected = (next(line for line in scaled.lines if str(line.get_label()).startswith(one)) for one in ("median", "one"))
    np.testing.assert_allclose(median.get_ydata(), expected.get_ydata(), atol=0.05)
    assert median.get_ydata()[:35] == pytest.approx(0.0, abs=0.01)
    groups = [line.get_ydata() for line in raw.lines if len(line.get_xdata()) > 2]
    assert len(groups) == 4 and "n = 18" in legend(raw)
    assert [np.argmax(one) for one in np.array(groups).T[[60, 70, 80]]] == [3, 3, 3]
    assert np.array(groups)[:, :35] == pytest.approx(30.0, abs=0.5)  # an F0 that is off by 30 % shows before the onset


def test_events_that_are_not_alone_or_not_seen_whole_are_left_out_of_the_average():
    spikes = [np.array([30.0, 60.0, 63.0, 100.0, 150.0, 200.0])]
    recording = planted(spikes, [np.ones(6)], flags=[0, 0, 0, 1, 8, 16])
    assert isolated(recording, 7.0, 5.0).tolist() == [0]
    assert isolated(recording.isel(event=[2, 1, 0]), 7.0, 5.0).tolist() == [2]
    scaled, raw = draw(plot.plot_transient, recording.isel(event=slice(1, None)))
    assert "no isolated events" in words(scaled) and "no isolated events" in words(raw)
    assert scaled.get_title() == "0 isolated of 5 events"


def test_the_average_does_not_reach_across_a_gap():
    spikes = [np.array([30.0])]
    recording = planted(spikes, [np.ones(1)], gap=160)  # 2 s after the spike
    median = next(line for line in draw(plot.plot_transient, recording)[0].lines if str(line.get_label()).startswith("median"))
    x, y = median.get_data()
    assert np.isnan(y[x > 2]).all() and np.isfinite(y[x < 1.7]).all()


def test_what_the_indicator_lets_expect_follows_from_its_shape_and_the_frame_rate():
    indicator = get_indicator("GCaMP6s")
    fine = expected_transient(indicator, 1000.0, np.array([-1.0, 0.0, 0.5]))
    begins = float(np.interp(0.2, indicator.shape(np.linspace(0, 0.2, 1000)), np.linspace(0, 0.2, 1000)))
    assert fine == pytest.approx([0.0, 0.2, float(indicator.shape(np.array([0.5 + begins]))[0])], abs=0.01)
    assert expected_transient(indicator, 2.0, np.zeros(1)) == pytest.approx(0.2)
    slow, fast = expected_measures(indicator, 2.0), expected_measures(indicator, 500.0)
    assert slow["rise"] > 2 * fast["rise"] and slow["fwhm"] > fast["fwhm"] and slow["decay"] == fast["decay"]


def test_features_are_drawn_against_what_the_indicator_lets_expect(recording):
    made = draw(plot.plot_features, recording)
    names = ("event_rise", "event_fwhm", "event_decay")
    for panel, name in zip(made[4:], names, strict=True):
        assert f"median {np.nanmedian(recording[name]):.3g} s" == panel.get_title()
        expected = expected_measures(get_indicator("GCaMP6s"), 5.0)[name.removeprefix("event_")]
        assert f"1 AP: {expected:.2g} s" in legend(panel)
    assert "longest of GCaMP6s: 5 s" in legend(made[5])
    unknown = draw(plot.plot_features, finished_recording(neurons=5, indicator="mine"))
    assert not any(one.get_legend() for one in unknown)
    assert "no event_rise in this recording" in words(draw(plot.plot_features, older(recording))[4])


def test_the_map_of_what_is_detected_goes_from_the_most_to_the_least_sensitive_neuron(recording):
    lod = recording["lod50"].copy(data=np.linspace(0.5, 0.05, 12))
    panel, noise, rates, sizes = draw(plot.plot_detectability, recording.assign(lod50=lod))
    assert [one.get_text() for one in panel.get_yticklabels()] == [str(one) for one in range(12, 0, -1)]
    assert noise.get_title() == f"{int((lod <= 0.22).sum())} of 12 see one action potential"
    assert "22 %" in legend(sizes) and "× " in rates.get_title()
    corrected = recording["event_rate"] * 2
    assert "× 2" in draw(plot.plot_detectability, recording.assign(event_rate_corrected=corrected))[2].get_title()


def test_what_could_not_be_measured_of_detectability_is_said(recording):
    some = recording["detectability"].where(recording["neuron"] > 3)
    panel = draw(plot.plot_detectability, recording.assign(detectability=some, lod50=recording["lod50"].where(some.neuron > 3)))[
        0
    ]
    assert "3 unknown" in panel.get_title()
    blank = recording.assign({name: recording[name] * np.nan for name in ("detectability", "lod50", "event_rate_corrected")})
    panel, noise, rates, _ = draw(plot.plot_detectability, blank)
    assert "no neuron" in words(panel) and "no LOD50" in words(noise) and "no rates" in words(rates)
    with pytest.raises(MissingVariableError, match="compute_features"):
        plot.plot_detectability(recording.drop_vars("lod50"))
    floored = recording.assign(f0_floored=recording["neuron"] > 0)
    assert "action potential" not in draw(plot.plot_detectability, floored)[1].get_title()
    alone = finished_recording(neurons=1, ensembles=0)
    assert "1 AP" in words(draw(plot.plot_detectability, with_detectability(alone, seed=4))[0])
