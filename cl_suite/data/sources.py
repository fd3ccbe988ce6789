"""Data sets that scenarios without a fixed class division can read by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar10, cifar100, cub200, image_folder, mini_imagenet, omniglot
from cl_suite.errors import UserError

Source = Literal["omniglot", "cifar10", "cifar100", "mini_imagenet", "cub200", "image_folder"]
READERS: dict[Source, Callable[..., Pool]] = {
    "cifar10": cifar10.read,
    "cifar100": cifar100.read,
    "mini_imagenet": mini_imagenet.read,
    "cub200": cub200.read,
}
SOURCES: tuple[Source, ...] = ("omniglot", *READERS, "image_folder")


def read_source(
    source: Source,
    root: str | None,
    *,
    test_root: str | None = None,
    image_size: int | None = None,
    test_fraction: float | None = None,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "keep",
    mirror_symmetric: bool | None = None,
) -> Pool:
    """Return all samples of a data set, with its usual transforms.

    Args:
        root: folder of the data set; None for the drawings of "omniglot" in the package.
        image_size: pixels a side of the model's input; None for the data set's own.
        test_root, test_fraction, skip_unreadable, duplicates: see `image_folder.read`, the only
            reader with these choices; None for its defaults.
        mirror_symmetric: see `StreamInfo`; None: as the data set is known to be.

    Raises:
        UserError: for data that cannot be read, or a choice that the data set does not have.
    """
    sized: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    if source == "image_folder":
        check_division(test_root, test_fraction)
        divided: dict[str, Any] = {} if test_fraction is None else {"test_fraction": test_fraction}
        folder = needed_root(source, root)
        pool = image_folder.read(
            folder,
            test_root=test_root,
            skip_unreadable=skip_unreadable,
            duplicates=duplicates,
            **sized,
            **divided,
        )
        if pool.test is pool.train:
            pool = dataclasses.replace(pool, notes=(*pool.notes, image_folder.SAME_IMAGES))
    else:
        refuse_choices(
            source, "has its own test images", test_root=test_root, test_fraction=test_fraction
        )
        if source == "omniglot":
            pool = omniglot.read(root, **sized)
        else:
            pool = READERS[source](needed_root(source, root), **sized)
    if mirror_symmetric is None:
        return pool
    return dataclasses.replace(pool, mirror_symmetric=mirror_symmetric)


def check_division(test_root: str | None, test_fraction: float | None) -> None:
    """Raise `UserError` if both say which images are for testing."""
    if test_root is not None and test_fraction is not None:
        raise UserError(
            f"test_root '{test_root}' has the test images, so test_fraction {test_fraction} has no "
            "part in the division; leave out one of the two"
        )


def refuse_choices(source: str, reason: str, **choices: object) -> None:
    """Raise `UserError` for the first choice that is not None.

    Args:
        reason: why there is nothing to choose: what the source has or lacks.
    """
    for name, value in choices.items():
        if value is not None:
            raise UserError(
                f"source '{source}' {reason}, so {name} ({value}) cannot be used; leave it out"
            )


def needed_root(source: str, root: str | None) -> str:
    """Return a data set's folder; raise `UserError` if there is none."""
    if root is None:
        raise UserError(f"source '{source}' needs a root; pass the folder of the data set")
    return root
