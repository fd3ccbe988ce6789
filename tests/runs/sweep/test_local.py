"""Jobs as processes of this machine: threads and GPUs are shared out, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.processes import alive, wait_until
from helpers.sweeps import Heard, job

from cl_suite.runs.sweep.drive import Drive
from cl_suite.runs.sweep.job import log_tail
from cl_suite.runs.sweep.local import LocalPool
from cl_suite.runs.sweep.needs import Needs

SHOW = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES'))"
WAIT = "import time; time.sleep(600)"


def test_a_process_gets_its_threads_and_its_gpu(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "plain", SHOW, needs=Needs(threads=3)),
        job(tmp_path, "gpu", SHOW, needs=Needs(device="cuda")),
    ]
    Drive(jobs, LocalPool(2, gpus=["5", "7"], threads=8), Heard()).go()
    assert log_tail(jobs[0].log) == ["3 5"]  # `auto` takes a GPU where there is one
    assert log_tail(jobs[1].log) == ["1 7"]


def test_runs_share_threads_and_gpus_by_what_they_ask_for(tmp_path: Path) -> None:
    pool = LocalPool(8, gpus=["0"], threads=4)
    half = Needs(device="cuda", gpus=0.5)
    try:
        pool.start(job(tmp_path, "a", WAIT, needs=half))
        assert pool.has_room(job(tmp_path, "b", WAIT, needs=half))
        pool.start(job(tmp_path, "b", WAIT, needs=half))
        assert not pool.has_room(job(tmp_path, "c", WAIT, needs=half))
        assert pool.has_room(job(tmp_path, "d", WAIT, needs=Needs("cpu", 2)))
        assert not pool.has_room(job(tmp_path, "e", WAIT, needs=Needs("cpu", 3)))
    finally:
        pool.stop()


def test_no_more_than_the_jobs_asked_for_run_at_a_time(tmp_path: Path) -> None:
    pool = LocalPool(1, threads=64)
    try:
        pool.start(job(tmp_path, "a", WAIT))
        assert not pool.has_room(job(tmp_path, "b", WAIT))
    finally:
        pool.stop()


def test_stopping_lets_a_process_end_by_itself(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved')))\n"
        "print('ready')\ntime.sleep(600)"
    )
    pool, one = LocalPool(1), job(tmp_path, "a", code)
    pool.start(one)
    wait_until(lambda: log_tail(one.log) == ["ready"])
    pool.stop()
    assert log_tail(one.log) == ["ready", "saved"]


def test_a_log_s_tail_is_of_the_last_try(tmp_path: Path) -> None:
    one = job(tmp_path, "a", "print('told'); raise SystemExit(3)")
    (found,) = Drive([one], LocalPool(1), Heard(), retries=1).go()
    assert (found.tries, found.reason) == (2, "exit code 3")
    assert one.log.read_text().count("told") == 2
    assert log_tail(one.log) == ["told"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's call is Linux's")
def test_a_killed_sweep_leaves_no_process_behind(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cl_suite.runs.sweep.child import start_child\n"
        f"child = start_child(['-c', {WAIT!r}], Path({str(tmp_path / 'log')!r}), {{}})\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1)  # until it is tied to its parent
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not alive(child))
