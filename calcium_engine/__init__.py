"""From the fluorescence of neurons to calcium events and neuronal ensembles that hold up in review."""

__version__ = "0.1.0"
