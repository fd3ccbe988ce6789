"""Batches of an Avalanche data set: sliced from tensors where it lies in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Transform


class BatchLoader(Protocol):
    """What Avalanche's training loop iterates over, once an epoch."""

    def __iter__(self) -> Iterator[list[Tensor]]: ...

    def __len__(self) -> int: ...


class TensorLoader:
    """Batches `[inputs, class ids, ...]` cut from tensors, transformed a batch at a time.

    Args:
        parts: (samples, transform, rows) that make up the data, in order.
        shuffle: draw a new order each epoch, from torch's global generator.
        views: how often each sample is transformed; what lies beyond the first follows the ids.
    """

    def __init__(
        self,
        parts: list[tuple[TensorSamples, Transform, Tensor]],
        batch_size: int,
        *,
        shuffle: bool,
        views: int = 1,
    ) -> None:
        self.views = views
        self.parts = [
            (_take(samples.inputs, rows), torch.tensor(samples.targets)[rows], transform)
            for samples, transform, rows in parts
        ]
        self.batch_size = batch_size
        self.shuffle = shuffle
        sizes = [len(labels) for _, labels, _ in self.parts]
        self.part_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self.row_of = torch.cat([torch.arange(n) for n in sizes])

    def __len__(self) -> int:
        return -(-len(self.row_of) // self.batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        num = len(self.row_of)
        order = torch.randperm(num) if self.shuffle else torch.arange(num)
        for chosen in torch.split(order, self.batch_size):
            yield self._batch(chosen)

    def _batch(self, chosen: Tensor) -> list[Tensor]:
        labels: list[Tensor] = []
        views: list[list[Tensor]] = [[] for _ in range(self.views)]
        parts = []
        for part in torch.unique(self.part_of[chosen]).tolist():
            images, targets, transform = self.parts[part]
            rows = self.row_of[chosen[self.part_of[chosen] == part]]
            parts.append((images[rows], transform))
            labels.append(targets[rows])
        for view in views:
            view.extend(transform(images) for images, transform in parts)
        first, *others = [torch.cat(view) for view in views]
        return [first, torch.cat(labels), *others]


class _Views(Dataset[Any]):
    """Items `(input, class id, further views of the input..., rest)` of a data set.

    Each view is an access of its own, so that random transforms draw anew.
    """

    def __init__(self, dataset: Any, views: int) -> None:
        self.dataset = dataset
        self.views = views

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        first, label, *rest = self.dataset[index]
        others = [self.dataset[index][0] for _ in range(self.views - 1)]
        return (first, label, *others, *rest)


def batches(
    dataset: Any, batch_size: int, *, shuffle: bool = False, num_workers: int = 0, views: int = 1
) -> BatchLoader:
    """Return batches `[inputs, class ids, ...]` of an Avalanche data set, transforms applied.

    Without `shuffle` no random number is drawn from the global generator by the loader itself.
    With `views` above 1 a batch holds further views of its inputs, behind the class ids.
    """
    from cl_suite import avalanche_api

    parts = avalanche_api.resolve(dataset)
    if parts:
        return TensorLoader(parts, batch_size, shuffle=shuffle, views=views)
    return DataLoader(
        dataset if views == 1 else _Views(dataset, views),
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        collate_fn=getattr(dataset, "collate_fn", None),
        # its own generator: an unshuffled pass must not move the training's random numbers
        generator=None if shuffle else torch.Generator().manual_seed(0),
    )


def _take(inputs: Tensor, rows: Tensor) -> Tensor:
    # a whole session in its order needs no second copy
    return inputs if rows.equal(torch.arange(len(inputs))) else inputs[rows]
