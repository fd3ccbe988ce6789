"""The numeric parameters of a scenario or strategy, and values that each must refuse."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from cl_suite.parameters import annotations_of
from cl_suite.registry import Entry
from cl_suite.testing import numbers
from cl_suite.testing.numbers import Number, bad_values

__all__ = ["Number", "as_options", "as_text", "bad_values", "numbers_of", "required_of"]


def numbers_of(entry: Entry) -> dict[str, Number]:
    """Return the numbers among an entry's parameters, by name.

    A class of another library has no ranges of ours: its YAML file states them.
    """
    return numbers.numbers_of(entry.load(), entry.settings.get("bounds"))


def as_text(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("nan", ".nan").replace("inf", ".inf")
    return str(value)


def required_of(entry: Entry) -> dict[str, Any]:
    """Return some value for each parameter that neither the class nor the YAML file gives one."""
    cls, given = entry.load(), entry.settings.get("params") or {}
    annotations, known = annotations_of(cls), numbers_of(entry)
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not parameter.empty or name in given:
            continue
        if get_origin(annotations[name]) is Literal:
            values[name] = get_args(annotations[name])[0]
        else:
            values[name] = known[name].limits[0].low if name in known else "nowhere"
    return values


def as_options(kind: str, values: Mapping[str, Any]) -> list[str]:
    """Return parameters as options of the command line."""
    return [f"--{kind}.{name}={as_text(value)}" for name, value in values.items()]
