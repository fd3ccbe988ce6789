"""The numbers among a class's parameters, and values that each must refuse."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from cl_suite.parameters import Above, Within, annotations_of

Limit = Within | Above


@dataclass(frozen=True)
class Number:
    """What a parameter's annotation says of a number, or of each number of a list."""

    kind: type
    limits: tuple[Limit, ...]
    in_list: bool = False


def numbers_of(cls: type, ranges: Mapping[str, Sequence[float]] | None = None) -> dict[str, Number]:
    """Return the numbers among a class's parameters, by name.

    Args:
        ranges: lowest and highest value, by name, of a class without annotations of ours.
    """
    ranges = ranges or {}
    annotations = annotations_of(cls)
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        number = _number(annotations.get(name))
        by_default = name not in annotations and type(parameter.default) in (int, float)
        if number is None and (name in ranges or by_default):
            number = Number(float, ())
        if number is not None:
            limits = number.limits
            if name in ranges:
                low, high = ranges[name]
                limits = (*limits, Within(low, high))
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
