"""Contrast in stages: what separated samples before cannot do so again (MCL)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cl_suite.losses.clusters import cosine_clusters
from cl_suite.losses.mcl import extend_groups, mcl_loss
from cl_suite.methods.contrastive.recipe import ContrastBatch, ScaledRecipe
from cl_suite.parameters import Above, Within


@dataclass(kw_only=True, eq=False)
class MCL(ScaledRecipe):
    """Multistage contrastive learning (Zhang et al., ECCV 2024), with one network for all stages.

    The session's epochs are divided into stages. At the start of each stage but the first, the
    training samples' features are clustered, and from then on negatives come only from the samples
    that shared all clusters so far. The paper trains a new network in each stage and joins the
    features of all; here one network goes on, so the features keep their width. The paper also
    fills whole batches from one group; here a batch is drawn from all samples, and a sample alone
    in its group is left out. The number of stages is ours, and the temperature is NT-Xent's.

    Args:
        stages: number of stages, of about equally many epochs; 1 is NT-Xent.
        num_clusters: clusters of each stage.
    """

    temperature: Annotated[float, Above(0)] = 0.5
    stages: Annotated[int, Within(1)] = 2
    num_clusters: Annotated[int, Within(1)] = 10
    has_rows = True

    def regroups(self, epoch: int, epochs: int) -> bool:
        starts = {epochs * stage // self.stages for stage in range(1, self.stages)}
        return epoch in starts and epoch > 0

    def grouped(
        self, features: Tensor, labels: Tensor, known: Mapping[str, Tensor], epoch: int
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        clusters = cosine_clusters(features, self.num_clusters, generator=generator)
        before = known.get("groups")
        before = None if before is None else before.to(clusters.device)
        return {"groups": extend_groups(before, clusters)}

    def loss(self, batch: ContrastBatch) -> Tensor:
        groups = batch.of_samples("groups")
        if groups is None:
            groups = torch.zeros_like(batch.labels)
        return mcl_loss(*batch.z, groups=groups, temperature=self.temperature)
