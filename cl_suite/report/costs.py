"""What runs cost: trained numbers, kept bytes, forward passes, seconds and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from cl_suite.report.loaded_run import LoadedRun
from cl_suite.report.one_run import empty_table

# the entry of run.json, and what a number of the table counts
COSTS: Mapping[str, tuple[str, float]] = {
    "trained k": ("backbone_trainable_parameters", 1e3),
    "kept MB": ("kept_bytes", 1e6),
    "forward k": ("forward_samples", 1e3),
    "train s": ("seconds_train", 1),
    "test s": ("seconds_eval", 1),
    "memory MB": ("peak_memory_bytes", 1e6),
}


def costs(rows: Mapping[str, Sequence[LoadedRun]]) -> Table:
    """Return a table of what the runs of each row cost, means over its runs.

    Seconds and memory are those of the machine, and of what else ran on it.
    """
    table = empty_table("strategy", *COSTS)
    for label, runs in rows.items():
        infos = [run.folder.read_run_info() for run in runs]
        table.add_row(label, *(_mean(infos, *cost) for cost in COSTS.values()))
    return table


def _mean(infos: Sequence[Mapping[str, Any]], name: str, unit: float) -> str:
    """Return a cost's mean in its unit, a dash if a run does not know it."""
    values = [info.get(name) for info in infos]
    if not values or not all(isinstance(value, (int, float)) for value in values):
        return "-"
    mean = float(np.mean([float(value) / unit for value in values if value is not None]))
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:,.1f}"
