"""Settings for all tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# the first call of a kernel compiles it: no deadline could allow for that
settings.register_profile("dev", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="module")
def recording():
    """A small simulated recording with ensembles and missing frames."""
    from calcium_engine.simulate import simulate_recording

    return simulate_recording(n_neurons=12, n_frames=1500, n_ensembles=2, ensemble_rate=4.0, missing_frames=9, seed=5)


@pytest.fixture(scope="module", params=["classical", "calibrated"])
def finished(request, recording):
    """The recipe's name, and the recording after it."""
    from recordings import run

    return request.param, run(recording, request.param)
