"""Parameters that the scenarios of continual few-shot tasks have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from cl_suite.data import class_images
from cl_suite.data.class_images import ClassImages, ImageSource
from cl_suite.data.copies import Duplicates
from cl_suite.data.few_shot_tasks import LAST_TASK, class_split, task_range
from cl_suite.data.stream import Stream
from cl_suite.parameters import Parameters, Within


@dataclass(kw_only=True, eq=False)
class LabelledImages(Parameters):
    """The images of a folder of class folders, or Omniglot's drawings.

    Args:
        source: what `root` holds: "image_folder" (class folders) or "omniglot" (Omniglot's own
            `images_background/` and `images_evaluation/`, or the folders of alphabets); null for
            class folders if there is a root, else for the drawings that come with the package.
        root: folder of the images; null for the drawings that come with the package.
        split_seed: seed of the class split; the pretraining and its tasks need the same.
        image_size: height and width in pixels; drawings have 28.
        skip_unreadable: leave out images of class folders that cannot be read, instead of stopping
            at the first.
        duplicates: what to do with the same picture under several names in them: "drop" (use the
            first), "refuse", or "keep", which lets a task test a copy of what it shows.
        mirror_symmetric: False if a mirrored image of the folder may belong to another class, as
            with signs, letters and digits: training then flips no image.
    """

    source: ImageSource | None = None
    root: str | None = None
    split_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    image_size: Annotated[int, Within(2, 4096)] = 84
    skip_unreadable: bool = False
    duplicates: Duplicates = "drop"
    mirror_symmetric: bool = True

    def _images(self, *, augment: bool) -> ClassImages:
        return class_images.read(
            self.root,
            source=self.source,
            image_size=self.image_size,
            augment=augment,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            mirror_symmetric=self.mirror_symmetric,
        )


@dataclass(kw_only=True, eq=False)
class FewShotTask(LabelledImages):
    """A task drawn from such images; a run is one task, or each task of a range.

    Args:
        split: part of the classes to draw tasks from; choose settings on validation.
        task: task number; a range such as 0..599 for one run over these tasks, each from the same
            weights; null for the run's seed.
        instance_seed: seed of the images (and their corruption); another seed shows other images of
            the same classes.
    """

    split: Literal["validation", "test"] = "test"
    task: Annotated[int, Within(0, LAST_TASK)] | str | None = None
    instance_seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    drawn_by_seed: ClassVar[str] = "task"

    @property
    def tasks(self) -> range | None:
        """The tasks of a range; None for a single task."""
        return task_range(self.task) if isinstance(self.task, str) else None

    def build(self) -> Stream:
        """Return the stream of the task, or of the first one of a range.

        Raises:
            UserError: if a parameter, folder or image cannot be used.
        """
        return self.read_tasks()(self._first_task)

    def read_tasks(self) -> Callable[[int], Stream]:
        """Read the data once and return what makes the stream of a task.

        Raises:
            UserError: if the folder or an image cannot be used; so does the function returned.
        """
        images = self._images(augment=False)
        rows = images.rows
        classes = class_split(len(images.class_names), self.split, self.split_seed)
        return lambda task: self._stream(images, rows, classes, task)

    def check(self) -> None:
        """Raise `UserError` for a text that is not a range of tasks."""
        _ = self.tasks

    @property
    def _first_task(self) -> int:
        if isinstance(self.task, str):
            return task_range(self.task)[0]
        return self.task or 0

    def _stream(
        self, images: ClassImages, rows: dict[int, list[int]], classes: list[int], task: int
    ) -> Stream:
        """Return the stream of a task whose classes are some of `classes`."""
        raise NotImplementedError
