"""The numbers among the parameters of a scenario or strategy, and values that each must refuse."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cl_suite.parameters import Above, Within, annotations_of
from cl_suite.registry import Entry

Limit = Within | Above


@dataclass(frozen=True)
class Number:
    """What a parameter's annotation says of a number, or of each number of a list."""

    kind: type
    limits: tuple[Limit, ...]
    in_list: bool = False


def numbers_of(entry: Entry) -> dict[str, Number]:
    """Return the numbers among an entry's parameters, by name.

    A class of another library has no ranges of ours: its YAML file states them.
    """
    cls, ranges = entry.load(), entry.settings.get("bounds", {})
    annotations = annotations_of(cls)
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        number = _number(annotations.get(name))
        by_default = name not in annotations and type(parameter.default) in (int, float)
        if number is None and (name in ranges or by_default):
            number = Number(float, ())
        if number is not None:
            limits = (*number.limits, *([Within(*ranges[name])] if name in ranges else []))
            found[name] = Number(number.kind, limits, number.in_list)
    return found


def _number(annotation: Any, limits: tuple[Limit, ...] = ()) -> Number | None:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = tuple(each for each in inner[1:] if isinstance(each, (Within, Above)))
        return _number(inner[0], (*limits, *own))
    if origin in (Union, UnionType):
        found = [number for each in inner if (number := _number(each, limits)) is not None]
        return found[0] if found else None
    if origin in (list, tuple, Sequence):
        number = _number(inner[0])
        return number and Number(number.kind, number.limits, in_list=True)
    return Number(annotation, limits) if annotation in (int, float) else None


def bad_values(number: Number) -> list[Any]:
    """Return values below and above the range, and what is no finite number of its kind."""
    step = 1 if number.kind is int else 1e-6
    values: list[Any] = [math.nan, math.inf, -math.inf, "word", True]
    values += [1.5] if number.kind is int else []
    for limit in number.limits:
        values += [limit.low - step] if limit.low > -math.inf else []
        values += [limit.low] if isinstance(limit, Above) else []
        values += [limit.high + step] if limit.high < math.inf else []
        values += [limit.high] if limit.open_end and limit.high < math.inf else []
    return [*([value] for value in values), "word"] if number.in_list else values


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
    annotations, numbers = annotations_of(cls), numbers_of(entry)
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not parameter.empty or name in given:
            continue
        if get_origin(annotations[name]) is Literal:
            values[name] = get_args(annotations[name])[0]
        else:
            values[name] = numbers[name].limits[0].low if name in numbers else "nowhere"
    return values


def as_options(kind: str, values: Mapping[str, Any]) -> list[str]:
    """Return parameters as options of the command line."""
    return [f"--{kind}.{name}={as_text(value)}" for name, value in values.items()]
