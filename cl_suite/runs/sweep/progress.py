"""Reads how far a run is from its folder, and estimates how long a sweep still takes."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.sweep.job import Job, Progress, log_tail

_EPOCH = re.compile(r"session (\d+): epoch (\d+)/(\d+)")


@dataclass(frozen=True)
class Reached:
    """How far a run is.

    Attributes:
        sessions, of: sessions measured, and of the stream; 0 while unknown.
        epoch, of_epochs: of the session in training, if its log says.
        accuracy: after the last measured session, a fraction.
    """

    sessions: int = 0
    of: int = 0
    epoch: int = 0
    of_epochs: int = 0
    accuracy: float | None = None

    @property
    def share(self) -> float:
        """The share of its sessions, those in training in part."""
        if not self.of:
            return 0.0
        part = self.epoch / self.of_epochs if self.of_epochs else 0.0
        return min(1.0, (self.sessions + part) / self.of)


def reached(job: Job) -> Reached:
    """Return how far a job's run is; a file that cannot be read counts as none."""
    folder = RunFolder(job.folder)
    try:
        stream = folder.read_run_info().get("stream")
        records = folder.read_metrics() if folder.metrics_file.exists() else []
    except (UserError, TypeError):
        return Reached()
    sessions = stream.get("session_classes", []) if isinstance(stream, dict) else []
    epoch, of_epochs = _epoch(job.log, len(records))
    return Reached(
        sessions=len(records),
        of=len(sessions) if isinstance(sessions, list) else 0,
        epoch=epoch,
        of_epochs=of_epochs,
        accuracy=records[-1].accuracy if records else None,
    )


def seconds_left(progress: Sequence[Progress], at_once: int) -> float | None:
    """Return how long the jobs still take, `at_once` of them at a time; None while unknown.

    A job takes as long as the finished ones of its kind did on average. Before one is finished, the
    running ones tell it by the share that they have done.

    Args:
        progress: of all jobs.
    """
    now = time.monotonic()
    running = [one for one in progress if one.state == "running" and one.begun]
    took: dict[str, list[float]] = {}
    for one in progress:
        if one.state == "finished" and one.seconds is not None:
            took.setdefault(one.job.kind, []).append(one.seconds)
    shares = {one.job.name: reached(one.job).share for one in running}
    paces = [(now - o.started) / shares[o.job.name] for o in running if shares[o.job.name] > 0]
    guess = _mean(paces or [seconds for kind in took.values() for seconds in kind])
    total = 0.0
    for one in progress:
        if one.state not in ("waiting", "running"):
            continue
        whole = _mean(took.get(one.job.kind, ())) or guess
        if whole is None:
            return None
        spent = now - one.started if one in running else 0.0
        share = shares.get(one.job.name, 0.0)
        total += max(spent / share - spent if share else whole - spent, 0.0)
    return total / max(1, at_once)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _epoch(log: Path, session: int) -> tuple[int, int]:
    """Return the epoch in training that a log tells last, if it is one of this session."""
    for line in reversed(log_tail(log, 3)):
        if (found := _EPOCH.search(line)) and int(found[1]) == session:
            return int(found[2]), int(found[3])
    return 0, 0
