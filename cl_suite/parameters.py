"""Parameters of scenarios and strategies: annotations state their ranges, one routine checks them.

A class derives from `Parameters` and is a keyword-only dataclass. Its fields are its configuration:

    @dataclass(kw_only=True, eq=False)
    class TEENPlugin(StrategyPlugin):
        softmax_t: Annotated[float, Above(0)] = 16.0
        shift_weight: Annotated[float, Within(0, 1)] = 0.5
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cl_suite.errors import UserError


@dataclass(frozen=True)
class Within:
    """A range of numbers with its lower end; an infinite end is no limit.

    Args:
        low, high: the ends. Neither infinity nor nan is ever inside.
        open_end: True if `high` itself is outside.

    Example:
        >>> Within(0, 1).words, Within(1).words, Within(0, 1, open_end=True).words
        ('in [0, 1]', 'at least 1', 'in [0, 1)')
    """

    low: float = -math.inf
    high: float = math.inf
    open_end: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value and _below_end(value, self.high, self.open_end)

    @property
    def words(self) -> str:
        """The range after "must be"."""
        if self.high == math.inf:
            return f"at least {self.low:.12g}"
        return f"in [{self.low:.12g}, {self.high:.12g}{')' if self.open_end else ']'}"


@dataclass(frozen=True)
class Above:
    """A range of numbers without its lower end; otherwise as `Within`.

    Example:
        >>> Above(0).words, Above(0, 1).words
        ('above 0', 'in (0, 1]')
    """

    low: float
    high: float = math.inf
    open_end: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low < value and _below_end(value, self.high, self.open_end)

    @property
    def words(self) -> str:
        """The range after "must be"."""
        if self.high == math.inf:
            return f"above {self.low:.12g}"
        return f"in ({self.low:.12g}, {self.high:.12g}{')' if self.open_end else ']'}"


def _below_end(value: float, high: float, open_end: bool) -> bool:
    return value < high or (value == high and not open_end)


class Parameters:
    """Base of classes whose dataclass fields are parameters; a value out of range is refused.

    Raises:
        UserError: (a `ValueError`) when the object is made; it names the parameter.
    """

    def __post_init__(self) -> None:
        check_parameters(type(self), vars(self))
        self.check()

    def check(self) -> None:
        """Raise `UserError` for what no annotation can say; the message begins with a parameter."""


def check_parameters(cls: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Raise `UserError` for the first value that its parameter's annotation does not allow.

    Args:
        values: by name of parameter; other names are ignored.
        prefix: put before the name in the message, such as `--strategy.`.
    """
    for name, annotation in annotations_of(cls).items():
        if name in values and (problem := _problem(values[name], annotation)) is not None:
            raise UserError(f"{prefix}{name} {problem}")


def check_given(cls: type, values: Mapping[str, Any], prefix: str) -> None:
    """Raise `UserError` if a class cannot be made of these values, `prefix` before the name.

    So the command line checks a class of `Parameters` before anything is built.
    """
    check_parameters(cls, values, prefix)
    known = annotations_of(cls)
    if issubclass(cls, Parameters):
        try:
            cls(**values)
        except UserError as error:
            # "name must be ...", or "name.key must be ..." of a mapping
            named = str(error).split(" ", 1)[0].split(".", 1)[0] in known
            raise UserError(f"{prefix if named else ''}{error}") from error


def check_ranges(
    cls: type,
    values: Mapping[str, Any],
    ranges: Mapping[str, Sequence[float]],
    prefix: str = "",
) -> None:
    """Raise `UserError` for a number outside the ranges that a YAML file states.

    For classes of other libraries, which have no annotations of ours. A list must hold such
    numbers, and None is allowed if it is the default.

    Args:
        ranges: lowest and highest value, by name of parameter.
    """
    defaults = inspect.signature(cls).parameters
    for name, (low, high) in ranges.items():
        number: Any = Annotated[float, Within(low, high)]
        allowed = number | Sequence[number]
        if name in defaults and defaults[name].default is None:
            allowed = allowed | None
        if name in values and (problem := _problem(values[name], allowed)) is not None:
            raise UserError(f"{prefix}{name} {problem}")


@functools.cache
def annotations_of(cls: type) -> Mapping[str, Any]:
    """Return the annotation of each parameter of a class's constructor, by name."""
    known = set(inspect.signature(cls).parameters)
    try:
        hints = get_type_hints(
            cls if dataclasses.is_dataclass(cls) else cls.__init__,  # type: ignore[misc]  # read only
            include_extras=True,
        )
    except NameError:
        return {}  # another library's, whose names are there for type checkers alone
    return {name: hint for name, hint in hints.items() if name in known}


def _problem(value: Any, annotation: Any) -> str | None:
    """Return what is wrong with a value, as the end of a sentence; None if nothing is."""
    plain, limits = _split(annotation)
    members = get_args(plain) if get_origin(plain) in (Union, types.UnionType) else (plain,)
    problems = [
        _problem_of_kind(value, member, limits) for member in members if member is not _NONE
    ]
    if (value is None and _NONE in members) or None in problems or not problems:
        return None
    # of `int | str`, what a number out of range lacks says more than that it is no text
    problem = next((p for p in problems if p and not p.startswith("must be text")), problems[0])
    null = ", or null" if _NONE in members else ""
    return f"{problem}{null}, got {_shown(value)}"


_NONE = type(None)
Limit = Within | Above


def _split(annotation: Any) -> tuple[Any, tuple[Limit, ...]]:
    if get_origin(annotation) is Annotated:
        plain, *extras = get_args(annotation)
        return plain, tuple(e for e in extras if isinstance(e, (Within, Above)))
    return annotation, ()


def _problem_of_kind(value: Any, kind: Any, limits: tuple[Limit, ...]) -> str | None:
    kind, own = _split(kind)
    limits = (*limits, *own)
    if get_origin(kind) is Literal:
        words = get_args(kind)
        return None if value in words else f"must be one of {', '.join(map(str, words))}"
    if kind in (int, float):
        return _problem_of_number(value, kind, limits)
    if kind is bool:
        return None if isinstance(value, bool) else "must be true or false"
    if kind is str:
        return None if isinstance(value, str) else "must be text"
    if get_origin(kind) in (list, tuple, Sequence) and get_args(kind):
        return _problem_of_items(value, get_args(kind)[0])
    return None  # what no range can be stated of


def _problem_of_number(value: Any, kind: type, limits: tuple[Limit, ...]) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or (kind is int and not isinstance(value, int)):
        return "must be a whole number" if kind is int else "must be a number"
    if not math.isfinite(value):
        return "must be a finite number"
    outside = [limit for limit in limits if value not in limit]
    return f"must be {outside[0].words}" if outside else None


def _problem_of_items(values: Any, kind: Any) -> str | None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        return "must be a list"
    for value in values:
        if (problem := _problem(value, kind)) is not None:
            return f"must be a list whose items {problem.split(', got ')[0]}"
    return None


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
