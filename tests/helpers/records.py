"""The figures of a session from the hits of all sessions, as an independent check of a run's."""

from __future__ import annotations

from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.runs.folder import SessionRecord, defined


def session_record(
    hits: Hits, session: int, *, seconds_train: float, seconds_eval: float, seen_classes: int
) -> SessionRecord:
    """Return the figures after `session`, from the hits of that session and those before."""
    matrix, num_images = accuracy_matrix(hits.until(session))
    base, way = (int((hits.session_of_class == number).sum()) for number in (0, 1))
    return SessionRecord(
        session=session,
        accuracy=defined(figures.session_accuracy(matrix, num_images)[session]),
        base=defined(figures.base_accuracy(matrix, num_images)[session]),
        new=defined(figures.new_accuracy(matrix, num_images)[session]),
        harmonic=defined(figures.harmonic_mean(matrix, num_images)[session]),
        forgetting=defined(figures.forgetting(matrix, num_images)),
        seconds_train=float(seconds_train),
        seconds_eval=float(seconds_eval),
        seen_classes=int(seen_classes),
        gacc=defined(figures.generalised_accuracy(matrix, figures.base_ratio(base, way))),
        retention=defined(figures.retention(matrix, num_images)),
        backward=defined(figures.backward_transfer(matrix, num_images)),
    )
