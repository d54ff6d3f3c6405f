"""Every notebook runs from top to bottom, and is kept without its outputs."""

import gc
import os
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# The notebook's own warnings are in its outputs; those of this process come from the machinery that runs it.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_without_an_error(path, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    own = {"TMPDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}  # neither leaves files behind nor reads the user's settings
    env = os.environ | own | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    client.execute(env=env)
    del client
    gc.collect()  # sockets that are still open say so here, not in another test

    for cell in notebook.cells:
        shown = cell.get("outputs", [])
        printed = "".join(one.text for one in shown if one.output_type == "stream" and one.name == "stderr")
        lines = [line for line in printed.splitlines() if line and not line.startswith("  ")]  # without the quoted source
        assert all("whole bins of 2 frames" in line for line in lines), f"{cell.id}: an unexplained warning: {printed}"
        if "plot" in cell.get("source", "") and cell.cell_type == "code" and "import" not in cell.source:
            pictures = [one for one in shown if "image/png" in one.get("data", {})]
            assert pictures, f"{cell.id}: no figure"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path):
    import nbformat

    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
