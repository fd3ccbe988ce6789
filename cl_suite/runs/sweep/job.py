"""A job: one process that a sweep starts, wherever that runs, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cl_suite.runs.sweep.needs import Needs

State = Literal["waiting", "running", "finished", "failed"]
Kind = Literal["bank", "base", "run", "tuning"]
TAIL_LINES = 8
LONGEST_LINE = 300  # characters
MARK = "--- "  # begins the line that a log gets for each try


@dataclass(frozen=True)
class Job:
    """One process of a sweep.

    Attributes:
        name: unique; for a run, its folder below the sweep's.
        arguments: of Python, such as `-m cl_suite.cli run ...`.
        folder: the run folder that it fills, or whose settings it reads.
        log: file that gets what it prints.
        after: names of the jobs that must be finished before it starts.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    needs: Needs
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a job's process ended.

    Attributes:
        code: its exit code; 0 for success.
        lost: why the machine or the process that ran it is gone; None if it ended by itself.
        reason: why it failed, if its log does not say.
    """

    job: Job
    code: int
    lost: str | None = None
    reason: str = ""


@dataclass
class Progress:
    """How far a job is, for those who watch.

    Attributes:
        tries: how often it was started.
        lost: how often the machine or process that ran it was gone.
        begun: whether a machine has taken it; a cluster's queue may be long.
        started: when it was last begun, by a monotonic clock.
        seconds: how long its last try took.
        reason: why its last try failed.
        found_finished: whether it was finished before the sweep began.
    """

    job: Job
    state: State = "waiting"
    tries: int = 0
    lost: int = 0
    begun: bool = False
    started: float = 0.0
    seconds: float | None = None
    reason: str = ""
    found_finished: bool = False


class Pool(Protocol):
    """Where jobs run: processes of this machine, or a Ray cluster."""

    def has_room(self, job: Job) -> bool:
        """Return whether the job may be started now."""
        ...

    def start(self, job: Job) -> None:
        """Start the job."""
        ...

    def has_begun(self, job: Job) -> bool:
        """Return whether a started job has got its machine."""
        ...

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that have ended; wait for one at most so long."""
        ...

    def stop(self) -> None:
        """Stop all jobs gently, and wait until they are gone."""
        ...


class Watcher(Protocol):
    """Shows a sweep's progress."""

    def starts(self, progress: Sequence[Progress]) -> None:
        """The jobs are known."""
        ...

    def changes(self, one: Progress) -> None:
        """A job has started, ended or failed."""
        ...

    def ticks(self) -> None:
        """Some time has passed."""
        ...

    def says(self, text: str) -> None:
        """There is a message for the user."""
        ...

    def stops(self) -> None:
        """The sweep ends, or is stopped."""
        ...


def log_tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a job's last try that are not empty."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = [line.rstrip() for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(found) if line.startswith(MARK)]
    found = found[starts[-1] + 1 :] if starts else found
    return [line[:LONGEST_LINE] for line in found[-lines:]]
