"""What the readers of CIFAR-10 and CIFAR-100 share: the pickled archive and the transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Compose, RandomCropFlip, Resize, ToFloat, Transform
from cl_suite.errors import UserError

IMAGE_SIZE = 32


def archive(kind: str, root: str, *, train: bool, title: str, source: str) -> Any:
    """Return a part of the unpacked Python archive, as an object of `torchvision.datasets`.

    The archive holds pickles, which could run arbitrary code. Reading them is acceptable because
    torchvision checks their MD5 sums first.

    Args:
        kind: torchvision's class.
        title, source: the data set's name and where to get it, for the message.

    Raises:
        UserError: if a file is not the original one.
    """
    from torchvision import datasets  # here, because the import is slow

    reader = getattr(datasets, kind)
    try:
        return reader(root, train=train, download=False)
    except RuntimeError as error:
        raise UserError(
            f"{title}: a file in '{root}/{reader.base_folder}' is damaged or not the original one "
            f"(its MD5 sum differs); get it again from {source}"
        ) from error


def samples(found: Any) -> TensorSamples:
    """Return the images of a part and their class ids, in the archive's order."""
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return TensorSamples(images, found.targets)


def transforms(
    standardise: ToFloat, image_size: int, policy: Sequence[Transform] = ()
) -> tuple[Transform, Transform]:
    """Return the training transform (crop of the padded image, flip) and the one for evaluation.

    Args:
        policy: further augmentation, after the crop.
    """
    resize: tuple[Transform, ...] = () if image_size == IMAGE_SIZE else (Resize(image_size),)
    plain = Compose((standardise, *resize))
    return Compose((RandomCropFlip(4), *policy, standardise, *resize)), plain
