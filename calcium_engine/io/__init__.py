"""Files to recordings, recordings to files."""

from calcium_engine.io.csv import read_csv
from calcium_engine.io.recording import make_recording
from calcium_engine.io.store import open_recording, save_recording

__all__ = ["make_recording", "open_recording", "read_csv", "save_recording"]
