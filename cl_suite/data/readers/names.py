"""Names that a user gives in a list, which YAML may have read as numbers, and their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import yaml

from cl_suite.errors import UserError, option


def as_text(parameter: str, given: Sequence[object], known: Iterable[str]) -> list[str]:
    """Return the given names as text; YAML reads `10`, `no` and `null` as something else.

    Other values stand for the known name that YAML reads as this value.

    Raises:
        UserError: if several known names are read so.

    Example:
        >>> as_text("class_order", [10, False, "a"], ["010x", "10", "no", "a"])
        ['10', 'no', 'a']
    """
    known = list(known)
    names = []
    for value in given:
        meant = [value] if isinstance(value, str) else [n for n in known if _reads_as(n, value)]
        if len(meant) > 1:
            raise UserError(
                f"{parameter} has {_spelled(value)}, which stands for each of "
                f"{', '.join(map(repr, meant))}; quote the name"
            )
        names.append(meant[0] if meant else _spelled(value))
    return names


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts by the value of the numbers in a name: `2` before `10`.

    Example:
        >>> sorted(["10", "2", "a10", "a9"], key=natural)
        ['2', '10', 'a9', 'a10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in pieces]


def order_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence if numbered names come in another order than that of their numbers."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub("[0-9]+", "#", name), []).append(name)
    if all(found == sorted(found, key=natural) for found in alike.values()):
        return ()
    return (
        f"classes come in the order of text ({', '.join(names[:6])}, ...), not of their numbers; "
        f"{option('scenario.class_order', 'natural')} gives the latter",
    )


def _reads_as(name: str, value: object) -> bool:
    try:
        read = yaml.safe_load(name)
    except yaml.YAMLError:
        return False
    return type(read) is type(value) and bool(read == value)


def _spelled(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
