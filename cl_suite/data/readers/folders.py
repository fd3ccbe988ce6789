"""Helpers shared by the readers of data sets on disk: checks of root folder and paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cl_suite.data.transforms import IMAGENET_MEAN, IMAGENET_STD, ToFloat
from cl_suite.errors import UserError

Augmentation = Literal["standard", "autoaugment"]

IMAGENET_FLOAT = ToFloat(IMAGENET_MEAN, IMAGENET_STD)


def data_folder(root: str, title: str, expected: Sequence[str], source: str) -> Path:
    """Return the root as a path, with `~` expanded, after checking its layout.

    Args:
        root: folder that the user named.
        title: the data set's name, for the message.
        expected: files and folders (ending in "/") that must lie in the root.
        source: where to get the data set.

    Raises:
        UserError: if the root or an expected entry is missing; the message lists all of them.
    """
    folder = Path(root).expanduser()
    layout = ", ".join(expected)
    if not root or not folder.is_dir():
        raise UserError(
            f"{title}: root '{root}' is not a folder; it must hold {layout} (get it from {source})"
        )
    for entry in expected:
        path = folder / entry
        if not (path.is_dir() if entry.endswith("/") else path.is_file()):
            raise UserError(
                f"{title}: '{entry}' is missing in '{root}'; the folder must hold {layout} "
                f"(get it from {source})"
            )
    return folder


def inside(folder: Path, name: str, listing: str) -> Path:
    """Return the path of a listed file; raise `UserError` if it lies outside the folder."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"'{listing}' names '{name}', which lies outside its folder; correct it")
    return folder / relative
