"""The losses that pretraining may use, by name, each with the settings of its paper.

Distillation from an earlier session (`sycon`) and losses of two modalities have no place in a first
session of one modality, so they have no recipe.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from cl_suite.errors import UserError, suggestion
from cl_suite.losses.ascl import Variant, ascl_loss
from cl_suite.losses.class_mean import class_mean_loss
from cl_suite.losses.cwcl import cwcl_loss
from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.decoupled_uniformity import decoupled_uniformity_loss
from cl_suite.losses.info_nce import clip_loss, info_nce_loss
from cl_suite.losses.kernel import Numerator
from cl_suite.losses.macl import macl_loss
from cl_suite.losses.moco import moco_loss
from cl_suite.losses.nonnegative import nonnegative
from cl_suite.losses.nspt import Denominator, nspt_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.contrastive.long_tails import FASSL, GML, SBCL
from cl_suite.methods.contrastive.recipe import (
    ContrastBatch,
    ContrastRecipe,
    KeyedRecipe,
    ScaledRecipe,
    both_ways,
)
from cl_suite.methods.contrastive.stages import MCL
from cl_suite.parameters import Above, Within, check_parameters

LossName = Literal[
    "supcon",
    "class_mean",
    "nspt",
    "sbcl",
    "gml",
    "nt_xent",
    "info_nce",
    "dcl",
    "macl",
    "moco",
    "ascl",
    "cwcl",
    "mcl",
    "nonnegative",
    "decoupled_uniformity",
    "fassl",
]


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
    """GML's contrastive term alone, with a fixed temperature and equal priors (see `gml`)."""

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

    The paper's teacher is the network of the last session, which a first session does not have.

    Args:
        denominator: see `nspt_loss`.
    """

    denominator: Denominator = "student_all"

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


@dataclass(kw_only=True, eq=False)
class NTXent(ScaledRecipe):
    """SimCLR's loss (Chen et al., ICML 2020), with its temperature for small images."""

    temperature: Annotated[float, Above(0)] = 0.5

    def loss(self, batch: ContrastBatch) -> Tensor:
        return nt_xent_loss(*batch.z, temperature=self.temperature)


@dataclass(kw_only=True, eq=False)
class InfoNCE(ScaledRecipe):
    """InfoNCE from the first view to the second, with CLIP's first temperature.

    Args:
        symmetric: CLIP's loss, the mean of both directions.
    """

    temperature: Annotated[float, Above(0)] = 0.07
    symmetric: bool = False

    def loss(self, batch: ContrastBatch) -> Tensor:
        chosen = clip_loss if self.symmetric else info_nce_loss
        return chosen(*batch.z, temperature=self.temperature)


@dataclass(kw_only=True, eq=False)
class DCL(ScaledRecipe):
    """Decoupled contrastive loss (Yeh et al., ECCV 2022).

    Args:
        weight_sigma: null, or DCLW with this sigma; the paper's is 0.5.
    """

    weight_sigma: Annotated[float, Above(0)] | None = None

    def loss(self, batch: ContrastBatch) -> Tensor:
        return dcl_loss(*batch.z, temperature=self.temperature, weight_sigma=self.weight_sigma)


@dataclass(kw_only=True, eq=False)
class MACL(ScaledRecipe):
    """Model-aware contrastive loss (Huang et al., ICML 2023).

    Args:
        alpha: how strongly the alignment changes the temperature.
        neutral_alignment: alignment at which it does not.
        reweight: weigh hard views more.
    """

    alpha: Annotated[float, Within(0, 1)] = 0.5
    neutral_alignment: Annotated[float, Within(0, 1)] = 0.0
    reweight: bool = True

    def loss(self, batch: ContrastBatch) -> Tensor:
        return macl_loss(
            *batch.z,
            temperature=self.temperature,
            alpha=self.alpha,
            neutral_alignment=self.neutral_alignment,
            reweight=self.reweight,
        )


@dataclass(kw_only=True, eq=False)
class MoCo(KeyedRecipe, ScaledRecipe):
    """MoCo v2 (He et al., CVPR 2020) with both views as queries and one queue.

    Args:
        hardest: negatives for each query, those with the largest cosine; null: all.
        false_negative_ceiling: leave out negatives with a larger cosine.
        use_labels: leave out negatives of the query's class.
    """

    temperature: Annotated[float, Above(0)] = 0.2
    hardest: Annotated[int, Within(1)] | None = None
    false_negative_ceiling: Annotated[float, Within(-1, 1)] | None = None
    use_labels: bool = False

    @property
    def supervised(self) -> bool:
        return self.use_labels

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: moco_loss(
                z,
                keys,
                queue=batch.memory["keys"],
                temperature=self.temperature,
                hardest=self.hardest,
                false_negative_ceiling=self.false_negative_ceiling,
                labels=batch.labels if self.use_labels else None,
                queue_labels=batch.memory["labels"],
            ),
        )


@dataclass(kw_only=True, eq=False)
class ASCL(KeyedRecipe, ScaledRecipe):
    """Adaptive soft contrastive learning (Feng, Patras, ICPR 2022).

    The paper's teacher sees a weakly augmented view; here it sees the other random view.

    Args:
        teacher_temperature: of the teacher's softmax over the queue.
        neighbours: queue rows that may count as positives.
        variant: see `ascl_loss`.
    """

    teacher_temperature: Annotated[float, Above(0)] = 0.05
    neighbours: Annotated[int, Within(0)] = 1
    variant: Variant = "soft"

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: ascl_loss(
                z,
                keys,
                queue=batch.memory["keys"],
                temperature=self.temperature,
                teacher_temperature=self.teacher_temperature,
                neighbours=self.neighbours,
                variant=self.variant,
            ),
        )


@dataclass(kw_only=True, eq=False)
class CWCL(ScaledRecipe):
    """Continuously weighted contrastive loss (Srinivasa et al., NeurIPS 2023).

    The paper's frozen network is a pretrained one of another modality. Here it is the network at
    the start of the session, which says little if that has random weights.

    Args:
        symmetric: average with InfoNCE from the second view to the first.
    """

    temperature: Annotated[float, Above(0)] = 0.07
    symmetric: bool = True
    has_frozen = True

    def loss(self, batch: ContrastBatch) -> Tensor:
        assert batch.frozen is not None, "asked for"
        return cwcl_loss(
            *batch.z,
            frozen=batch.frozen,
            temperature=self.temperature,
            symmetric=self.symmetric,
        )


@dataclass(kw_only=True, eq=False)
class Nonnegative(ScaledRecipe):
    """NT-Xent of non-negative projections (Wang et al., ICLR 2024).

    Args:
        mode: see `nonnegative`.
    """

    temperature: Annotated[float, Above(0)] = 0.2
    mode: Literal["relu", "rep_relu"] = "rep_relu"

    def loss(self, batch: ContrastBatch) -> Tensor:
        z1, z2 = (nonnegative(z, self.mode) for z in batch.z)
        return nt_xent_loss(z1, z2, temperature=self.temperature)


@dataclass(kw_only=True, eq=False)
class DecoupledUniformity(ContrastRecipe):
    """Decoupled uniformity (Dufumier et al., ICML 2023).

    Args:
        prior: kernel of prior knowledge: none, or whether two samples have the same label.
        ridge: a larger value trusts the kernel less.
    """

    prior: Literal["none", "labels"] = "none"
    ridge: Annotated[float, Above(0)] = 0.1

    @property
    def supervised(self) -> bool:
        return self.prior == "labels"

    def loss(self, batch: ContrastBatch) -> Tensor:
        known = batch.labels[:, None] == batch.labels if self.supervised else None
        return decoupled_uniformity_loss(*batch.z, prior=known, ridge=self.ridge)


RECIPES: Mapping[str, type[ContrastRecipe]] = {
    "supcon": SupCon,
    "class_mean": ClassMean,
    "nspt": NSPT,
    "sbcl": SBCL,
    "gml": GML,
    "nt_xent": NTXent,
    "info_nce": InfoNCE,
    "dcl": DCL,
    "macl": MACL,
    "moco": MoCo,
    "ascl": ASCL,
    "cwcl": CWCL,
    "mcl": MCL,
    "nonnegative": Nonnegative,
    "decoupled_uniformity": DecoupledUniformity,
    "fassl": FASSL,
}


def make_recipe(loss: str, params: Mapping[str, Any]) -> ContrastRecipe:
    """Return a loss with some of its settings changed.

    Raises:
        UserError: for an unknown setting, or a value out of its range.
    """
    cls = RECIPES[loss]
    known = list(inspect.signature(cls).parameters)
    for name in params:
        if name not in known:
            raise UserError(
                f"loss_params.{name} of loss '{loss}' is unknown{suggestion(name, known)}"
            )
    check_parameters(cls, params, "loss_params.")
    return cls(**params)
