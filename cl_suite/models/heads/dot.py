"""A head that scores by plain dot products."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.class_head import ClassHead


class DotHead(ClassHead):
    """Linear classifier without a bias: `logit_k(x) = w_k x`; longer rows score higher."""

    def scores(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)
