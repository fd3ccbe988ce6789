"""A classifier: backbone and head, and the settings it is built from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.models.backbones import Backbone, create_backbone
from cl_suite.models.heads import ClassHead, CosineHead, LinearHead


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the classifier.

    Args:
        backbone: conv4, resnet20, identity, or any timm name.
        head: cosine or linear.
        temperature: factor on the cosine, unused by a linear head.
        pretrained: start from timm's published weights.
        weights: a .safetensors file to start from instead.
        frozen: keep the backbone as it is.
    """

    backbone: str = "conv4"
    head: Literal["cosine", "linear"] = "cosine"
    temperature: float = 16.0
    pretrained: bool = False
    weights: str | None = None
    frozen: bool = False

    def check(self) -> None:
        """Raise `UserError` for a value out of range."""
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"--model.temperature must be above 0 and finite, got {self.temperature}"
            )


class Classifier(nn.Module):
    """`forward(x)` gives logits over class ids, `features(x)` the embedding `(batch, dim)`."""

    def __init__(self, backbone: Backbone, head: ClassHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def feature_dim(self) -> int:
        """Width of the embedding."""
        return self.backbone.dim

    def features(self, x: Tensor) -> Tensor:
        """Return the embedding `(batch, dim)`."""
        features: Tensor = self.backbone(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def build_classifier(
    config: ModelConfig, input_shape: tuple[int, ...], num_classes: int = 0
) -> Classifier:
    """Return the classifier of these settings, with no class learned yet.

    Args:
        input_shape: shape of one transformed sample.
        num_classes: columns of the output; grows by itself where left at 0.

    Raises:
        UserError: see `create_backbone`.
    """
    config.check()
    backbone = create_backbone(
        config.backbone,
        input_shape,
        pretrained=config.pretrained,
        weights=config.weights,
        frozen=config.frozen,
    )
    head: ClassHead
    if config.head == "cosine":
        head = CosineHead(backbone.dim, num_classes, config.temperature)
    else:
        head = LinearHead(backbone.dim, num_classes)
    classifier = Classifier(backbone, head)
    if len(input_shape) == 3:
        # convolutions of small images run markedly faster in this order, on CPU and GPU alike
        classifier = classifier.to(memory_format=torch.channels_last)
    return classifier
