"""Parameters of a benchmark's rows, chosen on another stream (GTEP: Cha and Cho, TMLR 2025)."""

from __future__ import annotations

import dataclasses

from rich.console import Console

from cl_suite.errors import UserError
from cl_suite.report.sweep import Cluster, tuned
from cl_suite.runs.benchmark.plan import Wanted
from cl_suite.runs.benchmark.protocol import Settings
from cl_suite.runs.sweep.candidates import Candidate
from cl_suite.runs.sweep.distributions import combinations
from cl_suite.runs.sweep.spec import Part, Select, Sweep
from cl_suite.storage.files import make_folder


def as_sweep(wanted: Wanted) -> Sweep:
    """Return the frame that the engine of sweeps takes: folder, needs and seed."""
    name = wanted.protocol.name
    return Sweep(
        path=wanted.out / name,
        name=name,
        out=wanted.out,
        scenarios=(),
        strategies=(),
        seeds=(wanted.protocol.seed,),
        common=Part("all"),
        samples=1,
        sample_seed=0,
        retries=1,
        needs=wanted.needs,
    )


def tuned_on(
    scenario: str, settings: Settings, wanted: Wanted, cluster: Cluster, console: Console
) -> tuple[Wanted, list[str]]:
    """Return the benchmark with parameters chosen on another stream, and sentences on the choice.

    Args:
        scenario, settings: of the other stream.

    Raises:
        UserError: if it is the tested one, Ray is not asked for, or there is nothing to choose.
    """
    if scenario == wanted.scenario:
        raise UserError(f"--tune-on {scenario} is the tested stream itself; name another scenario")
    if cluster.how.ray is None:
        raise UserError("--tune-on stops bad candidates early by Ray Tune; pass --ray")
    shared = {k: v for k, v in wanted.settings.items() if not k.startswith("scenario.")}
    candidates = [
        Candidate(scenario, name, {**shared, **settings, **values}, values, wanted.needs)
        for name in wanted.rows
        for values in combinations(wanted.protocol.tune.get(name, {}))
        if values
    ]
    if not candidates:
        raise UserError(
            f"benchmark '{wanted.protocol.name}' has no values to tune for these strategies; name "
            "some under tune in a file of your own"
        )
    sweep = dataclasses.replace(as_sweep(wanted), out=wanted.out / f"tuned-on-{scenario}")
    make_folder(sweep.out)
    outcomes = tuned(sweep, Select(), candidates, cluster, console)
    found = {outcome.strategy: dict(outcome.chosen) for outcome in outcomes}
    return dataclasses.replace(wanted, tuned=found), [o.sentence for o in outcomes]
