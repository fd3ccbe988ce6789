"""Features judged without a classifier: by class means that leave one out, and by their spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
TIE = 1e-9  # difference of two cosines that is rounding alone


def left_out_hits(features: FloatArray, labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return whether each sample's nearest class mean is its own class's, `(n,)`.

    Nearest is the largest cosine; a tie is a miss. The mean of a sample's own class is that of its
    other samples, `(n m - x) / (n - 1)`. A class of one sample has none, so it is a miss.

    Args:
        features: `(n, dim)`; samples with a value that is not finite are misses.
        labels: class ids `(n,)`.

    Example:
        >>> features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])
        >>> left_out_hits(features, np.array([0, 0, 1, 1])).tolist()
        [True, True, False, False]
    """
    is_finite: NDArray[np.bool_] = np.all(np.isfinite(features), axis=1)
    x = np.where(is_finite[:, None], features, 0.0).astype(np.float64)
    _, column, counts = np.unique(labels, return_inverse=True, return_counts=True)
    totals = np.zeros((len(counts), x.shape[1]))
    np.add.at(totals, column, x)
    unit, rows = _unit(x), np.arange(len(x))
    cosines = unit @ _unit(totals).T  # (n, num_classes)
    own = (unit * _unit(totals[column] - x)).sum(axis=1)
    cosines[rows, column] = -np.inf
    found: NDArray[np.bool_] = (own > cosines.max(axis=1) + TIE) & is_finite & (counts[column] > 1)
    return found


def mean_cosine(features: FloatArray) -> float:
    """Return the mean cosine of two different samples' features `(n, dim)`; 1 if all are equal.

    Zeros have a direction of their own.

    Example:
        >>> mean_cosine(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
        0.3333333333333333
    """
    is_zero = ~features.any(axis=1, keepdims=True)
    unit = np.hstack([_unit(features.astype(np.float64)), is_zero])
    num = len(features)
    own = np.square(unit).sum()
    return float((np.square(unit.sum(axis=0)).sum() - own) / (num * (num - 1)))


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    found: NDArray[np.float64] = x / np.maximum(length, 1e-12)
    return found
