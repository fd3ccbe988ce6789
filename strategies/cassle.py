"""CaSSLe: self-supervised learning in sessions, with predictions of what the network once knew.

Fini, da Costa, Alameda-Pineda, Ricci, Alahari, Mairal, "Self-Supervised Models are Continual
Learners", CVPR 2022, arXiv 2112.04215, with contrastive losses (section 4). From the second session
on a frozen copy of network and projector stays as the last session left it. With `z` the network's
projections of the views of a batch, `f` the copy's, and a predictor `g`,

    L = L_SSL(z) + w (InfoNCE(g(z) -> f) + InfoNCE(f -> g(z))) / 2

`L_SSL` is the loss of `simclr` or of `moco`. Each InfoNCE tells a view's own row among those of all
views of the batch, at the temperature `distill_temperature`. So the network is free to move, as
long as what it knew can be computed from it. No label is used, no sample is kept.

Where `base` is moco, the predictor takes the network's projections at unit length, as in the
authors' program; the copy's past projections are in no queue.

Differences from the authors' code:
    - the predictor is made with the network, and trained from the second session on; theirs is made
      then. Its numbers are drawn apart, so the first session is that of `simclr` or `moco`, bit for
      bit;
    - queue, views, epochs and last batches are as in `moco` and `simclr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from cl_suite.losses.sycon import cassle_loss
from cl_suite.methods.self_supervised.plugin import (
    Embedded,
    MomentumParameters,
    PredictorParameters,
    SelfSupervisedPlugin,
)
from cl_suite.plugin import Within


@dataclass(kw_only=True, eq=False)
class CaSSLePlugin(MomentumParameters, PredictorParameters, SelfSupervisedPlugin):
    """Learn from views as `base` does, and predict what the network was before the session.

    Args:
        base: the self-supervised loss, simclr or moco.
        distill_weight: `w`; 0 leaves `base`.
        distill_temperature: of the predictions' loss.
        predictor_dim: width of the predictor's hidden layer.
        temperature, augmentation, projector_dim, projection_dim: see `SelfSupervisedPlugin`.
        queue_size, first_momentum, last_momentum: of moco, see `MoCoPlugin`.
    """

    base: Literal["simclr", "moco"] = "simclr"
    distill_weight: Annotated[float, Within(0)] = 1.0
    distill_temperature: Annotated[float, Within(1e-3)] = 0.2

    @property
    def has_momentum(self) -> bool:
        return self.base == "moco"

    @property
    def has_past(self) -> bool:
        return self.distill_weight > 0

    def loss(self, embedded: Embedded) -> Tensor:
        loss = super().loss(embedded)
        if embedded.past is None or embedded.predicted is None:
            return loss
        past1, past2 = embedded.past
        distilled = cassle_loss(
            *embedded.predicted, past1=past1, past2=past2, temperature=self.distill_temperature
        )
        return loss + self.distill_weight * distilled
