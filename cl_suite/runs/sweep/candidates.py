"""What a sweep tries: its file's scenarios, strategies and values become candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cl_suite.errors import UserError
from cl_suite.runs.sweep.distributions import combinations, draws
from cl_suite.runs.sweep.needs import Needs, read_needs
from cl_suite.runs.sweep.spec import Part, Sweep

MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Candidate:
    """One choice of values for a scenario and a strategy; each seed makes a trial of it."""

    scenario: str
    strategy: str
    given: Mapping[str, Any]
    varied: Mapping[str, Any]
    needs: Needs


def candidates(sweep: Sweep) -> list[Candidate]:
    """Return every choice of values for every pair, in the file's order.

    Raises:
        UserError: for an unknown name, or more trials than anyone can mean.
    """
    found: list[Candidate] = []
    for scenario in sweep.scenarios:
        for strategy in sweep.strategies:
            found += _of_pair(sweep, scenario, strategy)
            if len(found) * len(sweep.seeds) > MOST_TRIALS:
                raise _too_many(sweep)
    return found


def base_of(sweep: Sweep, candidate: Candidate) -> Candidate | None:
    """Return the candidate whose base session this one starts from; None if it trains its own.

    It has all settings of the base strategy, and those of the candidate's varied values that a base
    session depends on.
    """
    if sweep.base is None:
        return None
    scenario = _named(sweep.scenarios, candidate.scenario)
    parts = [sweep.common, scenario, _named(sweep.strategies, sweep.base.name), sweep.base]
    shared = {**sweep.common.grid, **sweep.common.random, **scenario.grid, **scenario.random}
    varied = {
        name: value
        for name, value in candidate.varied.items()
        if name in shared and touches_base(name)
    }
    settings: dict[str, Any] = {}
    for part in parts:
        settings |= part.settings
    base = Candidate(
        candidate.scenario,
        sweep.base.name,
        {**settings, **varied},
        varied,
        _needs(sweep, [scenario, _named(sweep.strategies, sweep.base.name), sweep.base]),
    )
    same = base.strategy == candidate.strategy and base.given == candidate.given
    return None if same else base


def touches_base(name: str) -> bool:
    """Return whether a base session may depend on a setting.

    Example:
        >>> touches_base("training.lr"), touches_base("training.incremental_lr")
        (True, False)
    """
    section, _, key = name.partition(".")
    if section == "training":
        return not key.startswith("incremental_")
    return section in ("scenario", "model")


def _of_pair(sweep: Sweep, scenario: Part, strategy: Part) -> list[Candidate]:
    parts = [sweep.common, scenario, strategy]
    settings: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    random: dict[str, Any] = {}
    for part in parts:
        settings |= part.settings
        grid |= part.grid
        random |= part.random
    grid = {name: values for name, values in grid.items() if name not in random}
    drawn = draws(random, sweep.samples, sweep.sample_seed)
    count = len(drawn)
    for values in grid.values():
        count *= len(values)
        if count > MOST_TRIALS:
            raise _too_many(sweep)
    varied = [{**listed, **other} for listed in combinations(grid) for other in drawn]
    unique = {repr(sorted(each.items(), key=str)): each for each in varied}.values()
    needs = _needs(sweep, [scenario, strategy])
    return [
        Candidate(scenario.name, strategy.name, {**settings, **each}, each, needs)
        for each in unique
    ]


def _too_many(sweep: Sweep) -> UserError:
    return UserError(
        f"sweep file '{sweep.path}' asks for more than {MOST_TRIALS:,} runs; try fewer values, or "
        "draw some of them by random and samples"
    )


def _needs(sweep: Sweep, parts: Iterable[Part]) -> Needs:
    needs = sweep.needs
    for part in parts:
        needs = read_needs(part.needs, needs, part.name)
    return needs


def _named(parts: Iterable[Part], name: str) -> Part:
    return next((part for part in parts if part.name == name), Part(name))
