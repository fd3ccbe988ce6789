"""The tables that `cl-suite benchmark` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from cl_suite.report.benchmark_figures import CHANCE, FIGURES, Result, difference, ranks, spread
from cl_suite.report.comparison import in_words
from cl_suite.report.costs import costs
from cl_suite.report.one_run import empty_table, per_cent
from cl_suite.report.streams import Method

IN_WORDS = {"average": "average", "harmonic": "harmonic", "gacc": "gAcc"}
TITLES = {"average": "average accuracy", "gacc": "gAcc"}
MEASURES = {"classifier": "", "linear": ", by a linear probe", "knn": ", by nearest neighbours"}


def tables(result: Result, *, sign: str) -> Iterator[RenderableType]:
    """Yield the tables of one measure.

    Args:
        sign: the sign before half the width of an interval.
    """
    main = main_group(result)
    if main is None:
        yield Text("no run is finished", style="yellow")
        return
    yield Text(f"over the draws of '{main}'{MEASURES[result.measure]}", style="bold")
    yield _over_draws(result, main, sign)
    yield Text()
    yield _more(result, main, sign)
    if len(result.groups) > 1:
        yield Text()
        for figure in ("average", "gacc"):
            yield Text(f"{TITLES[figure]} by kind of draw, mean", style="bold")
            yield _by_group(result, figure)
    yield Text()
    yield Text("places", style="bold")
    yield _places(result)
    yield Text()
    yield Text("what a run costs, mean", style="bold")
    yield costs([Method(row.strategy, row.runs) for row in result.rows if row.runs])
    if result.described:
        yield Text()
        yield from _described(result)


def main_group(result: Result) -> str | None:
    """Return the group with the most draws, the first of equals; None without a figure."""
    keys = {key for row in result.rows for key in row.figures}
    sizes = {group: sum(key[0] == group for key in keys) for group in result.groups}
    return max(sizes, key=lambda group: sizes[group]) if sizes else None


def _over_draws(result: Result, group: str, sign: str) -> RenderableType:
    headings = ("draws", "average", "median", "worst", f"vs {result.reference}")
    table = empty_table("strategy", *headings)
    reference = result.rows[0]
    for row in result.rows:
        average = spread(list(row.values("average", group).values()))
        gain = None if row is reference else difference(row, reference, "average", group)
        table.add_row(
            Text(row.strategy),
            str(average.mean.num),
            in_words(average.mean, sign),
            per_cent(average.median),
            per_cent(average.worst),
            in_words(gain, sign, plus="+"),
        )
    guessed = [value for key, value in result.chance.items() if key[0] == group]
    if guessed:
        mean, worst = float(np.mean(guessed)), min(guessed)
        table.add_row(CHANCE, str(len(guessed)), per_cent(mean), "-", per_cent(worst), "-")
    return table


def _more(result: Result, group: str, sign: str) -> RenderableType:
    table = empty_table("strategy", "harmonic", "gAcc", "parameters", "pretraining")
    for row in result.rows:
        others = [spread(list(row.values(name, group).values())).mean for name in FIGURES[1:]]
        cells = [in_words(other, sign) for other in others]
        table.add_row(Text(row.strategy), *cells, row.parameters, row.pretraining)
    return table


def _by_group(result: Result, figure: str) -> RenderableType:
    table = empty_table("strategy", *result.groups)
    for row in result.rows:
        values = [list(row.values(figure, group).values()) for group in result.groups]
        table.add_row(Text(row.strategy), *(per_cent(spread(found).mean.mean) for found in values))
    return table


def _places(result: Result) -> RenderableType:
    main = main_group(result) or ""
    kinds = [(IN_WORDS[figure], ranks(result, figure, main)) for figure in FIGURES]
    kinds += [(g, ranks(result, "average", g)) for g in result.groups if g != main]
    table = empty_table("strategy", *(name for name, _ in kinds))
    for row in result.rows:
        table.add_row(Text(row.strategy), *(str(p.get(row.strategy, "-")) for _, p in kinds))
    return table


def _described(result: Result) -> Iterator[RenderableType]:
    yield Text(f"classes that look alike, by the class means of {result.reference}", style="bold")
    table = empty_table("draws", "base overlap", "cosine within sessions")
    for group, figures in result.described.items():
        table.add_row(Text(group), f"{figures['overlap']:.3f}", f"{figures['within']:.3f}")
    yield table


def unfinished(results: Sequence[Result]) -> list[str]:
    """Return a sentence for each row that lacks draws."""
    rows = results[0].rows if results else ()
    return [
        f"{row.strategy} lacks {row.unfinished} of its runs; repeat the command to go on"
        for row in rows
        if row.unfinished
    ]
