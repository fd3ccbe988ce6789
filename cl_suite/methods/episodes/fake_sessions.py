"""Fake incremental sessions drawn from base classes, some of which play new classes.

A fake session has support images, from which class vectors are computed, and query images to
classify. Its draws are a pure function of labels and generator. The loader turns them into batches.
The loss is that of a classifier made of the class vectors, on the queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.avalanche.loader import batches

ABSENT = -100  # target of a query whose class has not arrived; cross-entropy ignores it


@dataclass(frozen=True)
class FakeSession:
    """The draws of one step: support and query, shared by several tasks.

    Attributes:
        support: rows `(pool, shot)` of images of each class that may play a new class.
        query: rows `(num_queries,)` of the query images.
        order: `(num_tasks, num_classes)`, a permutation of all classes per task: first the old
            classes, then, in order of arrival, the `way` classes that play new ones.
    """

    support: Tensor
    query: Tensor
    order: Tensor

    @property
    def rows(self) -> Tensor:
        """Rows of support (class by class), then of query, `(pool * shot + num_queries,)`."""
        return torch.cat([self.support.flatten(), self.query])


def draw_fake_session(
    labels: Tensor,
    generator: torch.Generator | None = None,
    *,
    way: int,
    shot: int,
    num_queries: int,
    num_tasks: int,
) -> FakeSession:
    """Return the draws of one step.

    The pool has `2 * way` classes (or all, if there are fewer), so tasks differ in which classes
    play new ones. Queries are of any class. They are not support images, unless there are no other
    images. All fake sessions of the same labels have equal sizes.

    Args:
        labels: `(n,)` class of each image, numbered from 0 without gaps.
        generator: for the draws; None for torch's global one.
        way: number of classes that play new ones in a task.
        shot: support images per class; a class with fewer uses some of them twice.
        num_queries: maximum number of query images.
        num_tasks: number of divisions into old and new classes, of the same images.
    """
    num_images, num_classes = len(labels), int(labels.max()) + 1
    shuffled = torch.randperm(num_images, generator=generator)
    pool = torch.randperm(num_classes, generator=generator)[: 2 * way]
    # images by class, in random order within each
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    count = torch.bincount(labels, minlength=num_classes)
    first = count.cumsum(0) - count
    place = torch.arange(shot) % count[pool, None]
    support = by_class[first[pool, None] + place]
    taken = torch.zeros(num_images, dtype=torch.bool)
    taken[support] = True
    free = torch.cat([shuffled[~taken[shuffled]], shuffled])
    query = free[: max(1, min(num_queries, num_images - support.numel()))]
    draws = torch.rand(num_tasks, len(pool), generator=generator)
    new = pool[draws.argsort(dim=1)[:, :way]]
    is_old = torch.ones(num_tasks, num_classes, dtype=torch.bool).scatter_(1, new, False)
    old = torch.nonzero(is_old)[:, 1].view(num_tasks, -1)
    return FakeSession(support, query, torch.cat([old, new], dim=1))


class FakeSessionLoader:
    """Yields a batch `[images, class ids, order]` per fake session; support precedes queries.

    Args:
        dataset: an Avalanche data set; class ids in ascending order are the numbers of `order`.
        draw: function from `labels` to a fake session (see `draw_fake_session`), all of one size,
            drawn with torch's global generator.
        num_steps: batches per epoch.
        num_workers: processes that load images which are not in memory.
    """

    def __init__(
        self,
        dataset: Any,
        draw: Callable[[Tensor], FakeSession],
        num_steps: int,
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.draw = draw
        self.num_steps = num_steps
        self.num_workers = num_workers
        class_ids = torch.tensor([int(target) for target in dataset.targets])
        self.class_ids, self.labels = torch.unique(class_ids, return_inverse=True)

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Tensor]]:
        sessions = [self.draw(self.labels) for _ in range(self.num_steps)]
        rows = torch.cat([session.rows for session in sessions]).tolist()
        images = batches(
            self.dataset.subset(rows), len(rows) // self.num_steps, num_workers=self.num_workers
        )
        for session, batch in zip(sessions, images, strict=True):
            yield [batch[0], batch[1], session.order]


def meta_loss(
    score: Callable[[Tensor, Tensor], Tensor],
    weight: Tensor,
    features: Tensor,
    labels: Tensor,
    order: Tensor,
    *,
    way: int,
    shot: int,
    num_phases: int = 1,
) -> Tensor:
    """Return the mean cross-entropy over tasks, fake sessions and queries.

    Args:
        score: function from class vectors `(num_tasks, K, d)` and queries `(n, d)` to scores.
        weight: rows `(num_classes, d)` of the classifier.
        features: of a fake session's support, then of its queries, `(pool * shot + n, d)`.
        labels: class of each feature, from 0.
        order: see `FakeSession`.
        way: number of new classes, at the end of `order`.
        num_phases: number of fake sessions in which they arrive.
    """
    num_classes = order.shape[1]
    num_support = min(2 * way, num_classes) * shot
    support, queries = features[:num_support], features[num_support:]
    prototypes = support.view(-1, shot, support.shape[1]).mean(1)
    rows = fake_classifiers(weight, prototypes, labels[:num_support:shot], order, way)
    targets = order.argsort(dim=1)[:, labels[num_support:]]  # (num_tasks, n) columns of `rows`
    losses = []
    for phase in range(1, num_phases + 1):
        arrived = num_classes - way + math.ceil(way * phase / num_phases)
        present = targets.masked_fill(targets >= arrived, ABSENT).flatten()
        logits = score(rows[:, :arrived], queries).flatten(0, 1)
        total = F.cross_entropy(logits, present, ignore_index=ABSENT, reduction="sum")
        losses.append(total / (present != ABSENT).sum().clamp(min=1))
    return torch.stack(losses).mean()


def fake_classifiers(
    weight: Tensor, prototypes: Tensor, pool: Tensor, order: Tensor, way: int
) -> Tensor:
    """Return the class vectors `(num_tasks, num_classes, d)` of each task, in the task's order.

    Args:
        weight: rows `(num_classes, d)`, used for old classes.
        prototypes: `(pool, d)` of the classes `pool` `(pool,)`, used for those that play new.
        order: see `FakeSession`.
    """
    place = torch.zeros(len(weight), dtype=torch.long, device=pool.device)
    place[pool] = torch.arange(len(pool), device=pool.device)
    return torch.cat([weight[order[:, :-way]], prototypes[place[order[:, -way:]]]], dim=1)
