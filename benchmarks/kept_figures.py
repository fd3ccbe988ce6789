"""Joins newly measured rows and seeds of a table with those that its file already has."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import result_file
from table_rows import Table

Content = Mapping[str, Any]


def joined(table: Table, old: Content, new: Content) -> dict[str, Any]:
    """Return new results and, where they have none, the old ones of a row and seed.

    A row's old figures are kept only if it still is run with the same options.

    Args:
        old: the content of the table's file.
        new: what was measured now, with some of the table's rows or seeds.
    """
    before = {row["name"]: row for row in old["rows"]}
    now = {row["name"]: row for row in new["rows"]}
    rows = []
    for row in (row for row in table.rows if row.reported):
        found = [each for each in (before.get(row.name), now.get(row.name)) if each is not None]
        if len(found) == 2 and found[0]["options"] != found[1]["options"]:
            found = found[1:]
        if found:
            rows.append(_row(found))
    values = {row["name"]: result_file.values_of(row) for row in rows}
    run = [set(row["seeds"]) for row in rows]
    partial = len(rows) < sum(row.reported for row in table.rows) or any(
        set(table.row(row["name"]).seeds) - set(row["seeds"]) for row in rows
    )
    words = ["--seed", *map(str, sorted(set.union(*run)))] if partial else []
    return {
        **new,
        "version": _both(old["version"], new["version"]),
        "partial": partial,
        "command": shlex.join(["python", "benchmarks/tables.py", table.name, *words]),
        "rows": rows,
        "differences": [
            found
            for d in table.differences
            if {d.row, d.against} <= set(values)
            and (
                found := result_file.difference(
                    d.figure,
                    (d.row, values[d.row].get(d.figure, {})),
                    (d.against, values[d.against].get(d.figure, {})),
                )
            )
        ],
    }


def _row(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a row with the figures of all of these; the last one decides where two have a seed."""
    figures: dict[str, dict[int, float]] = {}
    for each in found:
        for column, values in result_file.values_of(each).items():
            figures.setdefault(column, {}).update(values)
    named = {name: found[-1][name] for name in ("name", "label", "scenario", "strategy", "group")}
    own = {name: found[-1][name] for name in ("host", "baseline", "options")}
    return result_file.row_record(**named, **own, figures=figures)


def _both(old: str, new: str) -> str:
    return ", ".join(sorted({*old.split(", "), *new.split(", ")}))
