"""The names that figures have in every logger, such as `accuracy/all`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cl_suite.engine.session import EpochRecord
from cl_suite.metrics.figures import (
    average_accuracy,
    forgetting,
    harmonic_mean,
    last_accuracy,
)
from cl_suite.runs.folder import SessionRecord
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.task_records import TaskRecord, means

Figures = Mapping[str, float | None]  # None and NaN: undefined
OUTCOME = "outcome"  # group of the final figures
MEASURES = {  # of a session, by field of its record: a chart each
    "accuracy": "accuracy/all",
    "base": "accuracy/base",
    "new": "accuracy/new",
    "harmonic": "accuracy/harmonic",
    "gacc": "accuracy/gacc",
    "forgetting": "forgetting",
}


def epoch_figures(record: EpochRecord) -> Figures:
    """Return the figures of an epoch of training."""
    return {
        "training/loss": record.loss,
        "training/learning_rate": record.learning_rate,
        "training/images_per_second": (
            record.num_samples / record.seconds if record.seconds else 0.0
        ),
        "training/session": record.session,
    }


def session_figures(record: SessionRecord) -> Figures:
    """Return the figures measured after a session."""
    return {tag: getattr(record, name) for name, tag in MEASURES.items()}


def probe_figures(name: str, record: SessionRecord) -> Figures:
    """Return a probe's accuracy after a session, and how much the features forgot."""
    return {f"probe/{name}": record.accuracy, f"probe/{name}_forgetting": record.forgetting}


def task_figures(record: TaskRecord) -> Figures:
    """Return the figures of a few-shot task."""
    found = record.figures
    return {"task/last": found.last, "task/average": found.average}


def final_figures(log: MeasureLog) -> dict[str, float]:
    """Return the final figures of a run whose sessions are all measured."""
    matrix, num_images = log.matrix(len(log.records) - 1), log.num_images
    return {
        "average accuracy": average_accuracy(matrix, num_images),
        "last accuracy": last_accuracy(matrix, num_images),
        "harmonic mean": float(harmonic_mean(matrix, num_images)[-1]),
        "forgetting": forgetting(matrix, num_images),
    }


def final_task_figures(records: Sequence[TaskRecord]) -> dict[str, float]:
    """Return the means of the same figures over tasks."""
    names = {"average": "average accuracy", "last": "last accuracy"}
    names |= {"harmonic": "harmonic mean", "forgetting": "forgetting"}
    found = means(records)
    return {word: found[name].mean for name, word in names.items() if name in found}


def outcome(figures: Mapping[str, float]) -> Figures:
    """Return final figures under the names that loggers give them."""
    return {f"{OUTCOME}/{name}": value for name, value in figures.items()}
