"""Layer types of modular networks, their modules, and how a path of modules runs.

A problem's network is a row of layer types, its layout (the BELL networks; Valkov et al., 2024):

    lists    conv1 conv2 full1 full2 code | join1 join2 out<classes>
    image    conv1 conv2 full1 full2 code
    flat     flat1 flat2 flat3 flatcode   | join1 join2 out<classes>

Layers before the bar act on each image of an item, and those after it on the concatenated codes of
the images. Modules of the same type are interchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError

Layout = tuple[str, ...]
PERCEPTION: Layout = ("conv1", "conv2", "full1", "full2", "code")
FLAT: Layout = ("flat1", "flat2", "flat3", "flatcode")
PER_IMAGE = {*PERCEPTION, *FLAT}
LONGEST = 8  # layers of the longest layout
SMALLEST_SIDE = 13  # smallest side that leaves one pixel after two 5 x 5 convolutions of stride 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of the layers.

    Attributes:
        images: pictures per item.
        channels, side: channels and side of one picture.
        maps: channels of the convolutions.
        hidden: width of a hidden layer.
        code: width of a picture's code.
    """

    images: int
    channels: int
    side: int
    maps: int = 64
    hidden: int = 64
    code: int = 8

    @property
    def dim(self) -> int:
        """Number of values per item."""
        return self.images * self.channels * self.side**2

    def as_images(self, items: Tensor) -> Tensor:
        """Return items `(batch, dim)` as `(batch, images, channels, side, side)`."""
        return items.reshape(len(items), self.images, self.channels, self.side, self.side)


def image_sizes(dim: int) -> tuple[int, int, int]:
    """Return images, channels and side of one square picture, or of a pair, with `dim` values.

    Two channels are two grey pictures; one or three channels are one picture. The result is unique.

    Raises:
        UserError: if no picture has this size, or it is too small for two convolutions.
    """
    for channels in (1, 2, 3):
        side = math.isqrt(dim // channels)
        if channels * side**2 == dim and side >= SMALLEST_SIDE:
            return (2, 1, side) if channels == 2 else (1, channels, side)
    raise UserError(
        f"modules need square pictures of at least {SMALLEST_SIDE} pixels per side, with 1 to 3 "
        f"channels, got {dim} values per item; choose another image size"
    )


def make_layout(num_classes: int, *, flat: bool = False, image: bool = False) -> Layout:
    """Return the layout of a problem: for lists, for flat inputs, or for one image."""
    if image:
        return PERCEPTION
    return (*(FLAT if flat else PERCEPTION), "join1", "join2", f"out{num_classes}")


def num_outputs(num_classes: int) -> int:
    """Return the number of outputs of a last layer: two classes need only one logit."""
    return 1 if num_classes == 2 else num_classes


def make_module(name: str, sizes: Sizes) -> nn.Module:
    """Return a module of a type, with zero weights; no random numbers are drawn."""
    side = ((sizes.side - 5) // 2 + 1 - 5) // 2 + 1
    widths = {
        "full1": (sizes.maps * side**2, sizes.hidden),
        "code": (sizes.hidden, sizes.code),
        "flat1": (sizes.channels * sizes.side**2, sizes.hidden),
        "flatcode": (sizes.hidden, sizes.code),
        "join1": (sizes.images * sizes.code, sizes.hidden),
    }
    module: nn.Module
    if name.startswith("conv"):
        channels = sizes.channels if name == "conv1" else sizes.maps
        module = nn.Conv2d(channels, sizes.maps, 5, stride=2, device="meta")
    elif name.startswith("out"):
        outputs = num_outputs(int(name.removeprefix("out")))
        module = nn.Linear(sizes.hidden, outputs, device="meta")
    else:
        module = nn.Linear(*widths.get(name, (sizes.hidden, sizes.hidden)), device="meta")
    module.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


@torch.no_grad()
def initialise(modules: Iterable[tuple[str, nn.Module]], seed: int) -> None:
    """Initialise modules by type (Xavier with the gain of the activation; bias 0)."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in modules:
        gain = 1.0 if name.startswith("out") or name.endswith("code") else math.sqrt(2)
        weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
        fresh = torch.empty(weight.shape)  # drawn on the CPU, so devices agree
        nn.init.xavier_uniform_(fresh, gain, generator=generator)
        weight.copy_(fresh)
        bias.zero_()


def run(layout: Layout, modules: Sequence[nn.Module], x: Tensor, start: int = 0) -> Tensor:
    """Return the output of consecutive layers; all but the last layer have activations.

    Args:
        layout: layout of the whole network.
        modules: modules of layer `start` and later layers.
        x: `(batch, images, ...)` if layer `start` acts on each image, else `(batch, ...)`.

    Returns:
        `(batch, outputs)` logits of the whole network; else the input of the next layer.
    """
    for depth, module in enumerate(modules, start):
        x = _layer(layout[depth], module, x)
        if depth == len(layout) - 1:
            return x.flatten(1)
        x = F.softmax(x, dim=-1) if layout[depth].endswith("code") else F.relu(x)
    return x


def _layer(name: str, module: nn.Module, x: Tensor) -> Tensor:
    if name not in PER_IMAGE:
        out: Tensor = module(x.flatten(1))
        return out
    images = x.flatten(0, 1)
    out = module(images if name.startswith("conv") else images.flatten(1))
    return out.reshape(*x.shape[:2], *out.shape[1:])


def points(name: str, x: Tensor) -> Tensor:
    """Return a layer's input as points `(n, ...)`; each image of a list is a point."""
    return x.flatten(0, 1) if name in PER_IMAGE else x.flatten(1)


def label_scores(outputs: Tensor, layout: Layout) -> Tensor:
    """Return the log-probabilities `(batch, labels)` of a last layer's outputs.

    A single output is the logit of label 1 against label 0.
    """
    if layout[-1] == "out2":
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    return outputs.log_softmax(1)
