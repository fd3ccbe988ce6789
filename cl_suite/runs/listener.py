"""The interface of a run's listeners: console, dashboard, or a third party's logger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_suite.data.stream import StreamInfo
from cl_suite.distributed.group import alone
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.session import EpochRecord
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.task_records import TaskRecord


@dataclass(frozen=True)
class WatchedRun:
    """A run as its listeners see it; the logs grow during the run.

    Attributes:
        folder: the run's folder; a listener may write its own files there.
        config: its settings.
        info: facts about its stream.
        log: figures of the sessions measured so far.
        probes: figures of additional probes, by name.
        epochs: records of the epochs trained so far.
        session_epochs, session_sizes: epochs and training samples of each session.
    """

    folder: RunFolder
    config: RunConfig
    info: StreamInfo
    log: MeasureLog
    probes: Mapping[str, MeasureLog] = field(default_factory=dict)
    epochs: Sequence[EpochRecord] = ()
    session_epochs: Sequence[int] = ()
    session_sizes: Sequence[int] = ()


@dataclass(frozen=True)
class WatchedTasks:
    """A run over many few-shot tasks as its listeners see it; `records` grows during the run.

    Attributes:
        folder: the run's folder; a listener may write its own files there.
        config: its settings.
        info: facts about the stream of the first task.
        tasks: the tasks' numbers.
        records: results of the tasks done so far.
    """

    folder: RunFolder
    config: RunConfig
    info: StreamInfo
    tasks: Sequence[int]
    records: Sequence[TaskRecord]


class Listener:
    """Base class of listeners: every method does nothing. Override those you need.

    A run calls `starts` once; in a resumed run the logs then hold the earlier results. It always
    calls `stops` at its end, even after an error.
    """

    def images(self, done: int, total: int) -> None:
        """The feature bank has run `done` of `total` images through the network."""

    def starts(self, run: WatchedRun) -> None:
        """The run begins or resumes; all checks have passed."""

    def says(self, text: str) -> None:
        """The run has a message for the user."""

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        """Training on a session begins, or resumes after `epochs_done` of its epochs."""

    def batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        """A training step is done."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done; its record is the last of the run's `epochs`."""

    def base_trained(self, found: BaseTraining, trouble: str) -> None:
        """The base session is trained, here or in the run that this one starts from, and judged.

        A resumed run calls it again after `starts`.

        Args:
            trouble: what its training did wrong, as a sentence; "" for nothing.
        """

    def session_ends(self, session: int) -> None:
        """A session is trained and measured; its figures are the last in the run's logs."""

    def ends(self, head: ClassHead) -> None:
        """The run is finished."""

    def tasks_start(self, run: WatchedTasks) -> None:
        """A run over many few-shot tasks begins or resumes; it calls no method of sessions."""

    def task_ends(self, record: TaskRecord) -> None:
        """A task is done; its record is the last of the run's `records`."""

    def tasks_end(self) -> None:
        """All tasks are done."""

    def stops(self) -> None:
        """The run is over, finished or not: close what is open."""


class Listeners(Listener):
    """Several listeners as one: each call goes to all of them, in order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.all = tuple(listeners)

    def images(self, done: int, total: int) -> None:
        self._tell("images", done, total)

    def starts(self, run: WatchedRun) -> None:
        self._tell("starts", run)

    def says(self, text: str) -> None:
        self._tell("says", text)

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        self._tell("session_starts", session, num_epochs, epochs_done)

    def batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        self._tell("batch", session, epoch, step, num_steps)

    def epoch(self, record: EpochRecord) -> None:
        self._tell("epoch", record)

    def base_trained(self, found: BaseTraining, trouble: str) -> None:
        self._tell("base_trained", found, trouble)

    def session_ends(self, session: int) -> None:
        self._tell("session_ends", session)

    def ends(self, head: ClassHead) -> None:
        self._tell("ends", head)

    def tasks_start(self, run: WatchedTasks) -> None:
        self._tell("tasks_start", run)

    def task_ends(self, record: TaskRecord) -> None:
        self._tell("task_ends", record)

    def tasks_end(self) -> None:
        self._tell("tasks_end")

    def stops(self) -> None:
        self._tell("stops")

    def _tell(self, call: str, *arguments: Any) -> None:
        # a run's other processes have no listeners, so they do not take part
        with alone():
            for listener in self.all:
                getattr(listener, call)(*arguments)
