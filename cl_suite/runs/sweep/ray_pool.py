"""Runs a sweep's jobs on a Ray cluster, or on a local Ray; needs the extra `sweep`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from cl_suite.errors import UserError
from cl_suite.runs.sweep.child import SECONDS_TO_STOP, start_child, stop_children
from cl_suite.runs.sweep.job import Ended, Job
from cl_suite.runs.sweep.needs import machine_threads

LOOK_SECONDS = 0.2
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ASK_AGAIN = 15.0
PASSED_ON = ("CL_SUITE_BANK",)  # variables that every machine must agree in


class RayPool:
    """Tasks of a Ray cluster, each of which starts one process; `connected` must be active."""

    def __init__(self) -> None:
        import ray

        self.ray = ray
        self.running: dict[Any, Job] = {}
        self.log_sizes: dict[str, int] = {}
        # it retries nothing itself, so a sweep can count
        self.task = ray.remote(max_retries=0)(fill)
        self.machine_has_gpus = ray.cluster_resources().get("GPU", 0) > 0

    def at_once(self, threads: int) -> int:
        """Return how many jobs of so many threads run at a time."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 1) // threads))

    def has_room(self, job: Job) -> bool:
        return True  # Ray keeps the queue, which a cluster that can grow looks at

    def start(self, job: Job) -> None:
        self.log_sizes[job.name] = _size(job.log)
        environment = job.needs.environment()
        environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        task = self.task.options(
            name=job.name,
            num_cpus=job.needs.threads,
            num_gpus=job.needs.num_gpus(self.machine_has_gpus),
        )
        config = str(job.folder / "config.yaml")
        self.running[task.remote(job.arguments, str(job.log), environment, config)] = job

    def has_begun(self, job: Job) -> bool:
        return _size(job.log) > self.log_sizes[job.name]

    def ended(self, seconds: float) -> list[Ended]:
        if not self.running:
            time.sleep(seconds)
            return []
        done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=seconds)
        return [self._end(task) for task in done]

    def stop(self) -> None:
        left = list(self.running)
        until = time.monotonic() + SECONDS_TO_STOP + 5
        while left and time.monotonic() < until:
            for task in left:
                with contextlib.suppress(Exception):  # it may have ended, or its machine be gone
                    self.ray.cancel(task, force=False)
            # a busy worker may miss one
            _, left = self.ray.wait(left, num_returns=len(left), timeout=SECONDS_TO_ASK_AGAIN)
        self.running.clear()

    def _end(self, task: Any) -> Ended:
        job = self.running.pop(task)
        try:
            return Ended(job, int(self.ray.get(task)))
        except self.ray.exceptions.RayTaskError as error:
            return Ended(job, 1, reason=_first_line(error.cause or error))
        except self.ray.exceptions.RayError as error:
            return Ended(job, 1, lost=f"its Ray worker is gone ({type(error).__name__})")


def fill(arguments: Sequence[str], log: str, environment: Mapping[str, str], config: str) -> int:
    """Run a job's process on this machine to its end, and return its exit code."""
    if not Path(config).is_file():
        raise UserError(
            f"'{config}' is not on machine {os.uname().nodename}; a sweep's output_dir must be a "
            "folder that all machines of the cluster share"
        )
    # a sweep in the background of a script ignores Ctrl-C, and its workers have that from it
    with _on_interrupt(signal.default_int_handler):
        return _filled(arguments, Path(log), environment)


def _filled(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    heard: list[int] = []
    child = None
    try:
        # held back: nobody has a process in hand that has only begun
        with _on_interrupt(lambda number, frame: heard.append(number)):
            child = start_child(arguments, log, environment)
        if heard:
            raise KeyboardInterrupt
        while child.poll() is None:
            time.sleep(LOOK_SECONDS)
    except BaseException:  # Ray interrupts a cancelled task
        while child is not None and child.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # it is asked again
                stop_children([child])
        raise
    return child.returncode


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let a function hear Ctrl-C, and Ray's cancelling, until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing interrupts it
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if before is not None:  # else it was not Python that set it
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def connected(address: str | None, threads: int | None = None) -> Iterator[None]:
    """Connect to the Ray cluster at an address, or start a local one for a while.

    Args:
        threads: of the local one; None for all of this machine.

    Raises:
        UserError: if Ray is not installed, or there is no cluster.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "--ray needs Ray, which is not installed; `pip install 'cl-suite[sweep]'` installs it"
        )
    _refuse_silence(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    own: dict[str, Any] = {"address": address}
    if address is None:
        # "local": a cluster that somebody else has started here is not joined by chance
        own = {
            "address": "local",
            "num_cpus": machine_threads() if threads is None else threads,
            "include_dashboard": False,
        }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(address, error) from error
    # Ray sets its own, which would end the sweep without stopping its runs
    for number, handler in handlers.items():
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str | None) -> None:
    """Raise `UserError` if nothing listens at an address; Ray itself tries for minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]]+)\]?:(\d+)", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: BaseException) -> UserError:
    return UserError(
        f"no Ray cluster answers at '{address}' ({_first_line(error)}); start one with "
        "`ray start --head`, or leave the address out for a local one"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
