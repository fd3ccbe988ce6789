"""The facts of the page on reproduction, as `benchmarks/reproduction.yaml` has them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FACTS = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduction.yaml"
VERDICTS = ("verified", "partly", "not")


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
        ground: words for it in the README's table; empty: not there.
    """

    table: str
    row: str
    baseline: str
    figure: str
    label: str = ""
    beside: bool = False
    published: float | None = None
    ground: str = ""


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
