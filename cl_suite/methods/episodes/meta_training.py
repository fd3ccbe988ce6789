"""Batches of episodes for a training loop, and the loss that each outer step lowers."""

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
    """Batches of episodes for a training loop; all random draws follow the global generator.

    A batch is `[query inputs, their class ids, query units, support inputs, support units, units
    present]`: the first two flat `(M * Q, ...)`, as a usual batch, the others `(M, ...)`, one entry
    an episode.

    Args:
        dataset: an Avalanche data set, in training mode.
        plan: shape of the episodes.
        network: whose units the classes have.
        num_batches: batches an epoch.
        batch_size: `M`, episodes a batch.
        num_spare: spare units behind the network's.
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
        """Return the tensors of some episodes."""
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
        """Return the units of samples: spare ones of drawn classes, their own of others."""
        labels = self.labels[rows]
        match = labels[:, None] == episode.classes
        own = self.network.units(labels).cpu()
        spare = self.network.num_units + episode.places[match.int().argmax(1)]
        return torch.where(match.any(1), spare, own)


def read_rows(dataset: Any, rows: Tensor) -> Tensor:
    """Return samples `(len(rows), ...)` of an Avalanche data set, transformed as it says."""
    loader = batches(dataset.subset(rows.tolist()), len(rows), layout=BatchLayout(rows=True))
    inputs, _, places = next(iter(loader))
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

    One an episode, so that the graph of each may go before the next is built; or one for all.

    Args:
        batch: of a `MetaEpisodeLoader`.
        lr: of the inner loops.
        only_units: they move the units alone.
        vectorized: run all episodes at once.
    """
    query, _, query_units, support, units, present = batch
    queries = query.reshape(*query_units.shape, *query.shape[1:])
    episodes = (support, units, queries, query_units, present)
    adapted = network.unit_names if only_units else list(network.tensors())

    def loss(tensors: Tensors, *episode: Tensor) -> Tensor:
        inputs, units, query, query_units, present = episode
        scorer: Scorer = network
        if only_units:  # features stay: computed once, not in each step
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
        # tensors anew: the last episode's graph is gone, that of the stacked units with it
        yield loss(network.tensors(spare), *episode) / len(support)
