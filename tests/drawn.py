"""Figures drawn off the screen, and what is written in them."""

import io

import numpy as np

from calcium_engine.plot import _canvas


def silent(recording):
    """The same recording with no event at all, and nothing that follows from events."""
    empty = recording.isel(event=slice(0, 0), ensemble_event=slice(0, 0), ensemble_event_other=slice(0, 0))
    empty = empty.isel({dim: slice(0, 0) for dim in ("ensemble", "ensemble_other", "compared_ensemble", "merge", "component")})
    empty = empty.isel(cut_step=slice(0, 0), planted_reliability=slice(0, 0))
    nothing = {name: empty[name] * 0 for name in ("coactivity", "event_count", "event_rate")}
    nothing |= {name: empty[name] & False for name in ("is_coactive", "active", "is_pair_significant")}
    nothing |= {name: empty[name] * np.nan for name in ("pair_jaccard_adjusted", "pair_pvalue")}
    return empty.assign({name: value.astype(recording[name].dtype) for name, value in nothing.items()})


def axes_of(made):
    return list(np.ravel(np.asarray(made, dtype=object)))


def draw(function, recording, **options):
    """Draw off the screen, down to the pixels, and return the axes."""
    with _canvas.offscreen():
        made = axes_of(function(recording, **options))
    made[0].figure.savefig(io.BytesIO(), format="png", dpi=40)
    return made


def words(axes):
    return " ".join(one.get_text() for one in axes.texts)


def legend(axes):
    return " ".join(one.get_text() for one in axes.get_legend().get_texts())
