"""How close new classes come to base classes in a network's features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def base_overlap(base: Floats, new: Floats) -> float:
    """Return the mean over new classes of the largest cosine to a base class; NaN without either.

    Args:
        base: prototypes `(num_base, dim)` of the base classes.
        new: prototypes `(num_new, dim)` of the new classes.

    Example:
        >>> round(base_overlap(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 4.0]])), 6)
        0.8
    """
    if not len(base) or not len(new):
        return float("nan")
    cosines = _unit(new) @ _unit(base).T  # (num_new, num_base)
    return float(cosines.max(axis=1).mean())


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
