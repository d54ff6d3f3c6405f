"""Which bins are significant: rules that turn the laws of chance into a threshold for each bin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calcium_engine.nulls import Null


@dataclass(frozen=True)
class Verdict:
    """Which bins are significant, and from which count on in each bin (NaN: from none)."""

    significant: np.ndarray
    thresholds: np.ndarray
    attained: np.ndarray  # chance of each bin to be called significant


def _percentile(null: Null, counts: np.ndarray, alpha: float, _: np.ndarray | None) -> float:
    """Find counts above the (1 - alpha) percentile of the null, to the letter."""
    return alpha


def _false_discovery_rate(null: Null, counts: np.ndarray, alpha: float, _: np.ndarray | None) -> float:
    """Benjamini & Hochberg 1995; where no bin passes, what a single one would have needed."""
    ordered = np.sort(null.pvalues_of(counts))
    passes = np.flatnonzero(ordered <= alpha * np.arange(1, len(ordered) + 1) / len(ordered))
    return float(ordered[passes[-1]]) if len(passes) else alpha / len(ordered)


def _familywise(null: Null, counts: np.ndarray, alpha: float, least: np.ndarray | None) -> float:
    """Bonferroni; or, with the smallest chance of each shuffle, what at most a share alpha of shuffles undercut anywhere.

    Where all bins share a law this is the largest count over shuffles (Westfall & Young 1993); p = (1 + #) / (1 + shuffles).
    """
    if least is None:
        return alpha / len(counts)
    allowed = int(alpha * (1 + len(least)) + 1e-9) - 1
    return float(np.nextafter(np.sort(least)[allowed], 0.0)) if allowed >= 0 else -1.0


Rule = Callable[[Null, np.ndarray, float, np.ndarray | None], float]  # the largest p-value that is significant
RULES: dict[str, tuple[Rule, float]] = {  # and the default alpha
    "fdr": (_false_discovery_rate, 0.05),
    "percentile": (_percentile, 0.01),
    "fwer": (_familywise, 0.05),
}


def judge(null: Null, counts: np.ndarray, significance: str, alpha: float, least: np.ndarray | None = None) -> Verdict:
    """Apply a rule of significance to the counts; `least` is the smallest chance in each shuffle, for the family-wise one."""
    thresholds = null.thresholds(RULES[significance][0](null, counts, alpha, least))
    return Verdict(significant=counts >= thresholds, thresholds=thresholds, attained=null.chance_to_reach(thresholds))


def qvalues(null: Null, counts: np.ndarray) -> np.ndarray:
    """Return the false-discovery rate at which each bin would just be found (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(null.pvalues_of(counts), method="bh"))
