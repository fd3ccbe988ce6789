"""Prints several runs compared over their seeds, in one table for each stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.costs import costs
from cl_suite.report.loaded_run import LoadedRun
from cl_suite.report.one_run import empty_table
from cl_suite.report.streams import COMPARED, MORE, Columns, StreamRuns, repeats, short, streams_of


def compared(
    runs: Sequence[LoadedRun], notes: Sequence[str], *, sign: str, everything: bool = False
) -> Group:
    """Return one comparison for each stream and measure; see `streams_of`.

    Args:
        runs: finished runs.
        notes: sentences to print below.
        sign: the sign before half the width of an interval.
        everything: further tables, with the less common figures and with what the runs cost.
    """
    parts: list[RenderableType] = []
    for stream in streams_of(runs):
        parts += [_title(stream), Text(), *_tables(stream, sign, COMPARED)]
        if everything:
            parts += [Text(), *_tables(stream, sign, MORE), Text(), costs(stream.methods)]
        parts += [*_settings(stream), Text()]
    parts.append(
        Text(
            f"Per cent and points; mean over the {repeats(runs)} {sign} half the 95 % confidence "
            "interval (Student's t)."
        )
    )
    return Group(*parts, *(Text(note, style="yellow") for note in notes))


def _title(stream: StreamRuns) -> Text:
    title = Text(stream.first.scenario_name, style="bold")
    if stream.parameters:
        title.append(f" ({stream.parameters})", style="not bold")
    if stream.probe:
        title.append(f", by {stream.probe}", style="not bold")
    return title


def _tables(stream: StreamRuns, sign: str, columns: Columns) -> Iterator[RenderableType]:
    table = empty_table("strategy", stream.repeats, *columns)
    for method in stream.methods:
        cells = [in_words(method.interval(get), sign) for get in columns.values()]
        table.add_row(Text(method.label), str(len(method.headlines)), *cells)
    yield table
    if len(stream.methods) > 1:
        yield from (Text(), *_differences(stream, sign, columns))


def _differences(stream: StreamRuns, sign: str, columns: Columns) -> Iterator[RenderableType]:
    by = stream.best.runs[0].repeats
    yield Text(f"difference to {stream.best.label} (highest average accuracy), paired by {by}")
    table = empty_table("strategy", "pairs", *columns)
    for found in stream.differences(columns):
        cells = [in_words(interval, sign, plus="+") for interval in found.figures.values()]
        table.add_row(Text(found.label), str(found.pairs), *cells)
    yield table


def _settings(stream: StreamRuns) -> Iterator[RenderableType]:
    """Yield the settings that differ between methods, apart from the strategy itself."""
    lines = []
    for label, settings in stream.settings_that_differ().items():
        given = [f"{key}={short(value)}" for key, value in settings.items()]
        lines.append(Text(f"  {label}: {', '.join(given) or 'as by default'}"))
    if lines:
        yield from (Text(), Text("settings that differ"), *lines)


def in_words(
    interval: MeanInterval | None,
    sign: str,
    plus: str = "",
    *,
    decimals: int = 2,
    factor: float = 100,
) -> str:
    """Return a mean and its interval, in per cent by default, or a dash if it is undefined.

    Args:
        sign: the sign before half the width.
        plus: "+" to write it before a positive mean too.
        decimals: digits after the point.
        factor: from the mean to the unit that is read.
    """
    if interval is None or np.isnan(interval.mean):
        return "-"
    mean, half_width = f"{factor * interval.mean:{plus}.{decimals}f}", factor * interval.half_width
    return mean if np.isnan(half_width) else f"{mean} {sign}{half_width:.{decimals}f}"
