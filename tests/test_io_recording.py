import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from calcium_engine.io import make_recording
from calcium_engine.schema import SCHEMA_VERSION, CalciumError

TRACES = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_labels():
    recording = make_recording(TRACES, sampling_rate=2, neuron=["a", "b", "c"], source="here")
    assert recording["fluorescence"].dims == ("neuron", "frame")
    assert recording["fluorescence"].attrs["units"] == "a.u."
    assert recording["time"].values.tolist() == [0, 0.5, 1, 1.5]
    assert recording["time"].attrs["units"] == "s"
    assert float(recording["sampling_rate"]) == 2
    assert recording["neuron"].values.tolist() == ["a", "b", "c"]
    assert recording.attrs["source"] == "here"
    assert recording.attrs["schema_version"] == SCHEMA_VERSION
    assert "make_recording(" in recording.attrs["history"]
    assert "epoch" not in recording.coords
    assert float(recording["fluorescence"].sel(neuron="b", frame=2)) == 6


@pytest.mark.parametrize(
    ("given_dtype", "kept"),
    [("f4", "f4"), ("f8", "f8"), ("f2", "f4"), ("u2", "f4"), ("?", "f4"), (object, "f4"), (">f8", "f8"), (">f4", "f4")],
)
def test_dtypes(given_dtype, kept):
    recording = make_recording(TRACES.astype(given_dtype), sampling_rate=2)
    assert recording["fluorescence"].dtype == kept
    np.testing.assert_array_equal(recording["fluorescence"], TRACES.astype(given_dtype).astype(kept))


def test_lists_and_masks_and_other_variables():
    assert make_recording([[1, 2], [3, 4]], sampling_rate=2, variable="dff")["dff"].dtype == np.float32
    masked = np.ma.masked_equal(TRACES.astype(int), 5)
    assert np.argwhere(np.isnan(make_recording(masked, sampling_rate=2)["fluorescence"].values)).tolist() == [[1, 1]]
    with pytest.raises(CalciumError, match="'fluorescence' or as 'dff'"):
        make_recording(TRACES, sampling_rate=2, variable="baseline")


def test_data_array_keeps_its_labels():
    labelled = xr.DataArray(
        TRACES.T,
        dims=("frame", "neuron"),
        coords={"neuron": [7, 8, 9], "time": ("frame", [1.0, 1.1, 1.2, 1.3]), "x": ("neuron", [1, 2, 3]), "colour": "green"},
    )
    recording = make_recording(labelled)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES)
    assert recording["neuron"].values.tolist() == [7, 8, 9]
    assert recording["x"].attrs["units"] == "pixel"
    assert float(recording["sampling_rate"]) == 10
    assert make_recording(labelled, neuron=[1, 2, 3])["neuron"].values.tolist() == [1, 2, 3]
    with pytest.raises(CalciumError, match=r"rename them with \.rename\(\)"):
        make_recording(labelled.rename(neuron="cell"), sampling_rate=2)


def test_dask_stays_lazy():
    def compute(block):
        raise AssertionError("computed")

    lazy = dask.array.from_array(TRACES.astype(int), chunks=(2, 4)).map_blocks(compute, dtype=int, meta=np.empty((0, 0), int))
    recording = make_recording(lazy, sampling_rate=2)
    assert recording["fluorescence"].dtype == np.float32
    assert recording["fluorescence"].chunks == ((2, 1), (4,))
    in_array = make_recording(xr.DataArray(dask.array.ones((2, 3)), dims=("neuron", "frame")), sampling_rate=2)
    assert in_array["fluorescence"].chunks is not None


def test_time_gives_rate_and_epochs():
    time = np.concatenate([np.arange(10) / 10, 60 + np.arange(5) / 10, 61.4 + np.arange(5) / 10])
    recording = make_recording(np.ones((2, 20)), time=time)
    assert float(recording["sampling_rate"]) == 10
    assert recording["epoch"].values.tolist() == [0] * 10 + [1] * 10  # a pause of 1 s is none yet
    np.testing.assert_array_equal(recording["time"], time)
    assert float(make_recording(np.ones((2, 20)), time=time, sampling_rate=9.95)["sampling_rate"]) == 9.95


@given(st.floats(0.5, 200), st.integers(100, 200), st.integers(0, 2**32 - 1))
def test_rate_survives_rounded_stamps_and_lost_frames(rate, n_frames, seed):
    time = np.round(np.arange(n_frames) / rate, 4)
    kept = np.random.default_rng(seed).random(n_frames) > 0.05
    time = time[kept]
    if np.all(np.diff(time) > 0) and np.median(np.diff(time)) < 1.2 / rate:
        found = float(make_recording(np.ones((1, time.size)), time=time)["sampling_rate"])
        assert found == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (TRACES[0], {}, "2 dimensions"),
        (TRACES[None], {}, "has 3"),
        (TRACES[:, :1], {}, "at least 2 frames"),
        (TRACES[:0], {}, "no neurons"),
        (TRACES.astype(complex), {}, "real numbers"),
        ([[1, 2], [3]], {}, "one length"),
        ([["a", "b"]], {}, "of numbers"),
        (TRACES, {"sampling_rate": None}, "sampling rate is missing"),
        (TRACES, {"sampling_rate": 0}, "positive"),
        (TRACES, {"sampling_rate": -4.8}, "positive"),
        (TRACES, {"sampling_rate": np.nan}, "positive"),
        (TRACES, {"sampling_rate": np.inf}, "positive"),
        (TRACES, {"sampling_rate": "fast"}, "must be a number"),
        (TRACES, {"neuron": [1, 2]}, "one id per neuron"),
        (TRACES, {"neuron": [1, 2, 1]}, "occur more than once: 1"),
        (TRACES, {"neuron": ["a", "b", "a"]}, "more than once: 'a'"),
        (TRACES, {"neuron": [0.5, 1.5, 2.5]}, "integers or strings"),
        (TRACES, {"time": [0, 1, 2]}, "one time per frame"),
        (TRACES, {"time": [0, 0.5, 0.5, 1.5]}, "from 0.5 s at frame 1 to 0.5 s"),
        (TRACES, {"time": [0, 0.5, np.nan, 1.5]}, "nan at frame 2"),
        (TRACES, {"time": ["a", "b", "c", "d"]}, "must be numbers"),
        (TRACES, {"time": [0, 0.1, 0.2, 0.3]}, "given as 2 Hz, but by the time stamps it is 10 Hz"),
        (np.where(TRACES == 5, np.inf, TRACES), {}, "1 values are infinite, first at neuron 1, frame 1"),
        (TRACES * np.nan, {}, "all 12 values are NaN"),
    ],
)
def test_refusals(array, options, message):
    with pytest.raises(CalciumError, match=message):
        make_recording(array, **{"sampling_rate": 2, **options})


def test_a_silent_neuron_may_be_nan():
    traces = TRACES.copy()
    traces[1] = np.nan
    assert int(make_recording(traces, sampling_rate=2)["fluorescence"].isnull().sum()) == 4
