"""Tables of measured figures: from `benchmarks/results/*.json` to Markdown.

    python docs/tables.py > results.md     all tables, as one page
    python docs/tables.py teen             the rows of one strategy, beside its baselines

Needs the standard library alone. `benchmarks/results/README.md` explains each field of a file, and
`load` refuses a file that breaks those rules.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
MACHINE = ("device", "cores", "processor")
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
# tables on the ground that a method's paper has in mind, beside the method's baseline
OWN_GROUND = (
    "cfsl",
    "coact_grounds",
    "picle",
    "rehearsal_features",
    "spoken_digits",
    "ssl_features",
)
INTRODUCTION = """# Results

Every figure is in per cent, and every difference is in percentage points. A figure is the mean over
seeds; ± stands before half the width of its 95 % confidence interval (Student's t). A figure
without ± comes from a single run, or its interval is not known.

*Average* is the mean of the accuracies after each session, base session included. *Last* is the
accuracy over all classes after the last session. *Harmonic mean* is that of base and new accuracy
after the last session. *Forgetting* is the accuracy that earlier sessions lost since their best.
"""


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


def load_all(folder: Path = RESULTS) -> list[Table]:
    """Return every table of a folder: first those on a method's own ground, then the common ones.

    Within each part those of one scenario stand side by side.

    Raises:
        ValueError: if a file breaks the rules of its schema.
    """
    tables = [load(path) for path in sorted(folder.glob("*.json"))]
    return sorted(tables, key=lambda t: (t.name not in OWN_GROUND, t.scenario, t.name))


def page(tables: Sequence[Table]) -> str:
    """Return the whole page of results, Markdown.

    Args:
        tables: in the order of the page; see `load_all`.
    """
    own = [table for table in tables if table.name in OWN_GROUND]
    common = [table for table in tables if table.name not in OWN_GROUND]
    parts = [INTRODUCTION]
    for heading, some in (("On each method's own ground", own), ("On common grounds", common)):
        if some:
            parts += [f"## {heading}\n", *(markdown(table, level=3) for table in some)]
    return "\n".join(parts)


def markdown(table: Table, *, level: int = 2) -> str:
    """Return a table with its setting, notes and the command that repeats it, Markdown.

    Args:
        table: all of a file, or a part of it (see `rows_of`).
        level: of the heading.
    """
    parts = [f"{'#' * level} {table.title}", f"{table.setting} {_seeds_of(table)}".strip()]
    parts += [_grid(table), *_differences(table), *table.notes, _origin(table)]
    if table.command is not None:
        needs = [f"`{name}` to {what}" for name, what in table.needs.items()]
        first = f"Set {' and '.join(needs)}, then repeat" if needs else "Repeat"
        parts.append(f"{first} the table by\n\n```sh\n{table.command}\n```")
    return "\n\n".join(parts) + "\n"


def rows_of(strategy: str, tables: Sequence[Table] | None = None) -> list[Table]:
    """Return what the tables say of one strategy, beside the baselines it is compared with.

    Args:
        strategy: as on the command line; rows of strategies that wrap it count too.
        tables: to choose from; every file of results by default.

    Returns:
        Tables cut down to the rows whose strategy or host it is, the rows that these are compared
        with, and the differences between those. Notes are left out, as they are of whole tables.
    """
    parts = []
    for table in load_all() if tables is None else tables:
        own = {row.name for row in table.rows if strategy in (row.strategy, row.host)}
        own |= {b for row in table.rows if row.name in own and (b := row.baseline) is not None}
        if not own:
            continue
        rows = [row for row in table.rows if row.name in own]
        differences = [d for d in table.differences if {d.row, d.against} <= own]
        part = dataclasses.replace(table, rows=rows, differences=differences, notes=())
        parts.append(part)
    return parts


def run_command(row: Row) -> str | None:
    """Return the call of `cl-suite` behind a row; None if its options are not known."""
    if row.options is None:
        return None
    words = ["cl-suite", "run", row.scenario, row.strategy]
    if "scenario.task" in row.options:
        words += ["--seed", "{network}"]  # the row's seeds are tasks
    elif row.seeds is not None:
        words += ["--seed", *map(str, row.seeds)]
    words += [word for name, value in row.options.items() for word in (f"--{name}", _quoted(value))]
    return " ".join(words)


# --- parts of a table ---


def _grid(table: Table) -> str:
    used = {name for row in table.rows for name in row.figures}
    columns = {name: title for name, title in table.columns.items() if name in used}
    grouped = any(row.group for row in table.rows)
    seeds = len({_seeds(row.seeds) for row in table.rows}) > 1
    baselines = {row.baseline for row in table.rows}
    head = [*(["group"] if grouped else []), "method", *(["seeds"] if seeds else [])]
    lines = [
        _line([*head, *columns.values()]),
        _line(["---"] * len(head) + ["---:"] * len(columns)),
    ]
    for row in table.rows:
        label = f"{row.label} (baseline)" if row.name in baselines else row.label
        cells = [*([row.group or ""] if grouped else []), label]
        cells += [_seeds(row.seeds)] if seeds else []
        found = (row.figures.get(name) for name in columns)
        lines.append(_line([*cells, *("" if f is None else _number(f) for f in found)]))
    return "\n".join(lines)


def _differences(table: Table) -> Iterator[str]:
    if not table.differences:
        return
    lines = [_line(["paired by seed", "figure", "difference"]), _line(["---", "---", "---:"])]
    for d in table.differences:
        row, against = table.row(d.row), table.row(d.against)
        group = f"{row.group}: " if row.group else ""
        pair = f"{group}{row.label} minus {against.label}"
        lines.append(_line([pair, table.columns[d.figure], _number(d)]))
    yield "\n".join(lines)


def _number(figure: Figure | Difference) -> str:
    mean = f"{figure.mean:.{figure.decimals}f}"
    if figure.half_width is None:
        return mean
    return f"{mean} ± {figure.half_width:.{figure.decimals}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _seeds_of(table: Table) -> str:
    words = {_seeds(row.seeds) for row in table.rows}
    missing = " Not all runs of this table have been made." if table.partial else ""
    one = f"Seeds: {words.pop()}." if len(words) == 1 else ""
    return f"{one}{missing}".strip()


def _seeds(seeds: Sequence[int] | None) -> str:
    """Return seeds in words, such as `0 to 4, 10`."""
    if seeds is None:
        return "not recorded"
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def _origin(table: Table) -> str:
    device, cores, processor = (table.machine[key] for key in MACHINE)
    known = [device, f"{cores} cores" if cores else None, processor]
    words = ", ".join(str(word) for word in known if word)
    where = f" Device: {words}." if words else ""
    if table.provenance is not None:
        return f"{table.provenance}{where}"
    return f"Measured on {table.measured} with version {table.version}.{where}"


def _quoted(value: str) -> str:
    # a variable is for the shell to put in
    return f'"{value}"' if "$" in value else shlex.quote(value)


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


if __name__ == "__main__":
    if len(sys.argv) > 1:
        parts = [markdown(part) for name in sys.argv[1:] for part in rows_of(name)]
        sys.stdout.write("\n".join(parts))
    else:
        sys.stdout.write(page(load_all()))
