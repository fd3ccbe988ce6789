"""The figures of a run over many few-shot tasks: `tasks.jsonl` has a line for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.metrics.figures import session_accuracy
from cl_suite.metrics.headline import Headline, headline
from cl_suite.metrics.intervals import MeanInterval, mean_interval
from cl_suite.runs.reading import damaged
from cl_suite.storage.lines import Lines

Rows = tuple[tuple[int, ...], ...]
FIGURES = ("average", "last", "drop", "harmonic", "forgetting")


@dataclass(frozen=True)
class TaskRecord:
    """The result of one task.

    Attributes:
        task: its number.
        images: test images of each session.
        hits: after session `i`, the test images of each session up to `i` predicted correctly.
        data: fingerprint of the task's stream.
        probes: hits of additional probes, by name.
        diverged: whether training left weights that are not finite.
    """

    task: int
    images: tuple[int, ...]
    hits: Rows
    seconds_train: float
    seconds_eval: float
    data: str
    probes: Mapping[str, Rows] = field(default_factory=dict)
    diverged: bool = False

    @property
    def figures(self) -> Headline:
        """The headline figures, those of a single run of this task."""
        return headline(as_hits(self.hits, self.images))

    def line(self) -> dict[str, Any]:
        """Return the task's line: what is stored, and for readers the figures that follow."""
        matrix, images = accuracy_matrix(as_hits(self.hits, self.images))
        found = self.figures
        return {
            "task": self.task,
            **{name: _plain(getattr(found, name)) for name in FIGURES},
            "accuracy": [_plain(value) for value in session_accuracy(matrix, images)],
            "hits": self.hits,
            "images": self.images,
            "probes": dict(self.probes),
            "seconds_train": round(self.seconds_train, 4),
            "seconds_eval": round(self.seconds_eval, 4),
            "data": self.data,
            "diverged": self.diverged,
        }

    @staticmethod
    def of_line(content: Any) -> TaskRecord:
        """Return the record of a task's line.

        Raises:
            ValueError, TypeError, KeyError: for a line that cannot be one.
        """
        record = TaskRecord(
            task=_whole(content["task"]),
            images=tuple(map(_whole, content["images"])),
            hits=_rows(content["hits"]),
            seconds_train=float(content["seconds_train"]),
            seconds_eval=float(content["seconds_eval"]),
            data=str(content["data"]),
            probes={str(name): _rows(rows) for name, rows in content["probes"].items()},
            diverged=bool(content.get("diverged", False)),
        )
        for rows in (record.hits, *record.probes.values()):
            as_hits(rows, record.images)
        return record


def as_hits(rows: Rows, images: Sequence[int]) -> Hits:
    """Return the hits with a column for each session.

    Raises:
        ValueError: if the rows are not those of a triangle, or have more hits than images.
    """
    num = len(images)
    if not num or [len(row) for row in rows] != list(range(1, num + 1)):
        raise ValueError("its hits must be one row a session, each one longer than that before")
    square = np.zeros((num, num), dtype=np.int64)
    for session, row in enumerate(rows):
        square[session, : session + 1] = row
    return Hits(square, np.asarray(images, dtype=np.int64), np.arange(num))


def means(records: Sequence[TaskRecord]) -> dict[str, MeanInterval]:
    """Return the mean of each figure over the tasks that define it, with its 95 % interval."""
    figures = [record.figures for record in records]
    found = {}
    for name in FIGURES:
        values = [v for v in (getattr(each, name) for each in figures) if not np.isnan(v)]
        if values:
            found[name] = mean_interval(values)
    return found


class TasksFile:
    """Appends to `tasks.jsonl` and reads it.

    A killed process may leave half a line at the end; it is dropped, and its task repeated.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, Lines(path)

    def read(self) -> list[TaskRecord]:
        """Return the tasks done; an absent file has none.

        Raises:
            UserError: if the file cannot be read, or a whole line is damaged.
        """
        whole = self.lines.whole()
        records = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                records.append(TaskRecord.of_line(json.loads(line)))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
                raise damaged(self.path, f"line {number}: {reason}") from error
        tasks = [record.task for record in records]
        if len(set(tasks)) < len(tasks):
            raise damaged(self.path, "a task comes twice")
        return records

    def drop_half_line(self) -> None:
        """Delete half a line at the end, so that the next one can follow."""
        self.lines.cut(len(self.lines.whole()))

    def append(self, record: TaskRecord) -> None:
        """Add a task's line; raise `UserError` if the disk is full."""
        line = json.dumps(record.line(), allow_nan=False, separators=(",", ":"))
        self.lines.append(line)


def _rows(content: Any) -> Rows:
    return tuple(tuple(map(_whole, row)) for row in content)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"it has {value!r} instead of a whole number")
    return value


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
