"""Writes SLURM array scripts whose elements call the same worker as every other way to run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.runs.sweep.job import Job, Kind
from cl_suite.runs.sweep.needs import Needs
from cl_suite.storage.files import atomic_write, make_folder

STAGES: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("banks", ("bank",)),
    ("bases", ("base",)),
    ("runs", ("run",)),
)


@dataclass(frozen=True)
class Script:
    """One array script.

    Attributes:
        stage: banks, bases or runs; a stage waits for those before it.
    """

    stage: str
    path: Path
    num_jobs: int


def write_scripts(
    jobs: Sequence[Job], folder: Path, name: str, at_once: int | None = None
) -> list[Script]:
    """Write an array script for each stage, and for each kind of machine that its jobs ask for.

    Args:
        folder: for the scripts, the lists of jobs that they read, and their logs.
        at_once: the most elements of an array that run at a time.

    Raises:
        UserError: for a path that a list cannot hold.
    """
    make_folder(folder)
    scripts = []
    started_from = {name for job in jobs for name in job.after}
    for stage, kinds in STAGES:
        own = [job for job in jobs if _stage(job, started_from) in kinds]
        groups: dict[Needs, list[Job]] = {}
        for job in own:
            groups.setdefault(job.needs, []).append(job)
        for number, (needs, group) in enumerate(groups.items()):
            script = folder / f"{stage}{f'_{number + 1}' if number else ''}.sbatch"
            _write_list(group, script.with_suffix(".txt"))
            atomic_write(script, _text(script, needs, len(group), name, at_once).encode())
            scripts.append(Script(stage, script, len(group)))
    return scripts


def submit_lines(scripts: Sequence[Script]) -> list[str]:
    """Return the shell commands that submit the scripts, each stage after those before it."""
    lines: list[str] = []
    before: list[str] = []
    own: list[str] = []
    stage = ""
    for number, script in enumerate(scripts):
        if script.stage != stage:
            stage, before, own = script.stage, own or before, []
        wait = f" --dependency=afterok:{':'.join(f'${name}' for name in before)}" if before else ""
        command = f"sbatch --parsable{wait} {shlex.quote(str(script.path))}"
        lines.append(f"job{number}=$({command})")
        own.append(f"job{number}")
    # the number of the last one is only printed
    return [*lines[:-1], lines[-1].partition("=$(")[2][:-1]] if lines else []


def _stage(job: Job, started_from: set[str]) -> Kind:
    # a run of the table that others start from belongs to the bases
    return "base" if job.kind == "run" and job.name in started_from else job.kind


def _write_list(jobs: Sequence[Job], path: Path) -> None:
    for job in jobs:
        if any(set(word) & set("\t\n") for word in job.arguments):
            raise UserError(f"'{job.folder}' has a tab or a line break in its name; rename it")
    lines = ["\t".join(job.arguments) for job in jobs]
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())


def _text(script: Path, needs: Needs, count: int, name: str, at_once: int | None) -> str:
    limit = "" if at_once is None else f"%{at_once}"
    gpus = needs.num_gpus(False)
    whole = max(1, round(gpus)) if gpus else 0
    options = [
        f"--job-name={shlex.quote(name)}",
        f"--array=0-{count - 1}{limit}",
        f"--cpus-per-task={needs.threads}",
        *([f"--gres=gpu:{whole}"] if whole else []),
        f"--output={script.with_suffix('')}_%A_%a.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:TERM@120",
    ]
    variables = "\n".join(
        f'export {variable}="${{SLURM_CPUS_PER_TASK:-{value}}}"'
        for variable, value in needs.environment().items()
    )
    return f"""#!/bin/bash
{chr(10).join(f"#SBATCH {option}" for option in options)}
# One element of the array is one run. Options of sbatch's command line win over those above:
#   sbatch --partition=NAME --time=04:00:00 {shlex.quote(str(script))}
# A run that was stopped goes on when its element is submitted again.
set -euo pipefail
list={shlex.quote(str(script.with_suffix(".txt")))}
IFS=$'\\t' read -r -a arguments < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$list")
{variables}
exec {shlex.quote(sys.executable)} "${{arguments[@]}}"
"""
