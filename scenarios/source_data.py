"""Parameters that scenarios have in common if they read a data set by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cl_suite.data.copies import Duplicates
from cl_suite.data.pool import Pool
from cl_suite.data.sources import Source, read_source
from cl_suite.parameters import Parameters, Within


@dataclass(kw_only=True, eq=False)
class SourceData(Parameters):
    """A data set by name, its input size, and which of its images are for testing.

    Args:
        root: folder of the data set, see the scenario of that name. For "omniglot" a folder with
            Omniglot's own `images_background/` and `images_evaluation/`, or with alphabets; null
            for the drawings in the package.
        test_root: folder with the test images of a folder of images, with the same class folders;
            `root` then has the training images alone.
        image_size: height and width of the model's input in pixels; null for the data set's own: 28
            (omniglot), 32 (cifar10, cifar100), 224 (cub200) or 84. Small images of one size are
            kept as they are and enlarged for the model.
        skip_unreadable: leave out images of a folder that cannot be read, instead of stopping at
            the first.
        duplicates: the same picture under several names in a folder of images: "keep" (all copies
            in training or all in test), "drop" (use the first) or "refuse".
        mirror_symmetric: False if a mirrored image may belong to another class, as with signs,
            letters and digits: training then flips no image. Null leaves it to the data set.
    """

    root: str | None = None
    test_root: str | None = None
    image_size: Annotated[int, Within(2, 4096)] | None = None
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"
    mirror_symmetric: bool | None = None

    def _read(self, source: Source, test_fraction: float | None) -> Pool:
        return read_source(
            source,
            self.root,
            test_root=self.test_root,
            image_size=self.image_size,
            test_fraction=test_fraction,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            mirror_symmetric=self.mirror_symmetric,
        )
