"""Losses whose positives are samples of one class: SupCon and its kin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cl_suite.losses.class_mean import class_mean_loss
from cl_suite.losses.kernel import Numerator
from cl_suite.losses.nspt import Denominator, nspt_loss
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.contrastive.recipe import (
    ContrastBatch,
    KeyedRecipe,
    ScaledRecipe,
    both_ways,
)


@dataclass(kw_only=True, eq=False)
class SupCon(ScaledRecipe):
    """SupCon (Khosla et al., NeurIPS 2020).

    Args:
        numerator: "mean" is the paper's `L_out`, "logsumexp" its `L_in`.
        decoupled: leave all rows of the anchor's class out of the denominator.
    """

    numerator: Numerator = "mean"
    decoupled: bool = False

    @property
    def supervised(self) -> bool:
        return True

    def loss(self, batch: ContrastBatch) -> Tensor:
        return supcon_loss(
            *batch.z,
            labels=batch.labels,
            temperature=self.temperature,
            numerator=self.numerator,
            decoupled=self.decoupled,
        )


@dataclass(kw_only=True, eq=False)
class ClassMean(KeyedRecipe, ScaledRecipe):
    """GML's contrastive term alone, with a fixed temperature and equal priors (see `gml`).

    The paper learns the temperature from 1 on; the fixed 0.1 is ours, that of SupCon.
    """

    @property
    def supervised(self) -> bool:
        return True

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: class_mean_loss(
                z,
                keys,
                labels=batch.labels,
                queue=batch.memory["keys"],
                queue_labels=batch.memory["labels"],
                temperature=self.temperature,
            ),
        )


@dataclass(kw_only=True, eq=False)
class NSPT(KeyedRecipe, ScaledRecipe):
    """COCONUT's distillation (ACL 2024) with the momentum copy as teacher, all samples as anchors.

    The paper's teacher is the network of the last session, which a first session does not have. As
    in the paper, a cross-entropy is added. The distillation alone leaves random features unordered,
    because its denominator pushes views of one class apart too.

    Args:
        denominator: see `nspt_loss`.
    """

    denominator: Denominator = "student_all"
    ce_weight = 1.0

    @property
    def supervised(self) -> bool:
        return True

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: nspt_loss(
                z,
                keys,
                labels=batch.labels,
                rehearsal=torch.zeros_like(batch.labels),
                anchors="all",
                denominator=self.denominator,
                temperature=self.temperature,
            ),
        )
