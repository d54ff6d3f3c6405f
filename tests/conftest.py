"""Settings for all tests."""

import os

from hypothesis import HealthCheck, settings

# the first call of a kernel compiles it: no deadline could allow for that
settings.register_profile("dev", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
os.environ.setdefault("MPLBACKEND", "Agg")
