"""Teaches a classifier file in child processes: several at once, or killed at random moments.

Started as a program by `test_commands_processes.py`: the imports are paid once, the children are
forks. It reads one line of JSON and answers with one, see `together` and `killed`.
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

# imported before the forks, as they take longer than a command; nothing is computed yet, so no
# thread is lost in them
import cl_suite.learner.commands.teach  # noqa: F401
from cl_suite.cli import main

LONGEST_SECONDS = 120


def start(commands: list[list[str]]) -> int:
    """Run commands one after another in a child; return its number."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "r+") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        os._exit(max(main(command) for command in commands))
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def together(jobs: list[list[list[str]]]) -> list[int]:
    """Run each list of commands in a child of its own, all at once; return the exit codes."""
    return [exit_code(child) for child in [start(commands) for commands in jobs]]


def killed(commands: list[list[str]], model: str, seed: int) -> dict[str, Any]:
    """Kill a child in each command; return what stood in the file after each kill, and the rest.

    Every second kill falls within the few milliseconds in which the file's lock is held.
    """
    draw, path = random.Random(seed), Path(model)
    lock = path.with_name(f".{path.name}.lock")
    began = time.monotonic()
    if exit_code(start(commands[:1])):
        raise SystemExit("the command fails without being killed")
    usual = time.monotonic() - began
    left, while_locked = [path.read_bytes().hex()], 0
    for number, command in enumerate(commands[1:]):
        child = start([command])
        if number % 2:
            ended = wait_for(lock, child)
            time.sleep(0 if ended else draw.uniform(0, 0.01))
        else:
            time.sleep(draw.uniform(0, usual))
        while_locked += lock.exists()
        os.kill(child, signal.SIGKILL)
        exit_code(child)
        left.append(path.read_bytes().hex())
    return {"left": left, "while_locked": while_locked}


def wait_for(lock: Path, child: int) -> bool:
    """Wait until a lock exists; return whether the child ended before."""
    until = time.monotonic() + LONGEST_SECONDS
    while not lock.exists():
        # the child stays a zombie, so that it can be killed all the same
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        if time.monotonic() > until:
            raise SystemExit("no end in sight")
    return False


if __name__ == "__main__":
    job = json.loads(sys.stdin.readline())
    answer: Any = together(job["together"]) if "together" in job else killed(**job["killed"])
    print(json.dumps(answer))  # noqa: T201
