"""The page on reproduction: facts of `benchmarks/reproduction.yaml` beside measured figures.

No measured figure stands in the YAML file. A reference names table, row, baseline and figure, and
the page reads them from `benchmarks/results`. The verdicts follow from the rules that the page
prints; a verdict in the file that the figures contradict is refused.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import tables
from cl_suite.metrics.intervals import mean_interval
from site_writer import mean_rows, reproduction_text

FACTS = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduction.yaml"
VERDICTS = ("verified", "partly", "not")
NEAR_ENOUGH = 1.0  # points between our mean and a published figure


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper or its authors state, as far as it is certain."""

    setting: str
    figures: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One measured figure of ours, by name.

    Attributes:
        row: a row, or several by a `*`, whose mean is taken seed by seed.
        baseline: a row; its `*` stands for the same text.
        label: what that mean is over, Markdown; with a `*` alone.
        beside: True if it measures something beside the claim, such as a part of the method.
        published: the published figure, only if this row ran the published setting.
    """

    table: str
    row: str
    baseline: str
    figure: str
    label: str = ""
    beside: bool = False
    published: float | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A call of `cl-suite` in the full setting, and the options that shorten it for a trial."""

    command: str
    trial: str


@dataclass(frozen=True, kw_only=True)
class System:
    """One record of the file; every text is Markdown."""

    name: str
    strategies: Sequence[str]
    paper: str
    claim: str
    published: Published
    formulas: str
    ours: Sequence[Reference]
    gap: str
    verdict: str
    why: str
    full: Sequence[Command]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The whole file.

    Attributes:
        data: what each variable in a command must name.
    """

    data: Mapping[str, str]
    systems: Sequence[System]


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
    if results is None:
        results = {table.name: table for table in tables.load_all()}
    found = [(system, resolve(system, results)) for system in facts.systems]
    return reproduction_text.page(found, facts.data)


def load(path: Path = FACTS) -> Facts:
    """Return the facts of a file.

    Raises:
        ValueError: if a field is missing, unknown or of another type, or if a command names a
            variable that the file does not explain.
    """
    content = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(content, dict) or set(content) != {"data", "systems"}:
        raise ValueError(f"'{path.name}' must have the fields data and systems")
    systems = [_system(record) for record in content["systems"]]
    for system in systems:
        for command in system.full:
            for variable in re.findall(r"\$(\w+)", f"{command.command} {command.trial}"):
                if variable not in content["data"]:
                    raise ValueError(f"system '{system.name}': data does not explain ${variable}")
    return Facts(data=content["data"], systems=systems)


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


# --- the file ---


def _system(content: Any) -> System:
    where = f"system '{content.get('name')}'" if isinstance(content, dict) else "a system"
    own: dict[str, Any] = _fields(System, content, where)
    if own["verdict"] not in VERDICTS:
        known = ", ".join(VERDICTS)
        raise ValueError(f"{where}: verdict must be one of {known}, got {own['verdict']!r}")
    own["published"] = Published(**_fields(Published, own["published"], f"{where}, published"))
    own["ours"] = [Reference(**_fields(Reference, r, f"{where}, ours")) for r in own["ours"]]
    own["full"] = [Command(**_fields(Command, c, f"{where}, full")) for c in own["full"]]
    return System(**own)


def _fields(cls: type[Any], content: Any, where: str) -> dict[str, Any]:
    """Return a mapping's fields if they are those of the class; texts must be texts."""
    declared = {field.name: field for field in dataclasses.fields(cls)}
    if not isinstance(content, dict):
        raise ValueError(f"{where}: must be a mapping, got {content!r}")
    if unknown := set(content) - set(declared):
        raise ValueError(f"{where}: there is no field '{min(unknown)}'")
    for name, field in declared.items():
        if name not in content:
            if field.default is dataclasses.MISSING:
                raise ValueError(f"{where}: field '{name}' is missing")
        elif not _is_of(content[name], str(field.type)):
            raise ValueError(f"{where}: {name} must be {field.type}, got {content[name]!r}")
    return dict(content)


def _is_of(value: Any, declared: str) -> bool:
    if declared.startswith("Sequence"):
        return isinstance(value, list)
    if declared.startswith("float"):
        return value is None or (type(value) in (int, float) and math.isfinite(value))
    return type(value).__name__ == declared if declared in ("str", "bool") else True
