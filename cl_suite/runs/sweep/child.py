"""Starts a job's process so that none outlives a sweep, and stops it gently."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cl_suite.runs.sweep.job import MARK
from cl_suite.storage.files import make_folder, write_error

SECONDS_TO_STOP = 60.0  # a run stops within a step; then it is killed, which loses an epoch at most
# the kernel kills the process if its parent dies; other systems than Linux have no such call
_TIED = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [])  # Ray's processes block Ctrl-C
parent = int(sys.argv[1])
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
except (OSError, AttributeError):
    pass
if os.getppid() == parent:
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Child(Protocol):
    """A job's process, as `subprocess.Popen` and `warm.Fork` are."""

    @property
    def returncode(self) -> Any:
        """The exit code, None while it runs."""
        ...

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to stop."""
        ...

    def kill(self) -> None:
        """Stop it at once."""
        ...

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most so many seconds."""
        ...


def start_child(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start Python with these arguments; what it prints is added to the log.

    The log tells when and on which machine. The process has a session of its own, so a terminal's
    Ctrl-C reaches only the sweep.
    """
    begin_log(log)
    try:
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-c", _TIED, str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **child_environment(environment)},
                start_new_session=True,
            )
    except OSError as error:
        raise write_error(log, error) from error


def begin_log(log: Path) -> None:
    """Add the line to a job's log with which each try begins: when, and on which machine."""
    make_folder(log.parent)
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        with log.open("ab") as file:
            file.write(f"{MARK}{when} on {platform.node()}\n".encode())
    except OSError as error:
        raise write_error(log, error) from error


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job's process has besides those of this one."""
    return {"PYTHONUNBUFFERED": "1", "COLUMNS": "100", **environment}


def stop_children(children: Iterable[Child], seconds: float = SECONDS_TO_STOP) -> None:
    """Ask processes to stop politely, as Ctrl-C does; wait for them, and kill those that do not."""
    left = [child for child in children if child.poll() is None]
    for child in left:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    until = time.monotonic() + seconds
    for child in left:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
        if child.poll() is None:
            child.kill()
            child.wait()
