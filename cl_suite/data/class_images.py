"""All images of a data set by class, without a training/test split, to draw few-shot tasks from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from cl_suite.data.copies import Duplicates
from cl_suite.data.cut import rows_by_class
from cl_suite.data.pool import Pool
from cl_suite.data.readers import image_folder, omniglot
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.sources import needed_root
from cl_suite.data.transforms import Transform

ImageSource = Literal["omniglot", "image_folder"]


@dataclass(frozen=True)
class ClassImages:
    """A labelled data set without a division into training and test images.

    Attributes:
        samples: class by class; `targets` index `class_names`.
        load: turns samples into the form that a session keeps (see `Pool`).
        train_transform, eval_transform: map a raw sample to the model's input.
        notes: sentences that the user must see.
        mirror_symmetric: see `StreamInfo`.
    """

    samples: Samples = field(repr=False)
    class_names: tuple[str, ...]
    load: Callable[[Samples], Samples]
    train_transform: Transform
    eval_transform: Transform
    notes: tuple[str, ...]
    mirror_symmetric: bool = True

    @property
    def rows(self) -> dict[int, list[int]]:
        """The positions of each class's images."""
        return rows_by_class(self.samples.targets)

    def labelled(self, rows: Sequence[int], labels: Sequence[int]) -> Samples:
        """Return the images of these rows, with the given labels in place of their classes."""
        chosen = self.load(self.samples.select(rows))
        chosen.targets = list(labels)
        return chosen


def read(
    root: str | None,
    *,
    source: ImageSource | None = None,
    image_size: int,
    augment: bool,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "drop",
    mirror_symmetric: bool = True,
) -> ClassImages:
    """Return Omniglot's drawings, or the images of a folder of class folders.

    Args:
        root: the folder; None for the drawings in the package, 20 of each of 242 characters.
        source: what the folder holds, Omniglot's own folders or class folders; None for class
            folders if there is a root, else for the drawings.
        image_size: pixels a side of a folder's images; drawings have 28.
        duplicates: what to do with the same picture under several names, see `without_copies`;
            tasks draw images at random, so a copy would be learned and tested.
        mirror_symmetric: of a folder's images, see `StreamInfo`.

    Raises:
        UserError: if the folder or an image cannot be used.
    """
    if source == "omniglot" or (source is None and root is None):
        pool = omniglot.read(root, augment=augment)
    else:
        pool = image_folder.read(
            needed_root("image_folder", root),
            test_fraction=0,
            image_size=image_size,
            augment=augment,
            skip_unreadable=skip_unreadable,
            duplicates=duplicates,
        )
    return ClassImages(
        _joined(pool),
        pool.class_names,
        pool.load,
        pool.train_transform,
        pool.eval_transform,
        pool.notes,
        pool.mirror_symmetric and mirror_symmetric,
    )


def _joined(pool: Pool) -> Samples:
    train, test = pool.train, pool.test
    targets = [*train.targets, *test.targets]
    if isinstance(train, TensorSamples) and isinstance(test, TensorSamples):
        order = sorted(range(len(targets)), key=targets.__getitem__)
        inputs = torch.cat([train.inputs, test.inputs])[order]
        return TensorSamples(inputs, [targets[i] for i in order])
    assert isinstance(train, FileSamples)
    assert isinstance(test, FileSamples)
    paths = [*train.paths, *test.paths]
    if test is train:  # the folder is not divided
        targets, paths = train.targets, train.paths
    # sorted by name, to undo the reader's own order
    files = sorted(zip(targets, paths, strict=True))
    return FileSamples([path for _, path in files], [c for c, _ in files], train.root)
