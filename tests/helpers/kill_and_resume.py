"""Runs commands in child processes that are killed at random moments, until one finishes.

Started as a program by `test_resume.py`: the imports are paid once, the children are forks. It
reads a line of JSON a run, with `seed`, `arguments`, `checkpoint` and `apart`, and answers each
with a line: what the checkpoint held after each kill, `[session, epochs done, finished]` or null
where there was none yet.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

# imported before the forks, as they take longer than a run; nothing is computed yet, so no thread
# is lost in them
from cl_suite.cli import main
from cl_suite.storage import checkpoint

LONGEST_SECONDS = 600
LOOK_SECONDS = 0.004


class Child:
    """A run in a process of its own, and the checkpoints that it has written so far."""

    def __init__(self, arguments: list[str], saved: Path) -> None:
        self.saved = saved
        self.last = self._mark()
        self.status: int | None = None
        self.process = os.fork()
        if self.process == 0:
            with open(os.devnull, "r+") as nowhere:
                os.dup2(nowhere.fileno(), 0)
                os.dup2(nowhere.fileno(), 1)
                os._exit(main(arguments))

    def _mark(self) -> int:
        try:
            return self.saved.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def wrote(self) -> bool:
        """Return whether there is another checkpoint than when last asked."""
        before, self.last = self.last, self._mark()
        return self.last != before

    def ended(self) -> bool:
        if self.status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if process else None
        return self.status is not None

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


class Killer:
    """Kills children a random number of checkpoints after their start, and a random moment later.

    Checkpoints, not seconds: every child gets somewhere, however slow the machine is.
    """

    def __init__(self, seed: int, apart: int) -> None:
        self.draw, self.apart = random.Random(seed), apart
        self.pace = 0.1  # seconds between two checkpoints, as last seen
        self.deadline = time.monotonic() + LONGEST_SECONDS

    def killed(self, child: Child, checkpoints: int, seconds: float = 0.0) -> bool:
        """Kill a child unless it ends before; return whether it was."""
        seen, since = 0, 0.0
        while seen < checkpoints:
            if child.ended():
                return False
            if child.wrote():
                now = time.monotonic()
                self.pace = now - since if seen else self.pace
                seen, since = seen + 1, now
            self._wait(LOOK_SECONDS)
        until = time.monotonic() + (seconds or self.draw.random() * self.pace)
        while time.monotonic() < until:
            if child.ended():
                return False
            self._wait(min(LOOK_SECONDS, self.pace / 10))
        child.kill()
        return True

    def _wait(self, seconds: float) -> None:
        if time.monotonic() > self.deadline:
            raise SystemExit("no end in sight")
        time.sleep(seconds)

    def run(self, arguments: list[str], saved: Path) -> list[Any]:
        """Kill and resume until the run is finished; return what each kill left."""
        left: list[Any] = []
        child = Child(arguments, saved)
        # the first before there is anything to go on from, or soon after
        killed = self.killed(child, 0, self.draw.uniform(0.05, 1.0))
        while killed:
            left.append(progress(saved))
            child = Child(arguments, saved)
            killed = self.killed(child, self.draw.randint(1, self.apart))
        if child.status != 0:
            raise SystemExit(f"a run ended with exit status {child.status}")
        return left


def progress(saved: Path) -> Any:
    if not saved.exists():
        return None
    state = checkpoint.load(saved)["engine"]["progress"]
    return [state["session"], state["epochs_done"], state["finished"]]


if __name__ == "__main__":
    for line in sys.stdin:
        job = json.loads(line)
        killer = Killer(job["seed"], job["apart"])
        print(  # noqa: T201
            json.dumps(killer.run(job["arguments"], Path(job["checkpoint"]))), flush=True
        )
