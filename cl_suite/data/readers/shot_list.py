"""Reads a user's shot list: a text file that names the training images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cl_suite.errors import UserError


def read(file: str, targets: Sequence[int]) -> dict[int, list[int]]:
    """Return the listed training rows of each class, in the order of the file.

    A line has a class id and a position in the training part; empty lines are skipped.

    Args:
        targets: class id of each training image.

    Raises:
        UserError: if the file cannot be read, or a line has another form, names an image that does
            not exist or has another class, or repeats an image.
    """
    try:
        lines = Path(file).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"shot_list '{file}' cannot be read ({error}); it must be a text file with lines "
            "'class index'"
        ) from error
    rows: dict[int, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        if not (fields := line.split()):
            continue
        where = f"shot_list '{file}', line {number}"
        if len(fields) != 2 or not all(field.isdecimal() for field in fields):
            raise UserError(f"{where} is '{line}'; expected 'class index', two whole numbers")
        class_id, row = (int(field) for field in fields)
        if row >= len(targets):
            raise UserError(
                f"{where} names training image {row}, but there are {len(targets)}; use a list "
                "made for this data set"
            )
        if targets[row] != class_id:
            raise UserError(
                f"{where} says that training image {row} is of class {class_id}, but it is of "
                f"class {targets[row]}; use a list made for this data set and split"
            )
        if row in rows.setdefault(class_id, []):
            raise UserError(f"{where} names training image {row} again; name each image once")
        rows[class_id].append(row)
    return rows
