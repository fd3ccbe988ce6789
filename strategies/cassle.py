"""CaSSLe: self-supervised learning in sessions, where the network predicts its own past features.

Fini, da Costa, Alameda-Pineda, Ricci, Alahari, Mairal, "Self-Supervised Models are Continual
Learners", CVPR 2022, arXiv 2112.04215, with contrastive losses (section 4). From the second session
on, a frozen copy of network and projector holds the state after the last session. With `z` the
network's projections of the views of a batch, `f` the copy's, and a predictor `g`,

    L = L_SSL(z) + w (InfoNCE(g(z) -> f) + InfoNCE(f -> g(z))) / 2

`L_SSL` is the loss of `simclr` or of `moco`. Each InfoNCE identifies a view's own row among those
of all views of the batch, at the temperature `distill_temperature`. The network may therefore
change, as long as its past features can be computed from the new ones. The method uses no labels
and keeps no samples.

If `base` is moco, the predictor reads the network's projections at unit length, as in the authors'
program. The copy's projections enter no queue.

Differences from the authors' code:
    - The predictor is created with the network and trained from the second session on; theirs is
      created then. Its initial weights have their own random draw, so the first session equals that
      of `simclr` or `moco`, bit for bit.
    - Queue, views, epochs and last batches are as in `moco` and `simclr`.
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
    """Learn from views as `base` does, and predict the features from before the session.

    Args:
        base: the self-supervised loss, simclr or moco.
        distill_weight: `w`; 0 gives plain `base`.
        distill_temperature: temperature of the two InfoNCE terms.
        predictor_dim: width of the predictor's hidden layer.
        queue_size: if base is moco, projections of earlier batches kept as negatives, for each
            view.
        first_momentum, last_momentum: if base is moco, share of the momentum copy kept in a
            session's first step and in its last one.
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
