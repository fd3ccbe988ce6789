"""Hits and test images per class and session, and the accuracy matrix computed from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hits:
    """The result of an evaluation, from which every published metric is computed.

    Attributes:
        hits: test images of class `c` predicted correctly after session `i`, `(num_sessions_done,
            num_classes)`; 0 for classes not yet seen.
        counts: test images of each class, `(num_classes,)`.
        session_of_class: session that introduces each class, `(num_classes,)`; -1 for a class that
            is in no session.

    Raises:
        ValueError: if the shapes disagree, or there are more hits than images.
    """

    hits: IntArray
    counts: IntArray
    session_of_class: IntArray

    def __post_init__(self) -> None:
        if self.hits.ndim != 2:
            raise ValueError(f"hits must be (sessions, classes), got shape {self.hits.shape}")
        wanted = (self.hits.shape[1],)
        if self.counts.shape != wanted or self.session_of_class.shape != wanted:
            raise ValueError(
                f"hits has {wanted[0]} classes, counts has shape {self.counts.shape} and "
                f"session_of_class {self.session_of_class.shape}"
            )
        wrong = (self.hits < 0) | (self.hits > self.counts)
        if wrong.any():
            session, class_id = np.argwhere(wrong)[0]
            raise ValueError(
                f"class {class_id} has {self.counts[class_id]} test images, but "
                f"{self.hits[session, class_id]} hits after session {session}"
            )

    @property
    def num_sessions(self) -> int:
        """Number of sessions evaluated so far."""
        return int(self.hits.shape[0])

    def until(self, session: int) -> Hits:
        """Return the hits of the sessions up to `session`."""
        return Hits(self.hits[: session + 1], self.counts, self.session_of_class)


def accuracy_matrix(hits: Hits, *, allow_future: bool = False) -> tuple[FloatArray, IntArray]:
    """Return the accuracy matrix `A` and the number of test images of each session.

    `A[i, j]` is the accuracy, after session `i`, on the test images of session `j`'s classes. Every
    published metric is a function of the matrix and these numbers.

    Args:
        hits: hits and counts of the sessions done.
        allow_future: keep entries above the diagonal, NaN otherwise. Only meaningful for a model
            that scores classes before it has learned them.

    Returns:
        The matrix of fractions, `(num_sessions_done, num_sessions_done)`, and image counts
        `(num_sessions_done,)`. A session without test images has a column of NaN.

    Example:
        >>> hits = Hits(np.array([[9, 0], [8, 3]]), np.array([10, 5]), np.array([0, 1]))
        >>> accuracy_matrix(hits)
        (array([[0.9, nan],
               [0.8, 0.6]]), array([10,  5]))
    """
    num_images = _session_sums(hits.counts[None], hits.session_of_class, hits.num_sessions)[0]
    session_hits = _session_sums(hits.hits, hits.session_of_class, hits.num_sessions).astype(
        np.float64
    )
    matrix = np.full(session_hits.shape, np.nan)
    np.divide(session_hits, num_images, out=matrix, where=num_images > 0)
    if not allow_future:
        matrix[np.triu_indices(hits.num_sessions, k=1)] = np.nan
    return matrix, num_images


def _session_sums(values: IntArray, session_of_class: IntArray, num_sessions: int) -> IntArray:
    """Return the sums of `(rows, classes)` over each session's classes, `(rows, sessions)`.

    By running sums over the classes in order of their sessions: a matrix product with the table of
    sessions and classes would grow with the product of both.
    """
    order = np.argsort(session_of_class, kind="stable")
    ends = np.searchsorted(session_of_class[order], np.arange(-1, num_sessions), side="right")
    sums = np.zeros((len(values), len(order) + 1), dtype=np.int64)
    np.cumsum(values[:, order], axis=1, out=sums[:, 1:])
    return np.diff(sums[:, ends], axis=1)
