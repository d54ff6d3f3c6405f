"""Real recordings, where CALCIUM_DATA names their folder: the whole path runs, and published numbers come back."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from calcium_engine.cli import main
from calcium_engine.io import open_recording
from calcium_engine.kernels import jaccard_similarity

DATA = Path(os.environ.get("CALCIUM_DATA", "no such folder"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="CALCIUM_DATA names no folder of real recordings")

RECORDINGS = {
    "zf1": (["population/zf1.ca2", "--sampling-rate", "2.1646"], (143, 1950)),
    "zf_20151104": (
        ["population/zf_20151104-f1/zf_20151104-f1_activity_matrix.csv", "--sampling-rate", "2.2", "--input-is", "dff"],
        (114, 4245),
    ),
    "Vader": (["population/Time_Series_Vader_R_2023_03_09_Raw.csv"], (11, 17220)),
    "suite2p": (["formats/suite2p/plane0"], (20, 2000)),
}


@pytest.mark.filterwarnings("ignore:bins of")
@pytest.mark.parametrize("recipe", ["classical", "calibrated"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_the_whole_path_on_a_real_recording(name, recipe, tmp_path):
    (file, *options), shape = RECORDINGS[name]
    out = tmp_path / "out"
    assert main(["run", str(DATA / file), *options, "--recipe", recipe, "--out", str(out), "--no-figures", "--quiet"]) == 0
    result = open_recording(out / "recording.zarr")
    assert (result.sizes["neuron"], result.sizes["frame"]) == shape
    given = result["fluorescence" if "fluorescence" in result else "dff"]
    for trace in ("dff", "detrended", "denoised"):
        np.testing.assert_array_equal(np.isfinite(result[trace]), np.isfinite(given))
    assert result.sizes["event"] > 0
    assert (out / "report.html").stat().st_size > 5000


@pytest.mark.parametrize(("session", "published"), [("Spontaneous", "p.spon"), ("Task", "p.ts")])
def test_jaccard_is_the_published_one(session, published):
    rdata = pytest.importorskip("rdata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        contents = rdata.read_rda(DATA / "population" / "Jac_Time_Series_Vader_R_2023_03_09.RData")
    table = contents["spikedata"]
    rows = table[table["session"] == session]
    active = rows[[name for name in rows.columns if name.startswith("fwd5_")]].dropna().to_numpy(dtype=bool)
    found = jaccard_similarity(active.T)
    expected = np.asarray(contents[published]["jaccard"], dtype=float)
    upper = np.triu_indices(len(expected), 1)  # the published diagonal is 0
    known = np.isfinite(expected[upper])
    assert known.sum() >= 54
    np.testing.assert_allclose(found[upper][known], expected[upper][known], rtol=0, atol=1e-12)
