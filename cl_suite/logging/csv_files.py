"""The logger `csv`: a run's records as tables that any program reads."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cl_suite.engine.session import EpochRecord
from cl_suite.runs.folder import SessionRecord
from cl_suite.runs.listener import Listener, WatchedRun, WatchedTasks
from cl_suite.runs.task_records import FIGURES, TaskRecord
from cl_suite.storage.files import atomic_write
from cl_suite.storage.lines import Lines

EPOCHS = tuple(field.name for field in dataclasses.fields(EpochRecord))
SESSIONS = ("probe", *(field.name for field in dataclasses.fields(SessionRecord)))
TASKS = ("task", *FIGURES, "seconds_train", "seconds_eval", "diverged")


class CsvFiles(Listener):
    """Writes `epochs.csv` and `sessions.csv`, or `tasks.csv`, into the run's folder.

    Fractions are written as they are, undefined ones as nothing. `probe` names the probe that
    measured a session, and is empty for the run's own figures. A resumed run writes the tables
    anew from its records, and goes on.
    """

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.epochs = Table(run.folder.path / "epochs.csv", EPOCHS)
        self.sessions = Table(run.folder.path / "sessions.csv", SESSIONS)
        self.epochs.write(map(dataclasses.asdict, run.epochs))
        self.sessions.write(
            row for session in range(len(run.log.records)) for row in self._rows(session)
        )

    def epoch(self, record: EpochRecord) -> None:
        self.epochs.add(dataclasses.asdict(record))

    def session_ends(self, session: int) -> None:
        self.sessions.add(*self._rows(session))

    def tasks_start(self, run: WatchedTasks) -> None:
        self.tasks = Table(run.folder.path / "tasks.csv", TASKS)
        self.tasks.write(map(TaskRecord.line, run.records))

    def task_ends(self, record: TaskRecord) -> None:
        self.tasks.add(record.line())

    def _rows(self, session: int) -> list[dict[str, Any]]:
        logs = {"": self.run.log, **self.run.probes}
        return [
            {"probe": name, **dataclasses.asdict(log.records[session])}
            for name, log in logs.items()
        ]


class Table:
    """A table of named columns in a file; a line is written whole or, by a crash, not at all."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, columns

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the table with these rows in place of an earlier one.

        Raises:
            UserError: if the disk is full, or the file cannot be written.
        """
        lines = [self._line(dict(zip(self.columns, self.columns, strict=True)))]
        lines += map(self._line, rows)
        atomic_write(self.path, "".join(f"{line}\n" for line in lines).encode())

    def add(self, *rows: dict[str, Any]) -> None:
        """Add rows at the end; raises as `write` does."""
        Lines(self.path).append(*map(self._line, rows))

    def _line(self, row: dict[str, Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow([row[name] for name in self.columns])
        return text.getvalue()
