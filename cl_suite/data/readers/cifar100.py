"""Reads CIFAR-100 from the unpacked original Python archive."""

from __future__ import annotations

from typing import Any

from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar
from cl_suite.data.readers.folders import Augmentation, data_folder
from cl_suite.data.transforms import AutoAugment, Cutout, ToFloat

LAYOUT = ("cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta")
SOURCE = "the CIFAR-100 page, 'CIFAR-100 python version'"
# mean and standard deviation of the training images, rounded as in TEEN and FACT
CIFAR_FLOAT = ToFloat((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def read(
    root: str, *, image_size: int = cifar.IMAGE_SIZE, augmentation: Augmentation = "standard"
) -> Pool:
    """Return the 50,000 training and 10,000 test images in the archive's order, with fine labels.

    With "autoaugment" the CIFAR policy and a 16-pixel cutout follow the crop, as in TEEN and LIMIT.

    Raises:
        UserError: if files are missing or are not the original files.
    """
    folder = data_folder(root, "CIFAR-100", LAYOUT, SOURCE)
    train, test = _archive(str(folder), train=True), _archive(str(folder), train=False)
    policy = (AutoAugment("cifar10"), Cutout(16)) if augmentation == "autoaugment" else ()
    train_transform, eval_transform = cifar.transforms(CIFAR_FLOAT, image_size, policy)
    return Pool(
        train=cifar.samples(train),
        test=cifar.samples(test),
        class_names=tuple(train.classes),
        train_transform=train_transform,
        eval_transform=eval_transform,
        entries=tuple(str(index) for index in range(len(train.targets))),
    )


def _archive(root: str, *, train: bool) -> Any:
    return cifar.archive("CIFAR100", root, train=train, title="CIFAR-100", source=SOURCE)
