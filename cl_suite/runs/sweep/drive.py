"""Drives a sweep: starts each job when those before it are finished, and retries failed ones."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cl_suite.runs.sweep.job import Ended, Job, Pool, Progress, Watcher

LOOK_SECONDS = 0.5
MOST_LOST = 5  # times that a job's machine may leave; the job itself has no part in that
FAILED = "the job before it failed"


class Drive:
    """Brings all jobs to an end.

    Args:
        jobs: in the order in which to start them, those that others wait for first.
        done: names of those that are finished already.
        retries: how often a failed job is started again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        pool: Pool,
        watcher: Watcher,
        *,
        done: frozenset[str] = frozenset(),
        retries: int = 1,
    ) -> None:
        self.pool, self.watcher, self.retries = pool, watcher, retries
        self.progress = {job.name: Progress(job) for job in jobs}
        for name in done & self.progress.keys():
            self.progress[name].state = "finished"
            self.progress[name].found_finished = True

    def go(self) -> list[Progress]:
        """Run all jobs; return what became of each. If it is interrupted, it stops them gently."""
        self.watcher.starts(list(self.progress.values()))
        try:
            while any(one.state in ("waiting", "running") for one in self.progress.values()):
                self._start_some()
                for ended in self.pool.ended(LOOK_SECONDS):
                    self._end(ended)
                self._notice_begun()
                self.watcher.ticks()
        except BaseException:
            self.watcher.stops()
            self.pool.stop()
            raise
        self.watcher.stops()
        return list(self.progress.values())

    def _start_some(self) -> None:
        for one in self.progress.values():
            if one.state != "waiting":
                continue
            before = [self.progress[name].state for name in one.job.after]
            if "failed" in before:
                one.state, one.reason = "failed", FAILED
                self.watcher.changes(one)
            elif all(state == "finished" for state in before) and self.pool.has_room(one.job):
                one.state, one.started = "running", time.monotonic()
                one.tries += 1
                one.begun = False
                self.pool.start(one.job)

    def _notice_begun(self) -> None:
        for one in self.progress.values():
            if one.state == "running" and not one.begun and self.pool.has_begun(one.job):
                one.begun, one.started = True, time.monotonic()
                self.watcher.changes(one)

    def _end(self, ended: Ended) -> None:
        one = self.progress[ended.job.name]
        one.seconds = time.monotonic() - one.started
        if ended.lost is not None:
            one.lost += 1
            one.reason = ended.lost
            again = one.lost <= MOST_LOST
        else:
            one.reason = ended.reason or (f"exit code {ended.code}" if ended.code else "")
            again = one.tries - one.lost <= self.retries
        if ended.code == 0 and ended.lost is None:
            one.state = "finished"
        else:
            one.state = "waiting" if again else "failed"
        self.watcher.changes(one)
