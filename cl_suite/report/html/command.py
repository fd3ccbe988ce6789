"""The command `cl-suite report`: a page of many runs, or their tables alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.report.html.formats import WRITERS
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.show import comparable
from cl_suite.report.streams import streams_of
from cl_suite.report.tasks import is_of_tasks, runs_of_tasks
from cl_suite.runs.folder import RunFolder, find_runs
from cl_suite.storage.files import atomic_write

PAGE = Path("report.html")


def write_report(paths: Sequence[Path], out: Path | None, format: str) -> Path | None:
    """Write a report of the runs at and below these paths; return its file.

    Args:
        paths: run folders, and folders of runs.
        out: the file, replaced if there is one; None for `report.html`, or for tables the standard
            output.
        format: "html", or the tables alone as "md", "csv" or "latex".

    Raises:
        UserError: if the folder to write to does not exist, a path contains no run, no run is
            finished, or a file is damaged.
    """
    if out is None and format == "html":
        out = PAGE
    if out is not None:
        _check(out)
    runs, notes = _loaded(find_runs(paths))
    streams = streams_of(runs)
    if format == "html":
        # drawing needs matplotlib, whose import takes a second
        from cl_suite.report.html.page import page

        text = page(streams, notes)
    else:
        text = WRITERS[format](streams, notes)
    if out is None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        return None
    atomic_write(out, text.encode())
    return out


def _loaded(folders: Sequence[RunFolder]) -> tuple[list[LoadedRun], list[str]]:
    """Return the runs and notes on them; a run alone is shown as far as it is."""
    if len(folders) > 1:
        return comparable(folders)
    (folder,) = folders
    runs = runs_of_tasks(folder) if is_of_tasks(folder) else [load(folder)]
    if runs[0].finished:
        return runs, []
    num = f"{len(runs)} tasks" if is_of_tasks(folder) else f"{len(runs[0].records)} sessions"
    return runs, [f"'{folder.path}' is unfinished: {num} done"]


def _check(out: Path) -> None:
    """Refuse a place that cannot be written, before anything is read and drawn."""
    if not out.parent.is_dir():
        raise UserError(
            f"cannot write the report to '{out}': there is no folder '{out.parent}'; create it, or "
            "choose another place"
        )
    if out.is_dir():
        raise UserError(
            f"cannot write the report to '{out}': it is a folder; name a file in it, such as "
            f"'{out / PAGE}'"
        )
