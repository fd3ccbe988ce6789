"""Batches of episodes for meta-training, and the loss of each outer step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from cl_suite.avalanche.loader import batches
from cl_suite.methods.episodes.meta_episodes import EpisodePlan, MetaEpisode
from cl_suite.methods.episodes.meta_learning import (
    Scorer,
    Tensors,
    UnitNetwork,
    adapt,
    present_cross_entropy,
    spare_units,
)
from cl_suite.requirements import BatchLayout


class MetaEpisodeLoader:
    """Yields batches of episodes for a training loop; draws use torch's global generator.

    A batch is `[query inputs, their class ids, query units, support inputs, support units, units
    present]`. The first two are flat `(M * Q, ...)`, like a usual batch; the others are `(M, ...)`,
    with one entry per episode.

    Args:
        dataset: an Avalanche data set, in training mode.
        plan: shape of the episodes.
        network: network that defines the units of the classes.
        num_batches: batches per epoch.
        batch_size: `M`, episodes per batch.
        num_spare: number of spare units after the network's.
    """

    def __init__(
        self,
        dataset: Any,
        plan: EpisodePlan,
        network: UnitNetwork,
        *,
        num_batches: int,
        batch_size: int,
        num_spare: int,
    ) -> None:
        self.dataset = dataset
        self.labels = torch.tensor([int(label) for label in dataset.targets])
        self.plan = plan
        self.network = network
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.num_spare = num_spare

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Tensor]]:
        for _ in range(self.num_batches):
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
            yield self.batch(
                [self.plan.draw(self.labels, generator) for _ in range(self.batch_size)]
            )

    def batch(self, episodes: Sequence[MetaEpisode]) -> list[Tensor]:
        """Return the batch of these episodes."""
        query = torch.stack([torch.cat([e.query.flatten(), e.other_query]) for e in episodes])
        support = torch.stack(
            [torch.cat([e.support.flatten(), e.other_templates]) for e in episodes]
        )
        rows = torch.cat([query.flatten(), support.flatten()])
        inputs = read_rows(self.dataset, rows)
        queries, supports = torch.split(inputs, [query.numel(), support.numel()])
        num_units = self.network.num_units
        present = [
            self.plan.present(
                self.network.units(e.others).cpu(), e.places, num_units, self.num_spare
            )
            for e in episodes
        ]
        return [
            queries,
            self.labels[query.flatten()],
            torch.stack([self._units(e, q) for e, q in zip(episodes, query, strict=True)]),
            supports.reshape(*support.shape, *supports.shape[1:]),
            torch.stack([self._units(e, s) for e, s in zip(episodes, support, strict=True)]),
            torch.stack(present),
        ]

    def _units(self, episode: MetaEpisode, rows: Tensor) -> Tensor:
        """Return the unit of each sample: a spare unit for a drawn class, its own for any other."""
        labels = self.labels[rows]
        match = labels[:, None] == episode.classes
        own = self.network.units(labels).cpu()
        spare = self.network.num_units + episode.places[match.int().argmax(1)]
        return torch.where(match.any(1), spare, own)


def read_rows(dataset: Any, rows: Tensor) -> Tensor:
    """Return samples `(len(rows), ...)` of an Avalanche data set, with its transforms applied."""
    loader = batches(dataset.subset(rows.tolist()), len(rows), layout=BatchLayout(rows=True))
    batch = next(iter(loader))
    inputs, places = batch[0], batch[2]
    return inputs[places.argsort()]


def outer_losses(
    network: UnitNetwork,
    plan: EpisodePlan,
    batch: Sequence[Tensor],
    *,
    lr: float,
    only_units: bool = False,
    first_order: bool = False,
    vectorized: bool = False,
) -> Iterator[Tensor]:
    """Yield losses whose sum is the mean query loss of the episodes after their inner loops.

    One loss per episode, so each graph is freed before the next is built; or one for all.

    Args:
        batch: batch of a `MetaEpisodeLoader`.
        lr: learning rate of the inner loops.
        only_units: let the inner loops update only the units.
        vectorized: run all episodes at once.
    """
    query, _, query_units, support, units, present = batch
    queries = query.reshape(*query_units.shape, *query.shape[1:])
    episodes = (support, units, queries, query_units, present)
    adapted = network.unit_names if only_units else list(network.tensors())

    def loss(tensors: Tensors, *episode: Tensor) -> Tensor:
        inputs, units, query, query_units, present = episode
        scorer: Scorer = network
        if only_units:  # features do not change: compute them once, not in each step
            inputs, scorer = network.features(tensors, inputs), network.unit_scores
        stages = plan.stages(inputs, units, present)
        phi = adapt(scorer, tensors, stages, lr=lr, adapted=adapted, first_order=first_order)
        return present_cross_entropy(network(phi, query), query_units, present[-1])

    spare = spare_units(network.model)
    if vectorized:
        together: Tensor = vmap(loss, in_dims=(None, 0, 0, 0, 0, 0))(
            network.tensors(spare), *episodes
        )
        yield together.mean()
        return
    for episode in zip(*episodes, strict=True):
        # new tensors: the last episode's graph is freed, with that of the stacked units
        yield loss(network.tensors(spare), *episode) / len(support)
