"""The three benchmarks of few-shot class-incremental learning, with their published shots.

Tao et al., "Few-Shot Class-Incremental Learning" (TOPIC), CVPR 2020, and Zhang et al., "Few-Shot
Incremental Learning with Continually Evolved Classifiers" (CEC), CVPR 2021, whose lists are used.
Session 0 has every training image of the base classes, a later session `shots` images of each of
its classes and nothing else. After a session all test images of all classes seen are scored.
"""

from __future__ import annotations

from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar100, cub200, mini_imagenet
from cl_suite.data.readers.folders import Augmentation
from cl_suite.scenarios.published_benchmark import (
    Protocol,
    PublishedBenchmark,
    PublishedOrRandom,
)


class MiniImageNet(PublishedBenchmark):
    """miniImageNet: 60 base classes, then 8 sessions of 5-way 5-shot; 84 x 84 pixels.

    Args:
        root: folder with `images/` and `split/{train,test}.csv`.
        base_classes: classes of session 0.
        way: classes of each later session.
        shots: training images of each later class.
        base_shots: at most so many training images of a base class; None for all of them.
        shot_selection: "published" takes the fixed lists that published figures rest on, "random"
            draws the shots from `shot_seed`.
        shot_seed: seed of the random shots.
        augmentation: "autoaugment" adds the ImageNet policy.
        image_size: height and width of the model's input in pixels.
    """

    protocol = Protocol("miniImageNet", "mini_imagenet", 60, 5, 5, 30_000, 10_000)

    def __init__(
        self,
        *,
        root: str,
        base_classes: int = 60,
        way: int = 5,
        shots: int = 5,
        base_shots: int | None = None,
        shot_selection: PublishedOrRandom = "published",
        shot_seed: int = 0,
        augmentation: Augmentation = "standard",
        image_size: int = 84,
    ) -> None:
        super().__init__(
            root=root,
            base_classes=base_classes,
            way=way,
            shots=shots,
            base_shots=base_shots,
            shot_selection=shot_selection,
            shot_seed=shot_seed,
            augmentation=augmentation,
            image_size=image_size,
        )

    def read(self) -> Pool:
        return mini_imagenet.read(
            self.root, image_size=self.image_size, augmentation=self.augmentation
        )


class CIFAR100(PublishedBenchmark):
    """CIFAR-100: 60 base classes, then 8 sessions of 5-way 5-shot; 32 x 32 pixels.

    Args:
        root: folder with `cifar-100-python/`.
        base_classes: classes of session 0.
        way: classes of each later session.
        shots: training images of each later class.
        base_shots: at most so many training images of a base class; None for all of them.
        shot_selection: "published" takes the fixed lists that published figures rest on, "random"
            draws the shots from `shot_seed`.
        shot_seed: seed of the random shots.
        augmentation: "autoaugment" adds the CIFAR policy and a cutout.
        image_size: height and width of the model's input in pixels.
    """

    protocol = Protocol("CIFAR-100", "cifar100", 60, 5, 5, 30_000, 10_000)

    def __init__(
        self,
        *,
        root: str,
        base_classes: int = 60,
        way: int = 5,
        shots: int = 5,
        base_shots: int | None = None,
        shot_selection: PublishedOrRandom = "published",
        shot_seed: int = 0,
        augmentation: Augmentation = "standard",
        image_size: int = 32,
    ) -> None:
        super().__init__(
            root=root,
            base_classes=base_classes,
            way=way,
            shots=shots,
            base_shots=base_shots,
            shot_selection=shot_selection,
            shot_seed=shot_seed,
            augmentation=augmentation,
            image_size=image_size,
        )

    def read(self) -> Pool:
        return cifar100.read(self.root, image_size=self.image_size, augmentation=self.augmentation)


class CUB200(PublishedBenchmark):
    """CUB-200-2011: 100 base classes, then 10 sessions of 10-way 5-shot; 224 x 224 pixels.

    Args:
        root: the folder `CUB_200_2011`, or the one above it.
        base_classes: classes of session 0.
        way: classes of each later session.
        shots: training images of each later class.
        base_shots: at most so many training images of a base class; None for all of them.
        shot_selection: "published" takes the fixed lists that published figures rest on, "random"
            draws the shots from `shot_seed`.
        shot_seed: seed of the random shots.
        augmentation: "autoaugment" adds the ImageNet policy.
        image_size: height and width of the model's input in pixels.
    """

    protocol = Protocol("CUB-200", "cub200", 100, 10, 5, 3_000, 5_794)

    def __init__(
        self,
        *,
        root: str,
        base_classes: int = 100,
        way: int = 10,
        shots: int = 5,
        base_shots: int | None = None,
        shot_selection: PublishedOrRandom = "published",
        shot_seed: int = 0,
        augmentation: Augmentation = "standard",
        image_size: int = 224,
    ) -> None:
        super().__init__(
            root=root,
            base_classes=base_classes,
            way=way,
            shots=shots,
            base_shots=base_shots,
            shot_selection=shot_selection,
            shot_seed=shot_seed,
            augmentation=augmentation,
            image_size=image_size,
        )

    def read(self) -> Pool:
        return cub200.read(self.root, image_size=self.image_size, augmentation=self.augmentation)
