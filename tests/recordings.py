"""What several test files run the steps on."""

import warnings

from calcium_engine.recipe import analyze

RATE = 4.8  # Hz


def run(recording, recipe="calibrated", **settings):
    """Analyse without the word on bins of 0.5 s, which are 2.4 frames here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bins of", UserWarning)
        return analyze(recording, recipe, settings={key.replace("__", "."): value for key, value in settings.items()})
