"""What loggers of figures have in common: a run's records as figures at steps, each once."""

from __future__ import annotations

import importlib
import math
from abc import abstractmethod
from types import ModuleType
from typing import Literal

from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.logging.tags import (
    Figures,
    epoch_figures,
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

    run: WatchedRun | WatchedTasks | None = None
    finished = False

    @abstractmethod
    def begins(self, run: WatchedRun | WatchedTasks) -> None:
        """Open the log of this run."""

    @abstractmethod
    def adds(self, axis: Axis, step: int, figures: dict[str, float]) -> None:
        """Add figures, all of them finite.

        Args:
            axis: what the step counts: epochs over all sessions, sessions, or tasks.
        """

    @abstractmethod
    def closes(self) -> None:
        """Close the log; `finished` says whether the run is. Only called after `begins`."""

    def starts(self, run: WatchedRun) -> None:
        self.begins(run)
        self.run = run
        measured = 0
        for step, record in enumerate(run.epochs):
            while measured < min(record.session, len(run.log.records)):
                self.session_ends(measured)
                measured += 1
            self._add_epoch(step, record)
        for session in range(measured, len(run.log.records)):
            self.session_ends(session)

    def epoch(self, record: EpochRecord) -> None:
        assert isinstance(self.run, WatchedRun)
        self._add_epoch(len(self.run.epochs) - 1, record)

    def session_ends(self, session: int) -> None:
        assert isinstance(self.run, WatchedRun)
        self._add("session", session, session_figures(self.run.log.records[session]))
        for name, log in self.run.probes.items():
            self._add("session", session, probe_figures(name, log.records[session]))

    def ends(self, head: ClassHead) -> None:
        self.finished = True

    def tasks_start(self, run: WatchedTasks) -> None:
        self.begins(run)
        self.run = run
        for step, record in enumerate(run.records):
            self._add("task", step, task_figures(record))

    def task_ends(self, record: TaskRecord) -> None:
        assert isinstance(self.run, WatchedTasks)
        self._add("task", len(self.run.records) - 1, task_figures(record))

    def tasks_end(self) -> None:
        self.finished = True

    def stops(self) -> None:
        if self.run is not None:
            self.run = None
            self.closes()

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
