"""Who watches a run: the console, a dashboard, or anybody's logger, by one set of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_suite.data.stream import StreamInfo
from cl_suite.engine.session import EpochRecord
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.measure_log import MeasureLog


@dataclass(frozen=True)
class WatchedRun:
    """A run as its listeners see it; the logs grow while it goes on.

    Attributes:
        folder: where it lives, and where a listener may write files of its own.
        config: its settings.
        info: of its stream.
        log: the figures of the sessions that are measured.
        probes: those of further probes, by name.
        epochs: the epochs that are trained.
    """

    folder: RunFolder
    config: RunConfig
    info: StreamInfo
    log: MeasureLog
    probes: Mapping[str, MeasureLog] = field(default_factory=dict)
    epochs: Sequence[EpochRecord] = ()


class Listener:
    """Base of listeners: every call does nothing. Override what is of interest.

    A run calls `starts` once; in a resumed run the logs then hold what came before. It calls
    `stops` at its end, whatever ended it.
    """

    def images(self, done: int, total: int) -> None:
        """The feature bank has run `done` of `total` images through the network."""

    def starts(self, run: WatchedRun) -> None:
        """The run begins, or goes on; whatever could be refused has been checked."""

    def says(self, text: str) -> None:
        """The run has a sentence for its user."""

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        """Training on a session begins, or goes on after `epochs_done` of its epochs."""

    def batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        """A training step is done."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done; it is the last of the run's `epochs`."""

    def session_ends(self, session: int) -> None:
        """A session is trained and measured; its figures are the last of the run's logs."""

    def ends(self, head: ClassHead) -> None:
        """The run is finished."""

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

    def session_ends(self, session: int) -> None:
        self._tell("session_ends", session)

    def ends(self, head: ClassHead) -> None:
        self._tell("ends", head)

    def stops(self) -> None:
        self._tell("stops")

    def _tell(self, call: str, *arguments: Any) -> None:
        for listener in self.all:
            getattr(listener, call)(*arguments)
