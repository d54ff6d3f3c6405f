"""Tables hold what the recording holds, one row a thing."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from finished import finished_recording

from calcium_engine.schema import CalciumError, MissingVariableError
from calcium_engine.tables import TABLES, to_dataframe, write_tables


def _found(n_events=3, ids=("a", "b")):
    return xr.Dataset(
        {
            "noise": ("neuron", [0.1, 0.2]),
            "dff": (("neuron", "frame"), np.zeros((2, 4))),
            "event_neuron": ("event", np.array(["a", "b", "a"][:n_events], dtype=str)),
            "event_onset": ("event", np.arange(n_events) * 1000.125),
            "participation": (("neuron", "ensemble_event"), np.array([[True, False], [True, True]])),
            "ensemble_event_size": ("ensemble_event", [2, 1]),
            "is_core": (("ensemble", "neuron"), np.array([[True, False]])),
            "coactivity": ("bin", [1, 0]),
        },
        coords={"neuron": list(ids), "ensemble": [1], "bin_time": ("bin", [0.25, 0.75]), "sampling_rate": 4.8},
    )


def test_columns_are_the_variables_of_the_dim():
    assert list(to_dataframe(_found(), "neuron")) == ["neuron", "noise"]
    assert list(to_dataframe(_found(), "bin")) == ["bin_time", "coactivity"]
    assert to_dataframe(_found(), "event")["event_onset"].tolist() == [0, 1000.125, 2000.25]


def test_who_takes_part_is_named():
    assert to_dataframe(_found(), "ensemble_event")["participants"].tolist() == ["a b", "b"]
    assert to_dataframe(_found(), "ensemble").to_dict("list") == {"ensemble": [1], "core_neurons": ["a"]}


def test_ids_with_blanks_stay_apart():
    assert to_dataframe(_found(ids=("C 1", "C 2")), "ensemble_event")["participants"].tolist() == ["C 1;C 2", "C 2"]


def test_files_are_the_tables(tmp_path):
    recording = _found()
    paths = write_tables(recording, tmp_path / "tables")
    assert sorted(path.name for path in paths) == sorted(
        ["neurons.csv", "events.csv", "coactivity.csv", "ensemble_events.csv", "ensembles.csv", "members.csv"]
    )
    for path, dim in zip(paths, ("neuron", "event", "bin", "ensemble_event", "ensemble", "member"), strict=True):
        pd.testing.assert_frame_equal(pd.read_csv(path), to_dataframe(recording, dim), check_dtype=False)


def test_all_that_is_known_of_ensembles_is_in_some_table(tmp_path):
    recording = finished_recording()
    table = to_dataframe(recording, "ensemble")
    assert table["ensemble_activation_count"].tolist() == recording["ensemble_activation_count"].values.tolist()
    first = [str(one) for one in recording["neuron"].values[recording["is_peripheral"].values[0]]]
    assert table["peripheral_neurons"][0] == " ".join(first)
    active = to_dataframe(recording, "bin")["activated_ensembles"]
    assert [" ".join(map(str, np.flatnonzero(one) + 1)) for one in recording["is_activated"].values.T] == active.tolist()
    transitions = to_dataframe(recording, "transition")
    assert transitions["ensemble"].tolist() == [1, 1, 2, 2] and transitions["ensemble_other"].tolist() == [1, 2, 1, 2]
    assert transitions["transition_count"].tolist() == recording["transition_count"].values.ravel().tolist()
    who = recording["is_core"].values | recording["is_peripheral"].values
    members = to_dataframe(recording, "member")
    assert members["neuron"].tolist() == recording["neuron"].values[np.nonzero(who)[1]].tolist()
    np.testing.assert_array_equal(members["recruitment_latency"], recording["recruitment_latency"].values[who])
    assert len(to_dataframe(recording, "cut_step")) == 101 and len(to_dataframe(recording, "planted_reliability")) == 10
    known = {"is_activated"}.union(*(to_dataframe(recording, dim) for dim in TABLES.values()))
    short = {name for name, array in recording.data_vars.items() if "ensemble" in array.dims}
    assert short - known == {"ensemble_activation"}  # a row a bin and a column an ensemble: as large as the recording's traces


def test_how_many_rows_are_written_at_a_time_changes_nothing(tmp_path, monkeypatch):
    whole = write_tables(finished_recording(), tmp_path / "whole")
    monkeypatch.setattr("calcium_engine.tables.ROWS", 3)
    parts = write_tables(finished_recording(), tmp_path / "parts")
    assert [path.read_text() for path in parts] == [path.read_text() for path in whole]


def test_a_recording_without_ensembles_has_tables_with_nothing_but_heads(tmp_path):
    write_tables(finished_recording(neurons=3, ensembles=0), tmp_path)
    for stem in ("ensembles", "members", "transitions"):
        assert (tmp_path / f"{stem}.csv").read_text().count("\n") == 1


def test_a_table_without_rows_keeps_its_header(tmp_path):
    write_tables(_found(n_events=0), tmp_path)
    assert (tmp_path / "events.csv").read_text() == "event_neuron,event_onset\n"


def test_tables_that_were_not_made_are_not_written(tmp_path):
    paths = write_tables(_found().drop_dims(["event", "bin", "ensemble_event", "ensemble"]), tmp_path)
    assert [path.name for path in paths] == ["neurons.csv"]


def test_asking_for_a_table_that_is_not_there():
    with pytest.raises(MissingVariableError, match="detect_events"):
        to_dataframe(_found().drop_dims("event"), "event")
    with pytest.raises(CalciumError, match="neuron, frame"):
        to_dataframe(_found(), "cell")
