"""The instance test: recognise the very image again among others of its class.

Kowadlo et al., "Expanding continual few-shot learning benchmarks to include recognition of specific
instances", PLOS ONE 2024, arXiv 2209.07863. A task draws one class; each of its images is a class
of its own, shown once, in support sets; the targets are the same images, whole, or with noise or an
occlusion. By chance 1 in 20 is right. A run is a task, numbered by the seed (see `cfsl`).

Differences from the authors' benchmark:
    - Drawings are bright on black, so an occlusion, which is black, wipes ink out.
    - A folder's images are spoiled before their border is cut (a sixteenth of the side each).
    - One image a class and set: the authors' labels assume one class a task, as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from cl_suite.data import class_images
from cl_suite.data.few_shot_tasks import (
    check_draw,
    class_split,
    draw_instance_task,
    noisy_pixels,
    occluded,
)
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.errors import UserError
from cl_suite.parameters import Parameters, Within

Corruption = Literal["none", "noise", "occlusion", "square_occlusion"]


@dataclass(kw_only=True, eq=False)
class InstanceTest(Parameters):
    """Support sets of single images, each a class; tested on the same images, which may be spoiled.

    Args:
        root: folder of class folders; null: the drawings that come with the package.
        support_sets: of a task, its sessions.
        set_size: images of a set.
        corruption: of the targets: none; noise (random values replaced); occlusion (a black disc)
            or square_occlusion.
        amount: share of the values that noise replaces; of the height that is the disc's radius, or
            half of the square's side.
        split: the part of the classes that tasks are drawn from; settings are chosen on validation.
        task: which draw; null: the run's seed.
        instance_seed: of the images and of what spoils them.
        split_seed: of the division of classes, as in the pretraining.
        image_size: height and width in pixels; drawings have 28.
        skip_unreadable: leave out images that cannot be read, instead of stopping at the first.
    """

    root: str | None = None
    support_sets: Annotated[int, Within(1)] = 4
    set_size: Annotated[int, Within(1)] = 5
    corruption: Corruption = "none"
    amount: Annotated[float, Within(0, 1)] = 0.1
    split: Literal["validation", "test"] = "test"
    task: Annotated[int, Within(0, 2**32 - 1)] | None = None
    instance_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    split_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    image_size: Annotated[int, Within(1, 4096)] = 84
    skip_unreadable: bool = False

    drawn_by_seed: ClassVar[str] = "task"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for a parameter, folder or image that is no use."""
        self._check()
        images = class_images.read(
            self.root,
            image_size=self.image_size,
            augment=False,
            skip_unreadable=self.skip_unreadable,
        )
        sets = draw_instance_task(
            images.rows,
            class_split(len(images.class_names), self.split, self.split_seed),
            task=self.task or 0,
            num_sets=self.support_sets,
            set_size=self.set_size,
            instance_seed=self.instance_seed,
        )
        train = [images.labelled(s.support.ravel().tolist(), s.support_labels) for s in sets]
        name = images.class_names[sets[0].classes[0]]
        return build_stream(
            name="instance_test",
            class_names=[f"{name} #{i}" for i in range(self.support_sets * self.set_size)],
            session_classes=[list(s.labels) for s in sets],
            train=train,
            test=[self._spoiled(samples, number) for number, samples in enumerate(train)],
            train_transform=images.eval_transform,
            eval_transform=images.eval_transform,
            way=self.set_size,
            shots=1,
            notes=images.notes,
        )

    def _spoiled(self, samples: Samples, number: int) -> TensorSamples:
        raw = [samples[row][0] for row in range(len(samples))]
        generator = np.random.default_rng([self.task or 0, 2, self.instance_seed, number])
        changed = [self._spoiled_image(image, generator) for image in raw]
        return TensorSamples(torch.stack(changed), samples.targets)

    def _spoiled_image(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        if self.corruption == "none":
            return image.clone()
        if self.corruption == "noise":
            return noisy_pixels(image, self.amount, generator)
        square = self.corruption == "square_occlusion"
        return occluded(image, self.amount, generator, square=square)

    def _check(self) -> None:
        check_draw(self.split, self.task, self.instance_seed)
        most = 1 if self.corruption in ("none", "noise") else 0.49
        if not 0 <= self.amount <= most:
            raise UserError(
                f"amount of {self.corruption} must lie in [0, {most:g}], got {self.amount}"
            )
