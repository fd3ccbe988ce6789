"""Pure functions that cut a data set's classes into sessions and pick the shots of each class."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from cl_suite.data.readers.names import natural
from cl_suite.errors import UserError, option

ClassOrder = Literal["natural", "1993", "seeded"]
ShotSelection = Literal["first", "random"]

Key = TypeVar("Key", bound=Hashable)
OrderChoice = Literal["published", "natural"] | int | list[int]
Sessions = tuple[tuple[int, ...], ...]


def class_order(num_classes: int, kind: ClassOrder, seed: int = 0) -> list[int]:
    """Return the class ids in order of arrival.

    "1993" is the permutation of the class-incremental literature (NumPy's legacy generator with
    that seed), "seeded" is drawn from `seed`, and "natural" is the data set's own order.

    Example:
        >>> class_order(100, "1993")[:10]
        [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]
    """
    if kind == "natural":
        return list(range(num_classes))
    if kind == "1993":
        # only the legacy generator reproduces the order behind the published figures
        return [int(c) for c in np.random.RandomState(1993).permutation(num_classes)]
    return [int(c) for c in np.random.default_rng(seed).permutation(num_classes)]


def published_or_drawn(names: Sequence[str], choice: OrderChoice) -> list[int]:
    """Return the class ids in order of arrival, for a benchmark whose own order is published.

    Args:
        names: of the classes, by id.
        choice: published (label order), natural (by name, numbers by value), the seed of a drawn
            order, or the class ids themselves.

    Raises:
        UserError: for class ids that do not name every class once.

    Example:
        >>> published_or_drawn(["b10", "b2", "a"], "natural")
        [2, 1, 0]
    """
    if isinstance(choice, list):
        return _each_once(choice, len(names))
    if choice == "published":
        return list(range(len(names)))
    if choice == "natural":
        return sorted(range(len(names)), key=lambda class_id: natural(names[class_id]))
    return class_order(len(names), "seeded", int(choice))


def order_in_words(choice: OrderChoice) -> str:
    """Return what a note calls an order.

    Example:
        >>> order_in_words([2, 0, 1]), order_in_words(7)
        ('a given one', '7')
    """
    if isinstance(choice, list):
        return "a given one"
    return str(choice)


def _each_once(class_ids: Sequence[int], num_classes: int) -> list[int]:
    for class_id in class_ids:
        if not 0 <= class_id < num_classes:
            raise UserError(
                f"class_order names class {class_id}, but the classes are 0 to {num_classes - 1}"
            )
        if class_ids.count(class_id) > 1:
            raise UserError(f"class_order names class {class_id} twice; name each class once")
    if missing := sorted(set(range(num_classes)) - set(class_ids)):
        raise UserError(
            f"class_order lacks class {missing[0]}; name each of the {num_classes} classes once"
        )
    return list(class_ids)


def cut_classes(order: Sequence[int], *, base_classes: int, way: int) -> Sessions:
    """Return the classes of each session: `base_classes` first, then `way` a session.

    If `way` does not divide the rest, the last session is smaller; no class is left out.

    Raises:
        UserError: if `base_classes` exceeds the number of classes.

    Example:
        >>> cut_classes(range(7), base_classes=3, way=3)
        ((0, 1, 2), (3, 4, 5), (6,))
    """
    if base_classes > len(order):
        raise UserError(
            f"base_classes is {base_classes}, but there are {len(order)} classes; choose fewer"
        )
    starts = range(base_classes, len(order), way)
    novel = (tuple(order[start : start + way]) for start in starts)
    return (tuple(order[:base_classes]), *novel)


def common_way(sessions: Sessions) -> int | None:
    """Return the number of new classes a session if it is the same for all, else None."""
    sizes = {len(classes) for classes in sessions[1:]}
    return sizes.pop() if len(sizes) == 1 else None


def remainder_notes(sessions: Sessions, way: int) -> tuple[str, ...]:
    """Return a sentence if the last session is smaller than the others, else nothing."""
    last = len(sessions[-1])
    if len(sessions) == 1 or last == way:
        return ()
    return (f"the last session has {last} instead of {way} classes: way does not divide them",)


def rows_by_class(targets: Sequence[int]) -> dict[int, list[int]]:
    """Return the positions of each class's samples, in order."""
    return rows_by_key(targets)


def rows_by_key(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Return the positions of each key, in order; the keys in order of their first one."""
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _too_few(name: str, found: int, shots: int, num_tested: int) -> str:
    if not num_tested:
        return (
            f"class '{name}' has too few images to learn from, {found} for {shots} shots; choose "
            "fewer shots or add images"
        )
    return (
        f"class '{name}' has {found + num_tested} images: {num_tested} for testing leave {found} "
        f"to learn from, too few for {shots} shots; choose fewer shots or a lower "
        f"{option('scenario.test_fraction')} (0 tests on the learned images), or add images"
    )


def all_rows(
    candidates: Mapping[int, Sequence[int]], classes: Sequence[int], limit: int | None = None
) -> list[int]:
    """Return the rows of these classes, class by class; only the first `limit` of each if given."""
    return [row for c in classes for row in list(candidates.get(c, ()))[:limit]]


def shot_rows(
    candidates: Mapping[int, Sequence[int]],
    classes: Sequence[int],
    *,
    shots: int | Mapping[int, int],
    class_names: Sequence[str],
    selection: ShotSelection = "first",
    seed: int = 0,
    tested: Sequence[int] = (),
) -> list[int]:
    """Return `shots` rows of each class, or as many as they say for it, class by class.

    A random draw depends only on the seed and the class id, not on the class order. Fewer shots are
    a subset of more shots.

    Args:
        candidates: rows to choose from, by class id.
        classes: class ids.
        class_names: name of each class id, for the message.
        tested: class ids of the test samples that were taken from the same files, for the message.

    Raises:
        UserError: if a class has too few rows.
    """
    chosen: list[int] = []
    for class_id in classes:
        rows = list(candidates.get(class_id, ()))
        num = shots if isinstance(shots, int) else shots[class_id]
        if len(rows) < num:
            raise UserError(_too_few(class_names[class_id], len(rows), num, tested.count(class_id)))
        if selection == "random":
            order = np.random.default_rng([seed, class_id]).permutation(len(rows))
            rows = [rows[i] for i in order]
        chosen += rows[:num]
    return chosen
