"""What the cleaning did to planted transients, in sentences: the proof that it kept them, or what to change."""

from __future__ import annotations

import numpy as np
import xarray as xr

from calcium_engine.report.words import has, number, several

TYPICAL = {"planted_amplitude": 0.5, "planted_fwhm": 1.0}  # the transient by which cleaning is judged: ΔF/F, s
KEPT = 0.95  # share of its amplitude that must be left before denoising, which has no reason to take any of it
KEPT_DENOISED = 0.85  # and after, which cannot tell all of a small transient from noise
GONE = 20.0  # dB by which a slow wave must fall to a tenth


def about_retention(recording: xr.Dataset) -> list[str]:
    """Say how much of transients cleaning kept, where it took too much, and whether slow fluctuations are gone."""
    if not has(recording, "retention_amplitude"):
        return []
    shares, planted = recording["retention_amplitude"], int(recording["retention_count"].sum())
    typical = shares.sel(TYPICAL, method="nearest")
    kind = f"{_percent(float(typical['planted_amplitude']))} ΔF/F and {number(float(typical['planted_fwhm']))} s"
    if not np.isfinite(typical).any():
        return [
            f"Whether cleaning keeps transients could not be tested: no neuron has room for one of {kind} outside its events "
            f"({several(planted, 'transient')} of other kinds were planted)."
        ]
    left = dict(zip(shares["retention_stage"].values.tolist(), typical.values.tolist(), strict=True))
    denoised = left.pop("denoised", None)
    before = list(left.values())[-1] if left else 1.0  # what came in as ΔF/F and was denoised at once
    kept = before >= KEPT and (denoised is None or denoised >= KEPT_DENOISED)
    after = "" if denoised is None else f" before denoising and {_percent(denoised)} after"
    said = [
        f"Cleaning {'kept' if kept else 'cost'} transients: of the amplitude of planted ones of {kind}, {_percent(before)} was "
        f"left{after} ({several(planted, 'transient')} of all kinds were planted)."
    ]
    if left:
        said += _about_long_ones(
            shares.sel(retention_stage=list(left)[-1], planted_amplitude=float(typical["planted_amplitude"]))
        )
    if denoised is not None and denoised < KEPT_DENOISED * before and has(recording, "denoised"):
        gentler = ", or denoise with shrink='bayes'" if recording["denoised"].attrs.get("shrink") == "visu" else ""
        said.append(f"Denoising takes what it cannot tell from noise: measure amplitudes in the trace before it{gentler}.")
    if has(recording, "f0_floored") and recording["f0_floored"].all():
        said.append("F0 is too small to divide by in every neuron: these are shares of the floor that stands for it.")
    return said + _about_slow(recording)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _about_long_ones(shares: xr.DataArray) -> list[str]:
    """Say how much of transients of each width the baseline takes, where it is too much."""
    if not (shares < KEPT).any():
        return []
    each = [f"{number(float(share['planted_fwhm']))} s: {_percent(float(share))} left" for share in shares if np.isfinite(share)]
    return [
        f"The longer a transient, the more of it is taken for baseline ({', '.join(each)}): a longer window, or the method "
        "'masked', keeps more."
    ]


def _about_slow(recording: xr.Dataset) -> list[str]:
    fallen = float(recording["slow_attenuation"].values[-1])
    if not np.isfinite(fallen):
        return ["The recording is too short to say what cleaning leaves of slow fluctuations."]
    if fallen >= GONE:
        return [f"Slow fluctuations of 60 s fell by {fallen:.0f} dB: they are gone."]
    return [
        f"Slow fluctuations of 60 s are not gone: {_percent(10 ** (-fallen / 20))} of them is left ({fallen:.0f} dB less). A "
        "shorter window in subtract_background() takes more of them, at some cost to long transients."
    ]
