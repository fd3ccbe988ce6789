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
import re
import textwrap
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cl_suite.errors import UserError, option


@dataclass(frozen=True)
class Within:
    """A range of numbers that includes its lower end; an infinite end is not a limit.

    Args:
        low, high: the ends. Neither infinity nor nan is ever inside.
        open_end: True if `high` itself is outside.

    Example:
        >>> Within(0, 1).words, Within(0, 1, open_end=True).words
        ('in [0, 1]', 'in [0, 1)')
        >>> Within(1).words, Within(high=9).words
        ('at least 1', 'at most 9')
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
        if self.low == -math.inf:
            return f"{'below' if self.open_end else 'at most'} {self.high:.12g}"
        return f"in [{self.low:.12g}, {self.high:.12g}{')' if self.open_end else ']'}"


@dataclass(frozen=True)
class Above:
    """A range of numbers that excludes its lower end; otherwise like `Within`.

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
    """Base class; its dataclass fields are parameters, and a value out of range is refused.

    A subclass's docstring explains its own parameters. Those of its base classes are added to it,
    so `help` and the command line explain all of them.

    Raises:
        UserError: (a `ValueError`) when the object is made; it names the parameter.
    """

    _option_prefix = ""  # the section of the command line's options, such as `model.`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if doc := cls.__dict__.get("__doc__"):
            known = _meanings(doc)
            bases = [meanings_of(base) for base in reversed(cls.__mro__[1:])]
            inherited = {name: text for base in bases for name, text in base.items()}
            missing = {name: text for name, text in inherited.items() if name not in known}
            cls.__doc__ = _with_arguments(inspect.cleandoc(doc), missing)

    def __post_init__(self) -> None:
        prefix = option(self._option_prefix) if self._option_prefix else ""
        check_parameters(type(self), vars(self), prefix)
        self.check()

    def check(self) -> None:
        """Raise `UserError` for rules beyond annotations; the message begins with a parameter."""


def meanings_of(cls: type) -> dict[str, str]:
    """Return what a class's docstring says of each parameter, those of base classes included."""
    return _meanings(cls.__doc__ or "")


_ARGS = "\nArgs:\n"
_END_OF_ARGS = re.compile(r"^\S", re.MULTILINE)
_SECTION = re.compile(r"^(Attributes|Class attributes|Returns|Raises|Examples?):$", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n {8}.*)*)", re.MULTILINE)


def _meanings(doc: str) -> dict[str, str]:
    _, _, rest = inspect.cleandoc(doc).partition(_ARGS)
    return {
        name: " ".join(match["text"].split())
        for match in _ARGUMENT.finditer(_split_at(_END_OF_ARGS, rest)[0])
        for name in match["names"].split(", ")
    }


def _with_arguments(doc: str, added: Mapping[str, str]) -> str:
    """Return a docstring with more parameters at the end of its `Args`."""
    if not added:
        return doc
    before, start, rest = doc.partition(_ARGS)
    if start:
        own, after = _split_at(_END_OF_ARGS, rest)
    else:
        own = ""
        before, after = _split_at(_SECTION, doc)
        before = f"{before.rstrip()}\n"
    lines = [
        textwrap.fill(f"{name}: {text}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name, text in added.items()
    ]
    arguments = "\n".join([*([own.rstrip()] if own else []), *lines])
    return f"{before}{_ARGS}{arguments}" + (f"\n\n{after}" if after else "")


def _split_at(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    found = pattern.search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


def check_parameters(cls: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Raise `UserError` for the first value that its parameter's annotation does not allow.

    Args:
        values: values by parameter name; other names are ignored.
        prefix: put before the name in the message, such as `--strategy.`.
    """
    for name, annotation in annotations_of(cls).items():
        if name in values and (problem := _problem(values[name], annotation)) is not None:
            raise UserError(f"{prefix}{name} {problem}")


def check_given(cls: type, values: Mapping[str, Any], prefix: str) -> None:
    """Raise `UserError` if a class cannot be made from these values; `prefix` precedes the name.

    The command line thus checks a class of `Parameters` before anything is built.
    """
    known = annotations_of(cls)
    if not issubclass(cls, Parameters):
        check_parameters(cls, values, prefix)
        return
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

    It serves classes of other libraries, which lack our annotations. A list must hold such
    numbers, and None is allowed if it is the default.

    Args:
        ranges: lowest and highest value, by parameter name.
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
        return {}  # another library's, whose names exist only for type checkers
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
    # for `int | str`, a number's range helps more than "must be text"
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
    return None  # a kind without ranges


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
