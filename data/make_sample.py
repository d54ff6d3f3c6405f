"""Make sample.csv, the small simulated recording in this folder: `python data/make_sample.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calcium_engine.simulate import simulate_recording

TARGET = Path(__file__).with_name("sample.csv")


def main(target: Path = TARGET) -> None:
    """Simulate 40 neurons for 10 minutes and write their fluorescence, one neuron a row, to a tenth of a unit."""
    # Ten minutes and forty neurons are little to tell ensembles by, so these are active often, and their members reliable.
    recording = simulate_recording(
        n_neurons=40,
        n_frames=3000,
        sampling_rate=4.8,
        event_rate=2.0,
        n_ensembles=4,
        ensemble_size=8,
        ensemble_rate=2.5,
        reliability=0.9,
        jitter=0.05,
        seed=1,
    )
    np.savetxt(target, recording["fluorescence"].values, fmt="%.1f", delimiter=",", newline="\n")


if __name__ == "__main__":
    main()
