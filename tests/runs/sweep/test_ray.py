"""Sweeps on a real Ray: two workers of which one is killed, and a machine that leaves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import Heard, job, planned, write_sweep
from helpers.tiny_runs import SETTINGS, assert_equal_runs, run

from cl_suite.runs.sweep import ray_pool
from cl_suite.runs.sweep.child import start_child
from cl_suite.runs.sweep.drive import Drive
from cl_suite.runs.sweep.job import Job, log_tail
from cl_suite.runs.sweep.jobs import jobs_of
from cl_suite.runs.sweep.plan import write_plan
from cl_suite.runs.sweep.ray_pool import RayPool, connected

ray = pytest.importorskip("ray", reason="needs Ray (the extra `sweep`)")
pytestmark = pytest.mark.slow


class Meddling(Heard):
    """A watcher that does something once, when it holds that a job is in the middle."""

    def __init__(self, when: Callable[[], bool], then: Callable[[], None]) -> None:
        super().__init__()
        self.when, self.then, self.done = when, then, False

    def ticks(self) -> None:
        if not self.done and self.when():
            self.done = True
            self.then()


@pytest.fixture
def two_workers() -> Iterator[None]:
    with connected(None, threads=2):
        yield


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def process_of(word: str) -> int:
    """Return the process whose command line has this word; 0 if there is none."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (found / "cmdline").read_bytes().split(b"\0"):
                return int(found.name)
        except OSError:
            continue
    return 0


def test_a_killed_worker_s_run_goes_on_on_another_one(tmp_path: Path, two_workers: None) -> None:
    more = {"training.base_epochs": 60}
    path = write_sweep(tmp_path, {"set": {**SETTINGS, **more}, "seeds": [0, 1]})
    sweep, plan = planned(path)
    write_plan(plan.all)
    jobs, done = jobs_of(plan, sweep.out)
    victim = plan.trials[0].folder

    def kill() -> None:
        child = process_of(str(victim.config_file))
        assert child
        os.kill(parent(child), signal.SIGKILL)

    watcher = Meddling(victim.checkpoint_file.is_file, kill)
    found = Drive(jobs, RayPool(), watcher, done=done, retries=0).go()
    assert watcher.done
    assert [one.state for one in found] == ["finished", "finished"]
    # the worker's end does not count as a failure of the run, so it needs no retry
    assert [(one.lost, one.tries) for one in found] == [(1, 2), (0, 1)]
    for seed, trial in enumerate(plan.trials):
        alone = run(tmp_path / "alone", seed=seed, **more)
        assert_equal_runs(trial.folder.path, alone)


def test_two_workers_run_two_jobs_at_a_time(tmp_path: Path, two_workers: None) -> None:
    """Each waits for the other: one after the other they would never end."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "Path('{own}').touch()\n"
        "while not Path('{other}').exists(): time.sleep(0.05)"
    )
    first, second = tmp_path / "first", tmp_path / "second"
    jobs = [
        job(tmp_path, "a", code.format(own=first, other=second)),
        job(tmp_path, "b", code.format(own=second, other=first)),
    ]
    found = Drive(jobs, RayPool(), Heard()).go()
    assert [one.state for one in found] == ["finished", "finished"]


def test_a_failed_process_is_told_apart_from_a_lost_one(tmp_path: Path, two_workers: None) -> None:
    failing = job(tmp_path, "a", "print('no'); raise SystemExit(3)")
    (one,) = Drive([failing], RayPool(), Heard(), retries=1).go()
    assert (one.state, one.tries, one.lost, one.reason) == ("failed", 2, 0, "exit code 3")
    assert log_tail(one.job.log) == ["no"]


def test_a_folder_that_a_machine_does_not_see_is_named(tmp_path: Path, two_workers: None) -> None:
    lost = job(tmp_path, "a", "")
    (tmp_path / "config.yaml").unlink()
    (one,) = Drive([lost], RayPool(), Heard(), retries=0).go()
    assert "output_dir must be a folder that all machines of the cluster share" in one.reason


def test_stopping_lets_a_process_end_by_itself(tmp_path: Path, two_workers: None) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved', flush=True)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    pool, one = RayPool(), job(tmp_path, "a", code)
    pool.start(one)
    wait_for(lambda: log_tail(one.log) == ["ready"])
    pool.stop()
    # on a busy machine the worker hears of it late
    wait_for(lambda: log_tail(one.log) == ["ready", "saved"])


def test_a_process_that_starts_as_its_job_is_stopped_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def start(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Any:
        started.append(start_child(arguments, log, environment))
        signal.raise_signal(signal.SIGINT)  # before anybody has the process in hand
        return started[0]

    monkeypatch.setattr(ray_pool, "start_child", start)
    before = signal.getsignal(signal.SIGINT)
    one = job(tmp_path, "a", "import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        ray_pool.fill(one.arguments, str(one.log), {}, str(tmp_path / "config.yaml"))
    assert started[0].poll() is not None
    assert signal.getsignal(signal.SIGINT) is before


def test_a_job_of_a_machine_that_leaves_goes_on_on_another_one(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        leaving = cluster.add_node(num_cpus=1)
        with connected(cluster.address):
            one = _counts_to_two(tmp_path)

            def leave() -> None:
                cluster.remove_node(leaving, allow_graceful=False)
                cluster.add_node(num_cpus=1)

            watcher = Meddling(lambda: log_tail(one.log) == ["one"], leave)
            (found,) = Drive([one], RayPool(), watcher, retries=0).go()
        assert watcher.done
        assert (found.state, found.lost) == ("finished", 1)
        assert log_tail(one.log) == ["two"]
    finally:
        cluster.shutdown()


def _counts_to_two(folder: Path) -> Job:
    code = (
        "import time; from pathlib import Path\n"
        f"mark = Path({str(folder / 'mark')!r})\n"
        "if mark.exists(): print('two')\n"
        "else: mark.touch(); print('one', flush=True); time.sleep(600)"
    )
    return job(folder, "counting", code)


def wait_for(holds: Callable[[], Any], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)
