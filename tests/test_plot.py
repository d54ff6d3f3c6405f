import io
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from finished import finished_recording
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calcium_engine import plot
from calcium_engine.plot import FIGURES, _canvas, render_figures, write_figures
from calcium_engine.plot.activity import intervals_of
from calcium_engine.plot.clusters import cluster_order
from calcium_engine.schema import CalciumError, MissingVariableError

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


def silent(recording):
    """The same recording with no event at all, and nothing that follows from events."""
    empty = recording.isel(event=slice(0, 0), ensemble_event=slice(0, 0), ensemble_event_other=slice(0, 0))
    empty = empty.isel(ensemble=slice(0, 0), merge=slice(0, 0), component=slice(0, 0))
    nothing = {name: empty[name] * 0 for name in ("coactivity", "event_count", "event_rate")}
    nothing |= {name: empty[name] & False for name in ("is_coactive", "active")}
    return empty.assign({name: value.astype(recording[name].dtype) for name, value in nothing.items()})


def axes_of(made):
    return list(np.ravel(np.asarray(made, dtype=object)))


def draw(function, recording, **options):
    """Draw off the screen, down to the pixels, and return the axes."""
    with _canvas.offscreen():
        made = axes_of(function(recording, **options))
    made[0].figure.savefig(io.BytesIO(), format="png", dpi=40)
    return made


def words(axes):
    return " ".join(one.get_text() for one in axes.texts)


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


@pytest.mark.parametrize(("name", "needs"), [(name, "detect_events") for name in ("04_events", "05_raster", "12_ensembles")])
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
    (axes,) = draw(plot.plot_events, recording, start=30.0, duration=20.0)
    assert axes.get_xlim() == (30.0, 50.0)
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


def test_clusters_are_contiguous_and_unassigned_events_come_last(recording):
    order = cluster_order(recording)
    labels = recording.ensemble_event_label.values[order]
    assert sorted(order) == list(range(len(order)))
    assert (np.diff(np.where(labels < 0, 99, labels)) >= 0).all()


def test_thousands_of_ensemble_events_in_a_chain_make_a_dendrogram(recording):
    n = 3000  # deeper than Python's recursion limit
    tree = np.column_stack([np.r_[0, np.arange(n, 2 * n - 2)], np.arange(1, n), np.linspace(0.1, 1, n - 1), np.arange(2, n + 1)])
    chain = xr.Dataset(
        {"linkage": (("merge", "merge_field"), tree), "ensemble_event_label": ("ensemble_event", np.ones(n, dtype=int))}
    )
    tree_axes, variance = draw(plot.plot_cut, chain)
    assert len(tree_axes.collections[0].get_segments()) == n - 1
    assert "no components" in words(variance)


def test_the_cut_of_the_explained_variance_is_shown(recording):
    labels = recording.ensemble_event_label.assign_attrs(cut="pca_variance", variance=0.8)
    _, variance = draw(plot.plot_cut, recording.assign(ensemble_event_label=labels))
    total = np.cumsum(recording.explained_variance.values)
    said = [one.get_text() for one in variance.get_legend().get_texts()]
    assert f"80 %: {int((total < 0.8 - 1e-8).sum()) + 1} clusters" in " ".join(said)


def test_a_threshold_that_no_count_can_reach_is_not_drawn(recording):
    assert any("threshold" in str(line.get_label()) for line in draw(plot.plot_coactivity, recording)[0].lines)
    out_of_reach = recording.assign(is_coactive=recording.is_coactive.assign_attrs(threshold=10**6))
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
    assert render_figures(recording, ["08_null"], dpi=40) == render_figures(recording, ["08_null"], dpi=40)


def test_figures_whose_inputs_were_not_made_are_left_out(recording):
    traces = recording[["fluorescence", "baseline", "dff"]]
    assert list(render_figures(traces, dpi=40)) == ["01_stages"]
    until_events = recording.drop_dims(["bin", "count", "ensemble_event", "ensemble", "merge", "component"]).drop_vars("x")
    drawn = ["01_stages", "02_noise", "03_retention", "04_events", "05_raster", "06_features"]
    assert list(render_figures(until_events, dpi=40)) == drawn


def test_a_chunked_recording_makes_the_same_figure(recording):
    chunked = recording.chunk({"neuron": 5})
    names = ["01_stages", "02_noise", "04_events"]
    assert render_figures(chunked, names, dpi=40) == render_figures(recording, names, dpi=40)


def test_ids_in_a_script_that_the_font_lacks_are_no_obstacle(recording):
    named = recording.assign_coords(neuron=[f"神経{i}" for i in range(recording.sizes["neuron"])]).isel(event=slice(0, 0))
    assert render_figures(named, ["05_raster"], dpi=40)


def test_importing_the_plots_does_not_load_matplotlib():
    code = "import sys, calcium_engine.plot; assert not any(m.split('.')[0] == 'matplotlib' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
