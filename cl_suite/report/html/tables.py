"""The tables of a report as data: cells with a text to read and a number to sort by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.comparison import in_words
from cl_suite.report.costs import COSTS, cost, cost_in_words
from cl_suite.report.html.curves import Curve, confidence_curves, curves_of
from cl_suite.report.streams import COMPARED, MORE, Method, StreamRuns

Mark = Literal["", "best", "better", "worse"]
ALL = {**COMPARED, **MORE}
# a method that learns nothing has the best drop and the best forgetting: those are not marked
ACCURACIES = ("average", "last", "harmonic", "gAcc", "macro")
LOWER_IS_BETTER = ("drop", "forgetting")
MOST_SESSIONS = 26  # columns of a table; of more sessions, evenly many are shown
CONFIDENCE: Mapping[str, str] = {
    "ece": "ECE",
    "ece_mass": "ECE, equal mass",
    "log_loss": "log loss",
    "brier": "Brier",
}


@dataclass(frozen=True)
class Cell:
    """A number, or the name in a row's first cell.

    Attributes:
        text: what is read.
        value: what it is sorted by and what CSV holds, in the unit read; None if undefined.
        half_width: half the width of its interval, in the same unit; None for none.
        mark: whether it is the best of its column, or a difference that its interval tells from 0.
    """

    text: str
    value: float | None = None
    half_width: float | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A table of methods.

    Attributes:
        kind: one word for what it holds.
        caption: one line on what it holds.
        columns: headings; the first one is that of the methods' names.
        rows: as many cells as columns each.
        names: the first columns, which hold no numbers.
    """

    kind: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1


def tables_of(stream: StreamRuns, sign: str = "\N{PLUS-MINUS SIGN}") -> Iterator[Table]:
    """Yield the tables of a stream: figures, differences, sessions, confidence and costs.

    Args:
        sign: the sign before half the width of an interval.
    """
    yield figures_table(stream, sign)
    if len(stream.methods) > 1:
        yield differences_table(stream, sign)
    yield sessions_table(stream, sign)
    if (found := confidence_table(stream, sign)) is not None:
        yield found
    if (found := costs_table(stream, sign)) is not None:
        yield found


def figures_table(stream: StreamRuns, sign: str) -> Table:
    """Return the headline figures of each method, the best of each accuracy marked."""
    rows = []
    best = {name: _best(stream.methods, name) for name in ACCURACIES}
    for method in stream.methods:
        cells = [
            cell(method.interval(get), sign, mark="best" if method in best.get(name, ()) else "")
            for name, get in ALL.items()
        ]
        rows.append([Cell(method.label), _count(len(method.headlines)), *cells])
    caption = "Figures, per cent and points"
    return Table("figures", caption, ("method", stream.repeats, *ALL), rows)


def differences_table(stream: StreamRuns, sign: str) -> Table:
    """Return each method minus the best one; an interval without 0 is marked."""
    rows = []
    for found in stream.differences(ALL):
        cells = [
            cell(interval, sign, plus="+", mark=_verdict(name, interval))
            for name, interval in found.figures.items()
        ]
        rows.append([Cell(found.label), _count(found.pairs), *cells])
    by = stream.best.runs[0].repeats
    label = stream.best.label
    caption = f"Difference to {label} (highest average accuracy), points, paired by {by}"
    return Table("differences", caption, ("method", "pairs", *ALL), rows)


def sessions_table(stream: StreamRuns, sign: str) -> Table:
    """Return the accuracy after each session over all classes seen, of many sessions some."""
    curves = [curves_of(method)["accuracy"] for method in stream.methods]
    num_sessions = max(len(curve.mean) for curve in curves)
    shown = np.linspace(0, num_sessions - 1, min(num_sessions, MOST_SESSIONS)).round().astype(int)
    rows = []
    for method, curve in zip(stream.methods, curves, strict=True):
        cells = [cell(_at(curve, session), sign) for session in shown.tolist()]
        rows.append([Cell(method.label), *cells])
    caption = "Accuracy after each session, all classes seen, per cent"
    if len(shown) < num_sessions:
        caption += f" ({len(shown)} of {num_sessions} sessions)"
    return Table("sessions", caption, ("method", *map(str, shown)), rows)


def confidence_table(stream: StreamRuns, sign: str) -> Table | None:
    """Return how far probabilities can be trusted after the last session; None if nobody knows."""
    names = [f"{prefix}{name}" for name in CONFIDENCE for prefix in ("", "scaled_")]
    rows = []
    for method in stream.methods:
        # a probe has no probabilities of its own
        curves = {} if stream.probe else confidence_curves(method, names)
        if curves:
            cells = [
                cell(_at(curves[name], -1), sign, factor=100 if "ece" in name else 1)
                for name in names
            ]
            rows.append([Cell(method.label), *cells])
    if not rows:
        return None
    titles = [f"{title}{scaled}" for title in CONFIDENCE.values() for scaled in ("", ", scaled")]
    caption = "Probabilities after the last session; ECE in per cent, scaled: at the fitted factor"
    return Table("confidence", caption, ("method", *titles), rows)


def costs_table(stream: StreamRuns, sign: str) -> Table | None:
    """Return what the methods cost beside their average accuracy; None if nothing is known."""
    found = {column: [cost(m.runs, column) for m in stream.methods] for column in COSTS}
    known = {column: costs for column, costs in found.items() if set(costs) != {None}}
    if not known:
        return None
    rows = []
    for place, method in enumerate(stream.methods):
        prices = [costs[place] for costs in known.values()]
        cells = [Cell(cost_in_words(price), price) for price in prices]
        average = cell(method.interval(COMPARED["average"]), sign)
        rows.append([Cell(method.label), average, *cells])
    caption = "Cost of a run beside the average accuracy; seconds and memory are the machine's"
    return Table("costs", caption, ("method", "average", *known), rows)


def cell(
    interval: MeanInterval | None,
    sign: str,
    *,
    plus: str = "",
    mark: Mark = "",
    factor: float = 100,
    decimals: int = 2,
) -> Cell:
    """Return the cell of a mean and its interval.

    Args:
        sign: the sign before half the width.
        plus: "+" to write it before a positive mean too.
        factor: from the fraction to the unit of the cell.
        decimals: digits after the point.
    """
    if interval is None or math.isnan(interval.mean):
        return Cell("-")
    mean, half_width = factor * interval.mean, factor * interval.half_width
    text = in_words(interval, sign, plus, decimals=decimals, factor=factor)
    return Cell(text, mean, None if math.isnan(half_width) else half_width, mark)


def _best(methods: Sequence[Method], name: str) -> list[Method]:
    """Return the methods with the best mean of a figure; none of a single method."""
    means = {method: method.interval(ALL[name]).mean for method in methods}
    known = [mean for mean in means.values() if not math.isnan(mean)]
    if len(known) < 2:
        return []
    return [method for method, mean in means.items() if mean == max(known)]


def _verdict(name: str, difference: MeanInterval | None) -> Mark:
    if difference is None or not abs(difference.mean) > difference.half_width:
        return ""
    better = (difference.mean < 0) == (name in LOWER_IS_BETTER)
    return "better" if better else "worse"


def _count(number: int) -> Cell:
    return Cell(str(number), number)


def _at(curve: Curve, session: int) -> MeanInterval | None:
    if session >= len(curve.mean):
        return None
    mean, half_width = float(curve.mean[session]), float(curve.half_width[session])
    return _interval(mean, half_width)


def _interval(mean: float, half_width: float) -> MeanInterval:
    return MeanInterval(mean, half_width, standard_deviation=math.nan, num=0)
