import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from finished import finished_recording

from calcium_engine.plot import FIGURES, write_figures
from calcium_engine.report import caveats, coactivity, ensembles, events, facts, pairs, tables, words, write_report
from calcium_engine.schema import CalciumError

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what a page holds, and checks that every element that opens is closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def recording():
    return finished_recording(gap=True).assign_attrs(
        history="make_recording(sampling_rate=5.0)\ncompute_dff()", recipe="[[step]]"
    )


def report_of(recording, path, **options):
    options.setdefault("figures", {})
    return write_report(recording, path / "report.html", **options).read_text(encoding="utf-8")


def without_ensemble_events(recording):
    empty = recording.isel(ensemble_event=slice(0, 0), ensemble_event_other=slice(0, 0), ensemble=slice(0, 0))
    return empty.assign(is_coactive=(recording["is_coactive"] & False).assign_attrs(recording["is_coactive"].attrs))


def test_the_report_is_one_valid_page_without_network_or_scripts(recording, tmp_path):
    text = write_report(recording, tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert ("html", {"lang": "en"}) in page.attributes
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))
    images = [attrs for tag, attrs in page.attributes if tag == "img"]
    assert len(images) == len(FIGURES)
    assert all(one["alt"] and one["src"].startswith("data:image/png;base64,") for one in images)
    anchors = {attrs["id"] for tag, attrs in page.attributes if tag == "section"}
    assert {attrs["href"].removeprefix("#") for tag, attrs in page.attributes if tag == "a"} == anchors


def test_numbers_in_the_text_are_those_of_the_recording(recording, tmp_path):
    text = Page(report_of(recording, tmp_path)).text
    rules = recording["is_coactive"].attrs
    for said in (
        f"{recording.sizes['event']:,} events in 12 of 12 neurons by the detector 'pulse' on 'detrended', as those of GCaMP6s",
        f"significant from {rules['threshold']} coactive neurons",
        f"{words.number(rules['attained_alpha'])} (attained α)",
        f"{int(recording['is_coactive'].sum())} did",
        f"{recording.sizes['ensemble_event']} ensemble events",
        "2 ensembles:",
        "1,200",
        "5 Hz",
        "2 (gaps of 40.2 s",
        "GCaMP6s",
        f"Median event rate of a neuron: {words.number(float(np.median(recording['event_rate'])))} per minute",
    ):
        assert said in text, said


def test_the_table_of_ensembles_says_who_and_when(recording):
    heads, rows = tables.ensembles_table(recording)
    assert [row[0] for row in rows] == ["1", "2"]
    first, second = (dict(zip(heads, row, strict=True)) for row in rows)
    mine = recording["ensemble_event_label"].values == 1
    core = recording["neuron"].values[recording["is_core"].values[0]]
    assert (first["events"], first["core neurons"]) == (str(mine.sum()), str(len(core)))
    assert first["ids of core neurons"] == ", ".join(map(str, core))
    assert first["match"] == f"{np.median(recording['ensemble_event_match'].values[mine]):.2f}"
    assert first["peripheral"] == str(int(recording["is_peripheral"].values[0].sum()))
    assert (first["W (p)"], first["completion"]) == ("0.60 (1e-05)", "0.50")
    assert first["nearest of ica"] == f"{float(recording['compared_match'][0]):.2f}"
    assert "unstable" in second["stability"] and "unstable" not in first["stability"]
    older = recording.drop_vars(["is_peripheral", "ensemble_event_match", "recruitment_consistency", "recruitment_pvalue"])
    assert tables.ensembles_table(older.drop_vars(["compared_match", "pattern_completion"]))[1][0].count("–") == 5


def test_user_text_is_escaped_everywhere(tmp_path):
    bad = "<script>alert('&\"')</script>"
    recording = finished_recording(strings=True)
    recording = recording.assign_coords(neuron=[f"{bad}{i}" for i in range(recording.sizes["neuron"])])
    recording["f0_floored"] = ~recording["f0_floored"]
    recording = recording.assign_attrs(source=bad, history=f"read({bad})", recipe=f"# {bad}", recipe_name=bad)
    recording["baseline"].attrs["method"] = bad
    text = report_of(recording, tmp_path)
    assert "script" not in Page(text).tags
    assert "<script" not in text and "&lt;script&gt;" in text


def test_an_existing_report_is_kept_unless_asked(recording, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        write_report(recording, target, figures={})
    assert target.read_text() == "mine"
    write_report(recording, target, figures={}, overwrite=True)
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_written_where_the_report_fails(recording, tmp_path):
    with pytest.raises(CalciumError, match="no folder of figures"):
        write_report(recording, tmp_path / "report.html", figures=tmp_path / "absent")
    with pytest.raises(CalciumError, match="make_recording"):
        write_report(recording["dff"], tmp_path / "report.html")
    with pytest.raises(FileNotFoundError):
        write_report(recording, tmp_path / "absent" / "report.html", figures={})
    assert list(tmp_path.iterdir()) == []


def test_figures_come_from_a_folder_or_a_mapping(recording, tmp_path):
    page = Page(report_of(recording, tmp_path, figures={"10_null": PIXEL}))
    assert page.tags.count("img") == 1
    folder = tmp_path / "figures"
    write_figures(recording[["fluorescence", "baseline"]], folder, dpi=40)
    page = Page(report_of(recording, tmp_path, figures=folder, overwrite=True))
    (image,) = [attrs for tag, attrs in page.attributes if tag == "img"]
    assert base64.b64decode(image["src"].partition(",")[2]) == (folder / "01_stages.png").read_bytes()


@pytest.mark.parametrize("variant", ["raw", "dff", "silent", "quiet", "loose", "alone", "blank"])
def test_a_recording_with_nothing_to_report_says_so(variant, recording, tmp_path):
    none = slice(0, 0)
    raw = recording[["fluorescence"]]
    cases = {
        "raw": (raw, "Events were not sought"),
        "dff": (recording[["dff"]], "The input was ΔF/F already"),
        "silent": (without_ensemble_events(recording).isel(event=none), "No events: no transient of any of the 12 neurons"),
        "quiet": (
            without_ensemble_events(recording),
            "No ensemble events: no bin had more coactive neurons than chance explains",
        ),
        "loose": (recording.isel(ensemble=none), "No ensembles: among"),
        "alone": (finished_recording(neurons=1, ensembles=0), "No ensembles: there are no ensemble events to group."),
        "blank": (raw * np.nan, "100 % (in 12 neurons)"),
    }
    given, said = cases[variant]
    assert said in Page(report_of(given.assign_attrs(recording.attrs), tmp_path)).text


def test_significant_bins_with_too_few_neurons_are_told_from_none(recording):
    few = recording.isel(ensemble_event=slice(0, 0))
    assert "in no stretch of significant bins did enough neurons take part" in " ".join(coactivity.about_coactivity(few))


def test_flagged_events_are_counted(recording):
    flags = np.zeros(recording.sizes["event"], dtype=np.uint8)
    flags[:3] = 1 | 2
    said = " ".join(facts.about_events(recording.assign(event_flags=("event", flags))))
    assert "(compound, 3)" in said and "(long, 3)" in said and "the 5 s that one transient of GCaMP6s" in said
    flags[:] = 0
    assert "No event is flagged." in facts.about_events(recording.assign(event_flags=("event", flags)))


def test_bins_of_another_width_than_asked_are_owned_up_to(recording):
    told = "Bins hold whole frames"
    assert told in " ".join(caveats.caveats(recording))  # 0.5 s at 5 Hz: two frames of 0.4 s
    exact = recording.assign(coactivity=recording["coactivity"].assign_attrs(bin_s=0.4))
    assert told not in " ".join(caveats.caveats(exact))


def test_stability_that_could_not_be_measured_is_said_to_be_unknown(recording):
    unknown = recording.assign(ensemble_stability=recording["ensemble_stability"] * np.nan)
    assert "The stability of 2 ensembles could not be measured" in " ".join(ensembles.about_ensembles(unknown))
    assert tables.ensembles_table(unknown)[1][0][5] == "–"


def test_steps_come_from_the_history_else_the_recipe_else_the_variables(recording):
    steps = [row[:2] for row in tables.steps_table(recording)[1]]
    assert steps == [["make_recording", "sampling_rate=5.0"], ["compute_dff", "–"]]
    recipe = recording.assign_attrs(history="", recipe='[[step]]\nuse = "denoise"\nwhen = "dff"\nlevels = 3\n')
    assert tables.steps_table(recipe)[1] == [["denoise", "levels=3", "denoised"]]
    bare = recording.assign_attrs(history="", recipe="no [ toml")
    assert ["estimate_baseline", "method='masked', window_s=60.0"] in [row[:2] for row in tables.steps_table(bare)[1]]


def test_parameters_of_many_digits_are_rounded(recording):
    long = recording.assign_attrs(history="f(width=0.4166666666666667, alpha=0.05, p=5.870709402967e-06, n=1234567)")
    assert tables.steps_table(long)[1][0][1] == "width=0.4167, alpha=0.05, p=5.871e-06, n=1234567"


def test_versions_seeds_and_recipe_are_given(recording):
    rows = dict(tables.software_table(recording.assign_attrs(recipe_name="calibrated"), "today")[1])
    assert {"calcium_engine", "Python", "numpy", "numba"} <= set(rows)
    assert (rows["recipe"], rows["report written"], rows["seed of find_ensembles"]) == ("calibrated", "today", "0")


def test_a_simulation_is_compared_with_its_truth(tmp_path):
    from calcium_engine.simulate import simulate_recording

    simulated = simulate_recording(n_neurons=8, n_frames=400, n_ensembles=1, ensemble_size=4)
    assert "Not scored" in Page(report_of(simulated, tmp_path)).text


def test_an_indicator_that_was_assumed_is_told_from_one_that_is_known(recording):
    assert dict(facts.recording_facts(recording))["indicator"] == "GCaMP6s"
    unknown = recording.copy()
    del unknown.attrs["indicator"]
    assert dict(facts.recording_facts(unknown))["indicator"] == "not recorded; events were sought as those of GCaMP6s"


def test_cells_that_were_rejected_are_counted(recording):
    judged = recording.assign_coords(is_cell=("neuron", np.arange(12) < 5))
    assert dict(facts.recording_facts(judged))["accepted as cells"] == "5"


def test_missing_samples_are_counted():
    recording = finished_recording(neurons=4, ensembles=0)
    recording["fluorescence"][0, :120] = np.nan
    assert dict(facts.recording_facts(recording))["missing samples"] == "2.5 % (in 1 neuron)"


@pytest.mark.parametrize("recipe", ["calibrated", "classical"])
def test_what_analyze_returns_is_drawn_and_reported(recipe, tmp_path):
    from calcium_engine.analysis import analyze
    from calcium_engine.simulate import simulate_recording

    planted = simulate_recording(
        n_neurons=24, n_frames=2400, sampling_rate=10.0, n_ensembles=2, ensemble_size=8, ensemble_rate=3.0
    )
    done = analyze(planted, recipe)
    folder = tmp_path / "figures"
    needs = {"19_positions": "x", "03_retention": "retention_amplitude", "08_detectability": "lod50"}
    needs |= {"12_pairs": "pair_z", "20_power": "ensemble_power"}  # in no recipe
    missing = {name for name, variable in needs.items() if variable not in done.variables}
    assert [path.stem for path in write_figures(done, folder, dpi=40)] == [name for name in FIGURES if name not in missing]
    page = Page(report_of(done, tmp_path, figures=folder))
    assert f"{done.sizes['event']:,} events in" in page.text
    assert "What was planted, and what came back" in page.text and "Best Match" in page.text
    assert recipe in page.text
    steps = [row[0] for row in tables.steps_table(done)[1]]
    assert steps[-3:] == ["compute_coactivity", "find_ensemble_events", "find_ensembles"]


def test_the_threshold_and_what_noise_alone_would_give_are_told(recording):
    said = " ".join(events.about_detection(recording))
    expected = 0.01 * 12 * 1200 / 5.0 / 60
    assert "4.5 times what noise of σ gives, which follows from a budget of 0.01 false events" in said
    assert f"about {words.number(expected)} of the {recording.sizes['event']} events" in said

    def sought(**settings):
        onset = recording["event_onset"].copy()
        onset.attrs = settings
        return " ".join(events.about_detection(recording.assign(event_onset=onset)))

    said = sought(detector="sd", k=5.0, min_dff=0.1)
    assert "5 SD of the whole trace and 10 % ΔF/F" in said and "budget" not in said
    assert "6 times what noise of σ gives, as asked for" in sought(
        detector="pulse", k=6.0, threshold=6.0, false_positives_per_minute=0.01
    )
    assert "The threshold follows from a budget of 0.01" in sought(detector="pulse", false_positives_per_minute=0.01)
    assert "threshold" not in sought()
    assert events.about_detection(recording[["dff"]]) == []


def test_pairs_are_told_where_they_were_compared(recording):
    said = " ".join(pairs.about_pairs(recording))
    rules = recording["is_pair_significant"].attrs
    assert f"Of {rules['n_tests']} pairs of active neurons, {words.several(rules['significant_pairs'], 'is', 'are')}" in said
    z = recording["pair_z"].values
    i, j = np.unravel_index(np.nanargmax(np.triu(z)), z.shape)
    strongest = f"neurons {recording['neuron'].values[i]} and {recording['neuron'].values[j]}: "
    assert strongest in said and f"z {words.number(z[i, j])}" in said
    assert f"under {words.number(rules['smallest_pvalue'])}" in said
    assert pairs.about_pairs(recording.drop_dims("neuron_other")) == []
    alone = recording.assign(pair_pvalue=recording["pair_pvalue"] * np.nan)
    assert "fewer than two are ever active" in pairs.about_pairs(alone)[0]
    none = (recording["is_pair_significant"] & False).assign_attrs(rules, fewest_significant=9)
    floor = recording["pair_pvalue"] * 0 + rules["smallest_pvalue"]
    assert "cannot show as significant" in pairs.about_pairs(recording.assign(is_pair_significant=none, pair_pvalue=floor))[-1]


def test_too_many_events_in_the_inverted_traces_are_warned_of(recording, tmp_path):
    def with_ratio(pooled):
        return recording.assign(negative_ratio=recording["negative_ratio"].assign_attrs(pooled=pooled))

    few, many = with_ratio(0.03), with_ratio(0.12)
    assert (
        "3 % as many in the inverted traces" in " ".join(events.about_detection(few))
        and "Dombeck" in events.about_detection(few)[-1]
    )
    assert not any("inverted" in line for line in events.warnings_of(few))
    text = Page(report_of(many, tmp_path)).text
    assert text.count("12 % as many in the inverted traces") == 2 and "Warning" in text  # at the head, and among the events


def test_what_could_be_found_is_told_in_numbers(recording):
    lod = recording["lod50"].copy(data=np.r_[np.nan, np.linspace(0.1, 0.32, 11)])
    told = recording.assign(lod50=lod, event_rate_corrected=recording["event_rate"] * 3)
    said = " ".join(events.about_detectability(told))
    assert "median of the neurons: 21 % ΔF/F" in said and "It is unknown in 1 neuron." in said
    assert f"{int((lod > 0.22).sum())} neurons of 11 cannot see a single action potential of GCaMP6s (22 % ΔF/F)" in said
    rates = [words.number(float(factor * np.median(recording["event_rate"]))) for factor in (3, 1)]
    assert f"{rates[0]} per minute instead of {rates[1]}; in 12 neurons" in said
    clear = recording.assign(lod50=lod * 0 + 0.05)
    assert "Every neuron where it is known sees a single action potential" in " ".join(events.about_detectability(clear))
    blank = " ".join(events.about_detectability(recording.assign(lod50=lod * np.nan)))
    assert "In no neuron could be measured" in blank
    floored = " ".join(events.about_detectability(told.assign(f0_floored=recording["neuron"] > 0)))
    assert "cannot see" not in floored and "LOD50 is not compared" in floored
    sigma = recording.assign(lod50=(lod / 0.06).assign_attrs(units="sigma"))
    assert "σ" in events.about_detectability(sigma)[0] and "cannot see" not in " ".join(events.about_detectability(sigma))


def believable(recording, **values):
    """The recording without a reason to doubt any of its neurons but those given."""
    neurons = recording.sizes["neuron"]
    clean = {name: np.zeros(neurons, dtype=bool) for name in ("saturated_activity", "f0_floored", "low_passed_input")}
    clean |= {"lod50": np.full(neurons, 0.01), "negative_event_count": np.zeros(neurons, dtype=int)}
    clean |= {"negative_ratio": np.zeros(neurons), "event_flags": np.zeros(recording.sizes["event"], dtype=np.uint8)}
    return recording.assign({name: recording[name].copy(data=value) for name, value in (clean | values).items()})


def test_neurons_whose_detections_should_not_be_believed_are_listed_with_the_reasons(recording, tmp_path):
    assert events.doubtful_table(believable(recording)) is None
    assert "No neuron's detections are in doubt" in events.about_detectability(believable(recording))[-1]
    rows = np.arange(12)
    of = np.searchsorted(recording["neuron"].values, recording["event_neuron"].values)
    doubted = believable(
        recording,
        lod50=np.where(rows == 4, np.nan, np.where(rows == 5, 2.0, 0.01)),
        negative_event_count=np.where(rows == 5, 7, np.where(rows == 6, 3, 0)),
        negative_ratio=np.where((rows == 5) | (rows == 6), 0.2, 0.0),
        low_passed_input=rows == 7,
        event_flags=np.where(of == 8, 2, np.where(of == 9, 4, 0)).astype(np.uint8),
    )
    heads, table = events.doubtful_table(doubted)
    assert heads[2] == "LOD50 (%)"
    assert [row[0] for row in table] == ["6", "8", "5", "9", "10"]  # most reasons first, then the gravest; ids count from 1
    reasons = {row[0]: row[3] for row in table}
    assert "7 events in the inverted trace (20 %); misses an event" in reasons["6"]
    assert (reasons["5"], "smoothed" in reasons["8"]) == ("LOD50 unknown", True)
    assert "(long)" in reasons["9"] and "(fwhm_censored)" in reasons["10"]
    assert table[0][1:3] == [str(int((of == 5).sum())), "200"]
    page = Page(report_of(doubted, tmp_path))
    assert "Detections of 5 neurons of 12 should not be believed" in page.text and "neuron in doubt" in page.text


def test_the_list_of_doubtful_neurons_stays_short():
    many = finished_recording(neurons=50, frames=400, ensembles=0)
    _, table = events.doubtful_table(believable(many, f0_floored=np.ones(50, dtype=bool)))
    assert len(table) == 31 and table[-1][0] == "and 20 more"


@pytest.mark.parametrize("case", ["older", "no events", "one neuron", "no features", "a selection"])
def test_what_is_said_of_detections_holds_whatever_is_missing(case, recording, tmp_path):
    new = ["lod50", "detection_recall", "event_rate_corrected", "negative_event_count", "negative_ratio"]
    old = recording.drop_vars([*new, "detectability", "event_rise", "event_decay", "event_z", "event_peak_dff"])
    none = without_ensemble_events(recording).isel(event=slice(0, 0))
    given, said = {
        "older": (old, "was not measured: compute_features() plants transients to see"),
        "no events": (none, "No events: no transient"),
        "one neuron": (finished_recording(neurons=1, ensembles=0), "events in 1 of 1 neuron"),
        "no features": (old.drop_vars(["event_rate", "event_count", "amplitude_median", "event_flags"]), "was not measured"),
        "a selection": (recording.isel(neuron=slice(0, 3)), "of 3"),
    }[case]
    assert said in Page(report_of(given, tmp_path)).text
