"""Recordings whose traces are not in memory, as those opened from a store: every value that is asked for is counted."""

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


class Counted(BackendArray):
    """An array that is read through xarray's lazy indexing, and counts the elements read."""

    def __init__(self, values, counter):
        self.values, self.counter = values, counter
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key):
        rows, columns = key
        found = self.values[rows][..., columns]
        self.counter.append(found.size)
        return found


def lazily(recording):
    """The recording with all traces lazy, the list to which each reading adds its number of elements, and how many there are."""
    counter, traces = [], {}
    for name, array in recording.data_vars.items():
        if set(array.dims) == {"neuron", "frame"}:
            data = indexing.LazilyIndexedArray(Counted(array.values, counter))
            traces[name] = xr.Variable(array.dims, data, array.attrs)
    return recording.assign(traces), counter, sum(array.size for array in traces.values())
