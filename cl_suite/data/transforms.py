"""Image transforms: normalisation, cropping, resizing and augmentation, of one image or a batch.

Each is a frozen dataclass, so its `repr` states the preprocessing exactly. A `batched` transform
accepts `(batch, channels, height, width)` and draws its random numbers per sample. Random
transforms use torch's global generator, which the engine seeds and checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.shrink import shrink

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Transform(Protocol):
    """Maps `(channels, height, width)`, or a batch of it if `batched`, to the model's input."""

    @property
    def batched(self) -> bool: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Compose:
    """Apply transforms one after another; batched if all of them are."""

    steps: tuple[Transform, ...]

    @property
    def batched(self) -> bool:
        return all(step.batched for step in self.steps)

    def __call__(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


@dataclass(frozen=True)
class Identity:
    """Return the sample unchanged."""

    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class ToFloat:
    """Scale uint8 to [0, 1] and standardise each channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        mean = torch.tensor(self.mean, device=x.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=x.device).view(-1, 1, 1)
        return (x - mean) / std


@dataclass(frozen=True)
class Channels:
    """Repeat a grey image's channel for a network with three input channels; keep other images."""

    num_channels: int = 3
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[-3] != 1:
            return x
        return x.expand(*x.shape[:-3], self.num_channels, *x.shape[-2:])


@dataclass(frozen=True)
class Grey:
    """Return the brightness of uint8 RGB images as one channel (ITU-R 601)."""

    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        grey: Tensor = v2.functional.rgb_to_grayscale(x)
        return grey


@dataclass(frozen=True)
class InkDrawing:
    """Return a picture of dark ink on light paper as the packaged Omniglot has it: ink 255 on 0.

    Paper fills a picture that is not square; a smaller one is enlarged by repeating its pixels.

    Args:
        size: pixels a side of the result `(1, size, size)`, each the inked share of its area.
    """

    size: int
    batched: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        ink = Grey()(x)[0] < 128 if x.shape[0] == 3 else x[0] < 128
        height, width = ink.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = F.pad(ink, (left, side - width - left, top, side - height - top))
        times = -(-self.size // side)
        large = square.repeat_interleave(times, 0).repeat_interleave(times, 1)
        return shrink(large[None].numpy(), self.size)


@dataclass(frozen=True)
class Flip:
    """Mirror each image, without randomness."""

    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(-1)


@dataclass(frozen=True)
class CornerCrop:
    """Cut out a fixed corner, or the centre, with `share` of each side.

    Args:
        place: 0 top left, 1 top right, 2 bottom left, 3 bottom right, 4 the centre.
        share: side of the crop as a fraction of the image's side.
    """

    place: int
    share: float = 0.75
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tall, wide = round(height * self.share), round(width * self.share)
        top = ((height - tall) // 2) if self.place == 4 else (height - tall) * (self.place // 2)
        left = ((width - wide) // 2) if self.place == 4 else (width - wide) * (self.place % 2)
        return x[..., top : top + tall, left : left + wide]


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, scale, shear and shift each image by its own random draw; fill the outside with zero.

    Args:
        degrees: rotation in `[-degrees, degrees]`.
        translate: shift in `[-translate, translate]`, as a fraction of the side.
        scale: lowest and highest scale factor.
        shear: horizontal shear in `[-shear, shear]` degrees.
    """

    degrees: float = 15.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.85, 1.15)
    shear: float = 10.0
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        images = x if x.dim() == 4 else x[None]  # (batch, channels, height, width)
        num = len(images)
        draw = torch.rand(num, 5, device=x.device) * 2 - 1  # each in [-1, 1)
        angle = draw[:, 0] * math.radians(self.degrees)
        shear = torch.tan(draw[:, 1] * math.radians(self.shear))
        low, high = self.scale
        size = (low + high) / 2 + draw[:, 2] * (high - low) / 2
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        theta = torch.stack(
            [
                torch.stack([cos, cos * shear - sin, draw[:, 3] * 2 * self.translate], dim=1),
                torch.stack([sin, sin * shear + cos, draw[:, 4] * 2 * self.translate], dim=1),
            ],
            dim=1,
        )  # (batch, 2, 3)
        moved = _sample(images, theta, images.shape[-2:])
        return moved if x.dim() == 4 else moved[0]


@dataclass(frozen=True)
class RandomCropFlip:
    """Pad, crop back to the input's size at a random position, and flip half of the images."""

    padding: int = 4
    flip: bool = True
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        images = x if x.dim() == 4 else x[None]
        num, _, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4)
        offset = torch.randint(0, 2 * self.padding + 1, (num, 2), device=x.device)
        rows = offset[:, 0, None] + torch.arange(height, device=x.device)  # (batch, height)
        columns = offset[:, 1, None] + torch.arange(width, device=x.device)  # (batch, width)
        if self.flip:
            flipped = torch.rand(num, 1, device=x.device) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        index = torch.arange(num, device=x.device)[:, None, None]
        cropped = padded[index, :, rows[:, :, None], columns[:, None, :]]  # channels last
        cropped = cropped.permute(0, 3, 1, 2).contiguous()
        return cropped if x.dim() == 4 else cropped[0]


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a box of random area and aspect ratio, resize it (bilinear) and flip half of the images.

    Needs float images. Boxes are drawn as in torchvision (uniform area, uniform log of the aspect
    ratio), but a box that does not fit is clipped to the image; torchvision draws again.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        images = x if x.dim() == 4 else x[None]
        num, _, height, width = images.shape
        draw = torch.rand(num, 5, device=x.device)
        area = self.scale[0] + draw[:, 0] * (self.scale[1] - self.scale[0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + draw[:, 1] * (high - low))
        # extents as fractions of the image
        wide = (area * aspect * height / width).sqrt().clamp(max=1.0)
        tall = (area / aspect * width / height).sqrt().clamp(max=1.0)
        centre_x = (draw[:, 2] * 2 - 1) * (1 - wide)
        centre_y = (draw[:, 3] * 2 - 1) * (1 - tall)
        sign = torch.where(draw[:, 4] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(wide)
        zero = torch.zeros_like(wide)
        theta = torch.stack(
            [
                torch.stack([wide * sign, zero, centre_x], dim=1),
                torch.stack([zero, tall, centre_y], dim=1),
            ],
            dim=1,
        )
        # repeat the outermost pixels: an enlarged box reaches half a pixel beyond the image
        cropped = _sample(images, theta, (self.size, self.size), outside="border")
        return cropped if x.dim() == 4 else cropped[0]


@dataclass(frozen=True)
class Resize:
    """Resize the shorter side (antialiased), keeping the aspect ratio; uint8 or float."""

    size: int
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        resized: Tensor = v2.functional.resize(x, [self.size], antialias=True)
        return resized


@dataclass(frozen=True)
class ResizeCenterCrop:
    """Resize the shorter side (antialiased) and cut out the centre; uint8 or float."""

    resize: int
    size: int
    interpolation: Interpolation = "bilinear"
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        mode = v2.InterpolationMode(self.interpolation)
        resized: Tensor = v2.functional.resize(x, [self.resize], mode, antialias=True)
        cropped: Tensor = v2.functional.center_crop(resized, [self.size, self.size])
        return cropped


@dataclass(frozen=True)
class AutoAugment:
    """Apply torchvision's AutoAugment to one uint8 image (a batch would share one draw)."""

    policy: str
    batched: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        augmented: Tensor = v2.AutoAugment(v2.AutoAugmentPolicy(self.policy))(x)
        return augmented


@dataclass(frozen=True)
class Cutout:
    """Set a square at a random centre to zero, cut off at the border (DeVries and Taylor, 2017)."""

    size: int = 16
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        images = x if x.dim() == 4 else x[None]
        num, _, height, width = images.shape
        centre = torch.rand(num, 2, device=x.device) * torch.tensor([height, width]).to(x.device)
        half = self.size / 2
        rows = torch.arange(height, device=x.device)[None] - centre[:, :1].floor()
        columns = torch.arange(width, device=x.device)[None] - centre[:, 1:].floor()
        inside = ((rows >= -half) & (rows < half))[:, :, None] & (
            (columns >= -half) & (columns < half)
        )[:, None, :]
        cut = images.masked_fill(inside[:, None], 0)
        return cut if x.dim() == 4 else cut[0]


def without_mirroring(transform: Transform) -> Transform:
    """Return a transform that mirrors no image and is otherwise the same.

    It knows the suite's own steps: those with a parameter `flip`, and `Flip`.

    Example:
        >>> without_mirroring(Compose((Resize(84), Flip(), Cutout(8))))
        Compose(steps=(Resize(size=84, batched=True), Cutout(size=8, batched=True)))
    """
    if isinstance(transform, Compose):
        kept = (step for step in transform.steps if not isinstance(step, Flip))
        return replace(transform, steps=tuple(without_mirroring(step) for step in kept))
    if isinstance(transform, Flip):
        return Identity()
    if getattr(transform, "flip", False):
        return cast("Transform", replace(cast("Any", transform), flip=False))
    return transform


def _sample(
    images: Tensor, theta: Tensor, size: tuple[int, int] | torch.Size, outside: str = "zeros"
) -> Tensor:
    images = images.float()
    grid = F.affine_grid(theta, [*images.shape[:2], *size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)
