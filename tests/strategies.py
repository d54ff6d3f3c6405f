"""What hypothesis draws: traces in every shape and layout that users bring."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def traces(draw, *, min_frames=1, max_frames=60, max_neurons=4, missing=True, dtypes=(np.float32, np.float64)):
    """Neuron × frame: float32 or float64, some with NaN, ties, constants; C- or F-ordered, strided or read-only."""
    shape = draw(st.integers(1, max_neurons)), draw(st.integers(min_frames, max_frames))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decimals = draw(st.integers(0, 6))
    array = (
        rng.normal(scale=draw(st.sampled_from([1.0, 100.0])), size=shape).round(decimals).astype(draw(st.sampled_from(dtypes)))
    )
    if draw(st.booleans()):
        array[draw(st.integers(0, shape[0] - 1))] = 3.0
    if missing and draw(st.booleans()):
        array[rng.random(shape) < draw(st.sampled_from([0.05, 0.5, 1.0]))] = np.nan
    return _laid_out(draw, array)


def _laid_out(draw, array):
    """The same values in memory as users bring them."""
    layout = draw(st.sampled_from(["C", "F", "strided", "read-only"]))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "strided":
        array = np.repeat(array, 2, axis=1)[:, ::2]
    elif layout == "read-only":
        array.flags.writeable = False
    return array


@st.composite
def rasters(draw, max_neurons=12, max_bins=80):
    """Neuron × bin, boolean."""
    shape = draw(st.integers(1, max_neurons)), draw(st.integers(1, max_bins))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))


@st.composite
def participations(draw):
    """Ensemble event × neuron: boolean or small whole numbers, of any size and layout; also none, and around whole words."""
    sizes = st.integers(0, 12) | st.sampled_from([63, 64, 65, 127, 128, 129, 150])
    shape = draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    if draw(st.booleans()):
        array = array * rng.integers(1, 4, shape, np.uint8)
    return _laid_out(draw, array)


def chunkings(n):
    """Ways to cut n neurons into blocks."""
    return st.lists(st.integers(1, n), min_size=1).map(lambda sizes: _fit(sizes, n))


def _fit(sizes, n):
    blocks = []
    for size in sizes:
        if sum(blocks) + size > n:
            break
        blocks.append(size)
    return tuple([*blocks, n - sum(blocks)] if sum(blocks) < n else blocks)
