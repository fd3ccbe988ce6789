"""Sy-CON: self-supervised learning in sessions, with shared negatives for the old and new network.

Cha, Moon, "Sy-CON: Symmetric Contrastive Loss for Continual Self-Supervised Representation
Learning", arXiv 2306.05101 (2023); later Cha, Cho, Moon, "Regularizing with Pseudo-Negatives for
Continual Self-Supervised Learning", ICML 2024, of which it is the InfoNCE case. From the second
session on, a frozen copy keeps network and projector as the last session left them. With unit rows
`z` of the network, `f` of the copy and `p` of a predictor on `z`, the losses of a view are

    L1 = InfoNCE(z -> the other view's key)   plasticity, in place of the loss of `simclr` or `moco`
    L2 = InfoNCE(p -> its own f)              stability
    L = L1 + L2

L1 and L2 share their negatives, the network's and the copy's together. In the form "simclr" the
key is the other view's `z`, and all other views of the batch are negatives. There the positive of
L2 is not in its own denominator, as in the authors' code, so the loss can be negative; with
`l2_include_positive` it is, as in the form "moco" and in any InfoNCE. In the form "moco" the
key is the momentum copy's, and the negatives are two queues for each view, one of its keys and one
of its `f`. The first session is that of `simclr` or `moco`. No label is used and no sample kept.

Differences from the authors' code:
    - the queue of `f` is empty when the second session begins; theirs has random unit rows;
    - the predictor is made with the network, from its own random numbers, and trained from the
      second session on; theirs is made in the second session;
    - queue size, views, epochs and last batches are as in `moco` and `simclr`;
    - the later paper's forms without negatives (BYOL, Barlow Twins, VICReg) are not implemented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from cl_suite.losses.sycon import sycon_loss, sycon_moco_loss
from cl_suite.methods.self_supervised.plugin import (
    Embedded,
    MomentumParameters,
    Pair,
    PredictorParameters,
    Queued,
    SelfSupervisedPlugin,
)


@dataclass(kw_only=True, eq=False)
class SyCONPlugin(MomentumParameters, PredictorParameters, SelfSupervisedPlugin):
    """Contrast views with new and old embeddings, and predict the previous network's embeddings.

    Args:
        form: form of the losses, simclr or moco.
        l2_include_positive: in the form "simclr", keep the positive of L2 in its denominator; the
            authors' program does not.
        detach_negatives: in the form "simclr", push predictions away from embeddings, but not
            embeddings from predictions; the authors' program does both.
        predictor_dim: width of the predictor's hidden layer.
        queue_size: in the form "moco", projections of earlier batches kept as negatives, for each
            view; the queues of the past have the same size.
        first_momentum, last_momentum: in the form "moco", share of the momentum copy kept in a
            session's first step and in its last one.
    """

    form: Literal["moco", "simclr"] = "moco"
    l2_include_positive: bool = False
    detach_negatives: bool = False

    has_past = True  # type: ignore[assignment]  # a property of the base

    @property
    def has_momentum(self) -> bool:
        return self.form == "moco"

    @property
    def queued(self) -> tuple[Queued, ...]:
        return ("keys", "past") if self.has_momentum else ()

    def loss(self, embedded: Embedded) -> Tensor:
        if embedded.past is None or embedded.predicted is None:
            return super().loss(embedded)
        (predicted1, predicted2), (past1, past2) = embedded.predicted, embedded.past
        if embedded.keys is None:
            return sycon_loss(
                *embedded.z,
                predicted1=predicted1,
                predicted2=predicted2,
                past1=past1,
                past2=past2,
                temperature=self.temperature,
                l2_include_positive=self.l2_include_positive,
                detach_negatives=self.detach_negatives,
            )
        (z1, z2), (keys1, keys2) = embedded.z, embedded.keys
        forth = self._one_way((z1, predicted1), (keys2, past1), 2)
        return (forth + self._one_way((z2, predicted2), (keys1, past2), 1)) / 2

    def _one_way(self, queries: Pair, targets: Pair, view: Literal[1, 2]) -> Tensor:
        """Return `L1 + L2` of one view; the queues are those of the other one, `view`."""
        return sycon_moco_loss(
            queries[0],
            targets[0],
            predicted1=queries[1],
            past1=targets[1],
            queue=self.queue("keys", view),
            past_queue=self.queue("past", view),
            temperature=self.temperature,
        )
