"""MoCo in each session: self-supervised fine-tuning, the baseline of CaSSLe and Sy-CON.

He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
CVPR 2020, arXiv 1911.05722, in the symmetric form called v2+. With the unit projections `q` of a
view, `k` of the other view by a copy that follows the network as a moving average, and a queue of
such `k` of earlier batches,

    L = -log exp(q . k / t) / (exp(q . k / t) + sum over the queue of exp(q . n / t))

averaged over both views, each of which has a queue of its own. The copy keeps a share of itself in
each step that rises from `first_momentum` to `last_momentum` by half a cosine over a session. Copy
and queues are carried on from session to session; nothing else stands against forgetting.

Differences from the paper and from CaSSLe's and Sy-CON's programs:
    - a queue is empty at first, and for its first batch the other samples' keys are the negatives;
      theirs begins with random unit rows;
    - 4096 keys, not 65536, so that a CPU and checkpoints carry them easily: the loss works with any
      number, and a session of the packaged streams has far fewer samples;
    - statistics of BatchNorm in the copy are the network's, and are used in eval mode alone;
    - views, epochs and last batches are as in `simclr`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.methods.self_supervised.plugin import (
    MomentumParameters,
    SelfSupervisedPlugin,
)


@dataclass(kw_only=True, eq=False)
class MoCoPlugin(MomentumParameters, SelfSupervisedPlugin):
    """Tell a view by the momentum copy's projection of the other one, among those of a queue.

    Args:
        temperature, augmentation, projector_dim, projection_dim: see `SelfSupervisedPlugin`.
        queue_size: keys kept for each view.
        first_momentum: what the copy keeps of itself in a session's first step.
        last_momentum: and in its last.
    """

    has_momentum = True  # type: ignore[assignment]  # a property of the base
