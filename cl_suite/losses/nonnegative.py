"""Non-negative contrastive learning (Wang et al., ICLR 2024, arXiv 2403.12459).

Embeddings are made non-negative, then passed to any loss of this package, which normalises them:
`nt_xent_loss(nonnegative(z1), nonnegative(z2))`. Features become sparse, and each dimension stands
for a cluster. The similarity of two rows is then in [0, 1], so NT-Xent is at least
`log(1 + (2 batch - 2) exp(-1 / t))`.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def nonnegative(z: Tensor, mode: Literal["relu", "rep_relu"] = "rep_relu") -> Tensor:
    """Return the positive part of each number.

    Args:
        z: embeddings of any shape.
        mode: "relu", or "rep_relu", which has the gradient of GELU, so dead entries can revive.
    """
    if mode not in ("relu", "rep_relu"):
        raise ValueError(f"mode must be relu or rep_relu, got {mode!r}")
    positive = F.relu(z)
    if mode == "relu":
        return positive
    smooth = F.gelu(z)
    # the difference of the two equal numbers is exactly 0
    return positive.detach() + (smooth - smooth.detach())
