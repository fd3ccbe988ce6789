"""Finds copies among files (the same picture or sound under several names) and keeps them together.

A copy of a test sample among the training samples would be recognised, not learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cl_suite.data.cut import rows_by_key
from cl_suite.errors import UserError, option

Duplicates = Literal["keep", "drop", "refuse"]
NAMED = 3  # a note names this many copies and counts the others


def groups_of_copies(keys: Sequence[bytes]) -> list[list[int]]:
    """Return the rows of each content that occurs more than once, in order.

    Example:
        >>> groups_of_copies([b"x", b"y", b"x", b"z"])
        [[0, 2]]
    """
    return [rows for rows in rows_by_key(keys).values() if len(rows) > 1]


def without_copies(
    keys: Sequence[bytes],
    names: Sequence[str],
    classes: Sequence[str],
    duplicates: Duplicates,
    *,
    thing: str = "image",
    together: bool = True,
) -> tuple[list[int], list[str]]:
    """Return the rows to use, and a sentence for each kind of copies.

    Args:
        keys: equal for equal contents.
        names, classes: name and class of each row's file.
        thing: what a file holds, for the sentences.
        together: whether copies that are kept will be on one side, training or test.
        duplicates: "keep" uses the copies, "drop" only the first file of each content.

    Raises:
        UserError: if there are copies and `duplicates` is "refuse".
    """
    groups = groups_of_copies(keys)
    across = [rows for rows in groups if len({classes[row] for row in rows}) > 1]
    within = [rows for rows in groups if len({classes[row] for row in rows}) == 1]
    notes = [
        f"{_count(found, thing)} in {where} ({_pairs(found, names)}); {_done(duplicates, together)}"
        for found, where in ((across, "another class"), (within, "the same class"))
        if found
    ]
    if groups and duplicates == "refuse":
        raise UserError(notes[0])
    later = {row for rows in groups for row in rows[1:]} if duplicates == "drop" else set()
    return [row for row in range(len(keys)) if row not in later], notes


def draw_test(
    order: Sequence[int], num_test: int, keys: Sequence[bytes], on_test: dict[bytes, bool]
) -> set[int]:
    """Return about `num_test` rows of a class for testing, the first of `order`, copies together.

    Without copies they are exactly the first. At least one row is left to learn from, unless copies
    in other classes decide otherwise.

    Args:
        order: the class's rows in random order.
        on_test: side of the contents of earlier classes; this class's are added.
    """
    rows_of: dict[bytes, list[int]] = {}
    for row in order:
        rows_of.setdefault(keys[row], []).append(row)
    test = {row for row in order if on_test.get(keys[row])}
    for key, rows in rows_of.items():
        if len(test) >= num_test:
            break
        if key not in on_test and len(test) + len(rows) < len(order):
            test.update(rows)
    on_test |= {key: rows[0] in test for key, rows in rows_of.items()}
    return test


def _count(groups: Sequence[Sequence[int]], thing: str) -> str:
    num = sum(len(rows) - 1 for rows in groups)
    return f"{num} {thing}s are copies of others" if num != 1 else f"1 {thing} is a copy of another"


def _pairs(groups: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    pairs = [f"{names[rows[0]]} = {names[row]}" for rows in groups for row in rows[1:]]
    return f"{', '.join(pairs[:NAMED])}{', ...' if len(pairs) > NAMED else ''}"


def _done(duplicates: Duplicates, together: bool) -> str:
    dropping = option("scenario.duplicates", "drop")
    one_side = ", each with its copies in training or in test" if together else ""
    return {
        "keep": f"they are used{one_side}; {dropping} leaves them out",
        "drop": "only the first of each is used",
        "refuse": f"remove the copies, or pass {dropping}",
    }[duplicates]
