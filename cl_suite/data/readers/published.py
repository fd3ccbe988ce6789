"""The published shots of the few-shot class-incremental benchmarks, from the lists of CEC.

File `session_K.txt` lists the training samples of session K - 1, one a line. The base session needs
no file because it has every training image of its classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from cl_suite.errors import UserError

Lists = Literal["mini_imagenet", "cifar100", "cub200"]


@dataclass(frozen=True)
class Listed:
    """One line of a list: the sample's name, the list's file and the session."""

    entry: str
    file: str
    session: int


def load(name: Lists) -> list[Listed]:
    """Return every line of a data set's lists, in session order.

    Raises:
        UserError: if a list does not match its checksum.
    """
    folder = resources.files("cl_suite.data.assets") / "index_lists" / name
    sums = [line.split() for line in folder.joinpath("sha1sums.txt").read_text().splitlines()]
    return [
        Listed(entry, file, session)
        for session, (sha1, file) in enumerate(sums, start=1)
        for entry in _lines(folder.joinpath(file).read_bytes(), file, sha1)
    ]


def rows_of_shots(
    lists: Sequence[Listed],
    row_of_entry: Mapping[str, int],
    targets: Sequence[int],
    *,
    first_novel_class: int,
    way: int,
    shots: int,
) -> dict[int, list[int]]:
    """Return the training rows of each listed class, in the order of the lists.

    Args:
        row_of_entry: row of each training sample, by its name in the lists.
        targets: class id of each training sample.
        first_novel_class, way, shots: the protocol that the lists must match in each session.

    Raises:
        UserError: if a listed sample is missing, or a session differs from the protocol.
    """
    rows: dict[int, list[int]] = {}
    session_of: dict[int, int] = {}
    for listed in lists:
        if listed.entry not in row_of_entry:
            raise UserError(
                f"the published shot '{listed.entry}' ({listed.file}) is not among the training "
                "images; complete the data set or use shot_selection='random'"
            )
        row = row_of_entry[listed.entry]
        rows.setdefault(targets[row], []).append(row)
        session_of[targets[row]] = listed.session
    for class_id, chosen in rows.items():
        session = 1 + (class_id - first_novel_class) // way
        if session_of[class_id] != session or len(chosen) != shots:
            raise UserError(
                f"the labels of the data set do not fit the published lists: class {class_id} has "
                f"{len(chosen)} shots in session {session_of[class_id]}, but the protocol has "
                f"{shots} in session {session}; use the data and split that belong to the lists, "
                "CEC's data/index_list"
            )
    return rows


def _lines(content: bytes, file: str, sha1: str) -> list[str]:
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != sha1:
        raise UserError(f"the index list '{file}' of cl-suite is damaged; reinstall cl-suite")
    return content.decode().split()
