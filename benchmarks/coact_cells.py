"""The cells of `coact_rates.py`: a ground's configurations, each run with every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coact_file import Figures

import cl_suite
from cl_suite import registry
from cl_suite.runs.folder import RunFolder

PARTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # label and options of coact
    "no_contrast": ("`coact` without contrast", {"strategy.contrastive_weight": 0.0}),
    "no_blocks": ("`coact` without tuned blocks", {"strategy.tune_from_block": None}),
    "no_later": ("`coact` without later training", {"strategy.incremental_layers": "none"}),
}
ADAPTERS = "adapters"  # the part that is left: plain adapters


@dataclass(frozen=True)
class Ground:
    """A stream: its scenario, its folder below DATA, and further options."""

    scenario: str
    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A configuration that is run with every seed.

    Attributes:
        name: in the table.
        strategy: as on the command line.
        folder: its runs' folder below --out.
        options: beside those of the ground.
        label: of a part of the method.
    """

    name: str
    strategy: str
    folder: str
    options: Mapping[str, Any] = field(hash=False)
    label: str = ""

    @property
    def of_parts(self) -> bool:
        """Whether it is the method without one of its parts."""
        return bool(self.label)


def cells_of(
    ground: Ground, tuning: Mapping[str, Any], rates: Sequence[float], parts: float | None
) -> list[Cell]:
    """Return the cells of a ground's row.

    Args:
        ground: the stream.
        tuning: further options of coact's runs.
        rates: fixed rates beside the chosen one.
        parts: the rate at which the method is taken apart; None: it stays whole.
    """
    found = [Cell("simple_cil", "simple_cil", "simple_cil", {})]
    for rate in ("auto", *rates):
        found.append(Cell(str(rate), "coact", f"coact_{rate}", {**tuning, "training.lr": rate}))
    if parts is not None:
        rate = {"training.lr": parts}
        for name, (label, own) in PARTS.items():
            given = {**tuning, **own, **rate}
            found.append(Cell(name, "coact", f"{name}_{parts:g}", given, label))
        # its own recipe has other epochs and batches
        given = {"training.base_epochs": base_epochs(ground), "training.batch_size": 64, **rate}
        label = "plain adapters, `fsa`"
        found.append(Cell(ADAPTERS, "fsa", f"{ADAPTERS}_{parts:g}", given, label))
    return found


def base_epochs(ground: Ground) -> int:
    """Return the epochs of the base session by the ground's recipe."""
    given = ground.options.get("training.base_epochs")
    if given is None:
        given = registry.get("scenario", ground.scenario).settings["training"]["base_epochs"]
    return int(given)


def run_cell(
    ground: Ground, cell: Cell, seed: int, options: Mapping[str, Any], out: Path
) -> Figures:
    """Return the figures of a cell's run, which is made if it is missing.

    Args:
        ground: the stream.
        cell: the configuration.
        seed: the run's.
        options: further options of every run.
        out: folder of the ground's runs.
    """
    settings: dict[str, Any] = {"listeners": (), "seed": seed, "resume": True}
    given = {**settings, **ground.options, **options, **cell.options}
    return read(cl_suite.run(ground.scenario, cell.strategy, out=out / cell.folder, **given))


def read(folder: Path) -> Figures:
    """Return a finished run's figures."""
    run = RunFolder(folder)
    accuracies = [100 * record.accuracy for record in run.read_metrics()]
    choice = run.read_run_info().get("rate_choice")
    chosen = "" if choice is None else f"{choice['rate']:g}" if choice["rate"] else "none"
    return Figures(sum(accuracies) / len(accuracies), accuracies[-1], chosen)
