"""Confusion matrices: of batches, and of each session that an engine has trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation import predictions


def confusion_matrix(
    predict: Callable[[Tensor], Tensor], batches: Iterable[list[Tensor]], num_classes: int
) -> Tensor:
    """Return how often class `i` was predicted as class `j`, int64 `(num_classes, num_classes)`."""
    return predictions(predict, batches, num_classes).matrix()


def evaluate_sessions(engine: Engine, session: int, measure: str) -> list[Tensor]:
    """Return a confusion matrix for the test data of each session so far."""
    return [found.matrix() for found in engine.predictions(session, measure)]
