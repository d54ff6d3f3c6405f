"""What variables and flags are called on a page, and the units in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr

from calcium_engine.schema import var

# Fractions of F0 are shown in percent, as the field reads them.
PERCENT = (
    "dff",
    "background",
    "detrended",
    "denoised",
    "noise",
    "event_amplitude",
    "event_peak_dff",
    "amplitude_median",
    "lod50",
)
UNITS = {"1": "", "count": "", "min^-1": "min⁻¹", "% Hz^-1/2": "% Hz$^{-1/2}$", "sigma": "σ"}

# What is flagged of a neuron, in a word or two, the worst first.
FLAGS = {
    "f0_floored": "F0 floored",
    "low_passed_input": "low-passed",
    "saturated_activity": "saturated",
    "drifting": "drifting",
    "bleaching": "bleaching",
}


def shown_in(array: xr.DataArray) -> tuple[float, str]:
    """Return the factor and the unit in which a variable is shown: fractions of F0 in percent, multiples of the noise in σ.

    >>> shown_in(xr.DataArray(0.2, name="dff")), shown_in(xr.DataArray(4.0, name="dff", attrs={"units": "sigma"}))
    ((100.0, '%'), (1.0, 'σ'))
    """
    units = str(array.attrs.get("units", var(str(array.name)).units))
    if array.name in PERCENT and units != "sigma":
        return 100.0, "%"
    return 1.0, UNITS.get(units, units)


def meaning(array: xr.DataArray) -> str:
    """Return what a variable is; ΔF that was divided by the noise instead of F0 is called so.

    >>> meaning(xr.DataArray(4.0, name="denoised", attrs={"units": "sigma"}))
    'denoised ΔF/σ'
    """
    long_name = var(str(array.name)).long_name
    return long_name.replace("ΔF/F", "ΔF/σ") if array.attrs.get("units") == "sigma" else long_name


def label(array: xr.DataArray) -> str:
    """Return a variable's axis label: what it is, and its unit.

    >>> label(xr.DataArray(2.0, name="event_rate"))
    'event rate (min⁻¹)'
    """
    unit = shown_in(array)[1]
    return f"{meaning(array)} ({unit})" if unit else meaning(array)


def flags_of(recording: xr.Dataset, rows: Iterable[int]) -> list[str]:
    """Return the flags of some neurons, in a word or two each.

    >>> flags_of(xr.Dataset({"drifting": ("neuron", [False, True]), "bleaching": ("neuron", [False, True])}), [0, 1])
    ['', 'drifting, bleaching']
    """
    held = recording[[name for name in FLAGS if name in recording.variables]].compute()
    return [", ".join(word for name, word in FLAGS.items() if name in held and held[name].values[row]) for row in rows]
