"""Losses of the two views of a batch, without labels: NT-Xent and its kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from cl_suite.losses.cwcl import cwcl_loss
from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.decoupled_uniformity import decoupled_uniformity_loss
from cl_suite.losses.info_nce import clip_loss, info_nce_loss
from cl_suite.losses.macl import macl_loss
from cl_suite.losses.nonnegative import nonnegative
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.methods.contrastive.recipe import ContrastBatch, ContrastRecipe, ScaledRecipe
from cl_suite.parameters import Above, Within


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
