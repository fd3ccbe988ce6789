"""What runs cost: trained numbers, kept bytes, forward passes, seconds and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from rich.table import Table
from rich.text import Text

from cl_suite.report.loaded_run import LoadedRun
from cl_suite.report.one_run import empty_table
from cl_suite.report.streams import Method

# the entry of run.json, and what a number of the table counts
COSTS: Mapping[str, tuple[str, float]] = {
    "trained k": ("backbone_trainable_parameters", 1e3),
    "kept MB": ("kept_bytes", 1e6),
    "forward k": ("forward_samples", 1e3),
    "train s": ("seconds_train", 1),
    "test s": ("seconds_eval", 1),
    "memory MB": ("peak_memory_bytes", 1e6),
}
LARGEST = 1e18  # nothing costs as much


def cost(runs: Sequence[LoadedRun], column: str) -> float | None:
    """Return a cost in the unit of its column, the mean over the runs; None if one lacks it.

    A run over many tasks counts once.
    """
    name, unit = COSTS[column]
    folders = {run.folder.path: run for run in runs}
    values = [run.info.get(name) for run in folders.values()]
    known = [value / unit for value in values if _is_cost(value)]
    return float(np.mean(known)) if len(known) == len(values) else None


def costs(methods: Sequence[Method]) -> Table:
    """Return a table of what the runs of each method cost, means over its runs.

    Seconds and memory are those of the machine, and of what else ran on it.
    """
    table = empty_table("strategy", *COSTS)
    for method in methods:
        cells = [cost_in_words(cost(method.runs, column)) for column in COSTS]
        table.add_row(Text(method.label), *cells)
    return table


def cost_in_words(value: float | None) -> str:
    """Return a cost as text, a dash if it is not known."""
    if value is None or np.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _is_cost(value: object) -> TypeGuard[float]:
    # JSON as Python reads it has numbers without end too
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < LARGEST
