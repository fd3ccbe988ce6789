"""How figures develop with the sessions: means over a method's runs, with their bands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cl_suite.metrics.accuracy_matrix import FloatArray, Hits, accuracy_matrix
from cl_suite.metrics.figures import base_ratio
from cl_suite.metrics.intervals import mean_interval
from cl_suite.metrics.running import AfterSession, RunningFigures
from cl_suite.report.streams import Method

LEAST_SHARE = 0.01  # of the samples; a bin with fewer says little
FIGURES = tuple(field.name for field in dataclasses.fields(AfterSession))


@dataclass(frozen=True, eq=False)
class Curve:
    """A figure after each session, a fraction.

    Attributes:
        mean: mean over the runs, `(num_sessions,)`; NaN if one does not define it.
        half_width: half the width of its 95 % interval; NaN for a single run.
    """

    mean: FloatArray
    half_width: FloatArray


def after_sessions(hits: Hits) -> dict[str, FloatArray]:
    """Return each figure after each session of a run, `(num_sessions,)`."""
    matrix, num_images = accuracy_matrix(hits)
    base, way = (int((hits.session_of_class == session).sum()) for session in (0, 1))
    running = RunningFigures(base_ratio(base, way))
    found = [running.add(matrix[i, : i + 1], num_images[: i + 1]) for i in range(len(matrix))]
    return {name: np.array([getattr(each, name) for each in found]) for name in FIGURES}


def curves_of(method: Method) -> dict[str, Curve]:
    """Return each figure's curve over the method's runs, which may be of unequal length."""
    runs = [after_sessions(run.hits) for run in method.runs]
    return {name: mean_curve([run[name] for run in runs]) for name in FIGURES}


def confidence_curves(method: Method, names: Sequence[str]) -> dict[str, Curve]:
    """Return figures of confidence after each session; none if a run has not measured them."""
    if not all(run.confidences for run in method.runs):
        return {}
    return {
        name: mean_curve([_values(run.confidences, name) for run in method.runs]) for name in names
    }


def mean_curve(rows: Sequence[FloatArray]) -> Curve:
    """Return the mean and its interval at each session, over the runs that have reached it.

    Args:
        rows: values of a run each, `(num_sessions,)`; NaN where it does not define one.
    """
    found = [
        mean_interval([float(row[session]) for row in rows if session < len(row)])
        for session in range(max(map(len, rows)))
    ]
    return Curve(
        mean=np.array([interval.mean for interval in found]),
        half_width=np.array([interval.half_width for interval in found]),
    )


def mean_matrix(method: Method) -> FloatArray:
    """Return the mean accuracy matrix of the runs that reach the last session any of them does."""
    num_sessions = max(run.hits.num_sessions for run in method.runs)
    whole = [run.hits for run in method.runs if run.hits.num_sessions == num_sessions]
    # one after the other: those of thousands of sessions are large
    found = np.zeros((num_sessions, num_sessions))
    for hits in whole:
        found += accuracy_matrix(hits)[0] / len(whole)
    return found


def calibration_points(method: Method, name: str) -> list[tuple[float, float]]:
    """Return confidence and accuracy of each bin after the last session, over all runs' samples.

    Args:
        name: "bins", or "scaled_bins" for those at the fitted temperature.

    Returns:
        Fractions; of bins with at least a hundredth of the samples, and none if a run lacks them.
    """
    rows = [run.confidence.get(name) for run in method.runs]
    if any(row is None for row in rows):
        return []
    bins = [bin for row in rows for bin in enumerate(row or ())]
    sums = np.zeros((max((place for place, _ in bins), default=-1) + 1, 3))
    for place, (num, confidence, accuracy) in bins:
        if num:
            sums[place] += (num, num * confidence, num * accuracy)
    shown = sums[sums[:, 0] >= max(1, LEAST_SHARE * sums[:, 0].sum())]
    return [(float(c / num), float(a / num)) for num, c, a in shown]


def _values(records: Sequence[Mapping[str, Any]], name: str) -> FloatArray:
    found = (record.get(name) for record in records)
    return np.array([np.nan if value is None else value for value in found], dtype=np.float64)
