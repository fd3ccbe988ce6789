"""Measure a table of results: run its rows, and write their figures to `results/NAME.json`.

    python benchmarks/tables.py                        list the tables
    python benchmarks/tables.py NAME [--seed 0] [--jobs 4] [...]  run one

Options after the name, such as --device, are added to each run and take precedence. --seed replaces
the seeds of every row; the file lists the seeds that were run. --jobs runs so many at a time, each
with one seed. --rows chooses rows, and --keep leaves the file's other rows and seeds as they are.
To continue a table that was stopped, add --resume.

Runs go to $OUT (runs/tables by default), files to $RESULTS (benchmarks/results). $SPOKEN_DIGITS and
$MINI_IMAGENET are data roots, $DEIT_TINY a weights file. Relative paths start at the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import result_file
from kept_figures import differences, joined
from run_figures import figure_of, finished_runs, provenance
from table_rows import ROOTS, Row, Table
from table_specs import TABLES

from cl_suite.errors import UserError
from cl_suite.report.loaded_run import LoadedRun

REPOSITORY = Path(__file__).resolve().parents[1]
SUITE = (sys.executable, "-m", "cl_suite.cli")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        table: the table to measure.
        seeds: seeds that replace those of every row; None: each row's own.
        jobs: how many runs at a time.
        rows: names of the rows to run; None: all.
        keep: leave other rows and seeds of the file as they are.
        added: further options of every run.
        variables: values of the variables in the options.
    """

    table: Table
    seeds: Sequence[int] | None
    jobs: int
    rows: Sequence[str] | None
    keep: bool
    added: Sequence[str]
    variables: Mapping[str, str]

    def wants(self, row: Row) -> bool:
        """Whether a row is to be run."""
        return self.rows is None or row.name in self.rows

    def out(self, row: Row) -> str:
        """Return the folder of a row's runs."""
        return f"{self.variables['OUT']}/{self.table.name}/{row.name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """List the tables or measure one; return the exit code, 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="table to measure")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="added to each run")
    given = parser.parse_args(arguments)
    if given.name is None:
        for table in TABLES.values():
            print(f"{table.name:20} {table.title}")  # noqa: T201
        return 0
    try:
        return measure(request(given.name, given.options))
    except UserError as error:
        sys.stderr.write(f"tables: {error}\n")
        return 2


def request(name: str, options: Sequence[str]) -> Request:
    """Return the request that the command line makes.

    Raises:
        UserError: if the table is unknown, or a variable that it needs is not set.
    """
    if name not in TABLES:
        raise UserError(f"table '{name}' is unknown; there are {' '.join(TABLES)}")
    table = TABLES[name]
    if missing := [root for root in table.needs if not os.environ.get(root)]:
        words = " and ".join(f"{root} must name {ROOTS[root]}" for root in missing)
        raise UserError(f"{words}; set the environment variable and repeat the command")
    parser = argparse.ArgumentParser(prog="tables.py NAME", allow_abbrev=False, add_help=False)
    parser.add_argument("--seed", type=int, nargs="+")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--keep", action="store_true")
    own, added = parser.parse_known_args(options)
    if unknown := sorted(set(own.rows or ()) - {row.name for row in table.rows}):
        known = " ".join(row.name for row in table.rows)
        raise UserError(f"table '{name}' has no row '{unknown[0]}'; it has {known}")
    if own.rows and not any(table.row(row).reported for row in own.rows):
        raise UserError(f"--rows {' '.join(own.rows)} serve other rows alone; add one of these")
    variables = {root: os.environ[root] for root in table.needs}
    variables["OUT"] = os.environ.get("OUT") or "runs/tables"
    return Request(
        table=table,
        seeds=own.seed,
        jobs=own.jobs,
        rows=own.rows,
        keep=own.keep,
        added=added,
        variables=variables,
    )


def calls(asked: Request, row: Row) -> list[list[str]]:
    """Return the arguments of each call of `cl-suite` for a row: one a seed if there are jobs."""
    commands = list(asked.table.commands(row, asked.seeds))
    if asked.jobs > 1:
        commands = [replace(each, seeds=[seed]) for each in commands for seed in each.seeds]
    return [each.arguments(asked.variables, asked.added, asked.out(row)) for each in commands]


def stages(table: Table) -> Iterator[list[Row]]:
    """Yield rows that do not need each other; each stage needs only those before it."""
    left, done = list(table.rows), {None}
    while left:
        ready = [row for row in left if {row.start_from, row.weights_from, row.tasks_on} <= done]
        yield ready
        left = [row for row in left if row not in ready]
        done |= {row.name for row in ready}


def measure(asked: Request) -> int:
    """Run the rows and write the file; return the exit code of the first run that failed, or 0.

    Raises:
        UserError: if a run cannot be read, or the file cannot be written.
    """
    run = run_in_jobs if asked.jobs > 1 else run_in_turn
    if code := run(asked):
        return code
    folder = REPOSITORY / (os.environ.get("RESULTS") or result_file.RESULTS)
    path = folder / f"{asked.table.name}.json"
    notes = result_file.notes_of(path)
    found = content(asked)
    if asked.keep and path.is_file():
        found = joined(asked.table, json.loads(path.read_text("utf-8")), found)
    result_file.write(path, found | {"notes": notes})
    print(f"written: {path}")  # noqa: T201
    if notes:
        print("Its notes are those of the figures before; read whether they still hold.")  # noqa: T201
    return 0


def run_in_turn(asked: Request) -> int:
    """Run the rows one after another; return the exit code of the first that failed, or 0."""
    for row in filter(asked.wants, asked.table.rows):
        for call in calls(asked, row):
            print("cl-suite", shlex.join(call), flush=True)  # noqa: T201
            if code := call_suite(call):
                sys.stderr.write(f"tables: row '{row.name}' ended with exit code {code}\n")
                return code
    return 0


def run_in_jobs(asked: Request) -> int:
    """Run the rows at once as far as they do not need each other; return as `run_in_turn` does."""
    with ThreadPoolExecutor(asked.jobs) as pool:
        for rows in stages(asked.table):
            found = [call for row in filter(asked.wants, rows) for call in calls(asked, row)]
            if code := next((code for code in pool.map(call_quietly, found) if code), 0):
                pool.shutdown(cancel_futures=True)
                return code
    return 0


def call_suite(arguments: Sequence[str]) -> int:
    """Call the `cl-suite` of this repository and return its exit code."""
    return subprocess.run([*SUITE, *arguments], cwd=REPOSITORY).returncode


def call_quietly(arguments: Sequence[str]) -> int:
    """Do as `call_suite`, but print one line, and the run's own last lines only if it fails."""
    done = subprocess.run([*SUITE, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    print("cl-suite", shlex.join(arguments), flush=True)  # noqa: T201
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-5:])
        sys.stderr.write(f"tables: it ended with exit code {done.returncode}\n{last}\n")
    return done.returncode


def content(asked: Request) -> dict[str, Any]:
    """Return the results of a table's finished runs, without notes.

    Raises:
        UserError: if a run is unfinished, or cannot be read.
    """
    table = asked.table
    rows = [row for row in table.rows if row.reported and asked.wants(row)]
    runs = {row.name: _runs(asked, row) for row in rows}
    values = {
        name: {
            figure: {_number(run): figure_of(run, figure) for run in found}
            for figure in table.columns
        }
        for name, found in runs.items()
    }
    return {
        "name": table.name,
        "title": table.title,
        "scenario": table.scenario,
        "setting": table.setting,
        **provenance([run for found in runs.values() for run in found]),
        "provenance": None,
        "partial": asked.rows is not None
        or any(set(row.seeds) - set(row.chosen_seeds(asked.seeds)) for row in rows),
        "command": shlex.join(["python", "benchmarks/tables.py", table.name, *_options(asked)]),
        "needs": {root: ROOTS[root] for root in table.needs},
        "columns": dict(table.columns),
        "rows": [_record(asked, row, values[row.name]) for row in rows],
        "differences": differences(table, values),
    }


def _options(asked: Request) -> list[str]:
    seeds = [] if asked.seeds is None else ["--seed", *map(str, asked.seeds)]
    seeds += [] if asked.rows is None else ["--rows", *asked.rows]
    # resuming or repeating a table does not change its figures
    return [*seeds, *(word for word in asked.added if word not in ("--resume", "--overwrite"))]


def _added(words: Sequence[str]) -> dict[str, str]:
    """Return further options in the form in which a row keeps them."""
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            options[name] = value
        elif options:
            options[name] = f"{options[name]} {word}".strip()
    return {name: value for name, value in options.items() if name not in ("resume", "overwrite")}


def _runs(asked: Request, row: Row) -> list[LoadedRun]:
    folder = REPOSITORY / asked.out(row) / asked.table.scenario_of(row) / row.strategy
    commands = asked.table.commands(row, asked.seeds)
    seeds = [seed for command in commands for seed in command.seeds]
    return [run for seed in seeds for run in finished_runs(folder / f"seed{seed}")]


def _number(run: LoadedRun) -> int:
    return run.seed if run.task is None else run.task


def _record(asked: Request, row: Row, values: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    table = asked.table
    return result_file.row_record(
        name=row.name,
        scenario=table.scenario_of(row),
        strategy=row.strategy,
        host=row.host,
        options=table.options(row) | _added(asked.added),
        figures=values,
        **row.heading,
    )


if __name__ == "__main__":
    sys.exit(main())
