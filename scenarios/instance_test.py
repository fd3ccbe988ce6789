"""The instance test: each image of one class is its own class and is tested on itself.

Kowadlo et al., "Expanding continual few-shot learning benchmarks to include recognition of specific
instances", PLOS ONE 2024, arXiv 2209.07863. A task draws one class. Support sets show each of its
images once, and the targets are the same images, intact or with noise or an occlusion. Chance is
1 in 20. A run is one task, or a range of tasks (see `cfsl`).

Differences from the authors' benchmark:
    - Drawings are bright on black, so a black occlusion erases ink.
    - A folder's images are corrupted before their border is cropped (a sixteenth of each side).
    - One image a class and set: the authors' labels assume one class a task, as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from cl_suite.data.class_images import ClassImages
from cl_suite.data.few_shot_tasks import draw_instance_task, noisy_pixels, occluded
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.errors import UserError
from cl_suite.parameters import Within
from cl_suite.scenarios.few_shot_task import FewShotTask

Corruption = Literal["none", "noise", "occlusion", "square_occlusion"]


@dataclass(kw_only=True, eq=False)
class InstanceTest(FewShotTask):
    """Support sets of single images, each a class, tested on the same images, intact or corrupted.

    Args:
        support_sets: support sets in a task; each is a session.
        set_size: images in a support set.
        corruption: corruption of the targets: none, noise (random values replaced), occlusion (a
            black disc) or square_occlusion.
        amount: share of the values that noise replaces; radius of the disc, or half the side of the
            square, as a share of the height.
    """

    support_sets: Annotated[int, Within(1)] = 4
    set_size: Annotated[int, Within(1)] = 5
    corruption: Corruption = "none"
    amount: Annotated[float, Within(0, 1)] = 0.1

    def _stream(
        self, images: ClassImages, rows: dict[int, list[int]], classes: list[int], task: int
    ) -> Stream:
        sets = draw_instance_task(
            rows,
            classes,
            task=task,
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
            test=[self._spoiled(samples, task, number) for number, samples in enumerate(train)],
            train_transform=images.eval_transform,
            eval_transform=images.eval_transform,
            way=self.set_size,
            shots=1,
            notes=images.notes,
            mirror_symmetric=images.mirror_symmetric,
        )

    def _spoiled(self, samples: Samples, task: int, number: int) -> TensorSamples:
        raw = [samples[row][0] for row in range(len(samples))]
        generator = np.random.default_rng([task, 2, self.instance_seed, number])
        changed = [self._spoiled_image(image, generator) for image in raw]
        return TensorSamples(torch.stack(changed), samples.targets)

    def _spoiled_image(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        if self.corruption == "none":
            return image.clone()
        if self.corruption == "noise":
            return noisy_pixels(image, self.amount, generator)
        square = self.corruption == "square_occlusion"
        return occluded(image, self.amount, generator, square=square)

    def check(self) -> None:
        """Raise `UserError` for an amount that a corruption cannot have."""
        super().check()
        most = 1 if self.corruption in ("none", "noise") else 0.49
        if not 0 <= self.amount <= most:
            raise UserError(
                f"amount of {self.corruption} must lie in [0, {most:g}], got {self.amount}"
            )
