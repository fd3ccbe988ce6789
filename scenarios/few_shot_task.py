"""Parameters that the scenarios of continual few-shot tasks have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from cl_suite.data import class_images
from cl_suite.data.class_images import ClassImages
from cl_suite.data.copies import Duplicates
from cl_suite.parameters import Parameters, Within


@dataclass(kw_only=True, eq=False)
class LabelledImages(Parameters):
    """The images of a folder of class folders, or the drawings in the package.

    Args:
        root: folder of class folders; null for the drawings that come with the package.
        split_seed: seed of the class split; the pretraining and its tasks need the same.
        image_size: height and width in pixels; drawings have 28.
        skip_unreadable: leave out images that cannot be read, instead of stopping at the first.
        duplicates: what to do with the same picture under several names: "drop" (use the first),
            "refuse", or "keep", which lets a task test a copy of what it shows.
    """

    root: str | None = None
    split_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    image_size: Annotated[int, Within(2, 4096)] = 84
    skip_unreadable: bool = False
    duplicates: Duplicates = "drop"

    def _images(self, *, augment: bool) -> ClassImages:
        return class_images.read(
            self.root,
            image_size=self.image_size,
            augment=augment,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
        )


@dataclass(kw_only=True, eq=False)
class FewShotTask(LabelledImages):
    """A task drawn from such images; each run is one task.

    Args:
        split: part of the classes to draw tasks from; choose settings on validation.
        task: task number; null for the run's seed.
        instance_seed: seed of the images (and their corruption); another seed shows other images of
            the same classes.
    """

    split: Literal["validation", "test"] = "test"
    task: Annotated[int, Within(0, 2**32 - 1)] | None = None
    instance_seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    drawn_by_seed: ClassVar[str] = "task"
