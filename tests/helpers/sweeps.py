"""Sweep files over runs of a few seconds, and jobs of a few lines of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cl_suite.runs.sweep.candidates import candidates
from cl_suite.runs.sweep.job import Job
from cl_suite.runs.sweep.needs import Needs
from cl_suite.runs.sweep.plan import Plan, make_plan
from cl_suite.runs.sweep.spec import Sweep, read_sweep
from helpers.tiny_runs import SETTINGS

TINY: dict[str, Any] = {
    "scenarios": ["omniglot"],
    "strategies": ["prototype"],
    "device": "cpu",
    "threads": 1,  # a run's last bits depend on them
}


def write_sweep(folder: Path, content: Mapping[str, Any] | None = None, name: str = "grid") -> Path:
    """Write a sweep's file of tiny runs, with these keys; its runs lie beside it."""
    whole = {**TINY, "set": SETTINGS, "output_dir": str(folder / "out"), **(content or {})}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def planned(path: Path) -> tuple[Sweep, Plan]:
    """Return a sweep's file and its plan."""
    sweep = read_sweep(path)
    return sweep, make_plan(sweep, candidates(sweep))


def folders(plan: Plan, sweep: Sweep) -> list[str]:
    """Return a plan's run folders, those for base sessions first, below the sweep's folder."""
    return [trial.folder.path.relative_to(sweep.out).as_posix() for trial in plan.all]


def job(
    folder: Path, name: str, code: str, after: tuple[str, ...] = (), needs: Needs | None = None
) -> Job:
    """Return a job that runs a few lines of Python."""
    (folder / "config.yaml").touch()
    return Job(name, "run", ("-c", code), folder, folder / f"{name}.log", needs or Needs(), after)


class Heard:
    """A watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.stopped = 0

    def starts(self, progress: Any) -> None: ...

    def changes(self, one: Any) -> None:
        self.lines.append((one.job.name, one.state))

    def ticks(self) -> None: ...

    def says(self, text: str) -> None: ...

    def stops(self) -> None:
        self.stopped += 1


def sweep_process(path: Path, *options: str) -> subprocess.Popen[str]:
    """Start `cl-suite sweep` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "cl_suite.cli", "sweep", str(path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=path.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
