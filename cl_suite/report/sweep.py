"""The command `cl-suite sweep`: plans a file's runs, has them run, and compares them."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cl_suite.distributed.group import launched
from cl_suite.errors import UserError
from cl_suite.report.console import dashboard_lines, print_columns
from cl_suite.report.show import print_runs
from cl_suite.report.sweep_table import SweepTable, failed_lines
from cl_suite.runs.sweep.candidates import Candidate, candidates
from cl_suite.runs.sweep.drive import Drive
from cl_suite.runs.sweep.job import Job, Pool, Progress
from cl_suite.runs.sweep.jobs import jobs_of
from cl_suite.runs.sweep.local import LocalPool, machine_gpus
from cl_suite.runs.sweep.needs import machine_threads
from cl_suite.runs.sweep.plan import Plan, make_plan, refuse_other_run, write_plan
from cl_suite.runs.sweep.slurm import submit_lines, write_scripts
from cl_suite.runs.sweep.spec import Select, Sweep, read_sweep

if TYPE_CHECKING:
    from cl_suite.runs.sweep.ray_pool import RayPool
    from cl_suite.runs.sweep.tuning.outcome import Outcome

SOME_FAILED = 1  # exit code
MOST_LISTED = 40  # runs of a plan that is only shown
FEW = 3  # jobs that import everything themselves as fast as a process for all would


@dataclass(frozen=True)
class How:
    """Where a sweep's runs run.

    Attributes:
        jobs: the most at a time; None: one on this machine, and what a cluster has room for.
        ray: address of a Ray cluster; "" for a local one, None for none.
        slurm: write array scripts, and run nothing.
        dry_run: show the plan, and write nothing.
    """

    jobs: int | None = None
    ray: str | None = None
    slurm: bool = False
    dry_run: bool = False

    @property
    def here(self) -> bool:
        """Whether the runs are processes of this machine."""
        return not self.slurm and not self.ray

    def check(self) -> None:
        """Raise `UserError` for options that contradict each other."""
        if self.jobs is not None and not 1 <= self.jobs <= 4096:
            raise UserError(f"--jobs must be from 1 to 4096, got {self.jobs}")
        if self.slurm and self.ray is not None:
            raise UserError("--slurm and --ray contradict each other; pass only one of them")


def print_sweep(path: Path, how: How, console: Console) -> int:
    """Run a sweep's file; return the exit code.

    Raises:
        UserError: for bad input, before anything is started.
    """
    how.check()
    if (size := launched()[1]) > 1:
        raise UserError(
            f"a sweep is one process that starts runs, but WORLD_SIZE is {size}; start it without "
            "torchrun, or unset WORLD_SIZE"
        )
    sweep = read_sweep(path, threads_of(how))
    chosen = candidates(sweep)
    plan = make_plan(sweep, chosen, here=how.here)
    with contextlib.ExitStack() as stack:
        cluster = Cluster(how, sweep, stack)
        if sweep.select is not None:
            from cl_suite.runs.sweep.tuning.tune import refuse_unfit

            refuse_unfit(chosen)
            if how.dry_run:
                _print_plan(sweep, plan, console, "candidate")
                return 0
            outcomes = tuned(sweep, sweep.select, chosen, cluster, console)
            plan = make_plan(sweep, _winners(chosen, outcomes), here=how.here)
        for trial in plan.all:
            refuse_other_run(trial)
        if how.dry_run:
            _print_plan(sweep, plan, console, "run")
            return 0
        write_plan(plan.all)
        jobs, done = jobs_of(plan, sweep.out)
        if how.slurm:
            _print_scripts(sweep, [job for job in jobs if job.name not in done], how, console)
            return 0
        console.print(f"sweep {sweep.name}: {_counted(plan)} in {sweep.out}", soft_wrap=True)
        progress = driven(sweep, jobs, done, cluster, console)
    code = _print_end(sweep, plan, progress, console)
    if sweep.select is not None:
        for outcome in outcomes:
            console.print(outcome.sentence, soft_wrap=True)
    return code


def threads_of(how: How) -> int:
    """Return the threads of a run whose file does not say."""
    return 1 if how.slurm or how.ray is not None else max(1, machine_threads() // (how.jobs or 1))


class Cluster:
    """Where the jobs run; Ray is started when it is first needed."""

    def __init__(self, how: How, sweep: Sweep, stack: contextlib.ExitStack) -> None:
        self.how, self.sweep, self.stack = how, sweep, stack
        self._ray: RayPool | None = None

    def ray(self) -> RayPool:
        """Return the pool of the Ray cluster."""
        if self._ray is None:
            from cl_suite.runs.sweep.ray_pool import RayPool, connected

            jobs = self.how.jobs
            threads = None if jobs is None else jobs * self.sweep.needs.threads
            self.stack.enter_context(connected(self.how.ray or None, threads))
            self._ray = RayPool()
        return self._ray

    def pool(self, jobs: Sequence[Job]) -> tuple[Pool, int]:
        """Return where these jobs run, and about how many run at a time."""
        threads = max(1, min(job.needs.threads for job in jobs))
        if self.how.ray is not None:
            return self.ray(), self.ray().at_once(threads)
        pool = LocalPool(self.how.jobs or 1, machine_gpus(), warm=len(jobs) > FEW)
        pool.check(jobs)
        return pool, max(1, min(self.how.jobs or 1, machine_threads() // threads))


def driven(
    sweep: Sweep,
    jobs: Sequence[Job],
    done: frozenset[str],
    cluster: Cluster,
    console: Console,
) -> list[Progress]:
    if all(job.name in done for job in jobs):
        return Drive(jobs, LocalPool(1), SweepTable(console, 1), done=done).go()
    pool, at_once = cluster.pool([job for job in jobs if job.name not in done])
    table = SweepTable(console, at_once)
    return Drive(jobs, pool, table, done=done, retries=sweep.retries).go()


def tuned(
    sweep: Sweep,
    select: Select,
    chosen: Sequence[Candidate],
    cluster: Cluster,
    console: Console,
) -> list[Outcome]:
    """Return the choice for each pair that has several candidates, and write them down."""
    from cl_suite.runs.sweep.tuning.outcome import digest_of, read_outcomes, write_outcomes
    from cl_suite.runs.sweep.tuning.tune import Tuning

    known, outcomes = read_outcomes(sweep.out), []
    wanted = {digest_of(pair, select) for pair in _by_pair(chosen) if len(pair) > 1}
    for pair in _by_pair(chosen):
        if len(pair) == 1:
            continue
        outcome = known.get(digest_of(pair, select))
        if outcome is None:
            if cluster.how.ray is None:
                raise UserError(
                    f"'{sweep.path}' has select, and Ray Tune stops its bad candidates early; pass "
                    "--ray"
                )
            console.print(
                f"tuning {pair[0].scenario} / {pair[0].strategy}: {len(pair)} candidates by "
                f"{select.figure} on fake sessions of the base classes",
                soft_wrap=True,
            )
            ray = cluster.ray()
            table = SweepTable(console, ray.at_once(pair[0].needs.threads))
            outcome = Tuning(sweep, select, pair).run(table, ray.machine_has_gpus)
        outcomes.append(outcome)
        # those of pairs to come are kept: this sweep may be stopped before it reaches them
        done = {each.digest for each in outcomes}
        later = [each for digest, each in known.items() if digest in wanted - done]
        write_outcomes(sweep.out, [*outcomes, *later])
        console.print(outcome.choice, soft_wrap=True)
    return outcomes


def _winners(chosen: Sequence[Candidate], outcomes: Sequence[Outcome]) -> list[Candidate]:
    best = {(each.scenario, each.strategy): dict(each.chosen) for each in outcomes}
    return [
        candidate
        for candidate in chosen
        if best.get((candidate.scenario, candidate.strategy)) in (None, candidate.varied)
    ]


def _by_pair(chosen: Sequence[Candidate]) -> list[list[Candidate]]:
    pairs: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in chosen:
        pairs.setdefault((candidate.scenario, candidate.strategy), []).append(candidate)
    return list(pairs.values())


def _print_end(sweep: Sweep, plan: Plan, progress: Sequence[Progress], console: Console) -> int:
    for line in failed_lines(progress):
        console.print(line, soft_wrap=True)
    finished = [trial.folder.path for trial in plan.trials if trial.is_finished]
    if finished:
        console.print()
        print_runs(finished, console)
        console.print(f"\nruns:      {sweep.out}\n{dashboard_lines(sweep.out)}", soft_wrap=True)
    failed = sum(one.state == "failed" for one in progress)
    if failed:
        console.print(
            f"{failed} of {len(progress)} failed; repeat the command to try them again",
            soft_wrap=True,
        )
    return SOME_FAILED if failed else 0


def _print_plan(sweep: Sweep, plan: Plan, console: Console, word: str) -> None:
    rows = []
    for trial in plan.all[:MOST_LISTED]:
        state = "finished" if trial.is_finished else "begun" if trial.folder.is_run else "new"
        from_base = "" if trial.base is None else trial.base.relative_to(sweep.out).as_posix()
        rows.append((trial.folder.path.relative_to(sweep.out).as_posix(), state, from_base))
    console.print(f"sweep {sweep.name}: {_counted(plan)} in {sweep.out}", soft_wrap=True)
    print_columns(console, (word, "state", "starts from"), rows)
    if (more := len(plan.all) - MOST_LISTED) > 0:
        console.print(f"and {more:,} more")


def _print_scripts(sweep: Sweep, jobs: Sequence[Job], how: How, console: Console) -> None:
    if not jobs:
        console.print("all runs are finished; nothing to do")
        return
    scripts = write_scripts(jobs, sweep.out / "slurm", sweep.name, how.jobs)
    for script in scripts:
        console.print(f"wrote {script.path} ({script.num_jobs} {script.stage})", soft_wrap=True)
    console.print("submit by:", soft_wrap=True)
    for line in submit_lines(scripts):
        console.print(f"  {line}", soft_wrap=True)
    console.print(f"then:\n  cl-suite show {shlex.quote(str(sweep.out))}", soft_wrap=True)


def _counted(plan: Plan) -> str:
    bases = len(plan.bases)
    words = f"{len(plan.trials):,} run{'s' * (len(plan.trials) != 1)}"
    return f"{words}, and {bases} for their base session{'s' * (bases > 1)}" if bases else words
