"""Joins newly measured rows and seeds of a table with those that its file already has."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import result_file
from table_rows import Row, Table

Content = Mapping[str, Any]
Values = dict[str, dict[int, float]]  # fractions by figure and seed


def joined(table: Table, old: Content, new: Content) -> dict[str, Any]:
    """Return new results and, where they have none, the old ones of a row and seed.

    A row's old figures are kept only if it still is run with the same options.

    Args:
        old: the content of the table's file.
        new: what was measured now, with some of the table's rows or seeds.
    """
    before, now = ({row["name"]: row for row in each["rows"]} for each in (old, new))
    reported = [row for row in table.rows if row.reported]
    rows = list(_joined_rows(table, reported, before, now))
    seeds = {row["name"]: set(row["seeds"]) for row in rows}
    partial = any(set(row.seeds) - seeds.get(row.name, set()) for row in reported)
    words = ["--seed", *map(str, sorted(set.union(*seeds.values())))] if partial else []
    return {
        **new,
        "version": result_file.versions(old["version"], new["version"]),
        "partial": partial,
        "command": shlex.join(["python", "benchmarks/tables.py", table.name, *words]),
        "rows": rows,
        "differences": differences(
            table, {row["name"]: result_file.values_of(row) for row in rows}
        ),
    }


def differences(table: Table, values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return the table's differences between the rows that have values."""
    found = [
        result_file.difference(
            each.figure,
            (each.row, values[each.row].get(each.figure, {})),
            (each.against, values[each.against].get(each.figure, {})),
        )
        for each in table.differences
        if {each.row, each.against} <= set(values)
    ]
    return [each for each in found if each is not None]


def _joined_rows(
    table: Table, reported: list[Row], before: Mapping[str, Content], now: Mapping[str, Content]
) -> Iterator[dict[str, Any]]:
    """Yield the rows that were measured now or before, in the table's order."""
    for row in reported:
        newest = now.get(row.name) or before.get(row.name)
        options = now[row.name]["options"] if row.name in now else table.options(row)
        parts = (each.get(row.name) for each in (before, now))
        values: Values = {}
        for part in (part for part in parts if part is not None and part["options"] == options):
            for column, own in result_file.values_of(part).items():
                values.setdefault(column, {}).update(own)
        if newest is not None and values:
            kept = {k: v for k, v in newest.items() if k not in ("seeds", "figures")}
            yield result_file.row_record(**kept | row.heading, figures=values)
