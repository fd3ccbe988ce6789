"""How far probabilities can be trusted: calibration error, log loss and Brier score.

Arrays are numpy's: `probabilities` `(num_samples, num_classes)` with rows that sum to 1, `columns`
`(num_samples,)` the true class's column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cl_suite.metrics.accuracy_matrix import FloatArray, IntArray

BINS = 15


def calibration_error(
    confidences: FloatArray,
    hits: FloatArray,
    *,
    bins: int = BINS,
    kind: Literal["width", "mass"] = "width",
) -> float:
    """Return the expected calibration error, `sum_b share_b |accuracy_b - confidence_b|`.

    Naeini, Cooper, Hauskrecht, AAAI 2015; with bins of equal mass Nguyen, O'Connor, EMNLP 2015.

    Args:
        confidences: largest probability of each sample, `(num_samples,)`.
        hits: 1 where its class is the true one, else 0.
        kind: bins of equal width, `(lo, hi]`, or of equally many samples, earlier ones larger if
            they do not divide.

    Example:
        >>> round(calibration_error(np.array([0.95, 0.55]), np.array([1.0, 0.0]), bins=5), 3)
        0.3
    """
    if not len(confidences):
        return float("nan")
    order = np.argsort(confidences, kind="stable")
    gaps = (hits - confidences)[order]
    if kind == "mass":
        parts = np.array_split(gaps, bins)
    else:
        parts = np.split(gaps, _edges(confidences[order], bins))
    return float(sum(abs(part.sum()) for part in parts) / len(gaps))


@dataclass(frozen=True)
class Bin:
    """The samples whose largest probability lies in one of the bins of equal width.

    Attributes:
        num: number of samples.
        confidence: mean of their largest probabilities, NaN without samples.
        accuracy: share of hits among them, NaN without samples.
    """

    num: int
    confidence: float
    accuracy: float


def calibration_curve(confidences: FloatArray, hits: FloatArray, *, bins: int = BINS) -> list[Bin]:
    """Return confidence and accuracy of each bin of equal width, from the least confident one.

    They are those of `calibration_error`: the mean of `|accuracy - confidence|`, weighted by `num`.

    Args:
        confidences: see `calibration_error`.
        hits: see `calibration_error`.

    Example:
        >>> calibration_curve(np.array([0.9, 0.7]), np.array([1.0, 0.0]), bins=2)[1]
        Bin(num=2, confidence=0.8, accuracy=0.5)
    """
    order = np.argsort(confidences, kind="stable")
    edges = _edges(confidences[order], bins)
    pairs = zip(*(np.split(values[order], edges) for values in (confidences, hits)), strict=True)
    return [
        Bin(len(own), float(own.mean()), float(right.mean()))
        if len(own)
        else Bin(0, float("nan"), float("nan"))
        for own, right in pairs
    ]


def _edges(in_order: FloatArray, bins: int) -> IntArray:
    """Return where each bin `(lo, hi]` of equal width ends, but the last, among sorted values."""
    return np.searchsorted(in_order, np.arange(1, bins) / bins, side="right")


def log_loss(log_probabilities: FloatArray, columns: IntArray) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats."""
    return float(-log_probabilities[np.arange(len(columns)), columns].mean())


def brier_score(probabilities: FloatArray, columns: IntArray) -> float:
    """Return the mean squared distance to the one-hot labels, from 0 to 2 (Brier, 1950)."""
    own = probabilities[np.arange(len(columns)), columns]
    return float(((probabilities**2).sum(1) - 2 * own + 1).mean())
