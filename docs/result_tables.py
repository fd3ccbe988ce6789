"""Tables of measured figures, as the files `benchmarks/results/*.json` hold them.

`benchmarks/results/README.md` explains each field, and `load` refuses a file that breaks its rules.
Needs the standard library alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
MACHINE = ("device", "cores", "processor")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over seeds in per cent, printed with so many `decimals`."""

    mean: float
    half_width: float | None
    values: Mapping[str, float] | None
    decimals: int = 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one configuration, by name; `label` and `group` are Markdown."""

    name: str
    label: str
    group: str | None
    scenario: str
    strategy: str
    host: str | None
    baseline: str | None
    options: Mapping[str, str] | None
    seeds: Sequence[int] | None
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`row - against`, paired by seed, of one figure, in percentage points."""

    figure: str
    row: str
    against: str
    seeds: Sequence[int] | None
    mean: float
    half_width: float | None
    decimals: int = 2


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file of results."""

    schema: int
    name: str
    title: str
    scenario: str
    setting: str
    measured: str | None
    version: str
    machine: Mapping[str, Any]
    provenance: str | None
    partial: bool
    command: str | None
    needs: Mapping[str, str]
    columns: Mapping[str, str]
    rows: Sequence[Row]
    differences: Sequence[Difference]
    notes: Sequence[str]

    def row(self, name: str) -> Row:
        """Return the row of this name."""
        (found,) = (row for row in self.rows if row.name == name)
        return found


def load(path: Path) -> Table:
    """Return the table that a file holds.

    Raises:
        ValueError: if the file breaks the rules of its schema; the message says where.
    """
    try:
        table = _table(json.loads(path.read_text("utf-8")))
        if table.name != path.stem:
            raise ValueError(f"the table is named '{table.name}'; name the file after it")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"'{path.name}': {error}") from error
    return table


# --- the rules of the schema ---


def _table(content: Any) -> Table:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"the file is no table of schema {SCHEMA}")
    rows = [_row(row) for row in content["rows"]]
    differences = [_made(Difference, d) for d in content["differences"]]
    table: Table = _made(Table, {**content, "rows": rows, "differences": differences})
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise ValueError("two rows have one name")
    named = {row.baseline for row in rows if row.baseline is not None}
    named |= {name for d in differences for name in (d.row, d.against)}
    if unknown := named - set(names):
        raise ValueError(f"'{min(unknown)}' is named, but there is no such row")
    used = {f for row in rows for f in row.figures} | {d.figure for d in differences}
    if unknown := used - set(table.columns):
        raise ValueError(f"figure '{min(unknown)}' has no column")
    if unknown := set(MACHINE) ^ set(table.machine):
        raise ValueError(f"machine: '{min(unknown)}' is missing or unknown")
    return table


def _row(content: Any) -> Row:
    figures = {name: _made(Figure, figure) for name, figure in content["figures"].items()}
    row: Row = _made(Row, {**content, "figures": figures})
    for name, figure in figures.items():
        if figure.values is None:
            continue
        if row.seeds is None or set(figure.values) != {str(seed) for seed in row.seeds}:
            raise ValueError(f"row '{row.name}': '{name}' must have one value for each seed")
        mean = sum(figure.values.values()) / len(figure.values)
        if not math.isclose(mean, figure.mean, abs_tol=1e-4):
            raise ValueError(f"row '{row.name}': '{name}' has another mean than its values")
    return row


def _made(cls: Any, content: Mapping[str, Any]) -> Any:
    """Return an object of these fields, each of the type that its class declares."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    for name, value in content.items():
        if name not in fields:
            raise ValueError(f"{cls.__name__.lower()}: there is no field '{name}'")
        if not _fits(value, fields[name]):
            raise ValueError(
                f"{cls.__name__.lower()}: {name} must be {fields[name]}, got {value!r}"
            )
    return cls(**content)


def _fits(value: Any, declared: str) -> bool:
    if value is None:
        return declared == "Any" or declared.endswith("| None")
    kind, _, inner = declared.removesuffix(" | None").removesuffix("]").partition("[")
    if kind == "Mapping":
        wanted = inner.removeprefix("str, ")
        return isinstance(value, dict) and all(
            isinstance(key, str) and _fits(item, wanted) for key, item in value.items()
        )
    if kind == "Sequence":
        return isinstance(value, list) and all(_fits(item, inner) for item in value)
    if kind == "float":
        return type(value) in (int, float) and math.isfinite(value)
    return kind == "Any" or type(value).__name__ == kind
