"""The command `cl-suite show`: the tables of one run, or a comparison of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from cl_suite.errors import UserError
from cl_suite.report.comparison import compared
from cl_suite.report.draws import draws_of
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.one_run import one_run
from cl_suite.report.streams import identity
from cl_suite.report.tasks import is_of_tasks, one_run_of_tasks, runs_of_tasks
from cl_suite.runs.folder import RunFolder, find_runs


def print_runs(paths: Sequence[Path], console: Console, *, everything: bool = False) -> None:
    """Print the figures of the runs at and below these paths.

    Args:
        everything: the less common figures too.

    Raises:
        UserError: see `show`.
    """
    ascii_only = console.options.ascii_only
    console.print(show(paths, ascii_only=ascii_only, everything=everything), highlight=False)


def show(
    paths: Sequence[Path], *, ascii_only: bool = False, everything: bool = False
) -> RenderableType:
    """Return the figures of one run, or a comparison of several.

    Args:
        paths: run folders, and folders of runs.
        ascii_only: write `+-` instead of the plus-minus sign.
        everything: gAcc, retention, BWT and macro accuracy too, and what the runs cost.

    Raises:
        UserError: if a path holds no run, a file is damaged, or no session is finished.
    """
    folders = find_runs(paths)
    sign = "+-" if ascii_only else "\N{PLUS-MINUS SIGN}"
    if len(folders) > 1:
        return compared(*comparable(folders), sign=sign, everything=everything)
    if is_of_tasks(folders[0]):
        return one_run_of_tasks(folders[0], sign=sign)
    return one_run(load(folders[0]), everything=everything)


def comparable(folders: Sequence[RunFolder]) -> tuple[list[LoadedRun], list[str]]:
    """Return the finished runs, each seed of a configuration once, and notes on some and others.

    A run over tasks counts as one run for each of them.

    Raises:
        UserError: if none is finished, or a file is missing or damaged.
    """
    runs: dict[str, list[LoadedRun]] = {}
    notes = []
    draws = draws_of(folders)
    for folder in folders:
        if not folder.read_run_info().get("finished"):
            notes.append(f"left out: '{folder.path}' is unfinished")
            continue
        same = runs_of_tasks(folder) if is_of_tasks(folder) else [load(folder)]
        if (draw := draws.get(folder.path)) is not None:
            same = [dataclasses.replace(one, draw=draw) for one in same]
        run = same[0]
        key = identity([run.scenario_name, run.scenario, run.strategy_name, run.method, run.number])
        if key in runs:
            notes.append(f"left out: '{folder.path}' repeats '{runs[key][0].folder.path}'")
            continue
        runs[key] = same
        if run.trouble:
            notes.append(f"note: {run.strategy_name}, seed {run.seed}: {run.trouble}")
    if not runs:
        raise UserError(
            f"none of these {len(folders)} runs is finished; continue them "
            "with --resume, or show one of them alone"
        )
    return [run for same in runs.values() for run in same], notes
