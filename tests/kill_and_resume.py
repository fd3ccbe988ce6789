"""Run a command in child processes that are killed at random moments, until one gets to its end.

Started as a program by `test_resume.py`: the imports are paid once, the children are forks.

    python kill_and_resume.py SEED ARGUMENTS...

Prints how many children were killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

# imported before the forks; nothing is computed yet, so no thread is lost in them
from cl_suite.cli import main

LONGEST_SECONDS = 600


def child(arguments: list[str]) -> int:
    process = os.fork()
    if process == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os._exit(main(arguments))
    return process


def killed(process: int, after_seconds: float) -> bool:
    """Kill a child unless it ends before; return whether it was."""
    deadline = time.monotonic() + after_seconds
    while time.monotonic() < deadline:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def run(seed: int, arguments: list[str]) -> int:
    """Kill and resume until the run is finished; return the number of kills."""
    draw, kills, patience = random.Random(seed), 0, 1.0
    deadline = time.monotonic() + LONGEST_SECONDS
    while killed(child(arguments), draw.uniform(0.2, 2.0) * patience):
        kills += 1
        patience *= 1.08  # a loaded machine may need long to get anywhere
        if time.monotonic() > deadline:
            raise SystemExit("no end in sight")
    return kills


if __name__ == "__main__":
    print(run(int(sys.argv[1]), sys.argv[2:]))  # noqa: T201
