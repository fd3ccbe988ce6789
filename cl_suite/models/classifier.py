"""A classifier: backbone and head, and the settings it is built from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.features.bank_store import FeatureDtype
from cl_suite.features.compute import tensor_digest
from cl_suite.models.adapters import LoRASettings, add_lora, count_parameters
from cl_suite.models.backbones import Backbone, create_backbone
from cl_suite.models.heads.class_head import ClassHead, CosineHead, LinearHead
from cl_suite.models.preprocessing import PreprocessingChoice
from cl_suite.models.weights_files import run_settings

View = Literal["flip", "corners"]


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the classifier.

    Args:
        backbone: conv4, resnet20, melconv, identity, any timm name, clip:NAME or wav2vec2:NAME.
        backbone_args: further arguments of timm.create_model.
        head: cosine or linear; a strategy with a head of its own takes that.
        temperature: factor on the cosine, unused by a linear head.
        pretrained: start from the published weights.
        weights: a .safetensors file to start from instead, or the folder of a finished run, of
            which the backbone is taken ({seed} in it is the run's own seed); for CLIP and wav2vec2
            the folder of a published model.
        frozen: keep the backbone as it is.
        trained_blocks: train only so many of the last blocks; null: all of them.
        lora_rank: rank of low-rank adapters, which then are all of the backbone that is trained;
            0: none.
        lora_alpha: adapters are scaled by alpha / rank.
        lora_dropout: dropout on the adapters' input.
        lora_targets: name patterns of the layers that get one; null: attention's query and value,
            else convolutions, else linear layers. trained_blocks limits them to the last blocks.
        preprocessing: scenario's, backbone's (input size, mean and std that it was trained with),
            or auto: the backbone's where it starts from published weights, and a run's own where
            it starts from that run's.
        image_size: pixels a side in the backbone's preprocessing; null: its own.
        crop_fraction: side of the middle square in the backbone's preprocessing; 1: whole images.
        bank: compute what is frozen once for each image and keep it on disk, without random
            augmentation; null: where the whole backbone is frozen.
        bank_dtype: of the numbers on disk.
        bank_views: further fixed views of the training images, flip or corners (four corners and
            the centre), of which one is drawn each time.
    """

    backbone: str = "conv4"
    backbone_args: dict[str, Any] = field(default_factory=dict)
    head: Literal["cosine", "linear"] = "cosine"
    temperature: float = 16.0
    pretrained: bool = False
    weights: str | None = None
    frozen: bool = False
    trained_blocks: int | None = None
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.1
    lora_targets: list[str] | None = None
    preprocessing: PreprocessingChoice = "auto"
    image_size: int | None = None
    crop_fraction: float = 1.0
    bank: bool | None = None
    bank_dtype: FeatureDtype = "float32"
    bank_views: list[View] = field(default_factory=list)

    @property
    def uses_bank(self) -> bool:
        """Whether frozen features are computed once."""
        return self.frozen if self.bank is None else self.bank

    @property
    def uses_backbone_preprocessing(self) -> bool:
        """Whether images are prepared as the backbone was trained with them, if it says how."""
        if self.preprocessing == "auto":
            followed = None if self.weights is None else run_settings(Path(self.weights))
            if followed is not None:
                return ModelConfig(**followed).uses_backbone_preprocessing
            return self.pretrained or self.weights is not None
        return self.preprocessing == "backbone"

    def check(self) -> None:
        """Raise `UserError` for a value out of range or a contradiction."""
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"--model.temperature must be above 0 and finite, got {self.temperature}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"--model.crop_fraction must lie in (0, 1], got {self.crop_fraction}")
        if self.image_size is not None and self.image_size < 1:
            raise UserError(f"--model.image_size must be at least 1, got {self.image_size}")
        if self.lora_rank < 0:
            raise UserError(f"--model.lora_rank must be 0 or more, got {self.lora_rank}")
        if self.frozen and (self.lora_rank or self.trained_blocks):
            raise UserError(
                "--model.frozen keeps the whole backbone as it is, so it contradicts "
                "--model.lora_rank and --model.trained_blocks; leave one of them out"
            )
        if self.bank and not self.frozen and self.trained_blocks is None:
            raise UserError(
                "--model.bank keeps what a frozen part computes, and nothing is frozen; pass "
                "--model.frozen true, or --model.trained_blocks N to train the last N blocks"
            )
        if self.bank_views and not self.uses_bank:
            raise UserError("--model.bank_views are views in the bank; pass --model.bank true too")


class Preparer(Protocol):
    """What a strategy may do to a classifier before anything is trained."""

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead | None: ...

    def prepare_model(self, model: nn.Module) -> None: ...


class Classifier(nn.Module):
    """`forward(x)` gives logits over class ids, `features(x)` the embedding `(batch, dim)`."""

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
        """Return how many parameters are trained, and how many there are, the head's aside."""
        return count_parameters(self.backbone)

    def remember_published(self) -> None:
        """Note the frozen tensors' contents, so that what never changes need not be saved.

        Only where the backbone starts from published weights: random ones cannot be had again.
        """
        if self.backbone.weights is not None:
            self._published = {
                name: tensor_digest(tensor) for name, tensor in self._frozen_tensors()
            }

    def trained_state(self) -> dict[str, Tensor]:
        """Return the state without the tensors that still are as published."""
        state = dict(self.state_dict())
        for name, tensor in self._frozen_tensors():
            known = self._published.get(name)
            # where features come in finished, nothing can have changed what made them
            if known and (self.backbone.is_passed_by or tensor_digest(tensor) == known):
                del state[name]
        return state

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trained_state` returned into a classifier of the same settings.

        Raises:
            ValueError: if a tensor is missing that is not as published, or one does not belong.
        """
        missing, unexpected = self.load_state_dict(state, strict=False)
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
) -> Classifier:
    """Return the classifier of these settings, with no class learned yet.

    Args:
        input_shape: shape of one transformed sample.
        num_classes: columns of the output; grows by itself where left at 0.
        strategy: a plugin that may bring a head and prepare the network (see `Preparer`).

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
        trained_blocks=config.trained_blocks,
        arguments=config.backbone_args,
    )
    if config.lora_rank:
        add_lora(backbone.body, _lora_settings(config))
    classifier = Classifier(backbone, _head(config, backbone.dim, num_classes, strategy))
    if len(input_shape) == 3:
        # convolutions of small images run markedly faster in this order, on CPU and GPU alike
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
