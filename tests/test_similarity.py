"""Jaccard similarity of all pairs of rows."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import participations

from calcium_engine.kernels import jaccard_similarity

DTYPES = st.sampled_from([np.float32, np.float64])


@given(participations())
def test_similarity_is_the_quotient_of_common_and_of_all_members(array):
    before = array.copy()
    found = jaccard_similarity(array)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, reference.jaccard_similarity(array))
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), array.any(axis=1))
    np.testing.assert_array_equal(array, before)


@given(participations(), DTYPES)
def test_condensed_is_each_pair_of_the_square_once(array, dtype):
    square, condensed = (jaccard_similarity(array, condensed=how, dtype=dtype) for how in (False, True))
    assert square.dtype == condensed.dtype == dtype
    np.testing.assert_array_equal(condensed, square[np.triu_indices(len(array), 1)])


@given(participations())
def test_condensed_is_in_the_order_of_scipy(array):
    from scipy.spatial.distance import pdist

    members = array[array.any(axis=1)]  # two empty rows are at distance 0 there, and have similarity 0 here
    if members.shape[0] > 1:
        np.testing.assert_allclose(1 - jaccard_similarity(members, condensed=True), pdist(members != 0, "jaccard"), atol=1e-15)


@given(participations())
def test_float32_is_float64_rounded(array):
    single, double = (jaccard_similarity(array, dtype=dtype) for dtype in (np.float32, np.float64))
    np.testing.assert_array_equal(single, double.astype(np.float32))


@given(participations(), DTYPES, st.integers(0, 2**32 - 1))
def test_the_order_of_neurons_does_not_matter_and_that_of_events_is_kept(array, dtype, seed):
    rng = np.random.default_rng(seed)
    events, neurons = (rng.permutation(n) for n in array.shape)
    found = jaccard_similarity(array[events][:, neurons], dtype=dtype)
    np.testing.assert_array_equal(found, jaccard_similarity(array, dtype=dtype)[np.ix_(events, events)])


@given(participations(), st.booleans(), DTYPES)
def test_a_thread_of_ones_own_gives_the_same_bits(array, condensed, dtype):
    # there the serial twin runs
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(jaccard_similarity, array, condensed=condensed, dtype=dtype).result()
    np.testing.assert_array_equal(jaccard_similarity(array, condensed=condensed, dtype=dtype), alone)


@pytest.mark.parametrize(("condensed", "pairs"), [(False, 700 * 700), (True, 700 * 699 // 2)])
def test_memory_is_that_of_the_result_and_little_more(condensed, pairs):
    array = np.random.default_rng(0).random((700, 300)) < 0.1
    jaccard_similarity(array[:2], condensed=condensed)  # compiled
    tracemalloc.start()
    jaccard_similarity(array, condensed=condensed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * pairs + array.nbytes


@pytest.mark.parametrize("dtype", [np.float16, int, bool])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(ValueError, match=f"must be float32 or float64, but is {np.dtype(dtype)}"):
        jaccard_similarity(np.ones((2, 3), bool), dtype=dtype)


def test_one_set_alone_is_refused():
    with pytest.raises(ValueError, match="two dimensions, one row for each set, but has 1"):
        jaccard_similarity(np.ones(3, bool))
