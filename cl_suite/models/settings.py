"""The classifier's settings: the `--model.*` options of the command line and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from cl_suite.errors import UserError

FeatureDtype = Literal["float32", "float16", "bfloat16"]
PreprocessingChoice = Literal["auto", "backbone", "scenario"]
View = Literal["flip", "corners"]
MOST_PIXELS = 8192  # a side
MOST_RANKS = 2**16


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the classifier.

    Args:
        backbone: conv4, resnet20, melconv, identity, any timm name, clip:NAME or wav2vec2:NAME.
        backbone_args: further arguments of timm.create_model.
        head: cosine or linear; a strategy with its own head uses that instead.
        temperature: factor on the cosine; a linear head ignores it.
        pretrained: start from the published weights.
        weights: a .safetensors file to start from instead, or the folder of a finished run, whose
            backbone is used ({seed} is replaced by the run's seed); for CLIP and wav2vec2 the
            folder of a published model.
        frozen: do not train the backbone.
        trained_blocks: train only this many of the last blocks; null: all of them.
        lora_rank: rank of low-rank adapters; with adapters, no other part of the backbone is
            trained; 0: no adapters.
        lora_alpha: adapters are scaled by alpha / rank.
        lora_dropout: dropout on the adapters' input.
        lora_targets: layers that get an adapter, by the end of a name (qkv), by a pattern of the
            whole name (*.qkv), or all-linear; null: attention's query and value, else
            convolutions, else linear layers. trained_blocks limits them to the last blocks.
        preprocessing: scenario, backbone (the input size, mean and std it was trained with), or
            auto: the backbone's if it starts from published weights, a run's own if it starts from
            that run.
        image_size: pixels a side in the backbone's preprocessing; null: its own size.
        crop_fraction: side of the middle square in the backbone's preprocessing; 1: whole images.
        bank: compute the frozen part once for each image and keep the result on disk, without
            random augmentation; null: only if the whole backbone is frozen.
        bank_dtype: number format on disk.
        bank_views: further fixed views of the training images, flip or corners (four corners and
            the centre); one view is drawn each time.
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
        """Whether the feature bank computes frozen features once."""
        return self.frozen if self.bank is None else self.bank

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
        for name, most in (("image_size", MOST_PIXELS), ("lora_rank", MOST_RANKS)):
            if (getattr(self, name) or 0) > most:
                raise UserError(f"--model.{name} must be at most {most}, got {getattr(self, name)}")
        if not 0 < self.lora_alpha < math.inf:
            raise UserError(f"--model.lora_alpha must be above 0 and finite, got {self.lora_alpha}")
        if not 0 <= self.lora_dropout < 1:
            raise UserError(f"--model.lora_dropout must lie in [0, 1), got {self.lora_dropout}")
        if self.trained_blocks is not None and self.trained_blocks < 0:
            raise UserError(f"--model.trained_blocks must be 0 or more, got {self.trained_blocks}")
        if self.frozen and (self.lora_rank or self.trained_blocks):
            raise UserError(
                "--model.frozen trains no part of the backbone, so it contradicts "
                "--model.lora_rank and --model.trained_blocks; leave one of them out"
            )
        if self.bank and not self.frozen and self.trained_blocks is None:
            raise UserError(
                "--model.bank stores the output of the frozen part, but nothing is frozen; pass "
                "--model.frozen true, or --model.trained_blocks N to train the last N blocks"
            )
        if self.bank_views and not self.uses_bank:
            raise UserError("--model.bank_views needs the feature bank; pass --model.bank true too")
