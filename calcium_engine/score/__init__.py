"""How well results agree with what is known: planted in a simulation, or recorded at the same time."""

from calcium_engine.membership import best_match
from calcium_engine.score.deconvolution import score_deconvolution
from calcium_engine.score.ensembles import score_ensembles
from calcium_engine.score.events import score_events
from calcium_engine.score.recovery import describe_recovery, score_recovery

__all__ = ["best_match", "describe_recovery", "score_deconvolution", "score_ensembles", "score_events", "score_recovery"]
