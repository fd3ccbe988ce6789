"""Orders with look-alike classes apart or together, by the class means of a finished run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_suite.data.similar_order import similar_order, within_sessions
from cl_suite.errors import UserError
from cl_suite.metrics.overlap import base_overlap
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.saved_model import load_model


@dataclass(frozen=True, eq=False)
class Means:
    """Class means of training features, as the head of a finished run holds them.

    Attributes:
        rows: `(num_classes, dim)`, by class id.
        sizes: number of classes of each session.
    """

    rows: NDArray[np.float64]
    sizes: tuple[int, ...]

    def orders(self) -> dict[str, list[int]]:
        """Return class ids in order of arrival, look-alike classes apart and together."""
        return {
            "apart": similar_order(self.rows, self.sizes, "apart"),
            "together": similar_order(self.rows, self.sizes, "together"),
        }

    def describe(self, order: list[int]) -> dict[str, float]:
        """Return how much classes of an order look alike.

        Returns:
            `overlap`: see `base_overlap`; `within`: mean cosine of two classes of one session.
        """
        base, new = order[: self.sizes[0]], order[self.sizes[0] :]
        return {
            "overlap": base_overlap(self.rows[base], self.rows[new]),
            "within": within_sessions(self.rows, order, self.sizes),
        }


def class_means(folder: RunFolder) -> Means:
    """Return the class means that a finished run with a cosine head has learned.

    Raises:
        UserError: if its head lacks the mean of a class.
    """
    sessions = folder.read_run_info()["stream"]["session_classes"]
    sizes = tuple(len(classes) for classes in sessions)
    head = load_model(folder).classifier.head
    rows, num = head.weight.detach().double().numpy(), sum(sizes)
    if sorted(head.classes) != list(range(num)):
        raise UserError(
            f"run '{folder.path}' knows {len(head.classes)} of {num} classes, so it has no mean of "
            "each; a benchmark's reference must learn every class"
        )
    by_id = np.empty_like(rows)
    by_id[head.classes] = rows
    return Means(by_id, sizes)


def order_of(folder: RunFolder) -> list[int]:
    """Return the class ids of a run's stream in order of arrival."""
    return [int(c) for s in folder.read_run_info()["stream"]["session_classes"] for c in s]
