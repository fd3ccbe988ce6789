"""Loads batches of an Avalanche data set, sliced from tensors if the data is in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cl_suite.avalanche.memory import JoinedRows, Memory, Place
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Transform
from cl_suite.distributed import group
from cl_suite.distributed.rows import all_rows, share_of
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
        memory: rows that join each batch; None: the pass goes through all rows.
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
        memory: Memory | None = None,
    ) -> None:
        self.layout = layout
        self.memory = memory
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
        if self.memory is not None:
            return self.memory.num_batches(self.batch_size)
        full, rest = divmod(len(self.row_of), self.batch_size)
        return full + (rest >= self.layout.smallest and rest > 0)

    def __iter__(self) -> Iterator[list[Tensor]]:
        if self.memory is not None:
            for rows in self.memory.pass_of(self.batch_size):
                yield self._batch(torch.cat(rows))
            return
        num = len(self.row_of)
        order = torch.randperm(num) if self.shuffle else torch.arange(num)
        for chosen in torch.split(order, self.batch_size)[: len(self)]:
            yield self._batch(chosen)

    def _batch(self, chosen: Tensor) -> list[Tensor]:
        found = self._by_part(chosen)
        parts = [(self.parts[part][0][rows], self.parts[part][2]) for part, _, rows in found]
        # one view after another, so the first is drawn as if it were the only one
        views = [
            _joined([transform(images) for images, transform in parts])
            for _ in range(self.layout.views)
        ]
        if self.plain:
            plain = [self.plain[part] for part, *_ in found]
            views.append(_joined([p(x) for p, (x, _) in zip(plain, parts, strict=True)]))
        labels = _joined([self.parts[part][1][rows] for part, _, rows in found])
        last = [_joined([places for _, places, _ in found])] if self.layout.rows else []
        return [views[0], labels, *views[1:], *last]

    def _by_part(self, chosen: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Return each part of the chosen places: its number, the places, and its rows."""
        if len(self.parts) == 1:
            return [(0, chosen, chosen)]  # the usual case, without masks
        part_of = self.part_of[chosen]
        places = [(part, chosen[part_of == part]) for part in torch.unique(part_of).tolist()]
        return [(part, here, self.row_of[here]) for part, here in places]


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


class _Views(Dataset[Any]):
    """Items `(input, class id, further views..., plain view, place, task label)` of a data set.

    Each view is a separate access with random numbers of its own, which depend only on the pass,
    the place, the turn and the view. The number of workers therefore changes nothing.

    Attributes:
        seed: of the pass under way.
        place: this process's rank, and the number of processes that load a batch together.
    """

    def __init__(self, dataset: Any, layout: BatchLayout) -> None:
        self.dataset = dataset
        self.seed = b""
        self.place = 0, 1
        self.views = layout.views
        self.plain = dataset.eval() if layout.plain else None
        self.rows = layout.rows

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Place) -> tuple[Any, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Place]) -> list[tuple[Any, ...]]:
        """Return this process's items of a batch; torch's loader prefers this to single items."""
        rank, size = self.place
        if is_shared(len(indices), size):
            indices = indices[share_of(len(indices), rank, size)]
        # once a batch: saving and restoring takes longer than seeding
        with draws_apart():
            return [
                self._item(*place) if isinstance(place, tuple) else self._item(place)
                for place in indices
            ]

    def _item(self, index: int, *turn: int) -> tuple[Any, ...]:
        seed_draws(self.seed, index, 0, *turn)
        first, label, *rest = self.dataset[index]
        others = []
        for view in range(1, self.views):
            seed_draws(self.seed, index, view, *turn)
            others.append(self.dataset[index][0])
        if self.plain is not None:
            seed_draws(self.seed, index, self.views, *turn)
            others.append(self.plain[index][0])
        # a task label stays last, where Avalanche's `mb_task_id` looks for it
        return (first, label, *others, *([index] if self.rows else []), *rest)


class FileLoader(DataLoader[Any]):
    """Batches of data in files, loaded one sample at a time.

    Random transforms draw by sample: see `_Views`. The seed of a pass is read from the state of
    torch's global generator, so no draw is spent on it. A shuffled pass moves that state; passes in
    order are counted, so they differ too. Several processes each load a share of a batch, and
    exchange them.
    """

    def __init__(
        self,
        source: Any,
        layout: BatchLayout,
        *,
        batch_size: int,
        memory: Memory | None = None,
        **options: Any,
    ) -> None:
        self.views = _Views(source, layout)
        self.joined = None if memory is None else JoinedRows(memory, batch_size)
        if self.joined is None:
            options |= {"batch_size": batch_size}
        else:
            # it shuffles, and leaves no batch out
            options = {"batch_sampler": self.joined, "num_workers": options["num_workers"]}
        super().__init__(self.views, collate_fn=getattr(source, "collate_fn", None), **options)
        self.layout = layout
        self.source = source
        self.memory = memory
        self.passes = 0

    def __iter__(self) -> Any:
        if self.joined is not None:
            self.joined.draw()
        state = torch.get_rng_state().numpy().tobytes()
        # before the workers start: each has a copy
        self.views.place = group.rank(), group.size()
        self.views.seed = hashlib.sha256(state + self.passes.to_bytes(8)).digest()
        if self.generator is not None:  # unshuffled; a count would not survive a stopped run
            self.passes += 1
        own = super().__iter__()
        return own if group.size() == 1 else self._joined(own)

    def _joined(self, own: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
        for parts, num in zip(own, self._sizes(), strict=True):
            yield [all_rows(part, num) for part in parts] if is_shared(num, group.size()) else parts

    def _sizes(self) -> list[int]:
        """Return the size of each batch of the pass."""
        if self.joined is not None:
            return [len(batch) for batch in self.joined.batches]
        assert self.batch_size is not None, "given, if nothing joins the batches"
        num = len(self.views)
        return [min(self.batch_size, num - i * self.batch_size) for i in range(len(self))]


def is_shared(num: int, num_processes: int) -> bool:
    """Return whether processes load shares of a batch of `num`, and not each the whole."""
    return num_processes > 1 and num >= num_processes


def batches(
    dataset: Any,
    batch_size: int,
    *,
    shuffle: bool = False,
    num_workers: int = 0,
    layout: BatchLayout = PLAIN_BATCHES,
    memory: Memory | None = None,
) -> BatchLoader:
    """Return batches `[inputs, class ids, ...]` of an Avalanche data set, transforms applied.

    Without `shuffle`, the loader itself draws no random number from the global generator.

    Args:
        dataset: an Avalanche data set.
        batch_size: samples a batch.
        shuffle: draw a new order each epoch.
        num_workers: processes that load samples that are not in memory.
        layout: a batch's contents in addition to inputs and class ids.
        memory: rows at the end of the data set that join each batch of the others; needs `shuffle`.
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
            memory=memory,
        )
    return FileLoader(
        dataset,
        layout,
        batch_size=batch_size,
        memory=memory,
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


def joined_by(loader: BatchLoader, memory: Memory) -> BatchLoader:
    """Return a loader of `batches` whose batches are joined by kept rows from now on."""
    if isinstance(loader, TensorLoader):
        loader.memory = memory
        return loader
    assert isinstance(loader, FileLoader), "loaders of `batches` alone are given"
    assert loader.batch_size is not None, "nothing has joined its batches yet"
    size, workers = loader.batch_size, loader.num_workers
    return FileLoader(
        loader.source, loader.layout, batch_size=size, num_workers=workers, memory=memory
    )


def memory_of(loader: Any) -> Memory | None:
    """Return what joins the batches of a loader, None if it is not one of `batches`."""
    return loader.memory if isinstance(loader, (TensorLoader, FileLoader)) else None


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
