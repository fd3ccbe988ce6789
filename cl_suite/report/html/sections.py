"""What a page says of each stream: facts, tables, charts and methods, ready for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cl_suite.report.html import facts
from cl_suite.report.html.charts import Chart, charts_of, matrices_of
from cl_suite.report.html.formats import title
from cl_suite.report.html.svg import DASHES, NUM_COLOURS
from cl_suite.report.html.tables import Cell, Table, tables_of
from cl_suite.report.streams import COMPARED, Method, StreamRuns

SIGN = "\N{PLUS-MINUS SIGN}"
FEW = 8  # of more methods, only the band under the pointer is drawn
MOST_RUNS = 60  # rows of a method's own table
_KEY_DASHES = ("", "5 2", "1.2 1.6")


@dataclass(frozen=True)
class MethodPart:
    """What a page says of one method.

    Attributes:
        place: its place among the stream's methods, which gives its colour.
        settings: those that other methods do not share, by name.
        commands: what repeats its runs.
        text: all its settings, YAML.
        runs: a table of its runs.
        notes: what its training did wrong, as sentences.
    """

    place: int
    label: str
    strategy: str
    settings: Mapping[str, str]
    commands: Sequence[str]
    text: str
    runs: Table
    notes: Sequence[str]

    @property
    def colour(self) -> int:
        """Number of its colour."""
        return self.place % NUM_COLOURS

    @property
    def dash(self) -> str:
        """Its dashes, as SVG writes them."""
        return _KEY_DASHES[min(self.place // NUM_COLOURS, len(DASHES) - 1)]


@dataclass(frozen=True)
class Section:
    """What a page says of one stream.

    Attributes:
        name: begins the ids in the section.
        tables: by what they hold.
        charts: the charts of each heading.
        matrices: accuracy matrices, a method each.
        highest: per cent at the bright end of their colours.
    """

    name: str
    title: str
    facts: facts.Facts
    repeats: str
    tables: Mapping[str, Table]
    charts: Mapping[str, Sequence[Chart]]
    matrices: Sequence[Chart]
    highest: int
    methods: Sequence[MethodPart]

    @property
    def by_label(self) -> dict[str, MethodPart]:
        """The methods by their label in tables."""
        return {part.label: part for part in self.methods}

    @property
    def repeated(self) -> bool:
        """Whether any method has several runs, so bands can be drawn."""
        return any(len(part.runs.rows) > 1 for part in self.methods)

    @property
    def many(self) -> bool:
        """Whether bands are shown only of a method that is pointed at."""
        return len(self.methods) > FEW


def section_of(stream: StreamRuns, number: int) -> Section:
    """Return what a page says of a stream, its charts drawn.

    Args:
        number: place of the stream on the page.

    Raises:
        UserError: if the settings of a run cannot be read.
    """
    name = f"s{number}"
    differing = stream.settings_that_differ()
    matrices, highest = matrices_of(stream, name)
    return Section(
        name=name,
        title=title(stream),
        facts=facts.facts_of(stream),
        repeats=stream.repeats,
        tables={table.kind: table for table in tables_of(stream, SIGN)},
        charts=charts_of(stream, name),
        matrices=matrices,
        highest=highest,
        methods=[
            _method(stream, method, place, differing.get(method.label, {}))
            for place, method in enumerate(stream.methods)
        ],
    )


def _method(
    stream: StreamRuns, method: Method, place: int, settings: Mapping[str, object]
) -> MethodPart:
    troubles = dict.fromkeys(
        f"{run.repeats} {run.number if run.task is None else run.task}: {run.trouble}"
        for run in method.runs
        if run.trouble
    )
    return MethodPart(
        place=place,
        label=method.label,
        strategy=method.strategy,
        settings={key: str(value) for key, value in settings.items()},
        commands=facts.commands(stream, method),
        text=facts.settings_text(method),
        runs=_runs_table(method),
        notes=list(troubles),
    )


def _runs_table(method: Method) -> Table:
    rows = []
    word = method.runs[0].repeats
    for (first, task), figures in list(method.headlines.items())[:MOST_RUNS]:
        number = first if task is None else task
        cells = [_fraction(get(figures)) for get in COMPARED.values()]
        rows.append([Cell(f"{word} {number}", number), *cells])
    left_out = len(method.headlines) - len(rows)
    caption = "Its runs, per cent and points" + (f"; {left_out} more are left out" * (left_out > 0))
    return Table("runs", caption, ("run", *COMPARED), rows)


def _fraction(value: float) -> Cell:
    return Cell("-") if math.isnan(value) else Cell(f"{100 * value:.2f}", 100 * value)
