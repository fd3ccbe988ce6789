"""Compares several runs over their seeds, in one table for each stream."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.metrics.headline import Headline, headline
from cl_suite.metrics.intervals import MeanInterval, mean_interval, paired_difference
from cl_suite.report.costs import costs
from cl_suite.report.loaded_run import LoadedRun
from cl_suite.report.one_run import empty_table

Repeat = tuple[int, int | None]  # seed, and task of a run over many
COMPARED: Mapping[str, Callable[[Headline], float]] = {
    "average": lambda figures: figures.average,
    "last": lambda figures: figures.last,
    "drop": lambda figures: figures.drop,
    "harmonic": lambda figures: figures.harmonic,
    "forgetting": lambda figures: figures.forgetting,
}
MORE: Mapping[str, Callable[[Headline], float]] = {  # of `show --all`
    "gAcc": lambda figures: figures.gacc,
    "retention": lambda figures: figures.retention,
    "BWT": lambda figures: figures.backward,
    "macro": lambda figures: figures.last_macro,
}
Columns = Mapping[str, Callable[[Headline], float]]


def compared(
    runs: Sequence[LoadedRun], notes: Sequence[str], *, sign: str, everything: bool = False
) -> Group:
    """Return one comparison for each stream and measure.

    Runs of different streams never share a table, nor do classifiers and probes.

    Args:
        runs: finished runs.
        notes: sentences to print below.
        sign: the sign before half the width of an interval.
        everything: further tables, with the less common figures and with what the runs cost.
    """
    measured = [measure for run in runs for measure in _measures(run)]
    streams = _grouped(measured, lambda run: [run.scenario_name, run.scenario, run.measured_by])
    parts: list[RenderableType] = []
    for same in streams:
        others = [
            group[0].scenario
            for group in streams
            if group[0].scenario_name == same[0].scenario_name
        ]
        parts += [_stream_title(same[0], others), Text(), *_stream_tables(same, sign, COMPARED)]
        if everything:
            methods = _methods(same)
            named = dict(zip(_labels(methods), methods, strict=True))
            parts += [Text(), *_stream_tables(same, sign, MORE), Text(), costs(named)]
        parts += [*_settings(same), Text()]
    parts.append(
        Text(
            f"Per cent and points; mean over the {_repeats(runs)} {sign} half the 95 % confidence "
            "interval (Student's t)."
        )
    )
    return Group(*parts, *(Text(note, style="yellow") for note in notes))


def _measures(run: LoadedRun) -> Iterator[LoadedRun]:
    """Yield the run, then a copy for each probe with that probe's hits."""
    yield run
    for name, hits in run.probes.items():
        yield dataclasses.replace(run, hits=hits, measured_by=IN_WORDS[name])


def _stream_title(run: LoadedRun, all_parameters: Sequence[Mapping[str, Any]]) -> Text:
    title = Text(run.scenario_name, style="bold")
    if differing := _differing(all_parameters):
        values = ", ".join(f"{key}={_short(run.scenario.get(key))}" for key in differing)
        title.append(f" ({values})", style="not bold")
    if run.measured_by != IN_WORDS["classifier"]:
        title.append(f", by {run.measured_by}", style="not bold")
    return title


def _stream_tables(
    runs: Sequence[LoadedRun], sign: str, columns: Columns
) -> Iterator[RenderableType]:
    methods = _methods(runs)
    rows = dict(zip(_labels(methods), map(_by_seed, methods), strict=True))
    table = empty_table("strategy", _repeats(runs), *columns)
    for label, seeds in rows.items():
        cells = [_interval([get(f) for f in seeds.values()], sign) for get in columns.values()]
        table.add_row(Text(label), str(len(seeds)), *cells)
    yield table
    if len(rows) > 1:
        yield from (Text(), *_differences(rows, sign, columns))


def _methods(runs: Sequence[LoadedRun]) -> list[list[LoadedRun]]:
    """Return the runs of each method with the same settings."""
    return _grouped(runs, lambda run: [run.strategy_name, run.method])


def _differences(
    rows: Mapping[str, Mapping[Repeat, Headline]], sign: str, columns: Columns
) -> Iterator[RenderableType]:
    best = max(rows, key=lambda label: np.mean([f.average for f in rows[label].values()]))
    by = "task" if any(task is not None for _, task in rows[best]) else "seed"
    yield Text(f"difference to {best} (highest average accuracy), paired by {by}")
    table = empty_table("strategy", "pairs", *columns)
    for label, seeds in rows.items():
        if label == best:
            continue
        common = sorted(set(seeds) & set(rows[best]))
        cells = []
        for get in columns.values():
            pairs = [(get(seeds[seed]), get(rows[best][seed])) for seed in common]
            cells.append(_paired(pairs, sign))
        table.add_row(Text(label), str(len(common)), *cells)
    yield table


def _settings(runs: Sequence[LoadedRun]) -> Iterator[RenderableType]:
    """Yield the settings that differ between methods, apart from the strategy itself."""
    methods = _methods(runs)
    settings = [group[0].method for group in methods]
    names = [group[0].strategy_name for group in methods]
    shared = _differing([_without_strategy(setting) for setting in settings])
    lines = []
    for label, name, setting in zip(_labels(methods), names, settings, strict=True):
        own = _differing([s for s, n in zip(settings, names, strict=True) if n == name])
        keys = sorted({*shared, *own})
        if keys:
            # a parameter that a method lacks is not printed for it
            given = [f"{k}={_short(setting[k])}" for k in keys if setting.get(k) is not None]
            lines.append(Text(f"  {label}: {', '.join(given) or 'as by default'}"))
    if lines:
        yield from (Text(), Text("settings that differ"), *lines)


def _labels(methods: Sequence[Sequence[LoadedRun]]) -> list[str]:
    """Return a name for each row; equal strategies with other settings are numbered."""
    names = [group[0].strategy_name for group in methods]
    return [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _by_seed(runs: Sequence[LoadedRun]) -> dict[Repeat, Headline]:
    in_order = sorted(runs, key=lambda run: (run.seed, run.task or 0))
    return {(run.seed, run.task): headline(run.hits) for run in in_order}


def _repeats(runs: Sequence[LoadedRun]) -> str:
    """Return what the figures are means over."""
    words = {"seeds" if run.task is None else "tasks" for run in runs}
    return " or ".join(sorted(words))


def _interval(values: Sequence[float], sign: str) -> str:
    return _in_words(mean_interval(values), sign) if values else "-"


def _paired(pairs: Sequence[tuple[float, float]], sign: str) -> str:
    if not pairs:
        return "-"
    first, second = zip(*pairs, strict=True)
    return _in_words(paired_difference(first, second), sign, plus="+")


def _in_words(interval: MeanInterval, sign: str, plus: str = "") -> str:
    if np.isnan(interval.mean):
        return "-"
    mean, half_width = f"{100 * interval.mean:{plus}.2f}", 100 * interval.half_width
    return mean if np.isnan(half_width) else f"{mean} {sign}{half_width:.2f}"


def _grouped(
    runs: Sequence[LoadedRun], what: Callable[[LoadedRun], object]
) -> list[list[LoadedRun]]:
    groups: dict[str, list[LoadedRun]] = {}
    for run in runs:
        groups.setdefault(identity(what(run)), []).append(run)
    return list(groups.values())


def identity(value: object) -> str:
    """Return text that is equal for equal settings."""
    return json.dumps(value, sort_keys=True, default=str)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that do not have the same value everywhere."""
    keys = sorted({key for setting in settings for key in setting})
    absent = object()
    return [k for k in keys if len({repr(s.get(k, absent)) for s in settings}) > 1]


def _without_strategy(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in setting.items() if not key.startswith("strategy.")}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
