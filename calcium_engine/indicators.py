"""What is known of each calcium indicator: its kinetics and the size of one action potential.

Amplitude, time to peak and half decay are medians over isolated action potentials in recordings with simultaneous
electrophysiology (Chen et al. 2013, Nature 499:295, for GCaMP6; Dana et al. 2019, Nat Methods 16:649, for jGCaMP7; Zhang et al.
2023, Nature 615:884, for jGCaMP8). GCaMP6m's are approximate: its spikes are resolved 75 to 100 ms apart, about its rise (Chen et
al. 2013), and amplitude and half decay are put between those of its two relatives. `tau` is the decay constant for deconvolution
and for the tails of events: for GCaMP6 the presets in use in the field (Pachitariu et al. 2018, J Neurosci 38:7976), longer than
the half decay says, since somatic transients of several action potentials decay more slowly; for the faster ones a choice in the
same spirit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calcium_engine.schema import CalciumError


@dataclass(frozen=True)
class Indicator:
    """Kinetics of one indicator; `amplitude` is the ΔF/F of one action potential, times are in seconds."""

    name: str
    amplitude: float
    time_to_peak: float
    half_decay: float
    tau: float

    @property
    def longest_fwhm(self) -> float:
        """The widest transient, in seconds, that one event should show: four decay constants (5 s for GCaMP6s)."""
        return 4.0 * self.tau

    @property
    def decay(self) -> float:
        """Decay constant, s, of the transient of one action potential."""
        return self.half_decay / math.log(2)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum, s, of the transient of one action potential."""
        fine = np.linspace(0.0, self.time_to_peak + self.half_decay, 2001)
        return float(fine[-1] - fine[np.argmax(self.shape(fine) >= 0.5)])

    def shape(self, seconds: np.ndarray) -> np.ndarray:
        """ΔF/F at these times after one action potential, as a share of its peak: it rises and decays exponentially.

        >>> get_indicator("GCaMP6s").shape(np.array([-1.0, 0.0, 0.22, 0.76])).round(2).tolist()
        [0.0, 0.0, 1.0, 0.5]
        """
        decay, rise = time_constants(self.time_to_peak, self.half_decay)
        t = np.maximum(seconds, 0.0)
        peak = math.exp(-self.time_to_peak / decay) - math.exp(-self.time_to_peak / rise)
        return np.asarray((np.exp(-t / decay) - np.exp(-t / rise)) / peak)


def time_constants(time_to_peak: float, half_decay: float, exponent: float = 1.0) -> tuple[float, float]:
    """Return (decay, rise) for which exp(-t/decay) - exp(-t/rise), raised to `exponent`, peaks and halves when asked to."""
    left = 0.5 ** (1 / exponent)

    def constants(log_ratio: float) -> tuple[float, float]:
        decay = time_to_peak * math.expm1(log_ratio) / log_ratio
        return decay, decay / math.exp(log_ratio)

    def kept(log_ratio: float) -> float:
        decay, rise = constants(log_ratio)
        late = time_to_peak + half_decay
        return (math.exp(-late / decay) - math.exp(-late / rise)) / (
            math.exp(-time_to_peak / decay) - math.exp(-time_to_peak / rise)
        )

    low, high = 1e-3, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) < left else (low, middle)
    return constants(low)


INDICATORS = {
    row.name: row
    for row in (
        Indicator("GCaMP6s", 0.22, 0.220, 0.540, 1.25),
        Indicator("GCaMP6m", 0.13, 0.080, 0.270, 1.0),
        Indicator("GCaMP6f", 0.063, 0.060, 0.200, 0.7),
        Indicator("jGCaMP7f", 0.24, 0.040, 0.100, 0.5),
        Indicator("jGCaMP8m", 0.52, 0.020, 0.100, 0.5),
        Indicator("jGCaMP8s", 0.73, 0.040, 0.160, 0.5),
    )
}


def get_indicator(name: str) -> Indicator:
    """Return an indicator by its name, whatever the case.

    >>> get_indicator("gcamp6s").tau
    1.25
    """
    for known, indicator in INDICATORS.items():
        if known.lower() == str(name).lower():
            return indicator
    raise CalciumError(f"unknown indicator {name!r}; known: {', '.join(INDICATORS)}")
