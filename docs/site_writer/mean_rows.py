"""Several rows of a table as one row: their mean, seed by seed.

A claim on average over hosts and budgets is judged by that average. Rows of one seed share their
stream and first weights, so the interval is over seeds, not over all pairs of row and seed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import tables
from cl_suite.metrics.intervals import mean_interval

ANY = "*"  # in a name: any text, the same one in the baseline's name


def pairs(table: tables.Table, row: str, baseline: str) -> list[tuple[str, str]]:
    """Return the names of rows that a pattern matches, each with that of its baseline.

    Names without a star are returned as they are, whether or not there are such rows.
    """
    if ANY not in row:
        return [(row, baseline)]
    before, after = row.split(ANY, 1)
    pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
    found = [(known.name, pattern.fullmatch(known.name)) for known in table.rows]
    return [(name, baseline.replace(ANY, match[1])) for name, match in found if match]


def mean_row(rows: Sequence[tables.Row], label: str, figure: str) -> tables.Row:
    """Return a row with the mean of these rows' figure for each seed; a single row as it is.

    Args:
        label: what the mean is over, Markdown; stands where a row's group does.

    Raises:
        ValueError: if a row lacks the values of single seeds, or has others than the first row.
    """
    first = rows[0]
    if len(rows) == 1:
        return first
    figures = [row.figures[figure] for row in rows]
    values = [dict(known.values or {}) for known in figures]
    for row, own in zip(rows, values, strict=True):
        if not own or set(own) != set(values[0]):
            raise ValueError(f"'{row.name}' has not the seeds of '{first.name}'")
    means = {seed: sum(own[seed] for own in values) / len(values) for seed in values[0]}
    found = mean_interval(list(means.values()))
    half_width = None if len(means) == 1 else found.half_width
    changed = dataclasses.replace(figures[0], mean=found.mean, half_width=half_width, values=means)
    shared = first.label if len({row.label for row in rows}) == 1 else f"{len(rows)} rows"
    return dataclasses.replace(first, label=shared, group=label, figures={figure: changed})
