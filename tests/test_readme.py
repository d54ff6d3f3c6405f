"""The README's lines run as they stand, and print what it shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _described(printed):
    """Dimensions, and each variable's name, dims and dtype; how xarray spaces them is its own affair."""
    dimensions = re.search(r"Dimensions:(.*?)Coordinates", printed, re.DOTALL).group(1).split()
    return dimensions, re.findall(r"^  [ *] (\w+) +(\(.*?\)) (\w+)", printed, re.MULTILINE)


def _described(printed):
    """Dimensions, and each variable's name, dims and dtype; how xarray spaces them is its own affair."""
    dimensions = re.search(r"Dimensions:(.*?)Coordinates", printed, re.DOTALL).group(1).split()
    return dimensions, re.findall(r"^  [ *] (\w+) +(\(.*?\)) (\w+)", printed, re.MULTILINE)


def test_the_lines_run_and_print_the_dataset_shown(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    shown = re.search(r"```\n(<xarray.Dataset>.*?)```", README, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    shutil.copytree(ROOT / "data", tmp_path / "data")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _described(done.stdout) == _described(shown)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "ensembles.png", "events.csv", "report.html"}


def test_both_set_up_commands_are_there():
    assert "python -m pip install . && python -m calcium_engine demo" in README
    assert 'python -m pip install -e ".[test]" && python -m pytest' in README


def test_what_it_links_to_exists():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(r"`((?:notebooks|benchmarks|data)/[^`*]*)`", README):
        assert (ROOT / target).exists(), target
