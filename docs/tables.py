"""Tables of measured figures: from `benchmarks/results/*.json` to Markdown.

    python docs/tables.py > results.md     all tables, as one page
    python docs/tables.py teen             the rows of one strategy, beside its baselines

`result_tables` reads the files; the tables are written as those of `cl-suite report` are.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from result_tables import MACHINE, Difference, Figure, Row, Table, load

from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.html.formats import markdown_table
from cl_suite.report.html.tables import Cell, cell
from cl_suite.report.html.tables import Table as ReportTable

SIGN = "\N{PLUS-MINUS SIGN} "
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
# tables on the ground that a method's paper has in mind, beside the method's baseline
OWN_GROUND = (
    "cfsl",
    "cler_cifar10",
    "cler_cifar10_long",
    "coact_grounds",
    "limit_frozen",
    "mamlcon_whole_omniglot",
    "picle",
    "rehearsal_features",
    "spoken_digits",
    "spoken_words",
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
    rows = []
    for row in table.rows:
        label = f"{row.label} (baseline)" if row.name in baselines else row.label
        words = [*([row.group or ""] if grouped else []), label]
        words += [_seeds(row.seeds)] if seeds else []
        found = (row.figures.get(name) for name in columns)
        rows.append([*map(Cell, words), *map(_cell, found)])
    return _markdown_table(ReportTable("figures", "", [*head, *columns.values()], rows, len(head)))


def _differences(table: Table) -> Iterator[str]:
    if not table.differences:
        return
    rows = []
    for d in table.differences:
        row, against = table.row(d.row), table.row(d.against)
        group = f"{row.group}: " if row.group else ""
        pair = f"{group}{row.label} minus {against.label}"
        rows.append([Cell(pair), Cell(table.columns[d.figure]), _cell(d, plus="+")])
    head = ("paired by seed", "figure", "difference")
    yield _markdown_table(ReportTable("differences", "", head, rows, 2))


def _markdown_table(table: ReportTable) -> str:
    return markdown_table(table, escaped=str)  # labels are Markdown


def _cell(figure: Figure | Difference | None, plus: str = "") -> Cell:
    if figure is None:
        return Cell("")
    half_width = math.nan if figure.half_width is None else figure.half_width
    interval = MeanInterval(figure.mean, half_width, standard_deviation=math.nan, num=0)
    return cell(interval, SIGN, plus=plus, factor=1, decimals=figure.decimals)


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


if __name__ == "__main__":
    if len(sys.argv) > 1:
        parts = [markdown(part) for name in sys.argv[1:] for part in rows_of(name)]
        sys.stdout.write("\n".join(parts))
    else:
        sys.stdout.write(page(load_all()))
