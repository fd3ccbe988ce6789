"""Losses for unbalanced sessions: SBCL and GML with labels, FASSL without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from cl_suite.losses.fassl import assignments, fassl_loss, frequency_weights, prototype_loss
from cl_suite.losses.gml import class_quotas, gml_loss, newest_of_each
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.sbcl import ClassTerm, sbcl_loss
from cl_suite.losses.subclasses import class_temperatures, subclasses
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.contrastive.recipe import (
    ContrastBatch,
    KeyedRecipe,
    ScaledRecipe,
    both_ways,
)
from cl_suite.parameters import Above, Within


@dataclass(kw_only=True, eq=False)
class SBCL(ScaledRecipe):
    """Subclass-balancing contrast (Hou et al., ICCV 2023), after some epochs of plain SupCon.

    Args:
        beta: weight of the term over the classes.
        class_term: see `sbcl_loss`.
        smallest: lower bound on the size of a subclass; classes of fewer than twice as many
            samples are not cut.
        first_epochs: epochs of SupCon before the classes are first cut.
        every_epochs: epochs after which they are cut anew.
    """

    beta: Annotated[float, Within(0)] = 0.25
    class_term: ClassTerm = "rank"
    smallest: Annotated[int, Within(1)] = 10
    first_epochs: Annotated[int, Within(0)] = 10
    every_epochs: Annotated[int, Within(1)] = 10
    has_rows = True

    @property
    def supervised(self) -> bool:
        return True

    def regroups(self, epoch: int, epochs: int) -> bool:
        late = epoch - self.first_epochs
        return late >= 0 and late % self.every_epochs == 0

    def grouped(
        self, features: Tensor, labels: Tensor, known: Mapping[str, Tensor], epoch: int
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        ids = subclasses(features, labels, smallest=self.smallest, generator=generator)
        scale = class_temperatures(features, labels, ids, temperature=self.temperature)
        return {"subclasses": ids, "temperature": scale}

    def loss(self, batch: ContrastBatch) -> Tensor:
        ids = batch.of_samples("subclasses")
        if ids is None:
            return supcon_loss(*batch.z, labels=batch.labels, temperature=self.temperature)
        return sbcl_loss(
            *batch.z,
            labels=batch.labels,
            subclasses=ids,
            temperature=self.temperature,
            class_temperature=batch.of_samples("temperature"),
            beta=self.beta,
            class_term=self.class_term,
        )


class LearnedTemperature(nn.Module):
    """The logarithm of a temperature that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.zeros(()))


@dataclass(kw_only=True, eq=False)
class GML(KeyedRecipe):
    """Mutual information maximisation for long tails (Suh, Seo, ICML 2023), without distillation.

    The classifier's scale on the cosines is `model.temperature`; the paper's is 30. Both views are
    anchors, and the copy that makes the keys follows by a moving average. A batch's own keys count
    beside the full queue; the authors push them into it first.

    Args:
        floor: keys of each class in the queue besides its share of `queue_size`.
    """

    floor: Annotated[int, Within(0)] = 5
    has_rows = True
    ce_weight = 1.0
    adjusts_logits = True

    @property
    def supervised(self) -> bool:
        return True

    def make_extras(self, projection_dim: int) -> nn.Module:
        return LearnedTemperature()

    def kept(self, labels: Tensor, counts: Tensor) -> Tensor:
        return newest_of_each(labels, class_quotas(counts, self.limit(counts), self.floor))

    def loss(self, batch: ContrastBatch) -> Tensor:
        assert isinstance(batch.extras, LearnedTemperature), "made with the projector"
        assert batch.rows is not None, "asked for"
        log_temperature, rows = batch.extras.log_temperature, batch.rows
        return both_ways(
            batch,
            lambda z, keys: gml_loss(
                z,
                keys,
                labels=batch.labels,
                log_temperature=log_temperature,
                sample_ids=rows,
                queue=batch.memory["keys"],
                queue_labels=batch.memory["labels"],
                queue_sample_ids=batch.memory["rows"],
                class_log_prior=batch.log_prior,
            ),
        )


class FrequencyPrototypes(nn.Module):
    """Prototypes in the space of the projections, and how frequent each is."""

    frequencies: Tensor  # (prototypes,)

    def __init__(self, num: int, dim: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(num, dim))
        self.register_buffer("frequencies", torch.full((num,), 1.0 / num))


@dataclass(kw_only=True, eq=False)
class FASSL(ScaledRecipe):
    """Frequency-aware self-supervision after FASSL's idea; its formulas are reconstructed.

    In the first part of the session NT-Xent trains the network, and prototypes are trained with it.
    Then the prototypes stay fixed, and samples of rare prototypes weigh more. All defaults are
    ours; the temperature is NT-Xent's.

    Args:
        num_prototypes: `K`.
        prototype_temperature: of the assignment to prototypes.
        exponent: `gamma`; 0: all samples weigh alike.
        first_share: share of the session's epochs that belong to the first part.
        kept_frequency: share of the frequencies that a step keeps.
    """

    temperature: Annotated[float, Above(0)] = 0.5
    num_prototypes: Annotated[int, Within(2)] = 64
    prototype_temperature: Annotated[float, Above(0)] = 0.1
    exponent: Annotated[float, Within(0)] = 0.5
    first_share: Annotated[float, Within(0, 1)] = 0.5
    kept_frequency: Annotated[float, Within(0, 1)] = 0.99

    def make_extras(self, projection_dim: int) -> nn.Module:
        return FrequencyPrototypes(self.num_prototypes, projection_dim)

    def loss(self, batch: ContrastBatch) -> Tensor:
        own = batch.extras
        assert isinstance(own, FrequencyPrototypes), "made with the projector"
        first, second = (
            assignments(z.detach(), own.prototypes.detach(), temperature=self.prototype_temperature)
            for z in batch.z
        )
        assigned = (first + second) / 2
        if batch.progress >= self.first_share:
            weight = frequency_weights(assigned, own.frequencies, self.exponent)
            return fassl_loss(*batch.z, weight=weight, temperature=self.temperature)
        own.frequencies.lerp_(assigned.mean(dim=0), 1 - self.kept_frequency)
        learned = prototype_loss(*batch.z, own.prototypes, temperature=self.prototype_temperature)
        return nt_xent_loss(*batch.z, temperature=self.temperature) + learned
