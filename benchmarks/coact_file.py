"""The figures of `coact_rates.py` as a file of results.

A ground that is measured again replaces its rows; those of the other grounds stay.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import result_file

if TYPE_CHECKING:
    from coact_cells import Cell

SETTING = (
    "Each ground is in its FSCIT form, with ten shots a class in every session (miniImageNet: "
    "five). `auto` chooses a rate, or no tuning, on the base session's training images alone."
)


@dataclass(frozen=True)
class Figures:
    """A run's average and last accuracy in per cent, and the rate it chose, if it did."""

    average: float
    last: float
    chosen: str = ""


BySeed = dict[int, Figures]  # a cell of the table
Row = dict["Cell", BySeed]  # a ground's: simple_cil, auto, each fixed rate, and parts


@dataclass(frozen=True)
class Measured:
    """A ground's row, and the options it was measured with.

    Attributes:
        ground, scenario: the names.
        row: the figures.
        options: of every run; tuning: of coact's runs, in addition.
        parts: the rate at which the method is taken apart, if it is.
    """

    ground: str
    scenario: str
    row: Row
    options: Mapping[str, Any]
    tuning: Mapping[str, Any]
    parts: float | None

    @property
    def command(self) -> str:
        """The command that measures it again."""
        seeds = sorted({seed for cell in self.row.values() for seed in cell})
        rates = [cell.name for cell in self.row if cell.name[0].isdigit()]
        named = {"--parts": self.parts, "--options": self.options, "--tuning": self.tuning}
        words = [word for key, value in named.items() if value for word in (key, json.dumps(value))]
        given = [
            "--grounds",
            self.ground,
            "--seeds",
            *map(str, seeds),
            "--rates",
            *rates,
            *words,
            "--results",
        ]
        start = "python benchmarks/coact_rates.py --data $DATA --weights $WEIGHTS"
        return f"{start} {shlex.join(given)}"

    def rows(self) -> list[dict[str, Any]]:
        """Return the cells as rows of the file."""
        return [self._record(cell, found) for cell, found in self.row.items()]

    def gains(self) -> list[dict[str, Any]]:
        """Return what each cell gains over simple_cil, and each part over the whole, by seed."""
        values = {cell.name: _by_figure(found)["average"] for cell, found in self.row.items()}
        pairs = [(name, "simple_cil") for name in values if name != "simple_cil"]
        if self.parts is not None and (whole := str(self.parts)) in values:
            pairs += [(cell.name, whole) for cell in self.row if cell.of_parts]
        found = [
            result_file.difference(
                "average", *((f"{self.ground}_{name}", values[name]) for name in pair)
            )
            for pair in pairs
        ]
        return [each for each in found if each is not None]

    def _record(self, cell: Cell, found: BySeed) -> dict[str, Any]:
        plain = cell.name == "simple_cil"
        rates = [each.chosen for each in found.values() if each.chosen]
        chosen = f" (chose {', '.join(rates)})" if rates else ""
        label = f"`coact`, rate {cell.name}{chosen}"
        if cell.of_parts:
            label = f"{cell.label}, rate {self.parts:g}"
        return result_file.row_record(
            name=f"{self.ground}_{cell.name}",
            label="`simple_cil`" if plain else label,
            group=self.ground,
            scenario=self.scenario,
            strategy=cell.strategy,
            baseline=None if plain else f"{self.ground}_simple_cil",
            options={key: _word(value) for key, value in {**self.options, **cell.options}.items()},
            figures=_by_figure(found),
        )


def write_results(measured: Sequence[Measured], *, complete: bool, of_all: Collection[str]) -> None:
    """Write the rows to `coact_grounds.json`, beside those of other grounds that it holds.

    Args:
        complete: whether all fixed rates were run.
        of_all: names of all grounds, in their order.
    """
    folder = Path(os.environ.get("RESULTS") or result_file.RESULTS)
    path = folder / "coact_grounds.json"
    before = json.loads(path.read_text("utf-8")) if path.is_file() else None
    grounds = {each.ground for each in measured}
    rows, gains, commands = _kept(before, grounds)
    rows += [row for each in measured for row in each.rows()]
    gains += [gain for each in measured for gain in each.gains()]
    commands += [each.command for each in measured]
    order = list(of_all)
    place = {name: order.index(name) if name in order else 0 for name in (r["group"] for r in rows)}
    rows.sort(key=lambda row: place[row["group"]])
    content = {
        "name": path.stem,
        "title": "`coact` on six grounds in few-shot form, DeiT-tiny",
        "scenario": "fscit",
        "setting": SETTING,
        **result_file.measured_here(measured[0].options.get("device", "cpu")),
        "partial": not complete or set(place) != set(of_all),
        "command": "\n".join(commands),
        "needs": {
            "DATA": "the folder of the data sets (see `coact_rates.py`)",
            "WEIGHTS": "the folder with DeiT-tiny's weights file",
        },
        "columns": {"average": "average", "last": "last"},
        "rows": rows,
        "differences": gains,
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


def _kept(
    before: dict[str, Any] | None, again: Collection[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Return rows, differences and commands of the grounds that are not measured again."""
    if before is None:
        return [], [], []
    rows = [row for row in before["rows"] if row["group"] not in again]
    names = {row["name"] for row in rows}
    gains = [each for each in before["differences"] if each["row"] in names]
    commands = [
        line
        for line in before["command"].splitlines()
        if (words := shlex.split(line))[words.index("--grounds") + 1] not in again
    ]
    return rows, gains, commands


def _by_figure(cell: BySeed) -> dict[str, dict[int, float]]:
    """Return fractions by figure and seed."""
    return {
        figure: {seed: getattr(each, figure) / 100 for seed, each in cell.items()}
        for figure in ("average", "last")
    }


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
