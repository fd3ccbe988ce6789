"""The order, the retries and the end of a sweep's jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.sweeps import Heard, job

from cl_suite.runs.sweep.drive import FAILED, MOST_LOST, Drive
from cl_suite.runs.sweep.job import Ended, Job


class Scripted:
    """A pool in which each job ends as its script says, one at a time."""

    def __init__(self, ends: dict[str, list[int | str]]) -> None:
        self.ends, self.running, self.started = ends, list[Job](), list[str]()
        self.stopped = False

    def has_room(self, job: Job) -> bool:
        return len(self.running) < 2

    def has_begun(self, job: Job) -> bool:
        return True

    def start(self, job: Job) -> None:
        self.running.append(job)
        self.started.append(job.name)

    def ended(self, seconds: float) -> list[Ended]:
        first = self.running.pop(0)
        end = self.ends.get(first.name, [0]).pop(0) if self.ends.get(first.name) else 0
        if end == "stop":
            raise KeyboardInterrupt
        return [Ended(first, 1, lost=end) if isinstance(end, str) else Ended(first, end)]

    def stop(self) -> None:
        self.stopped = True


def states(drive: Drive) -> dict[str, str]:
    return {one.job.name: one.state for one in drive.go()}


def test_a_failed_job_is_tried_again_and_then_reported(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, "") for name in "ab"]
    pool = Scripted({"a": [1, 1, 1], "b": [1, 0]})
    assert states(Drive(jobs, pool, Heard(), retries=1)) == {"a": "failed", "b": "finished"}
    assert sorted(pool.started) == ["a", "a", "b", "b"]


def test_a_job_starts_after_those_that_it_waits_for(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "late", "", after=("early",)), job(tmp_path, "early", "")]
    pool = Scripted({})
    states(Drive(jobs, pool, Heard()))
    assert pool.started == ["early", "late"]


def test_a_job_fails_with_the_one_that_it_waits_for_and_the_others_go_on(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "base", ""),
        job(tmp_path, "run", "", after=("base",)),
        job(tmp_path, "other", ""),
    ]
    pool = Scripted({"base": [1]})
    found = {one.job.name: one for one in Drive(jobs, pool, Heard(), retries=0).go()}
    assert found["run"].reason == FAILED
    assert found["other"].state == "finished"
    assert "run" not in pool.started


def test_finished_jobs_are_skipped_and_count_for_those_that_wait(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "base", ""), job(tmp_path, "run", "", after=("base",))]
    pool = Scripted({})
    states(Drive(jobs, pool, Heard(), done=frozenset({"base"})))
    assert pool.started == ["run"]


def test_a_machine_that_leaves_is_no_failure_of_the_job(tmp_path: Path) -> None:
    pool = Scripted({"a": ["gone", "gone", 0]})
    assert states(Drive([job(tmp_path, "a", "")], pool, Heard(), retries=0)) == {"a": "finished"}


def test_a_job_that_ends_every_machine_is_given_up(tmp_path: Path) -> None:
    pool = Scripted({"a": ["gone"] * 100})
    assert states(Drive([job(tmp_path, "a", "")], pool, Heard(), retries=0)) == {"a": "failed"}
    assert len(pool.started) == MOST_LOST + 1


def test_an_interrupted_sweep_stops_its_jobs(tmp_path: Path) -> None:
    pool, heard = Scripted({"a": ["stop"]}), Heard()
    with pytest.raises(KeyboardInterrupt):
        Drive([job(tmp_path, "a", "")], pool, heard).go()
    assert pool.stopped
    assert heard.stopped == 1
