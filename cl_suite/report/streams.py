"""Groups runs by stream and by method, and computes the figures by which they are compared.

Pure data: `comparison` prints them in a terminal, and `html` draws them on a page.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cl_suite.engine.evaluation_config import IN_WORDS, TRANSDUCTIVE
from cl_suite.metrics.headline import Headline, headline
from cl_suite.metrics.intervals import MeanInterval, mean_interval, paired_difference
from cl_suite.report.completed import completed
from cl_suite.report.loaded_run import LoadedRun

Repeat = tuple[int, int | None]  # seed or draw, and task of a run over many
Columns = Mapping[str, Callable[[Headline], float]]
COMPARED: Columns = {
    "average": lambda figures: figures.average,
    "last": lambda figures: figures.last,
    "drop": lambda figures: figures.drop,
    "harmonic": lambda figures: figures.harmonic,
    "forgetting": lambda figures: figures.forgetting,
}
MORE: Columns = {  # of `show --all`
    "gAcc": lambda figures: figures.gacc,
    "retention": lambda figures: figures.retention,
    "BWT": lambda figures: figures.backward,
    "macro": lambda figures: figures.last_macro,
}
LONGEST_VALUE = 40  # characters of a setting in a line


@dataclass(frozen=True, eq=False)
class Method:
    """The runs of one strategy with the same settings.

    Attributes:
        label: its name in tables; equal strategies with other settings are numbered.
        runs: one a seed, a task or a draw.
    """

    label: str
    runs: Sequence[LoadedRun]

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return self.runs[0].strategy_name

    @property
    def settings(self) -> dict[str, Any]:
        """What determines its result, except the seed, by dotted name."""
        return self.runs[0].method

    @cached_property
    def headlines(self) -> dict[Repeat, Headline]:
        """The headline figures of each run, in order of seeds, draws and tasks."""
        in_order = sorted(self.runs, key=lambda run: (run.number, run.task or 0))
        return {(run.number, run.task): headline(run.hits) for run in in_order}

    def interval(self, get: Callable[[Headline], float]) -> MeanInterval:
        """Return the mean of a figure over its runs; NaN if a run does not define it."""
        return mean_interval([get(figures) for figures in self.headlines.values()])


@dataclass(frozen=True)
class Difference:
    """A method minus the best one, paired.

    Attributes:
        pairs: seeds, tasks or draws that both have.
        figures: mean of the differences by column; None without a pair.
    """

    label: str
    pairs: int
    figures: Mapping[str, MeanInterval | None]


@dataclass(frozen=True, eq=False)
class StreamRuns:
    """The methods that ran on one stream and were measured in one way.

    Attributes:
        differing: parameters in which it differs from other streams of this name.
        methods: at least one.
    """

    differing: Sequence[str]
    methods: Sequence[Method]

    @property
    def first(self) -> LoadedRun:
        """A run, for what all share: scenario, measure, number of sessions."""
        return self.methods[0].runs[0]

    @property
    def parameters(self) -> str:
        """The values that tell it from other streams of this name, as text."""
        scenario = self.first.scenario
        return ", ".join(f"{key}={short(scenario.get(key))}" for key in self.differing)

    @property
    def probe(self) -> str:
        """What measured its figures, empty for the methods' own classifiers."""
        measured_by = self.first.measured_by
        return "" if measured_by == IN_WORDS["classifier"] else measured_by

    @property
    def repeats(self) -> str:
        """What its figures are means over."""
        return repeats(run for method in self.methods for run in method.runs)

    @cached_property
    def best(self) -> Method:
        """The method of the highest average accuracy, the first of several."""
        return max(self.methods, key=lambda method: method.interval(COMPARED["average"]).mean)

    def differences(self, columns: Columns) -> list[Difference]:
        """Return each other method's difference to the best one, paired by seed, task or draw."""
        best = self.best.headlines
        found = []
        for method in self.methods:
            if method is self.best:
                continue
            own = method.headlines
            common = sorted(set(own) & set(best))
            figures = {
                name: paired_difference(
                    [get(own[c]) for c in common], [get(best[c]) for c in common]
                )
                if common
                else None
                for name, get in columns.items()
            }
            found.append(Difference(method.label, len(common), figures))
        return found

    def settings_that_differ(self) -> dict[str, dict[str, Any]]:
        """Return the settings of each method that others here do not share.

        A strategy's own parameters count only among its methods. What a method leaves at null is
        left out, and so is a method without anything to compare.
        """
        settings = [method.settings for method in self.methods]
        names = [method.strategy for method in self.methods]
        shared = _differing([_without_strategy(setting) for setting in settings])
        found = {}
        for method, setting in zip(self.methods, settings, strict=True):
            same = [s for s, name in zip(settings, names, strict=True) if name == method.strategy]
            keys = sorted({*shared, *_differing(same)})
            if keys:
                # a parameter that a method lacks is not shown for it
                given = {key: setting[key] for key in keys if setting.get(key) is not None}
                found[method.label] = given
        return found


def streams_of(runs: Sequence[LoadedRun]) -> list[StreamRuns]:
    """Return the runs by stream and measure, and in each by method.

    Runs of different streams never share a table, nor do classifiers and probes. Settings that
    some runs lack, as an older version made them, count as the defaults (see `completed`).
    """
    measured = [measure for run in completed(runs) for measure in _measures(run)]
    groups = _grouped(measured, lambda run: [run.scenario_name, run.scenario, run.measured_by])
    found = []
    for same in groups:
        name = same[0].scenario_name
        others = [group[0].scenario for group in groups if group[0].scenario_name == name]
        found.append(StreamRuns(_differing(others), _methods(same)))
    return found


def repeats(runs: Iterable[LoadedRun]) -> str:
    """Return what figures of these runs are means over."""
    return " or ".join(sorted({f"{run.repeats}s" for run in runs}))


def identity(value: object) -> str:
    """Return text that is equal for equal settings."""
    return json.dumps(value, sort_keys=True, default=str)


def short(value: object) -> str:
    """Return a setting's value as text that fits a line."""
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _measures(run: LoadedRun) -> Iterator[LoadedRun]:
    """Yield the run, then a copy for each probe with that probe's hits."""
    yield run
    for name, hits in run.probes.items():
        yield dataclasses.replace(run, hits=hits, measured_by=IN_WORDS[name])


def _methods(runs: Sequence[LoadedRun]) -> list[Method]:
    groups = _grouped(runs, lambda run: [run.strategy_name, run.method])
    names = [_name(group[0]) for group in groups]
    labels = [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]
    return [Method(label, group) for label, group in zip(labels, groups, strict=True)]


def _name(run: LoadedRun) -> str:
    """Return a strategy's name in a table; it tells if test samples had a part in predictions."""
    marked = TRANSDUCTIVE in run.measured_by
    return f"{run.strategy_name} {TRANSDUCTIVE}" if marked else run.strategy_name


def _grouped(
    runs: Sequence[LoadedRun], what: Callable[[LoadedRun], object]
) -> list[list[LoadedRun]]:
    groups: dict[str, list[LoadedRun]] = {}
    for run in runs:
        groups.setdefault(identity(what(run)), []).append(run)
    return list(groups.values())


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that do not have the same value everywhere."""
    keys = sorted({key for setting in settings for key in setting})
    absent = object()
    return [k for k in keys if len({repr(s.get(k, absent)) for s in settings}) > 1]


def _without_strategy(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in setting.items() if not key.startswith("strategy.")}
