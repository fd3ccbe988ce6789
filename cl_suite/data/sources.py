"""Data sets that scenarios without a fixed class division can read by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar100, cub200, image_folder, mini_imagenet, omniglot
from cl_suite.errors import UserError

Source = Literal["omniglot", "cifar100", "mini_imagenet", "cub200", "image_folder"]
READERS: dict[Source, Callable[[str], Pool]] = {
    "cifar100": cifar100.read,
    "mini_imagenet": mini_imagenet.read,
    "cub200": cub200.read,
}
SOURCES: tuple[Source, ...] = ("omniglot", *READERS, "image_folder")


def read_source(
    source: Source,
    root: str | None,
    *,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "keep",
    mirror_symmetric: bool | None = None,
) -> Pool:
    """Return all samples of a data set, with its usual transforms.

    Args:
        root: folder of the data set; not used by "omniglot", which comes with the package.
        skip_unreadable, duplicates: see `image_folder.read`, the only reader with these choices.
        mirror_symmetric: see `StreamInfo`; None: as the data set is known to be.

    Raises:
        UserError: for data that cannot be read.
    """
    if source == "omniglot":
        pool = omniglot.read()
    elif source == "image_folder":
        folder = needed_root(source, root)
        pool = image_folder.read(folder, skip_unreadable=skip_unreadable, duplicates=duplicates)
    else:
        pool = READERS[source](needed_root(source, root))
    if mirror_symmetric is None:
        return pool
    return dataclasses.replace(pool, mirror_symmetric=mirror_symmetric)


def needed_root(source: str, root: str | None) -> str:
    """Return a data set's folder; raise `UserError` if there is none."""
    if root is None:
        raise UserError(f"source '{source}' needs a root; pass the folder of the data set")
    return root
