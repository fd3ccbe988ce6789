"""A network of Avalanche's kind, whose classifier grows with the classes."""

from __future__ import annotations

from torch import Tensor, nn


class GrowingNetwork(nn.Module):
    """One hidden layer on 16 x 16 pixels, and Avalanche's `IncrementalClassifier`."""

    def __init__(self) -> None:
        from avalanche.models import IncrementalClassifier

        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = IncrementalClassifier(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(x))
        return logits
