"""The parameters of a strategy or scenario: type, default, what is allowed, and what it means."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cl_suite.parameters import Within, annotations_of
from site_writer.docstrings import arguments, escaped


@dataclass(frozen=True)
class Parameter:
    """One parameter, in words.

    Attributes:
        kind: its type.
        default: as YAML writes it; empty if it must be given.
        allowed: its range, empty if any value of its type will do.
        meaning: from the docstring, may be empty.
    """

    name: str
    kind: str
    default: str
    allowed: str
    meaning: str


def parameters(cls: type, settings: Mapping[str, Any]) -> list[Parameter]:
    """Return the parameters of a class's constructor.

    Args:
        settings: of its YAML file, of which `params` are the defaults and `bounds` the ranges.
    """
    hints, meanings = annotations_of(cls), _meanings(cls)
    ours, bounds = settings.get("params") or {}, settings.get("bounds") or {}
    found = []
    for name, parameter in inspect.signature(cls).parameters.items():
        hint = hints.get(name, parameter.annotation)
        allowed = _ranges(hint)
        if name in bounds:
            allowed = [Within(*bounds[name]).words]
        default = ours.get(name, parameter.default)
        found.append(
            Parameter(
                name,
                in_words(hint),
                "" if default is inspect.Parameter.empty else written(default),
                " and ".join(allowed),
                meanings.get(name, ""),
            )
        )
    return found


def table(found: list[Parameter], section: str) -> str:
    """Return parameters as a Markdown table, named as the command line names them."""
    if not found:
        return "It has no parameters."
    limited = any(each.allowed for each in found)
    heads = ["parameter", "type", "default", *(["allowed"] if limited else []), "meaning"]
    rows = [heads, ["---"] * len(heads)]
    for each in found:
        default = f"`{each.default}`" if each.default else "(required)"
        cells = [each.kind, default, *([each.allowed] if limited else []), escaped(each.meaning)]
        rows.append([f"`--{section}.{each.name}`", *map(_cell, cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def in_words(hint: Any) -> str:
    """Return a type as a reader of YAML would name it.

    Example:
        >>> in_words(int | None)
        'int or null'
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return in_words(inner[0])
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(each) for each in inner)
    if hint is type(None):
        return "null"
    if origin in (list, tuple):
        return f"list of {in_words(inner[0])}"
    if origin is dict:
        return "mapping"
    if hint in (Any, inspect.Parameter.empty):
        return "any"
    return str(getattr(hint, "__name__", hint))


def written(value: Any) -> str:
    """Return a value as YAML writes it, in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    return str(value)


def _meanings(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        for owner in (each, each.__dict__.get("__init__")):
            found |= arguments(getattr(owner, "__doc__", None) or "")
    return found


def _ranges(hint: Any) -> list[str]:
    found = []
    if typing.get_origin(hint) is typing.Annotated:
        _, *marks = typing.get_args(hint)
        found += [mark.words for mark in marks if hasattr(mark, "words")]
    for each in typing.get_args(hint):
        if typing.get_origin(hint) is not typing.Literal:
            found += _ranges(each)
    return found


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
