"""What is known of each calcium indicator: its kinetics and the size of one action potential.

Amplitude, time to peak and half decay are medians over isolated action potentials in recordings with simultaneous
electrophysiology (Chen et al. 2013, Nature 499:295, for GCaMP6; Dana et al. 2019, Nat Methods 16:649, for jGCaMP7; Zhang et al.
2023, Nature 615:884, for jGCaMP8). `tau` is the decay constant for deconvolution and for the tails of events: the presets in use
in the field (Pachitariu et al. 2018, J Neurosci 38:7976). It is longer than the half decay says, since somatic transients of
several action potentials decay more slowly. jGCaMP7f and jGCaMP8s take the preset of jGCaMP8m, whose half decay is nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

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


INDICATORS = {
    row.name: row
    for row in (
        Indicator("GCaMP6s", 0.22, 0.220, 0.540, 1.25),
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
