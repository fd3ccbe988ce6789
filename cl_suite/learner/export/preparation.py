"""A transform of pictures as ONNX nodes, with the values that PyTorch computes.

Resizing rounds to whole levels after each direction, as torchvision does on 8 bits. The weights
before that differ in their last digits, so on photos one value in some hundreds differs by a level
or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cl_suite.data import transforms
from cl_suite.data.transforms import Compose, Transform
from cl_suite.learner.export.graph import Graph

ROWS, COLUMNS = 2, 3  # axes of a batch
# PyTorch's cubic kernel with antialiasing is Pillow's
RESIZE: Mapping[str, Mapping[str, Any]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5},
}


class Inexpressible(Exception):  # noqa: N818  # no error: the caller goes another way
    """A transform that has no ONNX nodes here."""


@dataclass(frozen=True)
class Pixels:
    """A batch `(batch, channels, height, width)` in the graph.

    Attributes:
        name: of the tensor.
        channels: their number.
        is_whole: whether it is uint8; else float32.
        words: what was done so far.
    """

    name: str
    channels: int
    is_whole: bool
    words: tuple[str, ...] = ()

    def then(self, name: str, words: str, **changed: Any) -> Pixels:
        """Return the result of a further step."""
        return replace(self, name=name, words=(*self.words, words), **changed)


def add_preparation(graph: Graph, transform: Transform, image: str) -> Pixels:
    """Add the nodes of a transform of uint8 RGB pictures; return the result.

    Raises:
        Inexpressible: names the transform that has none.
    """
    return _add(graph, transform, Pixels(image, 3, True))


def _add(graph: Graph, transform: Transform, x: Pixels) -> Pixels:
    if isinstance(transform, Compose):
        for step in transform.steps:
            x = _add(graph, step, x)
        return x
    add = _STEPS.get(type(transform))
    if add is None:
        raise Inexpressible(type(transform).__name__)
    return add(graph, transform, x)


def _identity(graph: Graph, step: transforms.Identity, x: Pixels) -> Pixels:
    return x


def _channels(graph: Graph, step: transforms.Channels, x: Pixels) -> Pixels:
    if x.channels != 1:
        return x
    parts = [x.name] * step.num_channels
    repeated = graph.op("Concat", *parts, axis=1)
    return x.then(repeated, f"grey in {step.num_channels} channels", channels=step.num_channels)


def _grey(graph: Graph, step: transforms.Grey, x: Pixels) -> Pixels:
    if x.channels == 1:
        return x
    shares = np.array([0.2989, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
    weighted = graph.op("Mul", graph.cast(x.name, np.float32), shares)
    grey = graph.op("ReduceSum", weighted, _ints(1))
    # a conversion to whole numbers cuts off
    name = graph.cast(grey, np.uint8) if x.is_whole else grey
    return x.then(name, "brightness (ITU-R 601)", channels=1)


def _flip(graph: Graph, step: transforms.Flip, x: Pixels) -> Pixels:
    last = _ints(np.iinfo(np.int64).min)
    return x.then(graph.op("Slice", x.name, _ints(-1), last, _ints(COLUMNS), _ints(-1)), "mirrored")


def _to_float(graph: Graph, step: transforms.ToFloat, x: Pixels) -> Pixels:
    name = x.name
    if x.is_whole:
        name = graph.op("Div", graph.cast(name, np.float32), np.array(255, np.float32))
    mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (step.mean, step.std))
    name = graph.op("Div", graph.op("Sub", name, mean), std)
    words = f"scaled to [0, 1], minus {_listed(step.mean)}, over {_listed(step.std)}"
    return x.then(name, words, is_whole=False, channels=max(x.channels, len(step.mean)))


def _resize(graph: Graph, step: transforms.Resize, x: Pixels) -> Pixels:
    return _resized(graph, x, step.size, "bilinear")


def _resize_crop(graph: Graph, step: transforms.ResizeCenterCrop, x: Pixels) -> Pixels:
    if step.resize < step.size:
        raise Inexpressible(f"{type(step).__name__} with a crop larger than the picture")
    resized = _resized(graph, x, step.resize, step.interpolation)
    starts = []
    for axis in (ROWS, COLUMNS):
        spare = graph.op("Sub", _side(graph, resized.name, axis), _ints(step.size))
        half = graph.op("Div", graph.cast(spare, np.float32), np.array([2], np.float32))
        # halves to even numbers, as Python rounds
        starts.append(graph.cast(graph.op("Round", half), np.int64))
    first = graph.op("Concat", *starts, axis=0)
    last = graph.op("Add", first, _ints(step.size))
    cropped = graph.op("Slice", resized.name, first, last, _ints(ROWS, COLUMNS))
    return resized.then(cropped, f"centre {step.size} x {step.size}")


def _resized(graph: Graph, x: Pixels, size: int, interpolation: str) -> Pixels:
    if interpolation not in RESIZE:
        raise Inexpressible(f"resizing by {interpolation}")
    height, width = _side(graph, x.name, ROWS), _side(graph, x.name, COLUMNS)
    shorter = graph.op("Min", height, width)
    # in whole numbers: the longer side is cut off
    sides = [graph.op("Div", graph.op("Mul", s, _ints(size)), shorter) for s in (height, width)]
    front = graph.op("Shape", x.name, start=0, end=2)
    sizes = graph.op("Concat", front, *sides, axis=0)
    resized = graph.op(
        "Resize",
        x.name,
        "",
        "",
        sizes,
        antialias=1,
        coordinate_transformation_mode="half_pixel",
        exclude_outside=1,
        **RESIZE[interpolation],
    )
    return x.then(resized, f"shorter side to {size} ({interpolation}, antialiased)")


def _ink(graph: Graph, step: transforms.InkDrawing, x: Pixels) -> Pixels:
    grey = _grey(graph, transforms.Grey(), x)
    dark = graph.op("Less", graph.cast(grey.name, np.int32), np.array(128, np.int32))
    ink = graph.cast(dark, np.float32)
    height, width = _side(graph, x.name, ROWS), _side(graph, x.name, COLUMNS)
    side = graph.op("Max", height, width)
    rows = _overlaps(graph, height, side, step.size)  # (size, height)
    columns = _overlaps(graph, width, side, step.size)  # (size, width)
    # the first sums stay below 2^24; their sums may not, and must be exact
    partly = graph.cast(graph.op("MatMul", rows, ink), np.float64)
    turned = graph.op("Transpose", graph.cast(columns, np.float64), perm=[1, 0])
    inked = graph.cast(graph.op("MatMul", partly, turned), np.int64)
    total = graph.op("Mul", side, side)
    scaled = graph.op("Mul", inked, _ints(255))
    rounded = graph.op("Add", scaled, graph.op("Div", total, _ints(2)))
    result = graph.cast(graph.op("Div", rounded, total), np.uint8)
    words = f"ink of a drawing on paper, {step.size} x {step.size}"
    return x.then(result, words, channels=1)


def _overlaps(graph: Graph, length: str, side: str, size: int) -> str:
    """Return how much of a source pixel each pixel covers, as in `cl_suite.data.shrink`.

    In units of `1 / (side size)`, pixel `i` covers `[i side, (i + 1) side)`, and source pixel `j`
    of a picture in the middle of a square covers `[(j + margin) size, (j + margin + 1) size)`.
    """
    margin = graph.op("Div", graph.op("Sub", side, length), _ints(2))
    start = graph.op("Mul", np.arange(size)[:, None], side)
    scalar = graph.op("Squeeze", length)
    places = graph.op("Range", np.array(0), scalar, np.array(1))
    source = graph.op("Mul", graph.op("Add", places, margin), _ints(size))
    last = graph.op("Min", graph.op("Add", start, side), graph.op("Add", source, _ints(size)))
    shared = graph.op("Sub", last, graph.op("Max", start, source))
    return graph.cast(graph.op("Max", shared, _ints(0)), np.float32)


def _side(graph: Graph, x: str, axis: int) -> str:
    return graph.op("Shape", x, start=axis, end=axis + 1)


def _ints(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def _listed(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


_STEPS: Mapping[type, Callable[[Graph, Any, Pixels], Pixels]] = {
    transforms.Identity: _identity,
    transforms.Channels: _channels,
    transforms.Grey: _grey,
    transforms.Flip: _flip,
    transforms.ToFloat: _to_float,
    transforms.Resize: _resize,
    transforms.ResizeCenterCrop: _resize_crop,
    transforms.InkDrawing: _ink,
}
