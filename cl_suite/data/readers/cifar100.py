"""Reads CIFAR-100 from the unpacked original Python archive."""

from __future__ import annotations

from typing import Any

import torch

from cl_suite.data.pool import Pool
from cl_suite.data.readers.folders import Augmentation, data_folder
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import (
    AutoAugment,
    Compose,
    Cutout,
    RandomCropFlip,
    Resize,
    ToFloat,
    Transform,
)
from cl_suite.errors import UserError

LAYOUT = ("cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta")
SOURCE = "the CIFAR-100 page, 'CIFAR-100 python version'"
IMAGE_SIZE = 32
# mean and standard deviation of the training images, rounded as in TEEN and FACT
CIFAR_FLOAT = ToFloat((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def read(root: str, *, image_size: int = 32, augmentation: Augmentation = "standard") -> Pool:
    """Return the 50,000 training and 10,000 test images in the archive's order, with fine labels.

    With "autoaugment" the CIFAR policy and a 16-pixel cutout follow the crop, as in TEEN and LIMIT.

    Raises:
        UserError: if files are missing or are not the original files.
    """
    folder = data_folder(root, "CIFAR-100", LAYOUT, SOURCE)
    train, test = _archive(str(folder), train=True), _archive(str(folder), train=False)
    policy = (AutoAugment("cifar10"), Cutout(16)) if augmentation == "autoaugment" else ()
    resize: tuple[Transform, ...] = () if image_size == IMAGE_SIZE else (Resize(image_size),)
    return Pool(
        train=_samples(train),
        test=_samples(test),
        class_names=tuple(train.classes),
        train_transform=Compose((RandomCropFlip(4), *policy, CIFAR_FLOAT, *resize)),
        eval_transform=Compose((CIFAR_FLOAT, *resize)),
        entries=tuple(str(index) for index in range(len(train.targets))),
    )


def _archive(root: str, *, train: bool) -> Any:
    # The archive holds pickles, which could run arbitrary code. Reading them is acceptable because
    # torchvision checks their MD5 sums first.
    from torchvision.datasets import CIFAR100

    try:
        return CIFAR100(root, train=train, download=False)
    except RuntimeError as error:
        raise UserError(
            f"CIFAR-100: a file in '{root}/cifar-100-python' is damaged or not the original one "
            f"(its MD5 sum differs); get it again from {SOURCE}"
        ) from error


def _samples(archive: Any) -> TensorSamples:
    images = torch.from_numpy(archive.data).permute(0, 3, 1, 2).contiguous()
    return TensorSamples(images, archive.targets)
