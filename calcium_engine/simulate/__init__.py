"""Recordings with a known truth: spikes, ensembles and baseline are planted, then seen through an indicator and a microscope.

Spontaneous bursts and ensemble events make action potentials in continuous time (activity); the indicator turns them into
calcium transients, averaged over each frame (transients); baseline, drift, bleaching, neuropil, movement and shot noise make
fluorescence of them (optics). What was planted comes back in the same Dataset under names that start with `true_` (recording).

`assemblies` is another, simpler world: the published surrogate data on which methods that find assemblies were compared.
"""

from calcium_engine.simulate.assemblies import simulate_assemblies
from calcium_engine.simulate.recording import simulate_recording

__all__ = ["simulate_assemblies", "simulate_recording"]
