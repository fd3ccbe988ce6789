"""Specification of a table of results: its rows and the commands that measure them.

Options may contain variables: `$OUT` is the folder of all runs, the others name data or weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template

ROOTS: Mapping[str, str] = {
    "SPOKEN_DIGITS": "the folder of the recordings",
    "MINI_IMAGENET": "the folder of miniImageNet",
    "MINI_60": "a folder with class folders of 60 classes of miniImageNet in train/ and in test/",
    "CIFAR10": "the folder of CIFAR-10",
    "CALTECH101": "the folder of Caltech-101",
    "STANFORD_CARS": "the folder of Stanford Cars",
    "DEIT_TINY": "the weights file of DeiT-tiny",
    "LITE0": "the weights file of EfficientNet-Lite0",
    "OMNIGLOT": "the folder of Omniglot's images_background/ and images_evaluation/",
    "ARABIC_WORDS": "the folder of Arabic Speech Commands",
    "WHISPER_TINY": "the folder of Whisper tiny.en's encoder",
}
PROBED: Mapping[str, str] = {  # columns of methods without labels
    "linear.average": "linear probe, average",
    "linear.last": "linear probe, last",
    "linear.forgetting": "linear probe, forgetting",
    "knn.average": "nearest neighbours, average",
    "knn.last": "nearest neighbours, last",
}
TASKS_A_NETWORK = 200  # few-shot tasks 0 to 199 start from network 0, and so on
TASKS = "scenario.task"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration, run with several seeds.

    Attributes:
        name: name of its folder, below the table's.
        strategy: as on the command line.
        label: its text in the table, Markdown; the strategy's name if empty.
        scenario: as on the command line; the table's if empty.
        group: heading that separates rows of different settings.
        baseline: name of the row that it is compared with.
        options: as on the command line, without the dashes.
        seeds: seeds, with one run each.
        start_from: name of the row whose base session it continues, seed by seed.
        weights_from: name of the row whose finished networks it starts from, seed by seed.
        tasks_on: the same if its seeds number few-shot tasks: one run for each network, over the
            tasks from the first to the last that start from it.
        numbers_networks: True if its seeds number the networks of such tasks.
        reported: False if only other rows need it.
    """

    name: str
    strategy: str
    label: str = ""
    scenario: str = ""
    group: str | None = None
    baseline: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    start_from: str | None = None
    weights_from: str | None = None
    tasks_on: str | None = None
    numbers_networks: bool = False
    reported: bool = True

    @property
    def host(self) -> str | None:
        """The strategy that this one wraps, if it wraps one."""
        return self.options.get("strategy.host")

    @property
    def heading(self) -> dict[str, str | None]:
        """What the table says of it, whenever it was measured."""
        label = self.label or f"`{self.strategy}`"
        return {"label": label, "group": self.group, "baseline": self.baseline}

    def chosen_seeds(self, chosen: Sequence[int] | None) -> list[int]:
        """Return the row's own seeds, or the seeds chosen for the table."""
        if chosen is not None and self.numbers_networks:
            return sorted({seed // TASKS_A_NETWORK for seed in chosen})
        seeds = list(self.seeds if chosen is None else chosen)
        if self.tasks_on is None:
            return seeds
        # whole ranges, one for each network
        parts = _by_network(seeds)
        return [task for part in parts.values() for task in range(min(part), max(part) + 1)]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference that the table reports, `row - against`, paired by seed.

    Attributes:
        row, against: names of the two rows.
        figure: name of the figure.
    """

    row: str
    against: str
    figure: str


def against_baselines(rows: Sequence[Row], figures: Sequence[str]) -> list[Difference]:
    """Return the difference of each figure between each row and its baseline, if it has one."""
    return [
        Difference(row=row.name, against=row.baseline, figure=figure)
        for row in rows
        if row.baseline is not None
        for figure in figures
    ]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of `cl-suite run`.

    Attributes:
        seeds: seeds, with one run each.
        options: as on the command line, without the dashes; variables are not substituted.
    """

    scenario: str
    strategy: str
    seeds: Sequence[int]
    options: Mapping[str, str]

    def arguments(self, variables: Mapping[str, str], added: Sequence[str], out: str) -> list[str]:
        """Return the arguments of `cl-suite`.

        Args:
            variables: values of the variables in the options.
            added: further options, which take precedence.
            out: folder of the runs.
        """
        given = [
            word
            for name, value in self.options.items()
            for word in (f"--{name}", Template(value).substitute(variables))
        ]
        seeds = ["--seed", *map(str, self.seeds)]
        start = ["run", self.scenario, self.strategy, "--device", "cpu"]
        return [*start, *seeds, *given, *added, "--out", out]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of results.

    Attributes:
        name: name on the command line and of its file.
        title: heading.
        scenario: scenario of its rows, unless they name another.
        setting: sentences on how it is measured, true for every measurement.
        columns: heading of each figure, by the figure's name.
        rows: rows in the order in which they run; a row follows those that it needs.
        differences: differences between rows, compared seed by seed.
    """

    name: str
    title: str
    scenario: str
    setting: str
    columns: Mapping[str, str]
    rows: Sequence[Row]
    differences: Sequence[Difference] = ()

    @property
    def needs(self) -> list[str]:
        """Variables in its options, except `$OUT`."""
        text = " ".join(value for row in self.rows for value in row.options.values())
        return [name for name in ROOTS if re.search(rf"\${name}\b", text)]

    def scenario_of(self, row: Row) -> str:
        """Return the name of a row's scenario."""
        return row.scenario or self.scenario

    def commands(self, row: Row, chosen: Sequence[int] | None = None) -> Iterator[Command]:
        """Yield the calls for a row: one, or one for each network if its seeds number tasks.

        Args:
            row: a row of this table.
            chosen: seeds that replace the row's own.
        """
        seeds = row.chosen_seeds(chosen)
        scenario = self.scenario_of(row)
        if row.tasks_on is None:
            options = self.options(row)
            yield Command(scenario=scenario, strategy=row.strategy, seeds=seeds, options=options)
            return
        for network, tasks in _by_network(seeds).items():
            options = self.options(row, network, f"{tasks[0]}..{tasks[-1]}")
            yield Command(
                scenario=scenario, strategy=row.strategy, seeds=[network], options=options
            )

    def options(
        self, row: Row, network: int | str = "{network}", tasks: str = "{tasks}"
    ) -> dict[str, str]:
        """Return a row's options, including the runs that it continues.

        Args:
            row: a row of this table.
            network: number of the network that few-shot tasks start from.
            tasks: the range of these tasks.
        """
        options = dict(row.options)
        if row.start_from is not None:
            options["start-from"] = self._runs_of(row.start_from, "{seed}")
        if row.weights_from is not None:
            options["model.weights"] = self._runs_of(row.weights_from, "{seed}")
        if row.tasks_on is not None:
            options[TASKS] = tasks
            options["model.weights"] = self._runs_of(row.tasks_on, network)
        return options

    def row(self, name: str) -> Row:
        """Return the row of this name."""
        (found,) = (row for row in self.rows if row.name == name)
        return found

    def _runs_of(self, name: str, seed: int | str) -> str:
        row = self.row(name)
        return f"$OUT/{self.name}/{name}/{self.scenario_of(row)}/{row.strategy}/seed{seed}"


def _by_network(tasks: Sequence[int]) -> dict[int, list[int]]:
    """Return the tasks of each network."""
    networks = sorted({task // TASKS_A_NETWORK for task in tasks})
    return {n: [task for task in sorted(tasks) if task // TASKS_A_NETWORK == n] for n in networks}
