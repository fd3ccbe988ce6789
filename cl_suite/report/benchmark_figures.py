"""The figures of a benchmark: each row on each draw, and what they amount to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cl_suite.metrics.headline import Headline, headline
from cl_suite.metrics.intervals import MeanInterval, mean_interval, paired_difference
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.tasks import is_of_tasks, runs_of_tasks
from cl_suite.runs.benchmark.plan import Cell
from cl_suite.runs.benchmark.protocol import Measure

Key = tuple[str, str, int | None]  # group of draws, the draw's values, the task of a run over many
FIGURES = ("average", "harmonic", "gacc")  # those that rank the rows
CHANCE = "chance"


@dataclass(frozen=True, eq=False)
class RowFigures:
    """The figures of one row, by draw.

    Attributes:
        parameters: how its parameters were chosen.
        pretraining: what its network's pretraining has seen of the stream.
        unfinished: draws on which its run is not finished.
        runs: the finished ones, for what they cost.
    """

    strategy: str
    figures: Mapping[Key, Headline]
    parameters: str = ""
    pretraining: str = ""
    unfinished: int = 0
    runs: Sequence[LoadedRun] = ()

    def values(self, figure: str, group: str) -> dict[Key, float]:
        """Return a figure on the draws of a group."""
        found = {k: getattr(h, figure) for k, h in self.figures.items() if k[0] == group}
        return {key: float(value) for key, value in found.items()}


@dataclass(frozen=True)
class Spread:
    """What a figure does over draws; fractions, NaN if undefined.

    Attributes:
        mean: with its 95 % interval; draws that share a class order are counted as independent.
        median, worst: over the draws.
    """

    mean: MeanInterval
    median: float
    worst: float


@dataclass(frozen=True, eq=False)
class Result:
    """A benchmark's figures by one measure.

    Attributes:
        rows: the reference first.
        chance: average accuracy of guessing among the classes seen, by draw.
        described: how much classes of each group look alike, where class means are known.
    """

    measure: Measure
    reference: str
    rows: Sequence[RowFigures]
    chance: Mapping[Key, float] = field(default_factory=dict)
    described: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def groups(self) -> list[str]:
        """Names of the groups of draws that have figures, in order."""
        return list(dict.fromkeys(key[0] for row in self.rows for key in row.figures))


def spread(values: Sequence[float]) -> Spread:
    """Return mean, median and worst of a figure's values; NaN for none.

    Example:
        >>> found = spread([0.5, 0.7, 0.9])
        >>> round(found.mean.mean, 2), found.median, found.worst
        (0.7, 0.7, 0.5)
    """
    known = [value for value in values if not np.isnan(value)]
    if not known:
        nan = float("nan")
        return Spread(MeanInterval(nan, nan, nan, 0), nan, nan)
    return Spread(mean_interval(known), float(np.median(known)), min(known))


def difference(row: RowFigures, other: RowFigures, figure: str, group: str) -> MeanInterval | None:
    """Return `row - other` paired by draw, None without a common draw where both are defined."""
    first, second = row.values(figure, group), other.values(figure, group)
    pairs = [
        (first[key], second[key])
        for key in first
        if key in second and not np.isnan(first[key] + second[key])
    ]
    if not pairs:
        return None
    ours, theirs = zip(*pairs, strict=True)
    return paired_difference(ours, theirs)


def ranks(result: Result, figure: str, group: str) -> dict[str, int]:
    """Return each row's place by the mean of a figure over a group's draws, 1 for the best.

    Rows without the figure have no place; equal ones share the better place.
    """
    means = {
        row.strategy: spread(list(row.values(figure, group).values())).mean.mean
        for row in result.rows
    }
    known = {name: mean for name, mean in means.items() if not np.isnan(mean)}
    return {name: 1 + sum(other > mean for other in known.values()) for name, mean in known.items()}


def load_rows(
    cells: Sequence[Cell], measure: Measure, told: Mapping[str, tuple[str, str]]
) -> tuple[list[RowFigures], dict[Key, float]]:
    """Return the rows' figures from their run folders, and chance by draw.

    Args:
        told: how each strategy's parameters were chosen, and what its pretraining has seen.

    Raises:
        UserError: if a file is missing or damaged.
    """
    rows: list[RowFigures] = []
    chance: dict[Key, float] = {}
    for strategy in dict.fromkeys(cell.strategy for cell in cells):
        figures: dict[Key, Headline] = {}
        runs: list[LoadedRun] = []
        own = [cell for cell in cells if cell.strategy == strategy]
        for cell in own:
            for key, run in _finished(cell, measure):
                figures[key] = headline(run.hits)
                runs.append(run)
                chance.setdefault(key, _chance(run))
        unfinished = sum(not cell.trial.is_finished for cell in own)
        rows.append(RowFigures(strategy, figures, *told[strategy], unfinished, runs))
    return rows, chance


def _finished(cell: Cell, measure: Measure) -> list[tuple[Key, LoadedRun]]:
    """Return the finished runs of a cell: one, or one for each task."""
    folder = cell.trial.folder
    if not cell.trial.is_finished:
        return []
    runs = runs_of_tasks(folder) if is_of_tasks(folder) else [load(folder)]
    values = ", ".join(f"{name.rpartition('.')[2]} {v}" for name, v in cell.draw.varied.items())
    found = []
    for run in runs:
        hits = run.hits if measure == "classifier" else run.probes.get(measure)
        if hits is not None:
            key = (cell.draw.group, values, run.task)
            found.append((key, dataclasses.replace(run, hits=hits)))
    return found


def _chance(run: LoadedRun) -> float:
    """Return the mean over sessions of one by the number of classes seen."""
    sessions = run.hits.session_of_class
    seen = [int(((sessions >= 0) & (sessions <= s)).sum()) for s in range(run.hits.num_sessions)]
    return float(np.mean([1 / num for num in seen]))
