"""Image shifts (rotation, inversion, blur, noise) that turn a data set into another domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.errors import UserError

AT_ONCE = 1024  # images a step, to keep the memory for floats small
NOISE = 0.2  # standard deviation, as a share of the brightness range
CONTRAST = 0.3  # share of the original contrast, around each image's mean
BLUR = 1 / 28  # standard deviation, as a share of the shorter side


def _blur(images: Tensor) -> Tensor:
    sigma = min(images.shape[-2:]) * BLUR
    # three standard deviations to each side, limited by the reflected border
    reach = min(round(3 * sigma), min(images.shape[-2:]) - 1)
    blurred: Tensor = v2.functional.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred


def _low_contrast(images: Tensor) -> Tensor:
    values = images.float()
    mean = values.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + CONTRAST * (values - mean)).round().to(torch.uint8)


FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "rotate90": lambda images: images.rot90(1, (-2, -1)),
    "rotate180": lambda images: images.rot90(2, (-2, -1)),
    "rotate270": lambda images: images.rot90(3, (-2, -1)),
    "invert": lambda images: 255 - images,
    "blur": _blur,
    "low_contrast": _low_contrast,
}
SHIFTS = (*FIXED, "noise")


def shifted(images: Tensor, shift: str, seed: Sequence[int] = (0,)) -> Tensor:
    """Return a shifted copy of images, uint8 `(num, channels, height, width)`.

    Rotations are anticlockwise. Noise is Gaussian, drawn once for each image from `seed` and the
    image's position.

    Raises:
        UserError: if `shift` is a quarter turn and the images are not square.
    """
    height, width = images.shape[-2:]
    if shift in ("rotate90", "rotate270") and height != width:
        raise UserError(
            f"shift '{shift}' would change the shape of images of {height} x {width} pixels; "
            "use rotate180 or square images"
        )
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    generator = np.random.default_rng(seed)
    for start in range(0, len(images), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        if shift == "noise":
            result[part] = _noisy(images[part], generator)
        else:
            result[part] = FIXED[shift](images[part])
    return result


def _noisy(images: Tensor, generator: np.random.Generator) -> Tensor:
    noise = generator.standard_normal(tuple(images.shape), dtype=np.float32)
    values = images.float() + 255 * NOISE * torch.from_numpy(noise)
    return values.round().clamp(0, 255).to(torch.uint8)
