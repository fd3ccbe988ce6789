"""Starts jobs as forks of one process that has already imported torch and the suite.

A run on stored features takes a few seconds, and its imports take as long again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from cl_suite.runs.sweep.child import begin_log, child_environment

PRELOADED = (
    "cl_suite.logging.run_dashboard",
    "cl_suite.runs.run",
    "cl_suite.runs.sweep.fill_bank",
    "timm",
)
# variables of the server of this process, which libraries read when they are imported: one server
# for all jobs; empty before it is needed
_served: list[dict[str, str]] = []


def serves(environment: Mapping[str, str]) -> bool:
    """Return whether jobs with these variables can be forked; the server is started for the first.

    Forks are for Linux alone: elsewhere system libraries do not survive them.
    """
    if sys.platform != "linux":
        return False
    if not _served:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        with _variables(child_environment(environment)):
            forkserver.ensure_running()
        # a program may have started a server before, for something else
        first = context.Process(target=_look, args=(dict(environment),))
        first.start()
        first.join()
        _served.append(dict(environment) if first.exitcode == 0 else {})
    return _served[0] == environment


def _look(environment: Mapping[str, str]) -> None:
    """End with 0 in a fork of a server with these variables that has imported everything."""
    same = environment.items() <= os.environ.items()
    raise SystemExit(0 if same and set(PRELOADED) <= sys.modules.keys() else 1)


class Fork:
    """A job that runs in a fork of the server; it is used as a `subprocess.Popen` is.

    The process has a session of its own, and is killed if the one that started it dies. It must
    need no GPU: CUDA does not survive a fork.

    Args:
        arguments: of Python, as in `-m cl_suite.cli run`.
        log: what it prints is added to this file.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        begin_log(log)
        self._process: BaseProcess = multiprocessing.get_context("forkserver").Process(
            target=_work, args=(tuple(arguments), str(log))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None  # it has been started
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most so many seconds; return the exit code, None if it goes on."""
        self._process.join(timeout)
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _work(arguments: Sequence[str], log: str) -> None:
    """Do in a fork what Python does with these arguments."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    flag, module, *rest = arguments
    assert flag == "-m", flag
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a fork
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
