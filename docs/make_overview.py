"""Draw the figure at the head of the README from the sample recording."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import calcium_engine as ce

HERE = Path(__file__).parent
SMALL = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
}

recording = ce.read(HERE.parent / "data" / "sample.csv", sampling_rate=4.8).calcium.analyze()
with matplotlib.rc_context(SMALL):
    figure = plt.figure(figsize=(10.5, 9.6))
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 1.15])
    left, right = bottom.subfigures(1, 2, width_ratios=[1, 1.35])
    ce.plot_events(recording, axes=top)
    ce.plot_null(recording, axes=left)
    ce.plot_ensembles(recording, axes=right)
    figure.savefig(HERE / "images" / "overview.png", dpi=100)
