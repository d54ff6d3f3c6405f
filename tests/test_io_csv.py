import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calcium_engine.io import lines as lines_module
from calcium_engine.io import read, read_csv
from calcium_engine.schema import CalciumError

DATA = Path(os.environ.get("CALCIUM_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="CALCIUM_DATA names no folder of real recordings")

TRACES = np.array([[0.5, 1.25, -3, 4e-3], [5, 6.5, 7, 8.75]], dtype=np.float32)


@pytest.fixture
def write(tmp_path):
    def write(text, name="traces.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def read_text(write, text, **options):
    return read_csv(write(text), sampling_rate=2, **options)


@pytest.mark.parametrize(
    "text",
    [
        "0.5,1.25,-3,4e-3\n5,6.5,7,8.75\n",
        "0.5,1.25,-3,4e-3\n5,6.5,7,8.75",
        "\n\n0.5,1.25,-3,4e-3\n5,6.5,7,8.75\n\n  \n",
        "0.5,1.25,-3,4e-3,\n5,6.5,7,8.75,\n",
        "0.5 , 1.25,  -3,4e-3\n 5,6.5,7 ,8.75 \n",
        "0.5;1.25;-3;4e-3\n5;6.5;7;8.75\n",
        "0,5;1,25;-3;4e-3\n5;6,5;7;8,75\n",
        "0.5\t1.25\t-3\t4e-3\n5\t6.5\t7\t8.75\n",
        "0,5\t1,25\t-3\t4e-3\t\n5\t6,5\t7\t8,75\t\n",
        "0.5 1.25 -3 4e-3\n5 6.5 7 8.75\n",
        "  0.5   1.25 -3  4e-3  \n  5     6.5   7  8.75\n",
        "0,5 1,25 -3 4e-3\n5 6,5 7 8,75\n",
        '"0.5","1.25","-3","4e-3"\n"5","6.5","7","8.75"\n',
        '"0,5","1,25","-3","4e-3"\n"5","6,5","7","8,75"\n',
        "0.5,1.25,-3,4e-3\r\n5,6.5,7,8.75\r\n",
        "0.5,1.25,-3,4e-3\r5,6.5,7,8.75\r",
        "\ufeff0.5,1.25,-3,4e-3\n5,6.5,7,8.75\n",
        gzip.compress(b"0.5,1.25,-3,4e-3\n5,6.5,7,8.75\n", mtime=0),
    ],
)
def test_dialects(write, text):
    recording = read_text(write, text)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert recording["fluorescence"].dtype == np.float32
    assert recording.attrs["source"] == "traces.csv"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("id,a,b,c,d\nx1,0.5,1.25,-3,4e-3\nx2,5,6.5,7,8.75\n", ["x1", "x2"]),
        ('"neuron id","0","1","2","3"\n"x, 1",0.5,1.25,-3,4e-3\n"x, 2",5,6.5,7,8.75\n', ["x, 1", "x, 2"]),
        ("x1;0,5;1,25;-3;4e-3\nx2;5;6,5;7;8,75\n", ["x1", "x2"]),
        ("x1 0.5 1.25 -3 4e-3\nx2 5 6.5 7 8.75\n", ["x1", "x2"]),
        (",0,1,2,3\n0,0.5,1.25,-3,4e-3\n1,5,6.5,7,8.75\n", [0, 1]),
        ("cell,0,0.2083,0.4167,0.625\n12,0.5,1.25,-3,4e-3\n7,5,6.5,7,8.75\n", [12, 7]),
        ("name,f0,f1,f2,f3\n007,0.5,1.25,-3,4e-3\n008,5,6.5,7,8.75\n", ["007", "008"]),
        ("Gr\xf6\xdfe,f0,f1,f2,f3\nx1,0.5,1.25,-3,4e-3\nx2,5,6.5,7,8.75\n".encode("latin-1"), ["x1", "x2"]),
        ("f0,f1,f2,f3\n0.5,1.25,-3,4e-3\n5,6.5,7,8.75\n", [0, 1]),
    ],
)
def test_ids_and_headers_of_rows(write, text, ids):
    recording = read_text(write, text)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert recording["neuron"].values.tolist() == ids
    assert read_text(write, text, neuron=[5, 6])["neuron"].values.tolist() == [5, 6]


def columns(header, sep=",", times=None, traces=TRACES):
    body = [sep.join(([] if times is None else [str(times[t])]) + [str(v) for v in traces[:, t]]) for t in range(traces.shape[1])]
    return "\n".join([header, *body] if header else body) + "\n"


@pytest.mark.parametrize(
    ("text", "options", "ids"),
    [
        (columns(""), {"orientation": "columns"}, [0, 1]),
        (columns("left,right"), {"orientation": "columns"}, ["left", "right"]),
        (columns("# left,right"), {"orientation": "columns"}, ["left", "right"]),
        (columns("cell_1,cell_2"), {}, ["cell_1", "cell_2"]),
        (columns(" ,Mean1,Mean2", times=[1, 2, 3, 4]), {}, ["Mean1", "Mean2"]),
        (columns("frame,left,right", times=[1, 2, 3, 4]), {"orientation": "columns"}, ["left", "right"]),
        (columns(",4,9", times=[0, 1, 2, 3]), {"orientation": "columns"}, [4, 9]),
    ],
)
def test_neurons_in_columns(write, text, options, ids):
    recording = read_text(write, text, **options)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert recording["neuron"].values.tolist() == ids


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("time", 1),
        ("Time (s)", 1),
        ("time_ms", 1e-3),
        ("t [ms]", 1e-3),
        ("timestamp (us)", 1e-6),
        ("Time (min)", 60),
        ("seconds", 1),
    ],
)
def test_time_column(write, name, scale):
    times = np.array([0, 0.1, 0.2, 5]) + 7
    path = write(columns(f"{name},4,9", times=times / scale))
    recording = read_csv(path)
    np.testing.assert_allclose(recording["time"], times)
    assert float(recording["sampling_rate"]) == pytest.approx(10)
    assert recording["epoch"].values.tolist() == [0, 0, 0, 1]
    assert recording["neuron"].values.tolist() == [4, 9]
    with pytest.raises(CalciumError, match=r"given as 4\.8 Hz"):
        read_csv(path, sampling_rate=4.8)
    with pytest.raises(CalciumError, match="neurons are in columns, not in rows"):
        read_csv(path, orientation="rows")


def test_time_after_frame_numbers(write):
    text = "frame,time,a,b\n" + "".join(f"{i},{i / 4},{i},{-i}\n" for i in range(5))
    recording = read_csv(write(text))
    assert float(recording["sampling_rate"]) == 4
    assert recording["neuron"].values.tolist() == ["a", "b"]


def test_inscopix(write):
    text = " , C00, C01, C02\nTime(s)/Cell Status, accepted, rejected, undecided\n0.0, 1, 2, 3\n0.1, 4, , 6\n0.2, 7, 8, nan\n"
    recording = read_csv(write(text))
    assert recording["neuron"].values.tolist() == ["C00", "C01", "C02"]
    assert recording["is_cell"].values.tolist() == [True, False, False]
    np.testing.assert_array_equal(recording["fluorescence"], [[1, 4, 7], [2, np.nan, 8], [3, 6, np.nan]])


def test_blank_cells_are_nan(write):
    for text in ("1,,3\n,5,NaN\n", "1;;3\n;5;NA\n", "1\t\t3\n\t5\tnan\n", "1, ,3\n  ,5,null\n"):
        np.testing.assert_array_equal(read_text(write, text)["fluorescence"], [[1, np.nan, 3], [np.nan, 5, np.nan]])


def test_more_rows_than_columns_warns(write):
    text = "1,2\n3,4\n5,6\n"
    with pytest.warns(UserWarning, match="orientation='columns'"):
        assert read_text(write, text).sizes["neuron"] == 3
    assert read_text(write, text, orientation="rows").sizes["neuron"] == 3
    assert read_text(write, text, orientation="columns").sizes["neuron"] == 2
    with pytest.raises(CalciumError, match="orientation is 'rows' or 'columns'"):
        read_text(write, text, orientation="neurons")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("1\n2\n3\n", "has one column, but traces need several"),
        ("trace\n1\n2\n", "has one column"),
        ("a,b,c\n", "no rows of numbers"),
        (",C0,C1\nTime(s)/Cell Status,accepted,rejected\n", "no rows of numbers"),
        ("1,2,3\n4,5\n", "row 2 has 2 cells, but row 1 has 3 cells"),
        ("1,2,3\n4,5,6\n7,8,9,10\n1,2\n", "row 3 has 4 cells"),
        ("\n\n1,2,3\n\n4,5,6\n", "row 4 is empty, but row 3"),
        ("a,b\n1,2,3\n4,5,6\n", "row 2 has 3 cells, but row 1 has 2"),
        ("1,2,3\n4,oops,6\n", "row 2, column 2 holds 'oops', where a number belongs"),
        ("1,2,bad\n4,5,6\n", "row 1, column 3 holds 'bad'"),
        ('id,f0,f1\nx,1,2\n"y",3,4 4\n', "row 3, column 3 holds '4 4'"),
        ("1.5;2.5\n1.234,5;3\n", "row 2, column 1 holds '1.234.5'"),
        ("1,2\n3,1_000\n", "row 2, column 2 holds '1_000'"),
        ("1,2,3\n4,inf,6\n", "infinite"),
        ("a,1,2\na,3,4\n", "more than once: 'a'"),
        ("1,nan\n,\n", None),
        (b"1,2\n3,\x004\n", "no text file"),
        (b"\x80\x04\x95\x00\x00", "no text file"),
        ("1,2\n3,4\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"1,2\n3,4\n", mtime=0)[:-9], "damaged gzip"),
    ],
)
def test_refusals(write, text, message):
    if message is None:
        assert read_text(write, text).sizes == {"neuron": 2, "frame": 2}
        return
    with pytest.raises(CalciumError, match=message):
        read_text(write, text, orientation="rows" if isinstance(text, str) and "Time" not in text else None)


def test_missing_file_and_rate(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_csv(tmp_path / "none.csv", sampling_rate=2)
    with pytest.raises(CalciumError, match="sampling rate is missing"):
        read_csv(write("1,2,3\n4,5,6\n"))


def test_errors_far_down_the_file(write, monkeypatch):
    monkeypatch.setattr(lines_module, "BATCH_BYTES", 64)
    rows = [["id", *"abcdef"]] + [[f"n{i}", *map(str, np.arange(6) + i)] for i in range(40)]
    text = "\n".join(",".join(row) for row in rows)
    np.testing.assert_array_equal(
        read_text(write, text, orientation="rows")["fluorescence"], np.arange(6) + np.arange(40)[:, None]
    )
    rows[31][4] = "x"
    with pytest.raises(CalciumError, match="row 32, column 5 holds 'x'"):
        read_text(write, "\n".join(",".join(row) for row in rows), orientation="rows")
    rows[31] = rows[31][:-1]
    with pytest.raises(CalciumError, match="row 32 has 6 cells"):
        read_text(write, "\n".join(",".join(row) for row in rows), orientation="rows")


def test_a_count_over_all_columns_is_a_header(write):
    text = ",".join(map(str, range(12))) + "\n" + ",".join(["0.5"] * 12) + "\n" + ",".join(["1.5"] * 12) + "\n"
    assert read_text(write, text).sizes["neuron"] == 2


numbers = st.floats(width=32, allow_infinity=False)
tables = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12), elements=numbers)


@given(
    tables,
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", "."), (" ", ",")]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "text ids", "number ids"]),
    st.sampled_from(["rows", "columns"]),
    st.sampled_from(["%r", "%.9e"]),
)
def test_any_matrix_comes_back(tmp_path_factory, table, marks, newline, ids, orientation, style):
    assume(not np.isnan(table).all())
    # 0, 1, 2, ... over ten columns and more is a header by design
    assume(not np.array_equal(table[0, :1], [0]) and not np.array_equal(table[0, :1], [1]))
    mark, point = marks
    missing = "nan" if mark == " " or ids == "" else ""
    rows = [[missing if np.isnan(v) else (style % float(v)).replace(".", point) for v in row] for row in table.tolist()]
    names = {"": [], "text ids": [f"n{i}" for i in range(len(rows))], "number ids": [str(3 * i) for i in range(len(rows))]}[ids]
    if names and orientation == "rows":
        assume(not all(row[-1] == "" for row in rows))
        rows = [["id", *(f"f{i}" for i in range(table.shape[1]))], *([name, *row] for name, row in zip(names, rows, strict=True))]
    path = tmp_path_factory.mktemp("any") / "table.txt"
    path.write_bytes(
        newline.join(mark.join("nan" if cell == "" and mark == " " else cell for cell in row) for row in rows).encode()
    )
    if orientation == "columns":
        assume(not any(all(cell == "" for cell in row) for row in zip(*rows, strict=True)))
    recording = read_csv(path, sampling_rate=2, orientation=orientation)
    np.testing.assert_array_equal(recording["fluorescence"], table if orientation == "rows" else table.T)
    if names and orientation == "rows":
        assert [str(name) for name in recording["neuron"].values] == names


@needs_data
def test_real_files():
    population = DATA / "population"
    zebrafish = read(population / "zf1.ca2", sampling_rate=2.1646)
    np.testing.assert_array_equal(zebrafish["fluorescence"], np.loadtxt(population / "zf1.ca2").astype(np.float32))
    path = population / "zf_20151104-f1" / "zf_20151104-f1_activity_matrix.csv"
    normalised = read(path, sampling_rate=2.2, variable="dff")
    np.testing.assert_array_equal(normalised["dff"], np.loadtxt(path, delimiter=",").astype(np.float32))
    path = population / "Time_Series_Vader_R_2023_03_09_Raw.csv"
    inscopix = read(path)
    plain = np.loadtxt(path, delimiter=",", skiprows=2)
    np.testing.assert_array_equal(inscopix["fluorescence"].T, plain[:, 1:].astype(np.float32))
    np.testing.assert_allclose(inscopix["time"], plain[:, 0], rtol=1e-15)
    assert inscopix["neuron"].values[[0, 18]].tolist() == ["C00", "C18"]
    assert int(inscopix["is_cell"].sum()) == 11
    assert np.flatnonzero(np.diff(inscopix["epoch"])).tolist() == [12034]
    assert float(inscopix["sampling_rate"]) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("header", ["", "x,"])
def test_wide_rows_are_counted_as_narrow_ones_are(tmp_path, header):
    array = np.random.default_rng(0).normal(size=(5, 300)).round(3)
    rows = [",".join(f"{value:g}" for value in row) for row in array]
    path = tmp_path / "wide.csv"
    head = ",".join(f"{header and 'f'}{k}" for k in range(300)) + "\n" if header else ""
    path.write_text(head + "\n".join(rows) + "\n")
    np.testing.assert_allclose(read_csv(path, sampling_rate=5)["fluorescence"], array, rtol=1e-6)
    rows[3] += ",1"
    path.write_text(head + "\n".join(rows) + "\n")
    with pytest.raises(CalciumError, match=f"row {5 if header else 4} has 301 cells"):
        read_csv(path, sampling_rate=5)
