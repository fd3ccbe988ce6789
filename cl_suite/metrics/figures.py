"""The published metrics, as pure functions of the accuracy matrix and test image counts.

Throughout, `matrix` is `A` `(num_sessions, num_sessions)`: `A[i, j]` is the accuracy after session
`i` on the classes of session `j`, NaN above the diagonal; `num_images` is `n` `(num_sessions,)`.
Every metric is a fraction, and NaN if it is undefined. Session accuracies are micro averages
(hits over images), so they depend neither on batch size nor on the order of the images.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cl_suite.metrics.accuracy_matrix import FloatArray, Hits, IntArray


def session_accuracy(matrix: FloatArray, num_images: IntArray) -> FloatArray:
    """Return the accuracy over all classes seen after each session, `(num_sessions,)`.

    `a_i = sum_{j<=i} n_j A[i, j] / sum_{j<=i} n_j`; the mean of row `i` would weight the base
    session no more than one few-shot session.

    Example:
        >>> matrix = np.array([[0.9, np.nan], [0.85, 0.6]])
        >>> session_accuracy(matrix, np.array([600, 50])).round(4)
        array([0.9   , 0.8308])
    """
    return np.array(
        [weighted_mean(matrix[i, : i + 1], num_images[: i + 1]) for i in range(len(num_images))]
    )


def average_accuracy(matrix: FloatArray, num_images: IntArray) -> float:
    """Return the plain mean of the session accuracies, base session included."""
    _check(matrix, num_images)
    return float(session_accuracy(matrix, num_images).mean())


def last_accuracy(matrix: FloatArray, num_images: IntArray) -> float:
    """Return the accuracy over all classes seen after the last session."""
    _check(matrix, num_images)
    return float(session_accuracy(matrix, num_images)[-1])


def performance_drop(matrix: FloatArray, num_images: IntArray) -> float:
    """Return `PD = a_0 - a_S`; lower is better."""
    _check(matrix, num_images)
    accuracy = session_accuracy(matrix, num_images)
    return float(accuracy[0] - accuracy[-1])


def base_accuracy(matrix: FloatArray, num_images: IntArray) -> FloatArray:
    """Return the accuracy on the base classes after each session, `B_i = A[i, 0]`."""
    _check(matrix, num_images)
    base: FloatArray = matrix[:, 0].copy()
    return base


def new_accuracy(matrix: FloatArray, num_images: IntArray) -> FloatArray:
    """Return the micro accuracy on the classes after the base session; NaN after session 0."""
    return np.array(
        [weighted_mean(matrix[i, 1 : i + 1], num_images[1 : i + 1]) for i in range(len(num_images))]
    )


def harmonic_mean(matrix: FloatArray, num_images: IntArray) -> FloatArray:
    """Return `H_i = 2 B_i N_i / (B_i + N_i)` after each session; NaN after session 0.

    It is 0 if either accuracy is 0, so it shows a failure on the new classes that the accuracy over
    all classes hides.
    """
    base, new = base_accuracy(matrix, num_images), new_accuracy(matrix, num_images)
    harmonic = np.where(np.isnan(base + new), np.nan, 0.0)
    np.divide(2 * base * new, base + new, out=harmonic, where=base + new > 0)
    return harmonic


def generalised_row(row: FloatArray, ratio: int) -> FloatArray:
    """Return a session's accuracy at each weight of the base classes, `g(a)`, `(ratio + 1,)`.

    `g(a) = (a A[0] + sum_j A[j]) / (a + k)` for `a = 0 ... ratio`, over the `k` later sessions. If
    there are none it is `A[0]`, but 0 at `a = 0`, as in the authors' program.

    Args:
        row: accuracy on the classes of each session so far, `(k + 1,)`.
        ratio: number of base classes over that of a later session, `R`.
    """
    weights, later = np.arange(ratio + 1), len(row) - 1
    if later == 0:
        return np.where(weights == 0, 0.0, row[0])
    return np.asarray((weights * row[0] + row[1:].sum()) / (weights + later), dtype=np.float64)


def area(weighted: FloatArray) -> float:
    """Return the mean height of a curve over equal steps, its trapezoid area over its width."""
    if len(weighted) < 2:
        return float("nan")
    return float(np.trapezoid(weighted) / (len(weighted) - 1))


def generalised_accuracy(matrix: FloatArray, ratio: int | None) -> float:
    """Return gAcc: accuracy with each weight of the base classes from 0 to `R`, averaged.

    "Rethinking Few-shot Class-incremental Learning: Learning from Yourself" (ECCV 2024): the area
    under the mean over sessions of `generalised_row`, over `R`. A model that never learns a new
    class keeps less of it than of the average accuracy.

    Args:
        matrix: see the module docstring.
        ratio: see `generalised_row`; None if no session follows the base session (NaN).

    Example:
        >>> lazy = np.array([[0.8, np.nan], [0.8, 0.0]])
        >>> round(generalised_accuracy(lazy, 12), 4)
        0.6953
    """
    if ratio is None:
        return float("nan")
    rows = [generalised_row(matrix[i, : i + 1], ratio) for i in range(len(matrix))]
    return area(np.mean(rows, axis=0))


def base_ratio(base: int, way: int) -> int | None:
    """Return the number of base classes over that of a later session, rounded, at least 1.

    None without a later session, whose `way` is then 0.
    """
    return max(1, round(base / way)) if way else None


def retention(
    matrix: FloatArray, num_images: IntArray, *, which: Literal["all", "base"] = "all"
) -> float:
    """Return the share of the first accuracy that remains: `a_S / a_0`, or `B_S / B_0`.

    The literature uses the name for both, so state which one. NaN if the first accuracy is 0.
    """
    _check(matrix, num_images)
    values = (session_accuracy if which == "all" else base_accuracy)(matrix, num_images)
    return float(values[-1] / values[0]) if values[0] > 0 else float("nan")


def forgetting(matrix: FloatArray, num_images: IntArray, *, weighted: bool = False) -> float:
    """Return the accuracy that earlier sessions' classes lost since their best session.

    `F = (1/S) sum_{j<S} (max_{j<=i<S} A[i, j] - A[S, j])` (Chaudhry et al., ECCV 2018, eq. 3).

    Args:
        matrix: see the module docstring.
        num_images: see the module docstring.
        weighted: weight session `j` by its test images instead of equally, so 60 base classes
            outweigh five new ones.
    """
    last = len(num_images) - 1
    lost = [matrix[j:last, j].max() - matrix[last, j] for j in range(last)]
    return over_sessions(np.array(lost), num_images[:last], weighted)


def backward_transfer(matrix: FloatArray, num_images: IntArray, *, weighted: bool = False) -> float:
    """Return `BWT = (1/S) sum_{j<S} (A[S, j] - A[j, j])` (Lopez-Paz and Ranzato, NeurIPS 2017).

    Args:
        matrix: see the module docstring.
        num_images: see the module docstring.
        weighted: weight session `j` by its test images instead of equally.
    """
    last = len(num_images) - 1
    return over_sessions(
        matrix[last, :last] - matrix.diagonal()[:last], num_images[:last], weighted
    )


def forward_transfer(matrix: FloatArray, untrained: ArrayLike) -> float:
    """Return `FWT = (1/S) sum_{j>=1} (A[j-1, j] - r_j)` (Lopez-Paz and Ranzato, NeurIPS 2017).

    Args:
        matrix: with entries above the diagonal; NaN there makes the metric NaN, as it must be for
            a head that grows.
        untrained: accuracy `r_j` of the untrained model on each session's classes,
            `(num_sessions,)`.
    """
    before = matrix.diagonal(offset=1)
    if before.size == 0:
        return float("nan")
    return float((before - np.asarray(untrained, dtype=np.float64)[1:]).mean())


def macro_accuracy(hits: Hits) -> FloatArray:
    """Return the mean of the accuracies of the classes seen, after each session, `(num_sessions,)`.

    It equals the micro average if all classes have the same number of test images.
    """
    values = np.full(hits.num_sessions, np.nan)
    for session in range(hits.num_sessions):
        seen = (hits.session_of_class >= 0) & (hits.session_of_class <= session) & (hits.counts > 0)
        if seen.any():
            values[session] = (hits.hits[session, seen] / hits.counts[seen]).mean()
    return values


def _check(matrix: FloatArray, num_images: IntArray) -> None:
    if matrix.shape != (len(num_images), len(num_images)) or not len(num_images):
        raise ValueError(
            f"got an accuracy matrix of shape {matrix.shape} and {len(num_images)} image counts; "
            "pass a square matrix with one row per count, and at least one session"
        )


def weighted_mean(values: FloatArray, weights: IntArray) -> float:
    """Return the mean of values by their weights, NaN without any."""
    # a session without test images has accuracy NaN and weight 0, so it does not count
    present = weights > 0
    return float(np.average(values[present], weights=weights[present])) if present.any() else np.nan


def over_sessions(values: FloatArray, num_images: IntArray, weighted: bool) -> float:
    """Return the mean over sessions that have test images, by their number or equally."""
    return weighted_mean(values, num_images if weighted else (num_images > 0).astype(np.int64))
