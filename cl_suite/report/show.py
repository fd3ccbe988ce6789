"""The command `cl-suite show`: the tables of one run, or a comparison of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from cl_suite.errors import UserError
from cl_suite.report.comparison import compared, identity
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.one_run import one_run
from cl_suite.runs.folder import RunFolder, find_runs


def print_runs(paths: Sequence[Path], console: Console) -> None:
    """Print the figures of the runs at and below these paths.

    Raises:
        UserError: see `show`.
    """
    console.print(show(paths, ascii_only=console.options.ascii_only), highlight=False)


def show(paths: Sequence[Path], *, ascii_only: bool = False) -> RenderableType:
    """Return the figures of one run, or a comparison of several.

    Args:
        paths: run folders, and folders of runs.
        ascii_only: write `+-` instead of the plus-minus sign.

    Raises:
        UserError: if a path holds no run, a file is damaged, or no session is finished.
    """
    folders = find_runs(paths)
    if len(folders) == 1:
        return one_run(load(folders[0]))
    runs, notes = _comparable(folders)
    return compared(runs, notes, sign="+-" if ascii_only else "\N{PLUS-MINUS SIGN}")


def _comparable(folders: Sequence[RunFolder]) -> tuple[list[LoadedRun], list[str]]:
    """Return the finished runs, each seed of a configuration once, and notes on the others."""
    runs: dict[str, LoadedRun] = {}
    notes = []
    for folder in folders:
        if not folder.read_run_info().get("finished"):
            notes.append(f"left out: '{folder.path}' is unfinished")
            continue
        run = load(folder)
        key = identity([run.scenario_name, run.scenario, run.strategy_name, run.method, run.seed])
        if key in runs:
            notes.append(f"left out: '{folder.path}' repeats '{runs[key].folder.path}'")
            continue
        runs[key] = run
    if not runs:
        raise UserError(
            f"none of these {len(folders)} runs is finished; continue them "
            "with --resume, or show one of them alone"
        )
    return list(runs.values()), notes
