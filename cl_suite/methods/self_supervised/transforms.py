"""Random image transforms for self-supervised learning, applied to a whole batch at once.

The transforms of SimCLR (Chen et al., ICML 2020, arXiv 2002.05709, appendix A) with the strengths
of CaSSLe's and Sy-CON's code. Inputs are float images in [0, 1]. Each image of a batch gets its own
draws; per image the transforms equal the torchvision functions of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # luminance of red, green and blue

Change = Callable[[Tensor], Tensor]  # changes images (batch, channels, height, width)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of some images, in a random order for each.

    Saturation and hue do not change in grey images.

    Args:
        brightness, contrast, saturation: factors are drawn from `[max(0, 1 - x), 1 + x]`.
        hue: turn of the colour circle, drawn from `[-hue, hue]`; at most 0.5.
        probability: probability that an image is changed.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    probability: float = 0.8
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return _some(x, self.probability, self._jitter)

    def _jitter(self, images: Tensor) -> Tensor:
        num, device = len(images), images.device
        spread = torch.tensor([self.brightness, self.contrast, self.saturation], device=device)
        draw = torch.rand(num, 4, device=device)
        low = (1 - spread).clamp(min=0)
        factors = low + draw[:, :3] * (1 + spread - low)  # (batch, 3)
        turns = (draw[:, 3:] * 2 - 1) * self.hue
        amounts = torch.cat([factors, turns], dim=1)[:, :, None, None, None]
        order = torch.rand(num, 4, device=device).argsort(dim=1)
        changes = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
        images = images.clone()
        for place in range(4):
            for which, change in enumerate(changes):
                rows = (order[:, place] == which).nonzero()[:, 0]
                images[rows] = change(images[rows], amounts[rows, which])
        return images


@dataclass(frozen=True)
class RandomGreyscale:
    """Turn some images grey; they keep their number of channels."""

    probability: float = 0.2
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return _some(x, self.probability, lambda images: greyscale(images).expand_as(images))


@dataclass(frozen=True)
class Solarise:
    """In some images, invert the pixels with a brightness of at least `threshold`."""

    threshold: float = 0.5
    probability: float = 0.1
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return _some(
            x,
            self.probability,
            lambda images: torch.where(images >= self.threshold, 1 - images, images),
        )


@dataclass(frozen=True)
class GaussianBlur:
    """Blur some images with a Gaussian of random width.

    Args:
        kernel_size: size of the kernel in pixels; odd and less than twice the image's side.
        sigma: lowest and highest standard deviation, in pixels.
        probability: probability that an image is blurred.
    """

    kernel_size: int
    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return _some(x, self.probability, self._blur)

    def _blur(self, images: Tensor) -> Tensor:
        low, high = self.sigma
        sigma = low + torch.rand(len(images), 1, device=images.device) * (high - low)
        return blur(images, self.kernel_size, sigma)


def _some(x: Tensor, probability: float, change: Change) -> Tensor:
    """Return the images, each changed with this probability."""
    images = x if x.dim() == 4 else x[None]
    rows = (torch.rand(len(images), device=x.device) < probability).nonzero()[:, 0]
    changed = images.clone()
    if len(rows):
        changed[rows] = change(images[rows])
    return changed if x.dim() == 4 else changed[0]


def greyscale(images: Tensor) -> Tensor:
    """Return the luminance `(batch, 1, height, width)` of colour images; grey ones unchanged."""
    if images.shape[1] != 3:
        return images
    weights = images.new_tensor(GREY)[:, None, None]
    return (images * weights).sum(dim=1, keepdim=True)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Return the images times `(batch, 1, 1, 1)` factors, clipped at 1."""
    return (images * factors).clamp(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Return the images with their distance to their mean luminance scaled."""
    mean = greyscale(images).mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images, mean, factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Return the images with each pixel's distance to its luminance scaled."""
    return images if images.shape[1] != 3 else _blend(images, greyscale(images), factors)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Return the images with the hue of each pixel shifted by `(batch, 1, 1, 1)` turns."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(dim=1)
    largest, chroma = images.amax(dim=1), images.amax(dim=1) - images.amin(dim=1)
    divisor = chroma.masked_fill(chroma == 0, 1.0)
    sector = torch.where(
        largest == red,
        (green - blue) / divisor,
        torch.where(largest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )  # sixths of the circle, (batch, height, width)
    sector = sector + 6 * turns[:, 0]
    channels = []
    for start in (5, 3, 1):  # of red, green and blue
        place = (start + sector) % 6
        fall = torch.minimum(place, 4 - place).clamp(0, 1)
        channels.append(largest - chroma * fall)
    return torch.stack(channels, dim=1)


def blur(images: Tensor, kernel_size: int, sigma: Tensor) -> Tensor:
    """Return the images blurred by Gaussians of `(batch, 1)` standard deviations; edges reflect."""
    num, channels, height, width = images.shape
    half = kernel_size // 2
    offset = torch.arange(-half, half + 1, device=images.device)
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)  # (batch, kernel)
    weights = weights / weights.sum(dim=1, keepdim=True)
    # each channel of each image becomes a channel of one large image, with its own kernel
    weights = weights.repeat_interleave(channels, dim=0)[:, None, :, None]
    flat = F.pad(images, [half] * 4, mode="reflect").flatten(0, 1)[None]
    flat = F.conv2d(flat, weights, groups=num * channels)
    flat = F.conv2d(flat, weights.transpose(2, 3), groups=num * channels)
    return flat.reshape(num, channels, height, width)


def _blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    return (factors * images + (1 - factors) * other).clamp(0, 1)
