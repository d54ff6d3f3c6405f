import builtins
import datetime
import http.server
import os
import pathlib
import pickle
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from calcium_engine.io import fetch, fetch_intro, read, read_npy, read_suite2p
from calcium_engine.io.unpickle import load_objects
from calcium_engine.schema import CalciumError

DATA = Path(os.environ.get("CALCIUM_DATA", "nowhere"))
TRACES = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)


def save_objects(path, value, protocol=None):
    array = np.empty((), object) if isinstance(value, dict) else np.empty(len(value), object)
    if isinstance(value, dict):
        array[()] = value
    else:
        array[:] = value
    if protocol is None:
        np.save(path, array, allow_pickle=True)
        return
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(array, file, protocol=protocol)


@pytest.fixture
def plane(tmp_path):
    plane = tmp_path / "suite2p" / "plane0"
    plane.mkdir(parents=True)
    for name in ("F", "Fneu", "spks"):
        np.save(plane / f"{name}.npy", TRACES + len(name))
    np.save(plane / "iscell.npy", np.array([[1, 0.9], [0, 0.2], [1, 0.7]]))
    med = [[10, 1.5], (np.int64(20), np.float32(2.5)), np.array([30.0, 3.5])]
    save_objects(plane / "stat.npy", [{"med": m, "ypix": np.arange(4), "overlap": np.array([True])} for m in med])
    ops = {"fs": np.float64(4.8), "date": datetime.datetime(2020, 1, 1), "save_path": pathlib.Path("/a"), "raw": b"\xff\x00"}
    save_objects(plane / "ops.npy", {**ops, "more": OrderedDict(a=1), "some": {1, 2}, "names": np.array(["a", None], object)})
    return plane


def test_reads_a_plane(plane, tmp_path):
    recording = read(plane)
    np.testing.assert_array_equal(recording["fluorescence"], TRACES + 1)
    np.testing.assert_array_equal(recording["neuropil"], TRACES + 4)
    np.testing.assert_array_equal(recording["spikes_suite2p"], TRACES + 4)
    assert recording["is_cell"].values.tolist() == [True, False, True]
    np.testing.assert_allclose(recording["cell_probability"], [0.9, 0.2, 0.7], rtol=1e-6)
    assert recording["x"].values.tolist() == [1.5, 2.5, 3.5]
    assert recording["y"].values.tolist() == [10, 20, 30]
    assert float(recording["sampling_rate"]) == 4.8
    assert recording.attrs["source"] == "suite2p/plane0"
    for folder in (plane.parent, tmp_path):
        assert read(folder).identical(recording)
    assert read(plane, accepted_only=True)["neuron"].values.tolist() == [0, 2]
    assert float(read(plane, sampling_rate=4.81)["sampling_rate"]) == 4.81


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol(plane, protocol):
    save_objects(plane / "ops.npy", {"fs": np.float64(4.8), "raw": b"\xff"}, protocol)
    save_objects(plane / "stat.npy", [{"med": np.array([i, 2.0 * i])} for i in range(3)], protocol)
    recording = read(plane)
    assert float(recording["sampling_rate"]) == 4.8
    assert recording["x"].values.tolist() == [0, 2, 4]


def test_little_is_enough(plane):
    for name in ("Fneu", "spks", "iscell", "stat", "ops"):
        (plane / f"{name}.npy").unlink()
    assert list(read(plane, sampling_rate=4.8).data_vars) == ["fluorescence"]
    with pytest.raises(CalciumError, match="sampling rate is missing"):
        read(plane)
    with pytest.raises(CalciumError, match=r"no iscell\.npy"):
        read(plane, sampling_rate=4.8, accepted_only=True)
    save_objects(plane / "ops.npy", {"tau": 1.0})
    save_objects(plane / "stat.npy", [{}, {}, {}])
    assert "x" not in read(plane, sampling_rate=4.8).coords


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p / "F.npy").unlink(), "no suite2p folder"),
        (lambda p: np.save(p / "Fneu.npy", TRACES[:2]), r"Fneu\.npy has shape"),
        (lambda p: np.save(p / "iscell.npy", np.ones(3)), "two columns"),
        (lambda p: np.save(p / "iscell.npy", np.ones((4, 2))), r"iscell\.npy has shape"),
        (lambda p: np.save(p / "iscell.npy", np.zeros((3, 2))), "none of the 3 ROIs"),
        (lambda p: save_objects(p / "stat.npy", [{}]), "has 1 ROIs"),
        (lambda p: save_objects(p / "stat.npy", [{"med": [1]}] * 3), "'med' does not hold 2 numbers"),
        (lambda p: save_objects(p / "stat.npy", [{"med": "ab"}] * 3), "'med' does not hold 2 numbers"),
        (lambda p: save_objects(p / "stat.npy", [{"med": np.array([1, 2], "M8[s]")}] * 3), "'med' does not hold 2 numbers"),
        (lambda p: save_objects(p / "ops.npy", {"fs": None}), "'fs' does not hold 1 number"),
        (lambda p: save_objects(p / "ops.npy", {"fs": 0.0}), "positive"),
        (lambda p: save_objects(p / "ops.npy", {"fs": 30.0}), r"given as 4\.8 Hz, but by ops\.npy it is 30 Hz"),
        (lambda p: save_objects(p / "ops.npy", [1, 2]), "does not hold the dictionaries"),
        (lambda p: np.save(p / "ops.npy", np.ones(2)), "dictionaries are needed"),
        (lambda p: (p / "ops.npy").write_bytes((p / "ops.npy").read_bytes()[:-20]), "cannot be read"),
        (lambda p: (p / "ops.npy").write_bytes(b"junk"), r"no \.npy file"),
    ],
)
def test_refusals(plane, change, message):
    change(plane)
    with pytest.raises(CalciumError, match=message):
        read_suite2p(plane, sampling_rate=4.8, accepted_only=True)


def test_planes_and_folders(plane, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_suite2p(tmp_path / "none")
    second = plane.parent / "plane1"
    second.mkdir()
    np.save(second / "F.npy", TRACES)
    with pytest.raises(CalciumError, match=r"2 planes; read one of them: .*plane0, .*plane1"):
        read(plane.parent)


RAN = []


def run_me(*arguments, **options):
    RAN.append(arguments)
    return {}


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(builtins.exec, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Calls(getattr, "text", "upper"),
    "numpy.load": lambda mark: Calls(np.load, str(mark), None, True),
    "numpy.save": lambda mark: Calls(np.save, str(mark), 1),
    "numpy.fromfile": lambda mark: Calls(np.fromfile, str(mark)),
    "numpy.testing": lambda mark: Calls(np.testing.rundocs, str(mark)),
    "runstring": lambda mark: Calls(np.testing._private.utils.runstring, f"open({str(mark)!r}, 'w')", {}),
    "own": lambda mark: Calls(run_me, 1),
    "mkdir": lambda mark: Calls(os.mkdir, str(mark)),
    "path": lambda mark: Calls(pathlib.Path.touch, mark),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("where", ["top", "nested", "element", "key", "array", "raw"])
def test_hostile_pickles_do_not_run(plane, tmp_path, kind, where):
    mark = tmp_path / "it_ran"
    evil = HOSTILE[kind](mark)
    value = {
        "top": {"fs": evil},
        "nested": {"fs": 4.8, "deep": [{"er": (evil,)}]},
        "element": [evil],
        "key": {"fs": 4.8, (evil, 1): 1},
        "array": {"fs": 4.8, "array": np.array([evil, None], object)},
        "raw": {},
    }[where]
    save_objects(plane / "ops.npy", value)
    if where == "raw":
        (plane / "ops.npy").write_bytes((plane / "ops.npy").read_bytes()[:128] + pickle.dumps(evil))
    RAN.clear()
    with pytest.raises(CalciumError, match="was not loaded, for it could run code: it asks for"):
        read(plane)
    assert not mark.exists()
    assert RAN == []


def test_crafted_calls_of_allowed_names_do_nothing(tmp_path):
    def load(payload):
        path = tmp_path / "x.npy"
        save_objects(path, [1])
        path.write_bytes(path.read_bytes()[:128] + payload)
        return load_objects(path)

    evil = pickle.dumps(Calls(run_me, 1), protocol=2)
    RAN.clear()
    # NumPy's own scalar() would unpickle or reinterpret bytes as an object; here it keeps them and nobody looks.
    scalar = (
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x01\x00\x00\x00O\x85RU" + bytes([len(evil)]) + evil + b"\x86R."
    )
    with pytest.raises(CalciumError, match="where an array was expected"):
        load(scalar)
    # Attributes cannot be planted on what stands for NumPy's functions, for instance to replace them for the next file.
    for name in (
        "cnumpy.core.multiarray\n_reconstruct\n",
        "cnumpy\ndtype\n",
        "c__builtin__\nset\n",
        "ccollections\nOrderedDict\n",
    ):
        with pytest.raises(CalciumError, match="cannot be read"):
            load(b"\x80\x02" + name.encode() + b"N}U\x08__init__K\x01s\x86b.")
    with pytest.raises(CalciumError, match="not an array of objects"):
        load(pickle.dumps(np.arange(3), protocol=2))
    assert RAN == []
    save_objects(tmp_path / "good.npy", [{"a": 1}])
    assert load_objects(tmp_path / "good.npy") == [{"a": 1}]


@pytest.mark.skipif(not DATA.is_dir(), reason="CALCIUM_DATA names no folder of real recordings")
def test_a_real_plane():
    plane = DATA / "formats" / "suite2p" / "plane0"
    recording = read(plane)
    assert recording.sizes == {"neuron": 219, "frame": 2000}
    assert float(recording["sampling_rate"]) == 10
    assert int(recording["is_cell"].sum()) == 20
    stat = np.load(plane / "stat.npy", allow_pickle=True)  # a file of ours: what NumPy itself makes of it
    np.testing.assert_array_equal(recording["y"], [roi["med"][0] for roi in stat])
    np.testing.assert_array_equal(recording["x"], [roi["med"][1] for roi in stat])


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2", "u1", "?"])
def test_npy(tmp_path, dtype):
    path = tmp_path / "a.npy"
    array = (TRACES * 10).astype(dtype)
    np.save(path, array)
    recording = read(path, sampling_rate=4.8)
    np.testing.assert_array_equal(recording["fluorescence"], array.astype(np.float32))
    assert recording["fluorescence"].dtype == np.float32
    np.save(path, np.asfortranarray(array.T))
    assert read_npy(path, sampling_rate=4.8, orientation="columns", variable="dff", neuron=["a", "b", "c"]).sizes["frame"] == 50
    with pytest.warns(UserWarning, match="orientation='columns'"):
        read_npy(path, sampling_rate=4.8)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, None]], object), "pickled Python objects"),
        (np.ones((2, 3), complex), "real numbers"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.ones(4), "2 dimensions"),
        (np.ones((0, 4)), "no neurons"),
        (np.full((2, 3), 1e300), "infinite"),
    ],
)
def test_npy_refusals(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(CalciumError, match=message):
        read(tmp_path / "a.npy", sampling_rate=2)


def test_npy_damaged_missing_or_a_pickle(tmp_path):
    path = tmp_path / "a.npy"
    with pytest.raises(FileNotFoundError):
        read_npy(path, sampling_rate=2)
    with pytest.raises(FileNotFoundError):
        read(path, sampling_rate=2)
    path.write_bytes(pickle.dumps(Calls(run_me, 1)))
    with pytest.raises(CalciumError, match=r"no \.npy file"):
        read(path, sampling_rate=2)
    np.save(path, TRACES)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CalciumError, match="is damaged"):
        read(path, sampling_rate=2)
    with pytest.raises(
        CalciumError, match=r"read_npy\(\), which takes sampling_rate, orientation, variable, neuron, not accepted_only"
    ):
        read(path, sampling_rate=2, accepted_only=True)


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        asked = 0
        content = b"1,2,3\n4,5,6\n"
        status = 200

        def do_GET(self):
            Handler.asked += 1
            self.send_response(Handler.status)
            self.send_header("Content-Length", str(len(Handler.content)))
            self.end_headers()
            self.wfile.write(Handler.content)

        def log_message(self, *arguments):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    Handler.url = f"http://127.0.0.1:{running.server_address[1]}/Fluorescent%20Data.csv"
    yield Handler
    running.shutdown()
    thread.join()
    running.server_close()


def test_fetch(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    blob = fetch.git_blob_id(server.content)
    cache = tmp_path / "cache"
    path = fetch_intro(cache=cache, url=server.url, blob=blob)
    assert path.read_bytes() == server.content
    assert read(path, sampling_rate=4.8).sizes["frame"] == 3
    assert fetch_intro(cache=cache, url=server.url, blob=blob) == path
    assert server.asked == 1  # what is there and right is not fetched again
    path.write_text("damaged")
    assert fetch_intro(cache=cache, url=server.url, blob=blob).read_bytes() == server.content
    assert server.asked == 2
    other = tmp_path / "other"
    with pytest.raises(CalciumError, match="another file than expected"):
        fetch_intro(cache=other, url=server.url)
    server.status = 404
    with pytest.raises(CalciumError, match=r"could not be fetched.*404"):
        fetch_intro(cache=other, url=server.url, blob=blob)
    with pytest.raises(CalciumError, match="could not be fetched"):
        fetch_intro(cache=other, url="http://127.0.0.1:9/x", blob=blob)
    assert not other.exists()
