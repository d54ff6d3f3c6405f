"""Eigenvalues of a population's activity, and the largest that independent neurons give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

COLUMNS = 1024  # at a time
DIGITS = 9  # of eigenvalues: the last ones depend on the number of threads


def gram(rows: np.ndarray) -> np.ndarray:
    """Return the covariance of the rows or of the columns, whichever are fewer, times the number of rows: equal eigenvalues.

    Rows hold whole numbers, or are masks.

    Products of whole numbers are exact, so that no bit depends on the number of threads.
    """
    n_rows, n_columns = rows.shape
    if n_rows <= n_columns:
        products = np.zeros((n_rows, n_rows))
        for first in range(0, n_columns, COLUMNS):
            some = rows[:, first : first + COLUMNS].astype(np.float64)
            products += some @ some.T
        mean = products.mean(axis=0)
        return np.asarray(products - mean - mean[:, None] + mean.mean())
    rows = rows.astype(np.float64)
    return np.asarray(rows.T @ rows - np.outer(rows.sum(axis=0), rows.sum(axis=0)) / n_rows)


def largest_eigenvalue(symmetric: np.ndarray) -> float:
    """Return the largest eigenvalue of a symmetric matrix."""
    if len(symmetric) < 100 or not symmetric.any():
        return float(np.linalg.eigvalsh(symmetric)[-1])
    from scipy.sparse.linalg import eigsh

    # the same each time, so that the answer is; and not ones, of which a centred matrix makes nothing
    start = np.random.default_rng(0).standard_normal(len(symmetric))
    return float(eigsh(symmetric, k=1, which="LA", v0=start, tol=1e-10, return_eigenvectors=False)[0])


def shifted(rows: np.ndarray, n_shuffles: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows, each shifted round by a uniform shift of its own: the same array each time, filled anew."""
    n_rows, n_columns = rows.shape
    out = np.empty_like(rows)
    for shuffle in range(n_shuffles):
        shifts = np.random.default_rng([seed, shuffle]).integers(n_columns, size=n_rows)
        for row, shift in enumerate(np.asarray(shifts)):
            out[row, shift:], out[row, :shift] = rows[row, : n_columns - shift], rows[row, n_columns - shift :]
        yield out
