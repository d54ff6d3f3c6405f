"""One function a figure: a recording in, Matplotlib Axes out."""

from calcium_engine.plot.activation import plot_activation
from calcium_engine.plot.activity import plot_raster
from calcium_engine.plot.clusters import plot_similarity
from calcium_engine.plot.coactivity import plot_coactivity, plot_local_null, plot_null
from calcium_engine.plot.cut import plot_cut
from calcium_engine.plot.detectability import plot_detectability
from calcium_engine.plot.ensembles import plot_ensembles, plot_positions
from calcium_engine.plot.events import plot_events
from calcium_engine.plot.features import plot_features
from calcium_engine.plot.figures import FIGURES, render_figures, write_figures
from calcium_engine.plot.membership import plot_membership
from calcium_engine.plot.noise import plot_noise
from calcium_engine.plot.pairwise import plot_pairwise
from calcium_engine.plot.power import plot_power
from calcium_engine.plot.retention import plot_retention
from calcium_engine.plot.traces import plot_stages
from calcium_engine.plot.transient import plot_transient
from calcium_engine.plot.transitions import plot_transitions

__all__ = [
    "FIGURES",
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
    "render_figures",
    "write_figures",
]
