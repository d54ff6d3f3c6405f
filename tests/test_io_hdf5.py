import h5py
import numpy as np
import pytest

from calcium_engine.io import read, read_hdf5
from calcium_engine.schema import CalciumError

TRACES = np.random.default_rng(0).normal(100, 9, (3, 40)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def write(datasets, name="traces.h5", attributes=None, **options):
        """Write datasets and the attributes of datasets and groups."""
        path = tmp_path / name
        with h5py.File(path, "w", **options) as file:
            for place, data in datasets.items():
                file[place] = data
            for place, values in (attributes or {}).items():
                file[place].attrs.update(values)
        return path

    return write


def test_the_only_table_is_taken(write):
    path = write(
        {"deep/traces": TRACES, "rate": 4.8, "names": ["a", "b"], "positions": np.arange(3), "stack": np.ones((2, 3, 4))}
    )
    recording = read(path, sampling_rate=4.8)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert recording["fluorescence"].dtype == np.float32
    assert recording.attrs["source"] == "traces.h5"
    assert read(path, sampling_rate=4.8, dataset="/deep/traces", neuron=["a", "b", "c"])["neuron"].values.tolist() == [
        "a",
        "b",
        "c",
    ]
    assert list(read_hdf5(path, sampling_rate=4.8, variable="dff").data_vars) == ["dff"]


@pytest.mark.parametrize("dtype", ["f8", ">f4", "f2", "i2", "u1", "?"])
def test_dtypes(write, dtype):
    array = TRACES.astype(dtype)
    np.testing.assert_array_equal(read(write({"a": array}), sampling_rate=2)["fluorescence"], array.astype(np.float32))


def test_orientation(write):
    path = write({"a": TRACES.T})
    with pytest.warns(UserWarning, match="orientation='columns'"):
        assert read(path, sampling_rate=2).sizes["neuron"] == 40
    np.testing.assert_array_equal(read(path, sampling_rate=2, orientation="columns")["fluorescence"], TRACES)
    with pytest.raises(CalciumError, match="orientation is 'rows' or 'columns'"):
        read(path, sampling_rate=2, orientation="across")


def test_several_tables_are_listed(write):
    path = write({"a": TRACES, "b/c": TRACES[:2], "d": np.arange(5)})
    with pytest.raises(CalciumError, match=r"2 datasets that may be traces: 'a' \(3 × 40\), 'b/c' \(2 × 40\); name one"):
        read(path, sampling_rate=2)
    assert read(path, sampling_rate=2, dataset="b/c").sizes["neuron"] == 2
    for name in ("d", "nothing", "b"):
        with pytest.raises(CalciumError, match=f"no two-dimensional dataset of numbers '{name}'; it has: 'a'"):
            read(path, sampling_rate=2, dataset=name)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"a": np.arange(5)}, "holds no two-dimensional dataset of numbers"),
        ({"a": np.ones((2, 3), complex)}, "holds no two-dimensional dataset"),
        ({"a": np.ones((3, 1))}, "at least 2 frames"),
        ({"a": np.full((2, 3), 1e300)}, "6 values are infinite"),
        ({"a": np.full((2, 3), np.nan)}, "all 6 values are NaN"),
    ],
)
def test_refusals(write, datasets, message):
    with pytest.raises(CalciumError, match=message):
        read(write(datasets), sampling_rate=2, orientation="rows")


def test_missing_damaged_and_without_a_rate(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_hdf5(tmp_path / "none.h5", sampling_rate=2)
    path = write({"a": TRACES})
    with pytest.raises(CalciumError, match="sampling rate is missing"):
        read(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CalciumError, match="cannot be read as HDF5"):
        read(path, sampling_rate=2)
    path.write_text("1,2,3\n4,5,6\n")
    with pytest.raises(CalciumError, match="cannot be read as HDF5"):
        read_hdf5(path, sampling_rate=2)


CAIMAN = {
    "estimates/C": TRACES,
    "estimates/S": TRACES,
    "estimates/b": np.ones((9, 2)),
    "estimates/F_dff": "NoneType",
    "estimates/idx_components": np.array([0, 2]),
    "params/data/fr": 30.0,
}


def test_caiman(write):
    recording = read(write(CAIMAN))
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert float(recording["sampling_rate"]) == 30
    assert recording["is_cell"].values.tolist() == [True, False, True]
    with pytest.raises(CalciumError, match=r"given as 4\.8 Hz, but by traces.h5 it is 30 Hz"):
        read(write(CAIMAN), sampling_rate=4.8)
    both = write({**CAIMAN, "estimates/F_dff": TRACES / 100})
    with pytest.raises(CalciumError, match=r"2 datasets that may be traces: 'estimates/C' .* 'estimates/F_dff'"):
        read(both)
    np.testing.assert_array_equal(read(both, dataset="estimates/F_dff")["dff"], TRACES / 100)
    words = write({**CAIMAN, "params/data/fr": "NoneType", "estimates/idx_components": "NoneType"})
    assert "is_cell" not in read(words, sampling_rate=10).coords


SERIES = "processing/ophys/Fluorescence/RoiResponseSeries"


def nwb(series=SERIES, data=TRACES.T, container="Fluorescence"):
    datasets = {f"{series}/data": data, f"{series}/rois": np.arange(3), f"{series}/starting_time": 7.0}
    attributes = {
        series: {"neurodata_type": "RoiResponseSeries"},
        series.rpartition("/")[0]: {"neurodata_type": container},
        f"{series}/starting_time": {"rate": np.float32(4.8), "unit": "seconds"},
        f"{series}/data": {"unit": "lumens"},
    }
    return datasets, attributes


def test_nwb(write):
    datasets, attributes = nwb()
    # what is not fluorescence, and what is no response of regions
    for place in ("processing/ophys/Neuropil/RoiResponseSeries", "acquisition/speed"):
        datasets[f"{place}/data"] = TRACES.T
    attributes["processing/ophys/Neuropil/RoiResponseSeries"] = {"neurodata_type": "RoiResponseSeries"}
    recording = read(write(datasets, "a.nwb", attributes))
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert float(recording["sampling_rate"]) == pytest.approx(4.8)
    np.testing.assert_array_equal(read(write(datasets, "a.nwb", attributes), orientation="rows")["fluorescence"], TRACES.T)


def test_nwb_conversion(write):
    datasets, attributes = nwb(data=(TRACES.T * 100).astype(np.int16))
    attributes[f"{SERIES}/data"] = {"conversion": 0.01, "offset": 3.0}
    recording = read(write(datasets, "a.nwb", attributes))
    np.testing.assert_allclose(recording["fluorescence"], TRACES + 3, atol=0.011)


@pytest.mark.parametrize("series", ["processing/ophys/DfOverF/plane", "processing/ophys/mine/plane"])
def test_nwb_dff_with_timestamps(write, series):
    datasets, attributes = nwb(series, container="DfOverF")
    del datasets[f"{series}/starting_time"], attributes[f"{series}/starting_time"]
    datasets[f"{series}/timestamps"] = np.r_[np.arange(30), np.arange(100, 110)] / 10
    recording = read(write(datasets, "a.nwb", attributes))
    np.testing.assert_array_equal(recording["dff"], TRACES)
    assert float(recording["sampling_rate"]) == 10
    np.testing.assert_array_equal(np.flatnonzero(np.diff(recording["epoch"])), [29])
    # files before NWB 2 keep regions in rows and have no types
    datasets[f"{series}/data"] = TRACES
    if "DfOverF" in series:
        np.testing.assert_array_equal(read(write(datasets, "a.nwb"))["dff"], TRACES)


def matlab(write, variables):
    path = write(
        {name: np.asarray(value).T for name, value in variables.items()},
        "traces.mat",
        {
            name: {"MATLAB_class": np.bytes_("char" if np.asarray(value).dtype == np.uint16 else "double")}
            for name, value in variables.items()
        },
        userblock_size=512,
    )
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)
    return path


def test_matlab(write):
    path = matlab(write, {"F": TRACES, "fs": [[4.8]], "t": [np.arange(40.0)], "note": np.ones((2, 9), np.uint16)})
    np.testing.assert_array_equal(read(path, sampling_rate=4.8)["fluorescence"], TRACES)
    path = matlab(write, {"F": TRACES.T})
    np.testing.assert_array_equal(read(path, sampling_rate=4.8, orientation="columns")["fluorescence"], TRACES)
    with pytest.raises(CalciumError, match=r"'F' \(40 × 3\)"):
        read(path, sampling_rate=4.8, dataset="G")


def test_an_older_matlab_file_is_told_from_text(tmp_path):
    path = tmp_path / "traces.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM")
    with pytest.raises(CalciumError, match=r"save\(\.\.\., '-v7\.3'\)"):
        read(path, sampling_rate=2)
