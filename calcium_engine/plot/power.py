"""What ensembles a recording could have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from calcium_engine.plot._canvas import BLUE, GREY, INK, ORANGE, panels, say, styled
from calcium_engine.power import ENOUGH
from calcium_engine.schema import var

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_power(recording: xr.Dataset, *, axes: Any = None) -> Axes:
    """Draw the share of planted ensembles that are found, by how reliably their members take part in their events.

    Bars are 95 % intervals of that share (Wilson) for the number of ensembles that were planted.

    Args:
        recording: a recording with `ensemble_power` (the function of that name).
        axes: Axes to draw on, or a Figure or SubFigure; by default a new figure.

    Returns:
        the Axes.

    Raises:
        MissingVariableError: no ensembles were planted yet.
    """
    power = var("ensemble_power").check(recording)
    (panel,) = panels(axes, [["power"]], (5.6, 3.8), margins=(0.75, 0.3, 0.55, 0.4))
    panel.set(xlabel="share of its events in which a member takes part", ylabel="share of planted ensembles found")
    panel.set(xlim=(0, 1.05), ylim=(-0.03, 1.05), title="what this recording could show")
    reliability, share = power["planted_reliability"].values.astype(float), power.values
    if not np.isfinite(share).any():
        say(panel, "no ensembles were planted")
        return panel
    size, events, runs = (power.attrs.get(name) for name in ("planted_size", "planted_events", "runs"))
    if size is not None and events is not None:
        panel.set_title(f"ensembles of {int(size)} neurons, active {int(events)} times")
    if runs:
        low, high = _wilson(share, int(runs))
        panel.vlines(reliability, low, high, color=GREY, lw=1.2, label=f"95 % interval, {int(runs)} planted each")
    panel.plot(reliability, share, "-o", color=BLUE, ms=4, lw=1.4)
    least = power.attrs.get("least_reliability")
    said = f"power {ENOUGH:g}: from {float(least):g} on" if least is not None else f"power {ENOUGH:g}: never reached"
    panel.axhline(ENOUGH, color=ORANGE, lw=1, ls="--", label=said)
    if least is not None:
        panel.axvline(float(least), color=ORANGE, lw=1, ls="--")
    panel.legend(framealpha=0.9, edgecolor="none", loc="upper left" if share[-1] < 0.5 or share[0] < 0.5 else "lower right")
    panel.axhline(0, color=INK, lw=0.4)
    return panel


def _wilson(share: np.ndarray, runs: int, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's interval of a share of `runs` (Wilson 1927, J Am Stat Assoc 22:209)."""
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * np.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return middle - half, middle + half
