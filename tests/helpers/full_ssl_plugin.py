"""A self-supervised plugin that has every part a method may ask for."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from cl_suite.methods.self_supervised.plugin import Embedded, SelfSupervisedPlugin


class Everything(SelfSupervisedPlugin):
    """Has both copies, all queues and the predictor; parts can be left out."""

    predictor_dim = 16
    queue_size = 20
    first_momentum = 0.9
    last_momentum = 0.99

    def __init__(self, *, copies: str = "momentum past") -> None:
        super().__init__(projector_dim=16, projection_dim=8)
        self.copies = copies
        self.seen: list[Embedded] = []

    @property
    def has_momentum(self) -> bool:
        return "momentum" in self.copies

    @property
    def has_past(self) -> bool:
        return "past" in self.copies

    @property
    def queued(self) -> tuple[Literal["keys", "past"], ...]:
        return ("keys", "past") if self.copies == "momentum past" else super().queued

    def loss(self, embedded: Embedded) -> Tensor:
        self.seen.append(embedded)
        loss = super().loss(embedded)
        if embedded.past is not None and embedded.predicted is not None:
            for predicted, past in zip(embedded.predicted, embedded.past, strict=True):
                loss = loss + (predicted - past).square().sum()
        return loss
