"""A head whose rows are text embeddings of class names, so a new class adds no parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.class_head import ClassHead

Live = Callable[[], tuple[list[int], Tensor]]


class TextHead(ClassHead):
    """CLIP's classifier: `logit_k(x) = s cos(x, t_k)` with `t_k` the embedding of class k's name.

    The stored rows are plain numbers, so scoring needs neither names nor the text tower.

    Args:
        scale: `s`, 100 in CLIP; it never changes the prediction.

    Attributes:
        live: function that recomputes class ids and their rows `(num_live, dim)` in each training
            step, so gradients reach their source. If set, training scores only these classes; the
            others' columns are minus infinity. It is not saved.
    """

    live: Live | None

    def __init__(self, dim: int, num_classes: int = 0, scale: float = 100.0) -> None:
        super().__init__(dim, num_classes)
        self.scale = scale
        self.live = None
        self.weight.requires_grad_(False)

    def scores(self, features: Tensor) -> Tensor:
        return self._scaled_cosine(features, self.weight)

    def forward(self, features: Tensor) -> Tensor:
        if self.live is None or not self.training:
            return super().forward(features)
        class_ids, rows = self.live()
        scores = self._scaled_cosine(features, rows)
        logits = scores.new_full((len(features), self.num_outputs), -math.inf)
        return logits.index_copy(1, self.class_ids.new_tensor(class_ids), scores)

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        new = super().grow(class_ids)
        self.weight.requires_grad_(False)
        return new

    def keep_first(self, num_rows: int) -> None:
        super().keep_first(num_rows)
        self.weight.requires_grad_(False)

    def _scaled_cosine(self, features: Tensor, rows: Tensor) -> Tensor:
        # in full precision: times 100, bfloat16 resolves cosines in steps of 0.005 at best
        with torch.autocast(features.device.type, enabled=False):
            dtype = torch.promote_types(rows.dtype, torch.float32)
            return self.scale * F.linear(
                F.normalize(features.to(dtype)), F.normalize(rows.to(dtype))
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.weight.requires_grad_(False)
