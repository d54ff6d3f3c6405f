"""What several test files run the steps on."""

import warnings

import numpy as np

from calcium_engine.recipe import analyze

RATE = 4.8  # Hz


def run(recording, recipe="calibrated", **settings):
    """Analyse without the word on bins of 0.5 s, which are 2.4 frames here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of", UserWarning)
        return analyze(recording, recipe, settings={key.replace("__", "."): value for key, value in settings.items()})


def transients(n, times):
    """Transients of height 1 that begin at these frames and decay with a time constant of 6 frames, n frames in all."""
    lag = np.arange(n) - np.array(times)[:, None]
    return np.where(lag >= 0, np.exp(-np.maximum(lag, 0) / 6.0), 0.0).sum(axis=0)
