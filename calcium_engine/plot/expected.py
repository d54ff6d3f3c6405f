"""What the indicator lets expect: the transient of one action potential as frames sample it, and its measures."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.indicators import Indicator, get_indicator
from calcium_engine.schema import CalciumError

ONSET = 0.2  # share of its peak at which a transient is said to begin
PHASES = 16  # a transient may begin anywhere between two frames
EXPOSURE_PARTS = 16


def indicator_of(recording: xr.Dataset) -> Indicator | None:
    """Return the indicator that the events were sought as, else the recording's own; None where it is not known."""
    sought = (recording[name].attrs.get("indicator") for name in ("event_onset", "event_fwhm") if name in recording.variables)
    for name in (*sought, recording.attrs.get("indicator")):
        try:
            return get_indicator(str(name))
        except CalciumError:
            continue
    return None


def _sampled(indicator: Indicator, rate: float, phase: float, before: float, after: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames' times and the transient's mean over each exposure, as a share of the highest frame."""
    frames = np.arange(-np.ceil((before + 1) * rate) - 2, np.ceil((after + 1) * rate) + 3)
    begins = (frames - phase) / rate
    within = (np.arange(EXPOSURE_PARTS) + 0.5) / EXPOSURE_PARTS / rate
    y = indicator.shape(begins[:, None] + within).mean(axis=1)
    return begins, y / y.max()


def _crossing(time: np.ndarray, y: np.ndarray, level: float, *, falling: bool = False) -> float:
    """Return when a transient with one peak first rises, or after its peak first falls, through a level."""
    top = int(np.argmax(y))
    if falling:
        i = top + int(np.argmax(y[top:] <= level))
        return float(np.interp(-level, -y[i - 1 : i + 1], time[i - 1 : i + 1]))
    i = int(np.argmax(y >= level))
    return float(np.interp(level, y[i - 1 : i + 1], time[i - 1 : i + 1]))


def expected_transient(indicator: Indicator, rate: float, seconds: np.ndarray) -> np.ndarray:
    """Return the transient of one action potential at these times from its onset, as a share of its peak.

    It is what an average of events should look like: each frame is the mean over its exposure, transients begin anywhere between
    two frames, and each is aligned where it rises through 20 % of its highest frame.
    """
    total = np.zeros(len(seconds))
    for phase in (np.arange(PHASES) + 0.5) / PHASES:
        time, y = _sampled(indicator, rate, phase, -float(seconds.min()), float(seconds.max()))
        total += np.interp(seconds + _crossing(time, y, ONSET), time, y)
    return total / PHASES


def expected_measures(indicator: Indicator, rate: float) -> dict[str, float]:
    """Return what an event of one action potential measures, s: its 20-80 % rise and FWHM as frames sample them, its decay.

    >>> expected_measures(get_indicator("GCaMP6s"), 1000.0)["rise"] < expected_measures(get_indicator("GCaMP6s"), 5.0)["rise"]
    True
    """
    rise, fwhm = [], []
    for phase in (np.arange(PHASES) + 0.5) / PHASES:
        time, y = _sampled(indicator, rate, phase, 0.0, 10 * indicator.decay)
        rise.append(_crossing(time, y, 0.8) - _crossing(time, y, ONSET))
        fwhm.append(_crossing(time, y, 0.5, falling=True) - _crossing(time, y, 0.5))
    return {"rise": float(np.median(rise)), "fwhm": float(np.median(fwhm)), "decay": indicator.decay}
