"""Shows runs over many few-shot tasks: means over the tasks, of one run or of several compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.errors import UserError
from cl_suite.metrics.intervals import mean_interval
from cl_suite.report.loaded_run import LoadedRun, description
from cl_suite.report.one_run import empty_table, per_cent
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.task_records import TaskRecord, TasksFile, as_hits, means

NAMES = {"average": "average accuracy", "last": "last accuracy", "drop": "performance drop"}
NAMES |= {"harmonic": "harmonic mean", "forgetting": "forgetting"}


def is_of_tasks(folder: RunFolder) -> bool:
    """Return whether a run is one over many tasks."""
    return folder.tasks_file.is_file()


def runs_of_tasks(folder: RunFolder) -> list[LoadedRun]:
    """Return the tasks of a run, each as the single run that it equals.

    Raises:
        UserError: if a file is missing or damaged, or no task is done.
    """
    records = TasksFile(folder.tasks_file).read()
    if not records:
        raise UserError(
            f"no task of run '{folder.path}' is finished yet; wait, or continue it with --resume"
        )
    described = description(folder)
    return [
        LoadedRun(
            **described,
            records=(),
            hits=as_hits(record.hits, record.images),
            probes={name: as_hits(rows, record.images) for name, rows in record.probes.items()},
            task=record.task,
        )
        for record in records
    ]


def one_run_of_tasks(folder: RunFolder, *, sign: str) -> Group:
    """Return the means of a run over its tasks, and how they develop with the sessions.

    Args:
        sign: the sign before half the width of an interval.

    Raises:
        UserError: if a file is missing or damaged, or no task is done.
    """
    records = TasksFile(folder.tasks_file).read()
    run, *_ = runs_of_tasks(folder)
    title = f"{run.scenario_name} / {run.strategy_name}, seed {run.seed}, {len(records)} tasks"
    parts: list[RenderableType] = [Text(title, style="bold")]
    if not run.finished:
        parts[0] = Text(f"{title}  (unfinished)", style="bold yellow")
    if run.measured_by != IN_WORDS["classifier"]:
        parts.append(Text(f"accuracies are those of {run.measured_by}"))
    if num := sum(record.diverged for record in records):
        parts.append(Text(f"training has diverged in {num:,} of the tasks", style="yellow"))
    parts += [Text(), _figures(records, sign), Text(), *_sessions(records, sign)]
    for name in run.probes:
        own = [dataclasses.replace(r, hits=r.probes[name]) for r in records]
        parts += [Text(), Text(f"by {IN_WORDS[name]}"), _figures(own, sign)]
    parts += [Text(), Text(footnote(sign))]
    return Group(*parts)


def footnote(sign: str) -> str:
    """Return what the figures are."""
    return (
        f"Per cent and points; mean over the tasks {sign} half the 95 % confidence interval "
        "(Student's t)."
    )


def _figures(records: Sequence[TaskRecord], sign: str) -> RenderableType:
    table = empty_table("figure", "mean", "deviation", "lowest", "highest")
    table.columns[0].max_width = None
    figures = [record.figures for record in records]
    for name, found in means(records).items():
        values = [getattr(each, name) for each in figures]
        cells = (found.standard_deviation, np.nanmin(values), np.nanmax(values))
        table.add_row(NAMES[name], _mean(found, sign), *map(per_cent, cells))
    return table


def _sessions(records: Sequence[TaskRecord], sign: str) -> Iterator[RenderableType]:
    num = len(records[0].images)
    shown = sorted({round(i) for i in np.linspace(0, num - 1, min(num, 12))})
    accuracy: list[Any] = [record.line()["accuracy"] for record in records]
    table = empty_table("after session", "all")
    for session in shown:
        values = [each[session] for each in accuracy if each[session] is not None]
        table.add_row(str(session), _mean(mean_interval(values), sign) if values else "-")
    yield table
    if len(shown) < num:
        yield Text(f"{len(shown)} of {num} sessions; all are in tasks.jsonl")


def _mean(found: Any, sign: str) -> str:
    mean, half = per_cent(found.mean), per_cent(found.half_width)
    return mean if np.isnan(found.half_width) else f"{mean} {sign}{half}"
