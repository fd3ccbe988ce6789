"""What the readers of data sets on disk share: checks of the root folder, the usual transforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cl_suite.data.cut import check_at_least, check_choice
from cl_suite.data.transforms import IMAGENET_MEAN, IMAGENET_STD, ToFloat
from cl_suite.errors import UserError

Augmentation = Literal["standard", "autoaugment"]
AUGMENTATIONS: tuple[Augmentation, ...] = ("standard", "autoaugment")

IMAGENET_FLOAT = ToFloat(IMAGENET_MEAN, IMAGENET_STD)


def check_options(augmentation: str, image_size: int) -> None:
    """Raise `UserError` for an augmentation that there is not, or a size below one pixel."""
    check_choice("augmentation", augmentation, AUGMENTATIONS)
    check_at_least("image_size", image_size, 1)


def data_folder(root: str, title: str, expected: Sequence[str], source: str) -> Path:
    """Return the root as a path, `~` expanded, once everything expected lies in it.

    Args:
        root: folder that the user named.
        title: the data set's name, for the message.
        expected: files and folders (ending in "/") that must lie in the root.
        source: where the data set can be had.

    Raises:
        UserError: if the root or one of the expected entries is missing; says the whole layout.
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
    """Return the path of a listed file; raise `UserError` if the name leads out of the folder."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"'{listing}' names '{name}', which lies outside its folder; correct it")
    return folder / relative
