"""Data sets that scenarios without a fixed class division can read by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cl_suite.data.cut import check_choice
from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar100, cub200, image_folder, mini_imagenet, omniglot
from cl_suite.errors import UserError

Source = Literal["omniglot", "cifar100", "mini_imagenet", "cub200", "image_folder"]
READERS: dict[Source, Callable[[str], Pool]] = {
    "cifar100": cifar100.read,
    "mini_imagenet": mini_imagenet.read,
    "cub200": cub200.read,
    "image_folder": image_folder.read,
}
SOURCES: tuple[Source, ...] = ("omniglot", *READERS)


def read_source(source: Source, root: str | None) -> Pool:
    """Return all samples of a data set, with its usual transforms.

    Args:
        root: folder of the data set; not used by "omniglot", which comes with the package.

    Raises:
        UserError: for an unknown source, or data that cannot be read.
    """
    check_choice("source", source, SOURCES)
    if source == "omniglot":
        return omniglot.read()
    return READERS[source](needed_root(source, root))


def needed_root(source: str, root: str | None) -> str:
    """Return a data set's folder; raise `UserError` if there is none."""
    if root is None:
        raise UserError(f"source '{source}' needs a root; pass the folder of the data set")
    return root
