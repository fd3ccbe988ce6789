"""The runs of a benchmark: each row on each draw of the stream, base sessions shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cl_suite.errors import UserError
from cl_suite.runs.benchmark.protocol import Protocol, Settings
from cl_suite.runs.flat import flatten
from cl_suite.runs.sweep.candidates import Candidate, touches_base
from cl_suite.runs.sweep.distributions import combinations
from cl_suite.runs.sweep.needs import Needs
from cl_suite.runs.sweep.plan import Plan, Trial, trials_of

LATER = "scenario.shot_"  # settings that a base session does not depend on, where it is shared
ORDER = "scenario.class_order"


@dataclass(frozen=True)
class Wanted:
    """A benchmark as somebody asks for it.

    Attributes:
        scenario: one that the protocol fits.
        strategies: the rows besides the reference and the protocol's own.
        settings: of all runs, by dotted name; they win over the protocol's.
        tuned: settings that were chosen for a strategy.
        out: folder of everything.
    """

    protocol: Protocol
    scenario: str
    strategies: tuple[str, ...]
    settings: Settings
    out: Path
    needs: Needs
    tuned: Mapping[str, Settings] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, Settings]:
        """The settings of each row's own, by strategy, the reference first."""
        protocol = self.protocol
        found: dict[str, Settings] = {protocol.reference: {}}
        for name in self.strategies:
            found.setdefault(name, {})
        return {**found, **protocol.rows}


@dataclass(frozen=True)
class Draw:
    """One stream.

    Attributes:
        group: the draws that it is one of.
        varied: the settings in which it differs from the others of the group.
        settings: all settings that make it.
    """

    group: str
    varied: Settings
    settings: Settings


@dataclass(frozen=True)
class Cell:
    """One run of the benchmark: a row on a draw."""

    strategy: str
    draw: Draw
    trial: Trial


def plain_draws(protocol: Protocol) -> list[Draw]:
    """Return the streams that need no class means."""
    return [
        Draw(group, varied, {**draws.settings, **varied})
        for group, draws in protocol.draws.items()
        if draws.similar is None
        for varied in combinations(draws.grid)
    ]


def similar_draws(protocol: Protocol, orders: Mapping[str, list[int]]) -> list[Draw]:
    """Return the streams with look-alike classes apart or together.

    Args:
        orders: class ids in order of arrival, by `apart` and `together`.
    """
    return [
        Draw(group, varied, {**draws.settings, **varied, ORDER: orders[draws.similar]})
        for group, draws in protocol.draws.items()
        if draws.similar is not None
        for varied in combinations(draws.grid)
    ]


def check_settings(wanted: Wanted) -> None:
    """Raise `UserError` for settings that belong to the protocol, or to one strategy."""
    protocol = wanted.protocol
    own = {name for draws in protocol.draws.values() for name in (*draws.settings, *draws.grid)}
    if any(draws.similar for draws in protocol.draws.values()):
        own.add(ORDER)
    for name in wanted.settings:
        if name in own:
            raise UserError(
                f"--{name} is what benchmark '{protocol.name}' varies; leave it out, or copy the "
                "protocol into a file of your own"
            )
        if name.startswith("strategy."):
            raise UserError(
                f"--{name} would be set for every strategy; put it under rows in a file of your "
                "own, as in rows: {teen: {strategy.shift_weight: 0.3}}"
            )


def cells_of(wanted: Wanted, draws: Sequence[Draw], *, here: bool = True) -> list[Cell]:
    """Return the runs of every row on these draws; nothing is written.

    Where the reference trains a base session, the first of its runs on each class order is the one
    that its other runs, and the rows that may share it, start from.

    Raises:
        UserError: for what `cl-suite run` refuses in one of them, in the same words.
    """
    cells: list[Cell] = []
    bases: dict[str, Trial] = {}
    for draw in draws:
        for strategy, own in wanted.rows.items():
            if not wanted.protocol.runs_on(strategy, draw.group):
                continue
            trial = _trial(wanted, draw, strategy, own, here=here)
            key = _base_key(draw)
            if key not in bases:  # of the reference, the first row
                bases[key] = trial
            elif _may_share(wanted, strategy, trial, bases[key]):
                trial = _trial(wanted, draw, strategy, own, here=here, base=bases[key])
            cells.append(Cell(strategy, draw, trial))
    return cells


def plan_of(cells: Sequence[Cell]) -> Plan:
    """Return the plan that runs these cells."""
    trials = {cell.trial.folder.path: cell.trial for cell in cells}
    return Plan((), tuple(trials.values()))


def _trial(
    wanted: Wanted,
    draw: Draw,
    strategy: str,
    own: Settings,
    *,
    here: bool,
    base: Trial | None = None,
) -> Trial:
    given = {
        **wanted.protocol.settings,
        **draw.settings,
        **wanted.settings,
        **own,
        **wanted.tuned.get(strategy, {}),
    }
    candidate = Candidate(wanted.scenario, strategy, given, draw.varied, wanted.needs)
    (trial,) = trials_of(
        candidate,
        [wanted.protocol.seed],
        wanted.out / draw.group,
        here=here,
        start_from=() if base is None else [base],
    )
    return trial


def _base_key(draw: Draw) -> str:
    """Return text that is equal for draws with the same base session."""
    kept = {k: v for k, v in draw.settings.items() if not k.startswith(LATER)}
    if kept.get(ORDER) == "published":
        del kept[ORDER]  # the default
    return repr(sorted(kept.items()))


def _may_share(wanted: Wanted, strategy: str, trial: Trial, base: Trial) -> bool:
    """Return whether a run can start from the base session of the reference's."""
    protocol = wanted.protocol
    # where none is named, shots may reach the base session, so not even the reference shares
    if not protocol.share_base or strategy not in {*protocol.share_base, protocol.reference}:
        return False
    training, model = base.config.training, base.config.model
    if model.frozen or not training.base_epochs:
        return False  # there is nothing to share
    return _of_base(trial) == _of_base(base)


def _of_base(trial: Trial) -> dict[str, Any]:
    """Return the settings that a base session depends on."""
    settings = flatten(yaml.safe_load(trial.text))
    return {
        name: value
        for name, value in settings.items()
        if touches_base(name) and not name.startswith("scenario.")
    }
