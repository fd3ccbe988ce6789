"""The headline metrics by which runs are compared, computed from the hits of a run."""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix


@dataclass(frozen=True)
class Headline:
    """The metrics of a whole run: fractions, NaN if undefined.

    Attributes:
        average: mean of the session accuracies, base session included.
        last: accuracy over all classes after the last session.
        drop: first session accuracy minus the last.
        harmonic: harmonic mean of base and new accuracy after the last session.
        forgetting: accuracy that earlier sessions' classes lost since their best, unweighted.
        last_macro: mean of the per-class accuracies after the last session.
        gacc: generalised accuracy, see `figures.generalised_accuracy`.
        retention: last accuracy over that of the base session.
        backward: backward transfer.
    """

    average: float
    last: float
    drop: float
    harmonic: float
    forgetting: float
    last_macro: float
    gacc: float
    retention: float
    backward: float


def headline(hits: Hits) -> Headline:
    """Return the headline metrics of a run from its hits.

    Raises:
        ValueError: if no session is done.
    """
    matrix, num_images = accuracy_matrix(hits)
    base, way = ((hits.session_of_class == session).sum() for session in (0, 1))
    return Headline(
        average=figures.average_accuracy(matrix, num_images),
        last=figures.last_accuracy(matrix, num_images),
        drop=figures.performance_drop(matrix, num_images),
        harmonic=float(figures.harmonic_mean(matrix, num_images)[-1]),
        forgetting=figures.forgetting(matrix, num_images),
        last_macro=float(figures.macro_accuracy(hits)[-1]),
        gacc=figures.generalised_accuracy(matrix, figures.base_ratio(int(base), int(way))),
        retention=figures.retention(matrix, num_images),
        backward=figures.backward_transfer(matrix, num_images),
    )
