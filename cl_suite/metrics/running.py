"""The figures after each session from its own row of the accuracy matrix, not from all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cl_suite.metrics.accuracy_matrix import FloatArray, IntArray
from cl_suite.metrics.figures import area, generalised_row, over_sessions, weighted_mean


@dataclass(frozen=True)
class AfterSession:
    """Figures after a session, as those of the whole matrix are: fractions, NaN if undefined."""

    accuracy: float
    base: float
    new: float
    harmonic: float
    forgetting: float
    gacc: float
    retention: float
    backward: float


class RunningFigures:
    """Takes a matrix row by row; each costs as much as it has entries.

    Args:
        ratio: number of base classes over that of a later session, for gAcc; None leaves it out.

    Example:
        >>> running = RunningFigures()
        >>> _ = running.add(np.array([0.9]), np.array([10]))
        >>> found = running.add(np.array([0.8, 0.6]), np.array([10, 10]))
        >>> round(found.accuracy, 3), round(found.harmonic, 3), round(found.forgetting, 3)
        (0.7, 0.686, 0.1)
    """

    def __init__(self, ratio: int | None = None) -> None:
        self.ratio = ratio
        self.best: FloatArray = np.zeros(0)
        self.own: FloatArray = np.zeros(0)  # of each session directly after it
        self.first = float("nan")
        self.weighted: FloatArray = np.zeros(0 if ratio is None else ratio + 1)

    def add(self, row: FloatArray, num_images: IntArray) -> AfterSession:
        """Return the figures after the session of a row.

        Args:
            row: accuracy on the classes of each session so far, `(num_sessions,)`; NaN if it has no
                test images.
            num_images: test images of these sessions.
        """
        last = len(row) - 1
        base, new = float(row[0]), weighted_mean(row[1:], num_images[1:])
        accuracy = weighted_mean(row, num_images)
        if last == 0:
            self.first = accuracy
        if self.ratio is not None:
            self.weighted = self.weighted + generalised_row(row, self.ratio)
        figures = AfterSession(
            accuracy=accuracy,
            base=base,
            new=new,
            harmonic=_harmonic(base, new),
            forgetting=over_sessions(self.best - row[:last], num_images[:last], weighted=False),
            gacc=area(self.weighted / (last + 1)),
            retention=accuracy / self.first if self.first > 0 else float("nan"),
            backward=over_sessions(row[:last] - self.own, num_images[:last], weighted=False),
        )
        # of each session since its own: the next one compares itself with it
        self.own = np.append(self.own, row[last])
        self.best = np.append(np.maximum(self.best, row[:last]), row[last])
        return figures


def _harmonic(base: float, new: float) -> float:
    if np.isnan(base + new):
        return float("nan")
    return 2 * base * new / (base + new) if base + new > 0 else 0.0
