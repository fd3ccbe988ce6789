"""Converts the data sets of an Avalanche benchmark to our samples, with their transforms.

Importing this module does not import avalanche; calling `unwrap` does (seconds).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Identity, ToFloat, Transform
from cl_suite.errors import UserError

Function = Callable[[Any], Any]
NOT_KEPT = (
    "the benchmark's training transforms could not be reused: training images use its evaluation "
    "transforms, without augmentation"
)


@dataclass(frozen=True)
class ForeignTransform:
    """Applies a benchmark's own transforms to one sample, one after another.

    Attributes:
        functions: the benchmark's functions, first to last.
        as_picture: whether they expect a PIL image instead of a tensor.
    """

    functions: tuple[Function, ...]
    as_picture: bool
    batched: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        value: Any = v2.functional.to_pil_image(x) if self.as_picture else x
        for function in self.functions:
            value = function(value)
        return torch.as_tensor(value)

    def __repr__(self) -> str:
        # without addresses, which differ from run to run
        names = re.sub(r" at 0x[0-9a-f]+", "", repr(self.functions))
        return f"ForeignTransform({names}, as_picture={self.as_picture})"


@dataclass(frozen=True)
class Unwrapped:
    """One Avalanche data set, split into raw samples, transforms and class ids.

    Attributes:
        inputs: raw samples, or None if they are not all tensors or pictures of one shape.
        functions: transforms of the inputs by group ("train", "eval"); None if samples differ.
        targets: class id of each sample, after the benchmark's target transforms.
    """

    inputs: Tensor | None = field(repr=False)
    as_picture: bool
    functions: dict[str, tuple[Function, ...]] | None
    targets: list[int] = field(repr=False)
    dataset: Any = field(repr=False)


def unwrap(dataset: Any) -> Unwrapped:
    """Return the raw samples of an Avalanche data set and the transforms that it would apply."""
    raw: list[Any] = []
    targets: list[int] = []
    chains: dict[tuple[int, ...], Any] = {}
    for index in range(len(dataset)):
        item, groups = _leaf(dataset._flat_data, index)
        raw.append(item[0])
        chains.setdefault(tuple(id(g) for g in groups), groups)
        targets.append(_target(item[1], groups))
    # subsets copy the groups but share the transforms in them
    functions = [
        {name: _flat(groups, name, position=0) for name in ("train", "eval")}
        for groups in chains.values()
    ]
    alike = bool(functions) and all(f == functions[0] for f in functions)
    as_picture = bool(raw) and isinstance(raw[0], Image.Image)
    return Unwrapped(_stack(raw), as_picture, functions[0] if alike else None, targets, dataset)


def num_classes_of_origin(parts: Sequence[Unwrapped]) -> int:
    """Return how many classes the innermost data sets have that experiences were cut from."""
    from avalanche.benchmarks.utils.flat_data import FlatData

    def leaves(node: Any) -> list[Any]:
        inner = [node._flat_data] if hasattr(node, "_flat_data") else []
        inner += node._datasets if isinstance(node, FlatData) else []
        return [leaf for child in inner for leaf in leaves(child)] if inner else [node]

    origins = {id(leaf): leaf for part in parts for leaf in leaves(part.dataset)}
    classes = {int(t) for leaf in origins.values() for t in getattr(leaf, "targets", ())}
    return len(classes)


def samples_and_transforms(
    train: Sequence[Unwrapped], test: Sequence[Unwrapped]
) -> tuple[list[TensorSamples], list[TensorSamples], Transform, Transform, tuple[str, ...]]:
    """Return training and test samples, the train and eval transform, and notes.

    Raises:
        UserError: if the benchmark's evaluation samples are not tensors of one shape.
    """
    if _shared([*train, *test], "eval") and _shared(train, "train"):
        transforms = _transform(train[0], "train"), _transform(train[0], "eval")
        return _raw(train), _raw(test), *transforms, ()
    plain = Identity(), Identity()
    return [_evaluated(u) for u in train], [_evaluated(u) for u in test], *plain, (NOT_KEPT,)


def _leaf(node: Any, index: int) -> tuple[Any, list[Any]]:
    """Return the raw item, and the transform groups on the way to it, innermost first."""
    from avalanche.benchmarks.utils.data import _FlatDataWithTransform
    from avalanche.benchmarks.utils.flat_data import FlatData

    groups: list[Any] = []
    while isinstance(node, FlatData):
        if isinstance(node, _FlatDataWithTransform):
            groups = [node._frozen_transform_groups, node._transform_groups, *groups]
        which, index = node._get_idx(index)
        node = node._datasets[which]
    return node[index], groups


def _flat(groups: Sequence[Any], name: str, *, position: int) -> tuple[Function, ...]:
    functions: list[Function] = []
    for group in groups:
        transform = group.transform_groups[name]
        if transform is not None:
            functions += [f for f in transform.flat_transforms(position) if f is not None]
    return tuple(functions)


def _target(target: Any, groups: Sequence[Any]) -> int:
    for function in _flat(groups, "train", position=1):
        target = function(target)
    return int(target)


def _stack(raw: Sequence[Any]) -> Tensor | None:
    tensors = [_as_tensor(value) for value in raw]
    shapes = {None if t is None else (t.shape, t.dtype) for t in tensors}
    if len(shapes) != 1 or None in shapes:
        return None
    return torch.stack([t for t in tensors if t is not None])  # copies: the session owns its data


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Image.Image) and value.mode in ("L", "RGB"):
        pixels = torch.from_numpy(np.array(value))  # (height, width[, 3])
        return pixels[None] if value.mode == "L" else pixels.permute(2, 0, 1)
    return None


def _shared(parts: Sequence[Unwrapped], group: str) -> bool:
    """Return whether all raw samples have the same shape and the same group of transforms."""
    first = parts[0]
    return all(
        part.inputs is not None
        and first.inputs is not None
        and part.inputs.shape[1:] == first.inputs.shape[1:]
        and part.as_picture == first.as_picture
        and part.functions is not None
        and first.functions is not None
        and part.functions[group] == first.functions[group]
        for part in parts
    )


def _raw(parts: Sequence[Unwrapped]) -> list[TensorSamples]:
    return [TensorSamples(u.inputs, u.targets) for u in parts if u.inputs is not None]


def _transform(unwrapped: Unwrapped, group: str) -> Transform:
    functions = (unwrapped.functions or {})[group]
    if functions:
        return ForeignTransform(functions, unwrapped.as_picture)
    floating = unwrapped.inputs is not None and unwrapped.inputs.is_floating_point()
    return Identity() if floating else ToFloat()


def _evaluated(unwrapped: Unwrapped) -> TensorSamples:
    dataset = unwrapped.dataset.eval()
    inputs = [dataset[index][0] for index in range(len(dataset))]
    if not all(isinstance(x, Tensor) and x.shape == inputs[0].shape for x in inputs):
        raise UserError(
            "the Avalanche benchmark's evaluation samples are not tensors of one shape; add an "
            "eval transform to it that returns such tensors"
        )
    return TensorSamples(torch.stack(inputs), unwrapped.targets)
