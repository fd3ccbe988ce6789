"""A head that weighs the scores of other heads, its members."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cl_suite.models.heads.class_head import ClassHead, CosineHead


class FusedHead(CosineHead):
    """Weighted sum of its members' scores, `score_k(x) = sum_m a_m s_m(x)_k`.

    Members see the features as the backbone gives them. Until weights are set the score is the
    cosine to the head's own rows, so a network can be trained through it.

    Args:
        members: heads by name. Those with a weight must learn every class that the head learns.
        temperature: factor on the cosine before weights are set.
    """

    weights: Tensor

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        *,
        members: Mapping[str, ClassHead],
    ) -> None:
        super().__init__(dim, num_classes, temperature)
        self.members = nn.ModuleDict(dict(members))
        # one a member; empty before `set_weights`
        self.register_buffer("weights", torch.empty(0))

    @property
    def used(self) -> dict[str, float]:
        """The members that count, and their weights; empty before `set_weights`."""
        weights = zip(self.members, self.weights.tolist(), strict=False)
        return {name: weight for name, weight in weights if weight > 0}

    def member(self, name: str) -> ClassHead:
        """Return the member of this name."""
        found = self.members[name]
        assert isinstance(found, ClassHead)
        return found

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Set weights by name; members without one lose their tensors."""
        self.weights = self.weights.new_tensor([weights.get(name, 0.0) for name in self.members])
        for name in self.members:
            if name not in self.used:
                _empty(self.member(name))

    def keep_first(self, num_rows: int) -> None:
        super().keep_first(num_rows)
        for name in self.members:
            self.member(name).keep_first(num_rows)

    def widen(self, num_outputs: int) -> None:
        super().widen(num_outputs)
        for name in self.members:
            self.member(name).widen(self.num_outputs)

    def scores(self, features: Tensor) -> Tensor:
        if not self.weights.numel():
            return super().scores(features)
        parts = [
            weight * self.member(name)(features)[:, self.class_ids]
            for name, weight in self.used.items()
        ]
        return torch.stack(parts).sum(0)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in self.members:
            self.member(name).widen(self.num_outputs)


def _empty(head: ClassHead) -> None:
    """Drop a head's tensors; as a state is loaded, they take its sizes again."""
    head.keep_first(0)
    for module in head.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.new_empty((0,) * buffer.dim()))
