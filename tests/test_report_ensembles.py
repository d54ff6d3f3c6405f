"""What the report says of ensembles: each sentence holds for what was found, and says so where nothing was."""

import numpy as np
import pytest
from finished import finished_recording
from finished_ensembles import by_ica, with_cut, with_power

from calcium_engine.report import ensembles, order, tables, write_report
from calcium_engine.schema import var


@pytest.fixture(scope="module")
def recording():
    return finished_recording()


def said(recording):
    return " ".join(ensembles.about_ensembles(recording))


def labelled(recording, **attrs):
    labels = recording["ensemble_event_label"].copy()
    labels.attrs = {name: value for name, value in (labels.attrs | attrs).items() if value is not None}
    return recording.assign(ensemble_event_label=labels)


def outer_of(recording, many):
    """So many of the first neurons peripheral to the first ensemble."""
    outer = np.zeros(recording["is_core"].shape, dtype=bool)
    outer[0, :many] = True
    return recording["is_peripheral"].copy(data=outer)


def without_ensembles(recording, events=None):
    none = {name: slice(0, 0) for name in ("ensemble", "ensemble_other", "compared_ensemble")}
    empty = recording.isel(none, missing_dims="ignore")
    return empty.isel(ensemble_event=slice(events), ensemble_event_other=slice(events))


CUTS = {
    "null": "only 0.1 % of the pairs are nearer",
    "pca_variance": "as many clusters as principal components explain 80 % of the variance",
    "pca_shift": "one cluster more than principal components stand out",
    "silhouette": "the largest mean silhouette width",
    "gap": "the fewest clusters that part the events better than random ones",
    "contrast": "the largest contrast",
    4: "into 4 clusters, as asked for",
    0.85: "at that distance, as asked for",
}


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_is_told_in_words_and_those_that_always_cut_with_a_caution(cut, recording):
    made = with_cut(recording, cut)
    assert CUTS[cut] in said(made) and "distance of 0.85" in said(made)
    always = cut not in ("null", "pca_shift", "gap")
    assert ("whether or not there is structure" in said(made)) == always
    assert any("whether or not there is structure" in line for line in ensembles.warnings_of(made)) == always
    assert not any("structure" in line for line in ensembles.warnings_of(without_ensembles(made)))


def test_independent_components_are_told_by_their_number_and_threshold(recording):
    assert "2 components of the correlation between neurons have an eigenvalue over the threshold of 1.7" in said(
        by_ica(recording)
    )
    none = labelled(without_ensembles(by_ica(recording)), n_components=0)
    assert said(none).startswith("No ensembles: no component of the correlation between neurons has an eigenvalue over")
    assert said(none).count("component of the correlation") == 1


def test_members_and_match_are_counted(recording):
    core, outer = recording["is_core"].values, recording["is_peripheral"].values
    outside = (outer.any(axis=0) & ~core.any(axis=0)).sum()
    assert f"{core.any(axis=0).sum()} neurons are in the core of an ensemble, 0 of them in several" in said(recording)
    assert f"; {outside} other" in said(recording) if outside else "; no other is peripheral" in said(recording)
    for many, words in ((0, "no other is"), (1, "1 other is"), (2, "2 others are")):
        made = recording.assign(is_core=recording["is_core"] & (recording["neuron"] > 3), is_peripheral=outer_of(recording, many))
        assert f"; {words} peripheral (" in said(made)
    match = recording["ensemble_event_match"].values
    assert f"median: {np.nanmedian(match):.3g} (90 %" in said(recording)
    older = recording.drop_vars(["is_peripheral", "ensemble_event_match"])
    assert "peripheral" not in said(older) and "Jaccard similarity of an ensemble event" not in said(older)


def test_stable_ensembles_are_called_so_and_unstable_ones_warned_of(recording):
    assert "Unstable: 1 ensemble with a split-half stability under 0.5: 2." in " ".join(ensembles.warnings_of(recording))
    stable = recording.assign(ensemble_stability=recording["ensemble_stability"] * 0 + 0.5)
    assert "No ensemble is unstable: the least split-half stability is 0.5." in said(stable)
    assert ensembles.warnings_of(stable) == []


@pytest.mark.parametrize(
    ("events", "attrs", "why"),
    [
        (0, {}, "there are no ensemble events to group"),
        (1, {}, "1 ensemble event is too few, since one ensemble needs 5"),
        (4, {}, "4 ensemble events are too few, since one ensemble needs 5"),
        (9, {}, "among 9 ensemble events no group of at least 5 is alike enough and has core neurons"),
        (9, {"min_events": None}, "among 9 ensemble events no group is alike enough and has core neurons"),
    ],
)
def test_without_ensembles_the_first_sentence_says_why_and_what_could_have_been_shown(events, attrs, why, recording):
    made = labelled(without_ensembles(recording, events), **attrs)
    first = ensembles.about_ensembles(made)[0]
    assert first.startswith(f"No ensembles: {why}.")
    assert (
        "An ensemble of 20 neurons active 24 times would have been found with probability 0.8 if its members took part in at "
        "least 60 % of its events (20 planted)."
    ) in first
    blind = with_power(made, least=None)
    blind["ensemble_power"][-1] = 0.35
    most = float(blind["ensemble_power"].max())
    said_of_blind = ensembles.about_ensembles(blind)[0]
    assert "Even an ensemble of 20 neurons active 24 times, its members taking part in all of its events" in said_of_blind
    assert f"would have been found with probability {most:g} only (20 planted)" in said_of_blind
    never = made.assign(ensemble_power=(blind["ensemble_power"] * 0).assign_attrs(blind["ensemble_power"].attrs))
    assert "would not have been found (20 planted)" in said(never)
    assert "found by 'jaccard'" in said(labelled(never, method="ica"))
    assert "would have been" not in said(made.drop_vars("ensemble_power"))
    assert "would have been" not in said(made.assign(ensemble_power=made["ensemble_power"] * np.nan))


def test_where_no_ensembles_were_found_the_report_plants_some(tmp_path, monkeypatch):
    asked = []

    def plant(recording):
        asked.append(recording)
        return with_power(recording)

    monkeypatch.setattr(ensembles, "ensemble_power", plant)
    made = finished_recording(neurons=8, ensembles=0)
    bare = made.drop_dims("planted_reliability")
    text = write_report(bare, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "An ensemble of 20 neurons active 24 times would have been found" in text
    assert "What this recording could show" in text and len(asked) == 1
    sought = bare.drop_vars("ensemble_event_label")
    for other in (made, finished_recording(), sought, finished_recording(neurons=3, ensembles=0).drop_vars("ensemble_power")):
        write_report(other, tmp_path / "report.html", figures={}, overwrite=True)
    assert len(asked) == 1
    monkeypatch.undo()
    without_activity = bare.drop_vars("event_onset")
    assert ensembles.with_power(without_activity) is without_activity


def test_the_order_of_recruitment_is_told_with_bonferroni_over_the_ensembles_that_were_tested(recording):
    chance = recording["recruitment_pvalue"]
    one = recording.assign(recruitment_pvalue=chance.copy(data=[0.024, 0.026]))
    assert "consistent order in 1 ensemble: 1 (W 0.60, p 0.024); Kendall's W, Bonferroni over 2 ensembles." in said(one)
    none = recording.assign(recruitment_pvalue=chance.copy(data=[0.026, 0.5]))
    assert "In no ensemble do core neurons join in a consistent order (least p 0.026; Bonferroni over 2 ensembles)." in said(none)
    some = recording.assign(recruitment_pvalue=chance.copy(data=[np.nan, 0.04]))
    assert "consistent order in 1 ensemble: 2" in said(some) and "1 ensemble has too few events to tell." in said(some)
    unknown = recording.assign(recruitment_pvalue=chance * np.nan, pattern_completion=recording["pattern_completion"] * np.nan)
    assert "cannot be told: too few events of any ensemble" in said(unknown) and "Pattern completion" not in said(unknown)


def test_transitions_more_frequent_than_chance_are_named(recording):
    chance, count = recording["transition_pvalue"], recording["transition_count"].values
    expected = recording["transition_expected"].values
    found = recording.assign(transition_pvalue=chance.copy(data=[[0.2, 0.0124], [0.0126, 0.9]]), sequence_entropy_pvalue=0.01)
    assert f"1 → 2 ({count[0, 1]} times, {expected[0, 1]:.3g} expected); Bonferroni over 4 pairs." in said(found)
    assert "Which ensemble is active next depends on the last one" in said(found)
    assert "does not detectably depend on the last one" in said(recording)
    none = recording.assign(transition_pvalue=chance.copy(data=[[0.2, 0.0126], [0.03, 0.9]]))
    assert "No ensemble follows another, or itself, more often than in random order (least p 0.0126" in said(none)
    for unknown in (
        recording.assign(transition_pvalue=chance * np.nan),
        recording.assign(transition_count=0 * chance.astype(int)),
    ):
        assert "Whether ensembles follow each other cannot be told" in said(unknown)
    alone = finished_recording(ensembles=1)
    assert "follow" not in " ".join(order.about_order(alone))
    older = recording.drop_dims("ensemble_other").drop_vars(["recruitment_pvalue", "pattern_completion"])
    assert order.about_order(older) == []


def test_the_other_method_is_told_of_and_a_disagreement_opens_the_report(recording, tmp_path):
    assert "Independent components find as many ensembles" in said(recording)
    both = labelled(recording, methods_disagree=True, compared="The two methods disagree: none of one is like the other's.")
    assert ensembles.warnings_of(both)[-1] == "Caution: The two methods disagree: none of one is like the other's."
    text = write_report(both, tmp_path / "report.html", figures={}).read_text(encoding="utf-8")
    summary = text[text.index('id="summary"') : text.index('id="recording"')]
    assert "Caution: The two methods disagree" in summary and "<li>The two methods disagree" in text
    assert "disagree" in " ".join(ensembles.warnings_of(without_ensembles(both)))
    alone = labelled(recording, compared=None, methods_disagree=None)
    assert "Independent" not in said(alone)


@pytest.mark.parametrize("n_ensembles", [0, 1, 4, 15])
@pytest.mark.parametrize("method", ["jaccard", "ica"])
def test_reports_of_any_number_of_ensembles_are_written(n_ensembles, method, tmp_path):
    made = finished_recording(neurons=48, frames=900, ensembles=n_ensembles)
    made = by_ica(made) if method == "ica" else made
    text = write_report(made, tmp_path / "report.html", figures={}).read_text(encoding="utf-8")
    assert ("ids of core neurons" in text) == (n_ensembles > 0)
    table = tables.ensembles_table(made)
    assert (table is None) == (n_ensembles == 0) and (table is None or len(table[1]) == n_ensembles)
    assert "nan" not in " ".join(ensembles.about_ensembles(made)).split()


def test_a_recording_in_which_ensembles_were_not_sought_says_so(recording):
    bare = recording.drop_vars("ensemble_event_label")
    assert ensembles.about_ensembles(bare) == ["Ensembles were not sought."] and ensembles.warnings_of(bare) == []
    assert var("is_core").made_by == "find_ensembles"


def test_every_way_of_counting_has_its_words():
    from calcium_engine.coactivity import WHEN
    from calcium_engine.report.coactivity import _COUNTED

    assert {source for count, source in _COUNTED if count == "neurons"} == set(WHEN)
