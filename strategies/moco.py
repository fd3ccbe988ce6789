"""MoCo in each session: self-supervised fine-tuning, the baseline of CaSSLe and Sy-CON.

He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
CVPR 2020, arXiv 1911.05722, in the symmetric form called v2+. `q` is the unit projection of a view.
`k` is that of the other view, computed by a copy that follows the network as a moving average. A
queue holds the `k` of earlier batches:

    L = -log exp(q . k / t) / (exp(q . k / t) + sum over the queue of exp(q . n / t))

The loss is averaged over both views, and each view has its own queue. The share of itself that the
copy keeps in each step rises from `first_momentum` to `last_momentum` by half a cosine over a
session. Copy and queues persist from session to session; nothing else prevents forgetting.

Differences from the paper and from CaSSLe's and Sy-CON's programs:
    - a queue is empty at first, and the other samples' keys are the negatives of its first batch;
      theirs begins with random unit rows;
    - 4096 keys, not 65536, to keep CPU time and checkpoints small: the loss works with any
      number, and a session of the packaged streams has far fewer samples;
    - the copy has the network's BatchNorm statistics, which are used only in eval mode;
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
    """Match each view to the momentum copy's key of the other view, against a queue of keys.

    Args:
        queue_size: keys kept for each view.
        first_momentum: share of itself that the copy keeps in a session's first step.
        last_momentum: the same share in a session's last step.
    """

    has_momentum = True  # type: ignore[assignment]  # a property of the base
