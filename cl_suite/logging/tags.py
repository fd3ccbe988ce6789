"""The names that figures have in every logger, such as `accuracy/all`."""

from __future__ import annotations

from collections.abc import Mapping

from cl_suite.engine.session import EpochRecord
from cl_suite.runs.folder import SessionRecord
from cl_suite.runs.task_records import TaskRecord

Figures = Mapping[str, float | None]  # None and NaN: undefined
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
