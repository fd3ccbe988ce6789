"""The command `cl-suite benchmark`: runs a protocol's rows on its draws, and compares them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cl_suite import registry
from cl_suite.errors import UserError, suggestion
from cl_suite.report.benchmark_figures import Result, load_rows
from cl_suite.report.benchmark_tables import tables, unfinished
from cl_suite.report.benchmark_tuning import as_sweep, tuned_on
from cl_suite.report.console import dashboard_lines, print_columns
from cl_suite.report.draws import RECORD
from cl_suite.report.sweep import SOME_FAILED, Cluster, How, driven, threads_of
from cl_suite.report.sweep_table import failed_lines
from cl_suite.runs.benchmark.orders import Means, class_means, order_of
from cl_suite.runs.benchmark.plan import (
    Cell,
    Wanted,
    cells_of,
    check_settings,
    plain_draws,
    plan_of,
    similar_draws,
)
from cl_suite.runs.benchmark.pretraining import seen_in_pretraining
from cl_suite.runs.benchmark.protocol import Settings, names, read_protocol
from cl_suite.runs.sweep.jobs import jobs_of
from cl_suite.runs.sweep.needs import Needs
from cl_suite.runs.sweep.plan import refuse_other_run, write_plan
from cl_suite.runs.sweep.spec import Sweep
from cl_suite.storage.files import atomic_write

MOST_LISTED = 40


@dataclass(frozen=True)
class Asked:
    """The command's arguments.

    Attributes:
        scenario: None for the protocol's first.
        strategies: None for the protocol's.
        settings: of all runs, by dotted name.
        tune_on: scenario on which parameters are chosen; tune_settings: its settings.
    """

    name: str
    scenario: str | None
    strategies: Sequence[str] | None
    settings: Settings
    out: Path | None
    how: How
    device: str = "auto"
    tune_on: str | None = None
    tune_settings: Settings = dataclasses.field(default_factory=dict)


def print_benchmarks(console: Console) -> None:
    """Print the names of the protocols."""
    print_columns(console, ("benchmark", "what"), sorted(names().items()))


def print_benchmark(asked: Asked, console: Console) -> int:
    """Run a benchmark; return the exit code.

    Raises:
        UserError: for bad input, before anything is started.
    """
    asked.how.check()
    if asked.how.slurm:
        raise UserError("a benchmark's last orders depend on its first runs; use --jobs or --ray")
    wanted = _wanted(asked)
    check_settings(wanted)
    draws = plain_draws(wanted.protocol)
    cells = cells_of(wanted, draws, here=asked.how.here)
    for cell in cells:
        refuse_other_run(cell.trial)
    if asked.how.dry_run:
        _print_plan(wanted, cells, console)
        return 0
    with contextlib.ExitStack() as stack:
        sweep = as_sweep(wanted)
        cluster = Cluster(asked.how, sweep, stack)
        chosen: list[str] = []
        if asked.tune_on is not None:
            wanted, chosen = tuned_on(asked.tune_on, asked.tune_settings, wanted, cluster, console)
            cells = cells_of(wanted, draws, here=asked.how.here)
        failed = _run(wanted, sweep, cells, cluster, console)
        means = _means_of(wanted, cells)
        if means is not None:
            more = cells_of(
                wanted, similar_draws(wanted.protocol, means.orders()), here=asked.how.here
            )
            failed += _run(wanted, sweep, more, cluster, console)
            cells += more
    _print_end(wanted, cells, means, chosen, console)
    return SOME_FAILED if failed else 0


def _wanted(asked: Asked) -> Wanted:
    protocol = read_protocol(asked.name)
    scenario = asked.scenario or protocol.scenarios[0]
    if scenario not in protocol.scenarios:
        registry.get("scenario", scenario)
        raise UserError(
            f"benchmark '{protocol.name}' is not for scenario '{scenario}'"
            f"{suggestion(scenario, protocol.scenarios)}"
        )
    strategies = protocol.strategies if asked.strategies is None else tuple(asked.strategies)
    for name in strategies:
        registry.get("strategy", name)
    out = asked.out or Path("runs") / "benchmark" / protocol.name / scenario
    needs = Needs(device=asked.device, threads=threads_of(asked.how))
    return Wanted(
        protocol, scenario, strategies, asked.settings, out.expanduser().absolute(), needs
    )


def _run(
    wanted: Wanted, sweep: Sweep, cells: Sequence[Cell], cluster: Cluster, console: Console
) -> int:
    """Bring these runs to an end; return how many failed."""
    plan = plan_of(cells)
    for trial in plan.all:
        refuse_other_run(trial)
    write_plan(plan.all)
    jobs, done = jobs_of(plan, wanted.out)
    console.print(
        f"benchmark {wanted.protocol.name} on {wanted.scenario}: {len(plan.trials):,} runs in "
        f"{wanted.out}",
        soft_wrap=True,
    )
    progress = driven(sweep, jobs, done, cluster, console)
    for line in failed_lines(progress):
        console.print(line, soft_wrap=True)
    return sum(one.state == "failed" for one in progress)


def _means_of(wanted: Wanted, cells: Sequence[Cell]) -> Means | None:
    """Return the reference's class means on its first draw; None if no order needs them."""
    if not any(draws.similar for draws in wanted.protocol.draws.values()):
        return None
    first = cells[0].trial
    return class_means(first.folder) if first.is_finished else None


def _print_end(
    wanted: Wanted,
    cells: Sequence[Cell],
    means: Means | None,
    chosen: Sequence[str],
    console: Console,
) -> None:
    told = {cell.strategy: (chosen_by(wanted, cell), seen(cell)) for cell in cells}
    described = {} if means is None else _described(cells, means)
    results = []
    for measure in wanted.protocol.measure:
        rows, chance = load_rows(cells, measure, told)
        reference = wanted.protocol.reference
        results.append(Result(measure, reference, rows, chance, described))
    sign = "+-" if console.options.ascii_only else "\N{PLUS-MINUS SIGN}"
    for result in results:
        console.print()
        for part in tables(result, sign=sign):
            console.print(part, highlight=False)
    for sentence in (*unfinished(results), *chosen):
        console.print(sentence, soft_wrap=True)
    whys = {seen_in_pretraining(cell.trial.config) for cell in cells}
    for word, why in sorted(whys):
        console.print(f"pretraining {word}: {why}", soft_wrap=True)
    atomic_write(wanted.out / RECORD, f"{json.dumps(_record(wanted, cells, chosen))}\n".encode())
    console.print(f"\nruns:      {wanted.out}\n{dashboard_lines(wanted.out)}", soft_wrap=True)


def seen(cell: Cell) -> str:
    """Return the word of `seen_in_pretraining` for a cell."""
    return seen_in_pretraining(cell.trial.config)[0]


def chosen_by(wanted: Wanted, cell: Cell) -> str:
    """Return how a row's parameters were chosen: in more than one way, if so, with a plus."""
    config, ways = cell.trial.config, []
    if cell.strategy in wanted.tuned:
        ways.append("tuned elsewhere")
    # such a strategy keeps how its candidates fared
    if config.training.lr == "auto" or hasattr(config.strategy, "choice_"):
        ways.append("fake sessions")
    own = wanted.protocol.rows.get(cell.strategy, {})
    if any(name.startswith(("training.", "strategy.")) for name in (*wanted.settings, *own)):
        ways.append("given")
    return " + ".join(ways) or "defaults"


def _described(cells: Sequence[Cell], means: Means) -> dict[str, dict[str, float]]:
    """Return how much classes look alike in the first run of each group."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        if cell.draw.group not in found and cell.trial.is_finished:
            found[cell.draw.group] = means.describe(order_of(cell.trial.folder))
    return found


def _record(wanted: Wanted, cells: Sequence[Cell], chosen: Sequence[str]) -> Mapping[str, Any]:
    """Return what the benchmark's folder says of itself."""
    return {
        "benchmark": wanted.protocol.name,
        "scenario": wanted.scenario,
        "reference": wanted.protocol.reference,
        "settings": dict(wanted.settings),
        "chosen": list(chosen),
        "runs": [
            {
                "strategy": cell.strategy,
                "draws": cell.draw.group,
                "varied": dict(cell.draw.varied),
                "set": sorted(cell.draw.settings),
                "folder": cell.trial.folder.path.relative_to(wanted.out).as_posix(),
            }
            for cell in cells
        ],
    }


def _print_plan(wanted: Wanted, cells: Sequence[Cell], console: Console) -> None:
    rows = [
        (cell.trial.folder.path.relative_to(wanted.out).as_posix(), _state(cell))
        for cell in cells[:MOST_LISTED]
    ]
    later = sum(draws.similar is not None for draws in wanted.protocol.draws.values())
    console.print(
        f"benchmark {wanted.protocol.name} on {wanted.scenario}: {len(cells):,} runs, then "
        f"{later * len(wanted.rows)} on orders that follow from them, in {wanted.out}",
        soft_wrap=True,
    )
    print_columns(console, ("run", "state"), rows)
    if (more := len(cells) - MOST_LISTED) > 0:
        console.print(f"and {more:,} more")


def _state(cell: Cell) -> str:
    if cell.trial.is_finished:
        return "finished"
    return "begun" if cell.trial.folder.is_run else "new"
