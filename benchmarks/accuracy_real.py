"""Cleaning of real recordings, where no truth is known: what can be said of it all the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from common import table

import calcium_engine as ce
from calcium_engine.retention import retention_test

RECORDINGS = {
    "zf1": ("population/zf1.ca2", 2.1646),
    "Vader": ("population/Time_Series_Vader_R_2023_03_09_Raw.csv", None),
    "suite2p": ("formats/suite2p/plane0", None),
}
FLAGS = ("f0_floored", "saturated_activity", "low_passed_input", "drifting", "bleaching")
FWHM, AMPLITUDE = 1.0, 0.5  # of the planted transients that are shown: s; ΔF/F


def judge_real(data: Path | None) -> dict[str, Any]:
    """Clean the recordings below `data` by the calibrated recipe; print and return what was found."""
    if data is None:
        print("\nreal recordings: left out; --data DIR names their folder")
        return {}
    found = {}
    for name, (path, rate) in RECORDINGS.items():
        if not (data / path).exists():
            print(f"\nreal recordings: {path} is not below {data}, and left out")
            continue
        recording = ce.read(data / path, sampling_rate=rate)
        if "is_cell" in recording.coords:
            recording = recording.isel(neuron=recording["is_cell"].values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the flags are counted below
            cleaned = ce.analyze(recording)
            found[name] = _described(cleaned if "retention_slope" in cleaned else retention_test(cleaned))
    print("\nreal recordings, calibrated recipe")
    header = ["", "neurons", "finite where input is, %", "median ν", "median noise correlation", *FLAGS]
    table(header, [[name, *list(row.values())[: len(header) - 1]] for name, row in found.items()])
    print(
        f"\ntransients planted in them: FWHM {FWHM:g} s; slope over all amplitudes; amplitude and FWHM kept at {AMPLITUDE:g} ΔF/F"
    )
    header = ["recording, trace", "slope", "amplitude", "FWHM", "60 s wave removed, dB"]
    table(header, [[f"{name}, {stage}", *values] for name, row in found.items() for stage, values in row["retention"].items()])
    return found


def _described(cleaned: xr.Dataset) -> dict[str, Any]:
    given = np.isfinite(cleaned["fluorescence"].values)
    at = {"planted_fwhm": FWHM, "planted_amplitude": AMPLITUDE}
    retention = {
        str(stage): [
            float(one["retention_slope"].sel(planted_fwhm=FWHM)),
            float(one["retention_amplitude"].sel(at)),
            float(one["retention_fwhm"].sel(at)),
            float(one["slow_attenuation"]),
        ]
        for stage, one in ((stage, cleaned.sel(retention_stage=stage)) for stage in cleaned["retention_stage"].values)
    }
    return {
        "neurons": cleaned.sizes["neuron"],
        "finite": float(100 * np.isfinite(cleaned["dff"].values[given]).mean()),
        "noise_level": float(np.nanmedian(cleaned["noise_level"])),
        "noise_correlation": float(np.nanmedian(cleaned["noise_correlation"])),
        **{flag: int(cleaned[flag].sum()) for flag in FLAGS},
        "retention": retention,
    }
