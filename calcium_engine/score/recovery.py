"""How much of what was planted in a simulated recording came back out of the analysis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from calcium_engine.score.ensembles import score_ensembles
from calcium_engine.score.events import score_events


def score_recovery(recording: xr.Dataset) -> dict[str, float]:
    """Compare everything that was found with everything that was planted: `score_events` and `score_ensembles` together.

    Args:
        recording: a simulated recording that went through `analyze`.

    Returns:
        The scores of both by name; a score that has nothing to rest on is NaN.

    Raises:
        MissingVariableError: the recording was not simulated, or not analysed.
    """
    return score_events(recording) | score_ensembles(recording)


def describe_recovery(scores: Mapping[str, float]) -> str:
    """Put scores into a few plain sentences.

    Args:
        scores: what `score_recovery` returned.

    Returns:
        Lines of text without a line break at the end.
    """
    lines = [
        f"events: {scores['events']:.0f} found for {scores['spike_groups']:.0f} planted groups of spikes; "
        f"{_percent(scores['event_precision'])} of them are right (precision), "
        f"{_percent(scores['event_recall'])} of the groups are found (recall); F1 {_number(scores['event_f1'])}",
        f"recall by size: {_percent(scores['event_recall_1'])} of single spikes, "
        f"{_percent(scores['event_recall_2_3'])} of 2 or 3, {_percent(scores['event_recall_4'])} of 4 or more",
        f"ensemble events: {scores['ensemble_events']:.0f} found for {scores['ensemble_events_planted']:.0f} planted; "
        f"precision {_percent(scores['ensemble_event_precision'])}, recall {_percent(scores['ensemble_event_recall'])}",
        f"ensembles: {scores['ensembles']:.0f} found for {scores['ensembles_planted']:.0f} planted; "
        f"Best Match {_number(scores['best_match'])} (1 is perfect), core neurons' F1 {_number(scores['core_f1'])}, "
        f"adjusted Rand index of the events' labels {_number(scores['event_label_rand'])}",
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "none to judge" if np.isnan(share) else f"{100 * share:.0f} %"


def _number(score: float) -> str:
    return "none to judge" if np.isnan(score) else f"{score:.2f}"
