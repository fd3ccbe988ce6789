"""Loads batches of an Avalanche data set, sliced from tensors if the data is in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Transform
from cl_suite.randomness import draws_apart, seed_draws
from cl_suite.requirements import BatchLayout

PLAIN_BATCHES = BatchLayout()  # inputs and class ids alone


class BatchLoader(Protocol):
    """What Avalanche's training loop iterates over, once an epoch."""

    def __iter__(self) -> Iterator[list[Tensor]]: ...

    def __len__(self) -> int: ...


class TensorLoader:
    """Batches `[inputs, class ids, ...]` cut from tensors, transformed a batch at a time.

    Args:
        parts: (samples, transform, rows) that make up the data, in order.
        shuffle: draw a new order each epoch, from torch's global generator.
        layout: a batch's contents in addition to inputs and class ids.
        plain: the evaluation transform of each part, if the layout asks for plain views.
        source: the data set that the parts make up.
    """

    def __init__(
        self,
        parts: list[tuple[TensorSamples, Transform, Tensor]],
        batch_size: int,
        *,
        shuffle: bool,
        layout: BatchLayout = PLAIN_BATCHES,
        plain: Sequence[Transform] = (),
        source: Any = None,
    ) -> None:
        self.layout = layout
        self.plain = list(plain)
        self.source = source
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
        full, rest = divmod(len(self.row_of), self.batch_size)
        return full + (rest >= self.layout.smallest and rest > 0)

    def __iter__(self) -> Iterator[list[Tensor]]:
        num = len(self.row_of)
        order = torch.randperm(num) if self.shuffle else torch.arange(num)
        for chosen in torch.split(order, self.batch_size)[: len(self)]:
            yield self._batch(chosen)

    def _batch(self, chosen: Tensor) -> list[Tensor]:
        labels: list[Tensor] = []
        places: list[Tensor] = []
        parts = []
        for part in torch.unique(self.part_of[chosen]).tolist():
            images, targets, transform = self.parts[part]
            here = chosen[self.part_of[chosen] == part]
            rows = self.row_of[here]
            parts.append((images[rows], transform, part))
            labels.append(targets[rows])
            places.append(here)
        # one view after another, so the first is drawn as if it were the only one
        views = [
            torch.cat([transform(images) for images, transform, _ in parts])
            for _ in range(self.layout.views)
        ]
        if self.plain:
            views.append(torch.cat([self.plain[part](images) for images, _, part in parts]))
        last = [torch.cat(places)] if self.layout.rows else []
        return [views[0], torch.cat(labels), *views[1:], *last]


class _Views(Dataset[Any]):
    """Items `(input, class id, further views..., plain view, place, task label)` of a data set.

    Each view is a separate access with random numbers of its own, which depend only on the pass,
    the place and the view. The number of workers therefore changes nothing.

    Attributes:
        seed: of the pass under way.
    """

    def __init__(self, dataset: Any, layout: BatchLayout) -> None:
        self.dataset = dataset
        self.seed = b""
        self.views = layout.views
        self.plain = dataset.eval() if layout.plain else None
        self.rows = layout.rows

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the items of a batch; torch's loader prefers this to single items."""
        # once a batch: saving and restoring takes longer than seeding
        with draws_apart():
            return [self._item(index) for index in indices]

    def _item(self, index: int) -> tuple[Any, ...]:
        seed_draws(self.seed, index, 0)
        first, label, *rest = self.dataset[index]
        others = []
        for view in range(1, self.views):
            seed_draws(self.seed, index, view)
            others.append(self.dataset[index][0])
        if self.plain is not None:
            seed_draws(self.seed, index, self.views)
            others.append(self.plain[index][0])
        # a task label stays last, where Avalanche's `mb_task_id` looks for it
        return (first, label, *others, *([index] if self.rows else []), *rest)


class FileLoader(DataLoader[Any]):
    """Batches of data in files, loaded one sample at a time.

    Random transforms draw by sample: see `_Views`. The seed of a pass is read from the state of
    torch's global generator, so no draw is spent on it. A shuffled pass moves that state; passes in
    order are counted, so they differ too.
    """

    def __init__(self, source: Any, layout: BatchLayout, **options: Any) -> None:
        self.views = _Views(source, layout)
        super().__init__(self.views, collate_fn=getattr(source, "collate_fn", None), **options)
        self.layout = layout
        self.source = source
        self.passes = 0

    def __iter__(self) -> Any:
        state = torch.get_rng_state().numpy().tobytes()
        # before the workers start: each has a copy
        self.views.seed = hashlib.sha256(state + self.passes.to_bytes(8)).digest()
        if self.generator is not None:  # unshuffled; a count would not survive a stopped run
            self.passes += 1
        return super().__iter__()


def batches(
    dataset: Any,
    batch_size: int,
    *,
    shuffle: bool = False,
    num_workers: int = 0,
    layout: BatchLayout = PLAIN_BATCHES,
) -> BatchLoader:
    """Return batches `[inputs, class ids, ...]` of an Avalanche data set, transforms applied.

    Without `shuffle`, the loader itself draws no random number from the global generator.

    Args:
        dataset: an Avalanche data set.
        batch_size: samples a batch.
        shuffle: draw a new order each epoch.
        num_workers: processes that load samples that are not in memory.
        layout: a batch's contents in addition to inputs and class ids.
    """
    from cl_suite.avalanche import internals

    parts = internals.resolve(dataset)
    plain_parts = internals.resolve(dataset.eval()) if layout.plain else []
    if parts and plain_parts is not None:
        return TensorLoader(
            parts,
            batch_size,
            shuffle=shuffle,
            layout=layout,
            # for each part of the training data: the same samples, cut at the same places
            plain=_plain_transforms(parts, plain_parts),
            source=dataset,
        )
    return FileLoader(
        dataset,
        layout,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        drop_last=0 < len(dataset) % batch_size < layout.smallest,
        # its own generator: an unshuffled pass must not move the training's random numbers
        generator=None if shuffle else torch.Generator().manual_seed(0),
    )


def serves(loader: Any, dataset: Any, layout: BatchLayout) -> bool:
    """Return whether a loader of `batches` goes through this data set and covers this layout."""
    if not isinstance(loader, (TensorLoader, FileLoader)):
        return False
    return loader.source is dataset and loader.layout.covers(layout)


Part = tuple[TensorSamples, Transform, Tensor]


def _plain_transforms(parts: Sequence[Part], plain: Sequence[Part]) -> list[Transform]:
    """Return the evaluation transform of each part; both lists cover the same samples."""
    found: list[Transform] = []
    ends = [int(end) for end in torch.tensor([len(part[2]) for part in plain]).cumsum(0)]
    start = 0
    for _, _, rows in parts if plain else ():
        found.append(plain[sum(end <= start for end in ends)][1])
        start += len(rows)
    return found


def _take(inputs: Tensor, rows: Tensor) -> Tensor:
    # a whole session in its order needs no second copy
    return inputs if rows.equal(torch.arange(len(inputs))) else inputs[rows]
