"""The same bytes for any number of threads, and no crash from threads of one's own: each in a process by itself."""

import os
import subprocess
import sys

RUN = """
import hashlib, sys, warnings
warnings.simplefilter("ignore", UserWarning)
import calcium_engine as ce

recording = ce.simulate_recording(n_neurons=30, n_frames=3000, n_ensembles=2, ensemble_rate=4.0, seed=3)
for recipe in ("classical", "calibrated"):
    result = ce.analyze(recording.chunk(neuron=7) if "chunked" in sys.argv else recording, recipe).compute()
    digest = hashlib.sha256()
    for name in sorted(map(str, result.variables)):
        digest.update(name.encode() + result[name].values.tobytes())
    print(recipe, digest.hexdigest())
"""

WORKQUEUE = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from calcium_engine import kernels

traces = np.random.default_rng(0).normal(size=(40, 4000))
expected = kernels.rolling_quantile(traces, 101, 0.1)
with ThreadPoolExecutor(4) as pool:
    for found in pool.map(lambda _: kernels.rolling_quantile(traces, 101, 0.1), range(16)):
        np.testing.assert_array_equal(found, expected)
print("alive")
"""


def _run(code, *args, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_thread_and_two_eager_and_chunked_give_the_same_bytes():
    one = _run(RUN, NUMBA_NUM_THREADS="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    two = _run(RUN, NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")
    chunked = _run(RUN, "chunked", NUMBA_NUM_THREADS="2")
    assert one.count("\n") == 2
    assert one == two
    assert one == chunked


def test_kernels_run_in_threads_of_ones_own():
    assert _run(WORKQUEUE, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="4") == "alive\n"
