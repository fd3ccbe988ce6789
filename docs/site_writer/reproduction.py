"""The page on reproduction: facts of `benchmarks/reproduction.yaml` beside measured figures.

No measured figure stands in the YAML file. A reference names table, row, baseline and figure, and
the page reads them from `benchmarks/results`. The verdicts follow from the rules that the page
prints; a verdict in the file that the figures contradict is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tables
from cl_suite.metrics.intervals import mean_interval
from site_writer import mean_rows, overview, reproduction_text
from site_writer.reproduction_facts import Facts, Reference, System, load

NEAR_ENOUGH = 1.0  # points between our mean and a published figure


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much a row is ahead of its baseline, in points.

    Attributes:
        half_width: half its 95 % interval; None if the values of single seeds are not known.
        is_shown: whether it is above 0 beyond its interval, or the two intervals lie apart.
    """

    mean: float
    half_width: float | None
    is_shown: bool


@dataclass(frozen=True, kw_only=True)
class Result:
    """A reference with what it names."""

    reference: Reference
    table: tables.Table
    row: tables.Row
    baseline: tables.Row
    gain: Gain

    @property
    def ours(self) -> tables.Figure:
        """The row's own figure."""
        return self.row.figures[self.reference.figure]

    @property
    def theirs(self) -> tables.Figure:
        """The baseline's figure."""
        return self.baseline.figures[self.reference.figure]

    @property
    def gap(self) -> float | None:
        """Ours minus the published figure, in points; None if they do not compare."""
        published = self.reference.published
        return None if published is None else self.ours.mean - published

    @property
    def is_reached(self) -> bool:
        """Whether the published figure lies in our interval, or a point from our mean."""
        return self.gap is not None and abs(self.gap) <= max(
            self.ours.half_width or 0.0, NEAR_ENOUGH
        )


def page(facts: Facts | None = None, results: Mapping[str, tables.Table] | None = None) -> str:
    """Return the whole page as Markdown.

    Args:
        facts: `benchmarks/reproduction.yaml` by default.
        results: tables by name; those of `benchmarks/results` by default.

    Raises:
        ValueError: if a reference names nothing, or a verdict breaks the rules of the page.
    """
    facts = load() if facts is None else facts
    return reproduction_text.page(_found(facts, results), facts.data)


def readme(page: str) -> str:
    """Return the README, `page`, with today's table of systems.

    Raises:
        ValueError: as `page` does, or if the README has no place for the table.
    """
    return overview.inserted(page, overview.table(_found(load(), None)))


def resolve(system: System, results: Mapping[str, tables.Table]) -> list[Result]:
    """Return what the references of a system name.

    Raises:
        ValueError: if one names nothing, or the verdict does not follow from them.
    """
    found = [_result(system.name, reference, results) for reference in system.ours]
    if system.verdict != (due := verdict(found)):
        raise ValueError(
            f"system '{system.name}': the verdict is '{system.verdict}', but by the rules of the "
            f"page its figures make it '{due}'; change the verdict and its reason"
        )
    return found


def verdict(results: Sequence[Result]) -> str:
    """Return the verdict that follows from these results, by the rules of the page."""
    claims = [result for result in results if not result.reference.beside]
    if any(result.is_reached for result in claims):
        return "verified"
    return "partly" if any(result.gain.is_shown for result in claims) else "not"


def gain(table: tables.Table, row: tables.Row, baseline: tables.Row, figure: str) -> Gain:
    """Return how much a row is ahead of another one in a figure.

    The difference is paired by seed if the file has the values of single seeds, or if it has
    recorded that difference. Otherwise it is that of the means, without an interval.
    """
    ours, theirs = row.figures[figure], baseline.figures[figure]
    seeds = sorted(set(ours.values or {}) & set(theirs.values or {}))
    if ours.values and theirs.values and len(seeds) > 1:
        paired = mean_interval([ours.values[s] - theirs.values[s] for s in seeds])
        return _beyond(paired.mean, paired.half_width)
    for known in table.differences:
        sign = {(row.name, baseline.name): 1, (baseline.name, row.name): -1}.get(
            (known.row, known.against)
        )
        if known.figure == figure and sign is not None and known.half_width is not None:
            return _beyond(sign * known.mean, known.half_width)
    mean = ours.mean - theirs.mean
    if ours.half_width is None or theirs.half_width is None:
        return Gain(mean=mean, half_width=None, is_shown=False)
    is_apart = mean > ours.half_width + theirs.half_width
    return Gain(mean=mean, half_width=None, is_shown=is_apart)


def _beyond(mean: float, half_width: float) -> Gain:
    return Gain(mean=mean, half_width=half_width, is_shown=mean > half_width)


def _result(system: str, reference: Reference, results: Mapping[str, tables.Table]) -> Result:
    def refused(what: str, name: str, known: Sequence[str]) -> ValueError:
        return ValueError(
            f"system '{system}': there is no {what} '{name}'; there are {', '.join(known)}"
        )

    if (table := results.get(reference.table)) is None:
        raise refused("table", reference.table, sorted(results))
    rows = {row.name: row for row in table.rows}
    if bool(reference.label) != (mean_rows.ANY in reference.row):
        raise ValueError(f"system '{system}': label and a '*' in row '{reference.row}' go together")
    named = mean_rows.pairs(table, reference.row, reference.baseline)
    if not named:
        raise refused(f"row in '{table.name}' named", reference.row, list(rows))
    for name in (name for pair in named for name in pair):
        if name not in rows:
            raise refused(f"row in '{table.name}' named", name, list(rows))
        if reference.figure not in (figures := rows[name].figures):
            raise refused(f"figure of '{name}' named", reference.figure, list(figures))
    row, baseline = (
        mean_rows.mean_row([rows[name] for name in names], reference.label, reference.figure)
        for names in zip(*named, strict=True)
    )
    return Result(
        reference=reference,
        table=table,
        row=row,
        baseline=baseline,
        gain=gain(table, row, baseline, reference.figure),
    )


def _found(
    facts: Facts, results: Mapping[str, tables.Table] | None
) -> list[tuple[System, list[Result]]]:
    if results is None:
        results = {table.name: table for table in tables.load_all()}
    return [(system, resolve(system, results)) for system in facts.systems]
