"""A cosine head that can favour some classes by a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.heads.feature_transform import FeatureTransform


class OffsetCosineHead(CosineHead):
    """Cosine classifier with an offset a class: `logit_k(x) = T (cos(x, w_k) + o_k)`."""

    offsets: Tensor
    row_tensors: ClassVar[tuple[str, ...]] = ("offsets",)

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
    ) -> None:
        super().__init__(dim, num_classes, temperature, transform)
        self.register_buffer("offsets", torch.empty(0))

    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features) + self.temperature * self.offsets

    def set_offset(self, class_ids: Sequence[int], offset: float | Tensor) -> None:
        """Favour these learned classes by `offset`, one or `(num,)`, in units of the cosine."""
        self.offsets[self.index(class_ids)] = torch.as_tensor(offset).to(self.offsets)
