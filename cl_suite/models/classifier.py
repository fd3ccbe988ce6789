"""A classifier: backbone and head, and the settings it is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.models.adapters import LoRASettings, add_lora, count_parameters
from cl_suite.models.backbones import Backbone, create_backbone
from cl_suite.models.digest import tensor_digest
from cl_suite.models.heads.class_head import ClassHead, CosineHead, LinearHead
from cl_suite.models.settings import ModelConfig


class Classifier(nn.Module):
    """Backbone and head: `forward(x)` gives logits over class ids, `features(x)` the embedding."""

    def __init__(self, backbone: Backbone, head: ClassHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._published: dict[str, bytes] = {}

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

    def num_parameters(self) -> tuple[int, int]:
        """Return the number of trained parameters and of all parameters, without the head's."""
        return count_parameters(self.backbone)

    def remember_published(self) -> None:
        """Note digests of the frozen tensors, so tensors that never change need not be saved.

        Only if the backbone starts from published weights: random ones cannot be loaded again.
        """
        if self.backbone.weights is not None:
            self._published = {
                name: tensor_digest(tensor) for name, tensor in self._frozen_tensors()
            }

    def trained_state(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the state without the tensors that are still as published.

        Args:
            prefix: of the names to return, such as "backbone.".
        """
        state = {name: t for name, t in self.state_dict().items() if name.startswith(prefix)}
        for name, tensor in self._frozen_tensors():
            known = self._published.get(name)
            # if inputs are finished features, the body is never run, so it cannot have changed
            if known and (self.backbone.is_passed_by or tensor_digest(tensor) == known):
                del state[name]
        return state

    def load_trained_state(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Load the result of `trained_state` into a classifier with the same settings.

        Args:
            prefix: as the state was made with; other tensors stay.

        Raises:
            ValueError: if an unpublished tensor is missing, or an extra one is present.
        """
        missing, unexpected = self.load_state_dict(state, strict=False)
        missing = [name for name in missing if name.startswith(prefix)]
        if wrong := [name for name in missing if name not in self._published] + unexpected:
            raise ValueError(f"tensor '{wrong[0]}' is missing in the state, or does not belong")

    def _frozen_tensors(self) -> list[tuple[str, Tensor]]:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        return [
            (name, tensor)
            for name, tensor in self.state_dict().items()
            if name.startswith("backbone.") and name not in trained
        ]


def build_classifier(
    config: ModelConfig,
    input_shape: tuple[int, ...],
    num_classes: int = 0,
    strategy: Any = None,
    *,
    start: Mapping[str, Tensor] | None = None,
) -> Classifier:
    """Return the classifier of these settings, with no class learned yet.

    Args:
        input_shape: shape of one transformed sample.
        num_classes: columns of the output; it grows if more classes are learned.
        strategy: a plugin that may supply a head and prepare the network (`make_head`,
            `prepare_model`).
        start: the backbone's tensors, if `config.weights` names a run (see
            `cl_suite.runs.saved_model.starting_state`).

    Raises:
        UserError: see `create_backbone`.
    """
    backbone = create_backbone(
        config.backbone,
        input_shape,
        pretrained=config.pretrained,
        weights=config.weights,
        frozen=config.frozen,
        mirrored=config.mirrored,
        beside=config.beside,
        beside_weights=config.beside_weights,
        trained_blocks=config.learning_blocks,
        adapter=config.adapter,
        arguments=config.backbone_args,
        start=start,
    )
    if config.lora_rank:
        add_lora(backbone.body, _lora_settings(config))
    classifier = Classifier(backbone, _head(config, backbone.dim, num_classes, strategy))
    if len(input_shape) == 3:
        # convolutions of small images run markedly faster in this order, on both CPU and GPU
        classifier = classifier.to(memory_format=torch.channels_last)
    if hasattr(strategy, "prepare_model"):
        strategy.prepare_model(classifier)
    classifier.remember_published()
    return classifier


def _lora_settings(config: ModelConfig) -> LoRASettings:
    return LoRASettings(
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        targets=None if config.lora_targets is None else tuple(config.lora_targets),
        start=-config.trained_blocks if config.trained_blocks else 0,
    )


def _head(config: ModelConfig, dim: int, num_classes: int, strategy: Any) -> ClassHead:
    if hasattr(strategy, "make_head"):
        own: ClassHead | None = strategy.make_head(dim, num_classes, config.temperature)
        if own is not None:
            return own
    if config.head == "cosine":
        return CosineHead(dim, num_classes, config.temperature)
    return LinearHead(dim, num_classes)
