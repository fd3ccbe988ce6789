"""What loggers of figures have in common: a run's records as figures at steps, each once."""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Literal

from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.logging.tags import (
    Figures,
    epoch_figures,
    final_figures,
    final_task_figures,
    outcome,
    probe_figures,
    session_figures,
    task_figures,
)
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.listener import Listener, WatchedRun, WatchedTasks
from cl_suite.runs.task_records import TaskRecord

Axis = Literal["epoch", "session", "task"]


class FigureLogger(Listener):
    """Turns a run's calls into `begins`, `adds` and `closes`.

    In a resumed run everything that came before is added again, in the order in which it was
    added first; a subclass skips or replaces what it has.
    """

    run: WatchedRun
    tasks: WatchedTasks
    is_open = finished = False

    def begins(self, run: WatchedRun | WatchedTasks) -> None:
        """Open the log of this run."""
        raise NotImplementedError

    def adds(self, axis: Axis, step: int, figures: dict[str, float]) -> None:
        """Add figures, all of them finite.

        Args:
            axis: what the step counts: epochs over all sessions, sessions, or tasks.
        """
        raise NotImplementedError

    def closes(self) -> None:
        """Close the log; `finished` says whether the run is. Only called after `begins`."""
        raise NotImplementedError

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self._begin(run)
        measured = 0
        for step, record in enumerate(run.epochs):
            while measured < min(record.session, len(run.log.records)):
                self.session_ends(measured)
                measured += 1
            self._add_epoch(step, record)
        for session in range(measured, len(run.log.records)):
            self.session_ends(session)

    def epoch(self, record: EpochRecord) -> None:
        self._add_epoch(len(self.run.epochs) - 1, record)

    def session_ends(self, session: int) -> None:
        self._add("session", session, session_figures(self.run.log.records[session]))
        for name, log in self.run.probes.items():
            self._add("session", session, probe_figures(name, log.records[session]))

    def ends(self, head: ClassHead) -> None:
        log = self.run.log
        self._add("session", len(log.records) - 1, outcome(final_figures(log)))
        self.finished = True

    def tasks_start(self, run: WatchedTasks) -> None:
        self.tasks = run
        self._begin(run)
        for step, record in enumerate(run.records):
            self._add("task", step, task_figures(record))

    def task_ends(self, record: TaskRecord) -> None:
        self._add("task", len(self.tasks.records) - 1, task_figures(record))

    def tasks_end(self) -> None:
        records = self.tasks.records
        self._add("task", len(records) - 1, outcome(final_task_figures(records)))
        self.finished = True

    def stops(self) -> None:
        if self.is_open:
            self.is_open = False
            self.closes()

    def _begin(self, run: WatchedRun | WatchedTasks) -> None:
        self.begins(run)
        self.is_open = True

    def _add_epoch(self, step: int, record: EpochRecord) -> None:
        self._add("epoch", step, epoch_figures(record))

    def _add(self, axis: Axis, step: int, figures: Figures) -> None:
        defined = {
            tag: float(value)
            for tag, value in figures.items()
            if value is not None and math.isfinite(value)
        }
        self.adds(axis, step, defined)


def package_of(logger: str) -> ModuleType:
    """Import the package that a logger, which has its name and its extra, writes to.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module(logger)
    except ImportError as error:
        raise UserError(
            f"logger '{logger}' needs the package {logger}, which is not installed or cannot be "
            f"imported; install it by `pip install 'cl-suite[{logger}]'`, or leave the logger out"
        ) from error


def reason(error: Exception) -> str:
    """Return the first line of what a package says of its failure."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
