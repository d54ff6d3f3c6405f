"""Tails of the Poisson-binomial law against arithmetic with 50 digits, from the probabilities just as they are held."""

from __future__ import annotations

import sys
import time
from decimal import Decimal, localcontext
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from bursty import bursty_recording
from coactivity_bars import Bar
from coactivity_real import probabilities, recordings
from common import table

import calcium_engine as ce
from calcium_engine.kernels import poisson_binomial_pmf, poisson_binomial_sf

DIGITS = 50
FLOORS = (1e-12, 1e-23, 1e-100, 1e-280)  # the error is the largest of all chances down to each
MOST_ERROR, JUDGED = 1e-10, 1e-100
FAR = 800.0  # the reference ends where the chance is below e to minus this, 1e-347: what is left out of a tail is below notice
LARGE = (100_000, (2e-4, 1e-3, 3e-3, 8e-3))  # neurons, and the few rates that they have


def reference(chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Law and tails, as Decimal; each trial by itself."""
    with localcontext() as context:
        context.prec = DIGITS
        law = np.array([Decimal(0)] * (len(chances) + 1), object)
        law[0] = Decimal(1)
        for k, p in enumerate(map(Decimal, chances.tolist())):
            law[1 : k + 2] = law[1 : k + 2] * (1 - p) + law[: k + 1] * p
            law[0] *= 1 - p
        return law, np.cumsum(law[::-1])[::-1]


def few_rates(numbers: np.ndarray, rates: tuple[float, ...], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Law and tails of up to `most` of many trials with few different chances: their binomial laws, convolved."""
    with localcontext() as context:
        context.prec = DIGITS
        total = np.array([Decimal(1)] + [Decimal(0)] * most, object)
        for n, rate in zip(numbers.tolist(), rates, strict=True):
            p = Decimal(rate)
            own = np.array([comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(most + 1)], object)
            total = np.array([(total[: k + 1] * own[k::-1]).sum() for k in range(most + 1)], object)
        return total, np.cumsum(total[::-1])[::-1]


def errors(found: np.ndarray, true: np.ndarray) -> list[float]:
    """Largest relative error of all chances down to each floor; chances are compared as Decimal."""
    relative = np.array(
        [abs(Decimal(float(one)) / exact - 1) if exact else Decimal(0) for one, exact in zip(found, true, strict=True)]
    )
    return [
        max((float(error) for error, exact in zip(relative, true, strict=True) if exact >= floor), default=0.0)
        for floor in FLOORS
    ]


def judge_tails(data: Path | None, seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Bar]]:
    """A16: law and tail of recordings of several sizes, SciPy's beside them, and of 100 000 neurons."""
    rng = np.random.default_rng(seed)
    counted = ce.compute_coactivity(bursty_recording(seed))
    cases = {"324 bursty neurons": probabilities(counted), "324 log-normal": _lognormal(rng, 324)}
    if not quick:
        cases |= {"2000 log-normal": _lognormal(rng, 2000)}
    cases |= real_chances(data)
    rows, bars, curve = [], [], {}
    for name, chances in cases.items():
        print(f"tails with {DIGITS} digits, {name} …", file=sys.stderr, flush=True)
        law, tails = reference(chances)
        found = {
            "law": (poisson_binomial_pmf(chances), law),
            "tail": (poisson_binomial_sf(chances), tails),
            **_scipy(chances, law),
        }
        for what, (ours, true) in found.items():
            worst = errors(ours, true)
            rows.append([f"{name}, {what}", *worst])
            if "SciPy" not in what:
                bars.append(Bar("A16", f"{name}: relative error of the {what} down to 1e-100", worst[2], MOST_ERROR))
        curve = curve or {what: _curve(*pair) for what, pair in found.items()}
    rows += _large(rng, bars, 10 if quick else 1)
    print("\nA16: largest relative error of all chances down to")
    table(["", *(f"{floor:g}" for floor in FLOORS)], rows)
    return {"floors": FLOORS, "rows": rows, "curve": curve}, bars


def _lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.minimum(0.02 * rng.lognormal(-0.5, 1.0, n), 1.0)


def real_chances(data: Path | None) -> dict[str, np.ndarray]:
    """Shares of active bins of the neurons of a real recording."""
    return {
        f"{one.sizes['neuron']} of {name}": probabilities(one) for name, one in recordings(data) if name in ("zf1", "xsembles")
    }


def _scipy(chances: np.ndarray, law: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from scipy import stats

    if not hasattr(stats, "poisson_binom"):
        return {}
    return {"SciPy's law": (stats.poisson_binom.pmf(np.arange(len(law)), chances), law)}


def _curve(found: np.ndarray, true: np.ndarray) -> list[tuple[float, float]]:
    """Chance and relative error, for the figure."""
    return [
        (float(exact), float(abs(Decimal(float(one)) / exact - 1)))
        for one, exact in zip(found, true, strict=True)
        if exact > 1e-290
    ]


def _large(rng: np.random.Generator, bars: list[Bar], smaller: int) -> list[list[Any]]:
    n, rates = LARGE[0] // smaller, LARGE[1]
    kind = rng.integers(len(rates), size=n)
    chances = np.array(rates)[kind]
    mean = chances.sum()
    counts = np.arange(1, 10 * mean + 1000)
    most = int(counts[np.argmax(counts * np.log(counts / mean) - counts + mean > FAR)])  # Chernoff's bound
    print(f"tails with {DIGITS} digits, {n} neurons …", file=sys.stderr, flush=True)
    law, tails = few_rates(np.bincount(kind, minlength=len(rates)), rates, most)
    poisson_binomial_pmf(chances[:10])
    start = time.perf_counter()
    found = poisson_binomial_pmf(chances)
    took = time.perf_counter() - start
    rows = [[f"{n} neurons of {len(rates)} rates, law ({1000 * took:.0f} ms)", *errors(found[: most + 1], law)]]
    rows.append([f"{n} neurons of {len(rates)} rates, tail", *errors(poisson_binomial_sf(chances)[: most + 1], tails)])
    bars += [Bar("A16", f"{row[0]}: relative error down to 1e-100", row[3], MOST_ERROR) for row in rows]
    return rows
