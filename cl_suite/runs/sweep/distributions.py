"""The values that a sweep tries for a parameter: listed ones, and ones drawn at random."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cl_suite.errors import UserError, suggestion

Kind = Literal["uniform", "log_uniform", "int", "choice"]
KINDS = ("uniform", "log_uniform", "int", "choice")
DIGITS = 4  # significant ones of a drawn number, so that it can be read in a folder's name


@dataclass(frozen=True)
class Distribution:
    """A distribution over a parameter's values.

    Attributes:
        kind: uniform or log_uniform between two numbers, int (whole numbers, both ends included),
            or choice of a list.
        values: the two ends, or the list.
    """

    kind: Kind
    values: tuple[Any, ...]

    def draw(self, source: random.Random) -> Any:
        """Return the next value."""
        if self.kind == "choice":
            return source.choice(self.values)
        low, high = self.values
        if self.kind == "int":
            return source.randint(low, high)
        if self.kind == "uniform":
            return _rounded(source.uniform(low, high))
        return _rounded(math.exp(source.uniform(math.log(low), math.log(high))))


def read_distribution(content: object, where: str) -> Distribution:
    """Return the distribution that a file describes, as in `{log_uniform: [0.001, 0.3]}`.

    Args:
        where: begins the sentence of an error.

    Raises:
        UserError: if it describes none.
    """
    if not isinstance(content, dict) or len(content) != 1:
        raise UserError(
            f"{where} must be one distribution, such as {{log_uniform: [0.001, 0.3]}}, got "
            f"{content!r}"
        )
    ((kind, values),) = content.items()
    if kind not in KINDS:
        raise UserError(
            f"{where} has distribution '{kind}', which is unknown{suggestion(str(kind), KINDS)}"
        )
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: {kind} must have a list of values, got {values!r}")
    if kind == "choice":
        return Distribution("choice", tuple(values))
    ends = [_number(value) for value in values]
    if len(ends) != 2 or None in ends or not ends[0] < ends[1]:  # type: ignore[operator]  # no None
        raise UserError(f"{where}: {kind} must have two numbers, the smaller first, got {values}")
    if kind == "int":
        if any(end != int(end) for end in ends if end is not None):
            raise UserError(f"{where}: int must have two whole numbers, got {values}")
        return Distribution("int", tuple(int(end) for end in ends if end is not None))
    if kind == "log_uniform" and not ends[0] > 0:  # type: ignore[operator]  # no None
        raise UserError(f"{where}: log_uniform must have numbers above 0, got {values}")
    return Distribution(kind, tuple(ends))


def draws(
    distributions: Mapping[str, Distribution], samples: int, seed: int
) -> list[dict[str, Any]]:
    """Return `samples` draws of all parameters.

    More samples begin with the same draws, and another parameter leaves these as they were.

    Example:
        >>> draws({"training.lr": Distribution("uniform", (0, 1))}, 2, seed=0)
        [{'training.lr': 0.8673}, {'training.lr': 0.07235}]
    """
    if not distributions:
        return [{}]
    # a text seeds Python's generator the same on every machine
    sources = {name: random.Random(f"{seed} {name}") for name in distributions}
    return [
        {name: each.draw(sources[name]) for name, each in distributions.items()}
        for _ in range(samples)
    ]


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of listed values, the last parameter changing fastest.

    Example:
        >>> combinations({"a": [1, 2], "b": [3]})
        [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    found: list[dict[str, Any]] = [{}]
    for name, values in grid.items():
        found = [{**given, name: value} for given in found for value in values]
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _number(value: object) -> float | None:
    # YAML reads 1e-3 as text
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
