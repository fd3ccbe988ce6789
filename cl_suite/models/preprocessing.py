"""A pretrained network's own preprocessing: its input size, channel statistics and resizing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cl_suite.data.samples import FileSamples
from cl_suite.data.stream import Stream
from cl_suite.data.transforms import (
    AutoAugment,
    Channels,
    Compose,
    Interpolation,
    RandomResizedCrop,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)
from cl_suite.errors import UserError, option
from cl_suite.models.backbones import CLIP, WAV2VEC2, WHISPER
from cl_suite.models.networks import OWN_BACKBONES
from cl_suite.models.timm_networks import check_timm_name


@dataclass(frozen=True)
class Preprocessing:
    """How a pretrained network expects its images.

    Attributes:
        size: height and width in pixels.
        mean, std: statistics of each channel, for pixels in [0, 1].
        interpolation: how images are resized.
        crop_fraction: side of the middle square that is kept, as a share of the shorter side; 1
            keeps all of it. timm's published figures crop (0.875 for most convolutional networks).
            Few-shot papers on transformers do not, and small images have nothing to spare.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bicubic"
    crop_fraction: float = 1.0

    def eval_transform(self) -> Transform:
        """Return the transform from a uint8 image to the network's input."""
        resized = ResizeCenterCrop(
            round(self.size / self.crop_fraction), self.size, self.interpolation
        )
        return Compose((Channels(len(self.mean)), resized, ToFloat(self.mean, self.std)))

    def train_transform(
        self, augmentation: tuple[Transform, ...] = (), *, flip: bool = True
    ) -> Transform:
        """Return the transform with random crops.

        Args:
            augmentation: transforms of the uint8 image to apply first.
            flip: mirror half of the images; use False for signs and letters.
        """
        steps = (
            *augmentation,
            Channels(len(self.mean)),
            ToFloat(self.mean, self.std),
            RandomResizedCrop(self.size, flip=flip),
        )
        return Compose(steps)


def backbone_preprocessing(
    name: str,
    *,
    weights: str | None = None,
    image_size: int | None = None,
    crop_fraction: float = 1.0,
) -> Preprocessing | None:
    """Return the preprocessing of the backbone with this name, or None if it is unknown.

    Args:
        name: timm's name, or `clip:` and the name of a CLIP model.
        weights: a CLIP model's folder.
        image_size: input size, if not the one it was trained with.
    """
    if name in OWN_BACKBONES or name.startswith((WAV2VEC2, WHISPER)):
        return None
    if name.startswith(CLIP):
        from cl_suite.models.hub.clip import clip_preprocessing

        size, mean, std, mode = clip_preprocessing(name, weights)
    else:
        import timm

        check_timm_name(name)
        if (config := timm.get_pretrained_cfg(name)) is None:
            return None
        size, mean, std, mode = config.input_size[1], config.mean, config.std, config.interpolation
    return Preprocessing(image_size or size, tuple(mean), tuple(std), mode, crop_fraction)


def with_preprocessing(stream: Stream, preprocessing: Preprocessing) -> Stream:
    """Return the stream with images prepared as a network expects them.

    The scenario still decides whether training images are augmented: if its two transforms are
    equal, so are these. Its AutoAugment policy stays, and images are mirrored only if it does so.

    Raises:
        UserError: if the raw samples are not uint8 images.
    """
    if not takes_images(stream):
        raise UserError(
            f"scenario '{stream.info.name}' has no images in 8 bits, which the backbone's "
            f"preprocessing needs; pass {option('model.preprocessing', 'scenario')}"
        )
    plain = preprocessing.eval_transform()
    train = stream.info.train_transform
    if repr(train) == repr(stream.info.eval_transform):
        return stream.with_transforms(plain, plain)
    steps = getattr(train, "steps", (train,))
    policy = tuple(step for step in steps if isinstance(step, AutoAugment))
    flip = any(getattr(step, "flip", False) for step in steps)
    return stream.with_transforms(preprocessing.train_transform(policy, flip=flip), plain)


def takes_images(stream: Stream) -> bool:
    """Return whether the raw samples are uint8 images of one or three channels."""
    if isinstance(stream.train[0], FileSamples):
        return True
    sample: Tensor = stream.train[0][0][0]
    return sample.dtype == torch.uint8 and sample.dim() == 3 and sample.shape[0] in (1, 3)
