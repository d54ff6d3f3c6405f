"""From the fluorescence of neurons to calcium events and neuronal ensembles that hold up in review.

A recording is a labelled `xarray.Dataset` (neuron × frame). Steps take one and return a new one with their results added; each is
a function here and a method of the `.calcium` accessor:

    import calcium_engine as ce

    recording = ce.read("traces.csv", sampling_rate=4.8).calcium.analyze()
    recording.calcium.write_report("report.html")
"""

from calcium_engine import accessor as _accessor
from calcium_engine.analysis import analyze
from calcium_engine.artifacts import mask_artifacts
from calcium_engine.baseline import compute_dff, estimate_baseline, subtract_background
from calcium_engine.coactivity import compute_coactivity
from calcium_engine.deconvolve import deconvolve
from calcium_engine.denoise import denoise
from calcium_engine.ensemble_events import find_ensemble_events
from calcium_engine.ensembles import find_ensembles
from calcium_engine.events import detect_events
from calcium_engine.features import compute_features
from calcium_engine.io import (
    fetch_intro,
    make_recording,
    open_recording,
    read,
    read_csv,
    read_hdf5,
    read_npy,
    read_suite2p,
    save_recording,
)
from calcium_engine.neuropil import subtract_neuropil
from calcium_engine.noise import estimate_noise
from calcium_engine.pairwise import compute_pairwise
from calcium_engine.plot import (
    plot_activation,
    plot_coactivity,
    plot_cut,
    plot_detectability,
    plot_ensembles,
    plot_events,
    plot_features,
    plot_local_null,
    plot_membership,
    plot_noise,
    plot_null,
    plot_pairwise,
    plot_positions,
    plot_power,
    plot_raster,
    plot_retention,
    plot_similarity,
    plot_stages,
    plot_transient,
    plot_transitions,
)
from calcium_engine.power import ensemble_power
from calcium_engine.report import write_report
from calcium_engine.retention import retention_test
from calcium_engine.schema import CalciumError, MissingVariableError
from calcium_engine.score import score_deconvolution, score_ensembles, score_events, score_recovery
from calcium_engine.simulate import simulate_assemblies, simulate_recording
from calcium_engine.tables import to_dataframe, write_tables

__version__ = "0.1.0"
__all__ = [
    "CalciumError",
    "MissingVariableError",
    "analyze",
    "compute_coactivity",
    "compute_dff",
    "compute_features",
    "compute_pairwise",
    "deconvolve",
    "denoise",
    "detect_events",
    "ensemble_power",
    "estimate_baseline",
    "estimate_noise",
    "fetch_intro",
    "find_ensemble_events",
    "find_ensembles",
    "make_recording",
    "mask_artifacts",
    "open_recording",
    "plot_activation",
    "plot_coactivity",
    "plot_cut",
    "plot_detectability",
    "plot_ensembles",
    "plot_events",
    "plot_features",
    "plot_local_null",
    "plot_membership",
    "plot_noise",
    "plot_null",
    "plot_pairwise",
    "plot_positions",
    "plot_power",
    "plot_raster",
    "plot_retention",
    "plot_similarity",
    "plot_stages",
    "plot_transient",
    "plot_transitions",
    "read",
    "read_csv",
    "read_hdf5",
    "read_npy",
    "read_suite2p",
    "retention_test",
    "save_recording",
    "score_deconvolution",
    "score_ensembles",
    "score_events",
    "score_recovery",
    "simulate_assemblies",
    "simulate_recording",
    "subtract_background",
    "subtract_neuropil",
    "to_dataframe",
    "write_report",
    "write_tables",
]

del _accessor
