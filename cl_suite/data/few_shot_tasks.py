"""Pure functions that draw continual few-shot tasks and corrupt their target images.

Antoniou et al., "Defining Benchmarks for Continual Few-Shot Learning", arXiv 2004.11967; Kowadlo et
al., "Expanding continual few-shot learning benchmarks to include recognition of specific
instances", PLOS ONE 2024, arXiv 2209.07863.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_suite.errors import UserError

ClassSplit = Literal["train", "validation", "test"]
SHARES = (0.73983, 0.13009)  # of all classes: training, validation; the rest is for testing
LAST_TASK = 2**32 - 1
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class SupportSet:
    """The support and target images of one session of a task.

    Attributes:
        labels: label of each class, in the order of `classes`.
        classes: class ids in the data set.
        support, target: rows `(num_classes, shots)` and `(num_classes, targets)` in the data.
    """

    labels: tuple[int, ...]
    classes: tuple[int, ...]
    support: NDArray[np.int64]
    target: NDArray[np.int64]

    @property
    def support_labels(self) -> list[int]:
        """The label of each support row, flattened."""
        return [label for label in self.labels for _ in range(self.support.shape[1])]

    @property
    def target_labels(self) -> list[int]:
        """The label of each target row, flattened."""
        return [label for label in self.labels for _ in range(self.target.shape[1])]


def task_range(text: str) -> range:
    """Return the tasks from a first to a last one, both included.

    Example:
        >>> task_range("0..599")
        range(0, 600)

    Raises:
        UserError: if the text is not a range, or the range has a task that does not exist.
    """
    found = _RANGE.fullmatch(text.strip())
    first, last = map(int, found.groups()) if found else (1, 0)
    if not first <= last <= LAST_TASK:
        raise UserError(
            "task must be a whole number, or a range from a smaller to a larger one like 0..599, "
            f"none above {LAST_TASK}, got '{text}'"
        )
    return range(first, last + 1)


def class_split(num_classes: int, part: ClassSplit, seed: int = 0) -> list[int]:
    """Return the classes of a part in ascending order; no class is in two parts.

    Example:
        >>> [len(class_split(1622, part)) for part in ("train", "validation", "test")]
        [1200, 211, 211]
    """
    first, second = (math.floor(share * num_classes + 0.5) for share in SHARES)
    order = np.random.default_rng(seed).permutation(num_classes)
    parts = {
        "train": order[:first],
        "validation": order[first : first + second],
        "test": order[first + second :],
    }
    return sorted(int(c) for c in parts[part])


def set_labels(
    num_sets: int, interval: int, way: int, *, overwrite: bool = False
) -> list[list[int]]:
    """Return the labels of each support set.

    A group of `interval` consecutive sets shares its classes; the next group has other classes.
    These get new labels or, with `overwrite`, the same labels again.

    Example:
        >>> set_labels(4, 2, 2), set_labels(2, 1, 2, overwrite=True)
        ([[0, 1], [0, 1], [2, 3], [2, 3]], [[0, 1], [0, 1]])
    """
    firsts = [0 if overwrite else (number // interval) * way for number in range(num_sets)]
    return [list(range(first, first + way)) for first in firsts]


def draw_class_task(
    rows: Mapping[int, Sequence[int]],
    classes: Sequence[int],
    *,
    task: int,
    way: int,
    shots: int,
    num_sets: int,
    interval: int,
    targets: int,
    overwrite: bool = False,
    instance_seed: int = 0,
) -> list[SupportSet]:
    """Return the support sets of a task; no image is used twice.

    The task number determines the classes; together with `instance_seed` it determines the images.
    Another `instance_seed` shows other images of the same classes.

    Args:
        rows: rows of each class's images.
        classes: classes to draw from.
        interval: number of consecutive sets that share their classes; must divide `num_sets`.
        targets: number of test images of each class in each set.

    Raises:
        UserError: if there are too few classes, or a class has too few images.
    """
    num_groups = num_sets // interval
    _check_enough(rows, classes, num_groups * way, interval * (shots + targets))
    order = np.random.default_rng([task, 0]).permutation(len(classes))
    drawn = [classes[i] for i in order[: num_groups * way]]
    labels = set_labels(num_sets, interval, way, overwrite=overwrite)
    images = {
        c: np.random.default_rng([task, 1, instance_seed, c]).permutation(np.asarray(rows[c]))
        for c in drawn
    }
    sets = []
    for number in range(num_sets):
        group, turn = divmod(number, interval)
        own = drawn[group * way : (group + 1) * way]
        start = turn * (shots + targets)
        shown = np.stack([images[c][start : start + shots + targets] for c in own])
        sets.append(
            SupportSet(tuple(labels[number]), tuple(own), shown[:, :shots], shown[:, shots:])
        )
    return sets


def draw_instance_task(
    rows: Mapping[int, Sequence[int]],
    classes: Sequence[int],
    *,
    task: int,
    num_sets: int,
    set_size: int,
    instance_seed: int = 0,
) -> list[SupportSet]:
    """Return the support sets of an instance test: every image of one class is a class itself.

    The target images are the support images.

    Raises:
        UserError: if classes are missing, or a class has too few images.
    """
    num = num_sets * set_size
    _check_enough(rows, classes, 1, num)
    chosen = classes[int(np.random.default_rng([task, 0]).integers(len(classes)))]
    generator = np.random.default_rng([task, 1, instance_seed, chosen])
    images = generator.permutation(np.asarray(rows[chosen]))[:num].reshape(num_sets, set_size, 1)
    return [
        SupportSet(
            tuple(range(number * set_size, (number + 1) * set_size)),
            (chosen,) * set_size,
            images[number],
            images[number],
        )
        for number in range(num_sets)
    ]


def _check_enough(
    rows: Mapping[int, Sequence[int]], classes: Sequence[int], num_classes: int, num_images: int
) -> None:
    if len(classes) < num_classes:
        raise UserError(
            f"a task needs {num_classes} classes, but this part of the data has {len(classes)}; "
            "choose fewer sets or fewer classes a set, or use data with more classes"
        )
    for class_id in classes:
        if len(rows[class_id]) < num_images:
            raise UserError(
                f"a task needs {num_images} images of each class, but one has "
                f"{len(rows[class_id])}; choose fewer sets, shots or targets, or add images"
            )


def noisy_pixels(image: Tensor, share: float, generator: np.random.Generator) -> Tensor:
    """Return a copy of `(channels, height, width)` uint8 with some values replaced by random ones.

    `floor(share * channels * height * width)` positions, drawn without replacement, get values
    drawn uniformly from 0 to 255.
    """
    spoiled = image.clone(memory_format=torch.contiguous_format).flatten()
    num = math.floor(share * spoiled.numel())
    places = torch.from_numpy(generator.permutation(spoiled.numel())[:num])
    spoiled[places] = torch.from_numpy(generator.integers(0, 256, num).astype(np.uint8))
    return spoiled.view_as(image)


def occluded(
    image: Tensor, share: float, generator: np.random.Generator, *, square: bool = False
) -> Tensor:
    """Return a copy of `(channels, height, width)` with a disc (or square) set to zero.

    The disc includes its border. Its radius is `r = floor(share * height)`. Its centre is uniform
    over whole pixels in `[r, height - r)` and `[r, width - r)`. A square is `2r + 1` wide.
    """
    height, width = image.shape[-2:]
    radius = math.floor(share * height)
    centre = [
        int(generator.integers(radius, max(side - radius, radius + 1))) for side in (height, width)
    ]
    down = torch.arange(height)[:, None] - centre[0]
    right = torch.arange(width)[None] - centre[1]
    hidden = down**2 + right**2 <= radius**2
    if square:
        hidden = (down.abs() <= radius) & (right.abs() <= radius)
    return image.masked_fill(hidden, 0)
