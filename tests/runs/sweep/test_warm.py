"""Jobs as forks of a process that has imported everything: they do what processes do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import pytest
from helpers.processes import alive, wait_until
from helpers.sweeps import Heard, job

from cl_suite.runs.sweep import warm
from cl_suite.runs.sweep.drive import Drive
from cl_suite.runs.sweep.job import Job, log_tail
from cl_suite.runs.sweep.local import LocalPool
from cl_suite.runs.sweep.needs import Needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")

SHOW = """\
import os, sys
print(len({"torch", "timm", "cl_suite.runs.run"} & set(sys.modules)), "are there already")
print(__name__, sys.argv[1:], os.environ["OMP_NUM_THREADS"], os.getsid(0) == os.getpid())
"""
WAIT = "import time; print('ready')\ntime.sleep(600)"
POLITE = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved')))\n"
SWEEP = """\
import os, sys, time
from pathlib import Path
from cl_suite.runs.sweep.warm import Fork, serves
if __name__ == "__main__":
    assert serves({"OMP_NUM_THREADS": "1"})
    print(Fork(["-m", "work"], Path(sys.argv[1])).pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_server() -> Iterator[None]:
    """Stop this process's server, which another test may have started, and this test's own."""
    stop_server()
    yield
    stop_server()


def stop_server() -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # made for tests
    warm._served.clear()


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules a job can run."""
    monkeypatch.syspath_prepend(str(tmp_path))  # for forks
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def work(folder: Path, code: str, *arguments: str, needs: Needs | None = None) -> Job:
    """Return a job that runs this code as a module."""
    (folder / "work.py").write_text(code)
    return replace(job(folder, "a", "", needs=needs), arguments=("-m", "work", *arguments))


def test_a_fork_has_its_imports_its_threads_and_a_session_of_its_own(path: Path) -> None:
    one = work(path, SHOW, "--resume")
    (found,) = Drive([one], LocalPool(1, warm=True), Heard()).go()
    assert found.state == "finished"
    expected = "__main__ ['--resume'] 1 True"
    assert log_tail(one.log) == ["3 are there already", expected]


def test_a_job_with_other_threads_or_a_gpu_gets_a_process_of_its_own(path: Path) -> None:
    expected = "0 are there already"
    first = work(path, SHOW)
    Drive([first], LocalPool(1, warm=True), Heard()).go()
    more = work(path, SHOW, needs=Needs(threads=2))
    Drive([more], LocalPool(1, warm=True), Heard()).go()
    assert log_tail(more.log) == [expected, "__main__ [] 2 True"]
    Drive([first], LocalPool(1, ["0"], warm=True), Heard()).go()
    assert log_tail(first.log)[0] == expected


def test_a_server_that_somebody_else_started_is_not_used(path: Path) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload([])
    forkserver.ensure_running()
    one = work(path, SHOW)
    Drive([one], LocalPool(1, warm=True), Heard()).go()
    assert log_tail(one.log)[0] == "0 are there already"


def test_how_a_fork_ends_is_known(path: Path) -> None:
    (found,) = Drive([work(path, "raise SystemExit(3)")], LocalPool(1, warm=True), Heard()).go()
    assert (found.state, found.tries, found.reason) == ("failed", 2, "exit code 3")
    one = work(path, "import os; os.kill(os.getpid(), 9)")
    (found,) = Drive([one], LocalPool(1, warm=True), Heard(), retries=0).go()
    assert found.reason == "exit code -9"
    one = work(path, "raise ValueError('no such thing')")
    (found,) = Drive([one], LocalPool(1, warm=True), Heard(), retries=0).go()
    assert found.reason == "exit code 1"
    assert log_tail(one.log)[-1] == "ValueError: no such thing"


def test_a_fork_stops_by_itself(path: Path) -> None:
    pool, one = LocalPool(1, warm=True), work(path, POLITE + WAIT)
    pool.start(one)
    wait_until(lambda: log_tail(one.log) == ["ready"])
    pool.stop()
    assert log_tail(one.log) == ["ready", "saved"]


def test_a_killed_sweep_leaves_no_fork_behind(path: Path) -> None:
    (path / "work.py").write_text(WAIT)
    (path / "sweep.py").write_text(SWEEP)
    command = [sys.executable, "sweep.py", str(path / "log")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=path)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: log_tail(path / "log") == ["ready"])
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not alive(child))
