"""The classifier's settings: the `--model.*` options of the command line and their checks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from cl_suite.errors import UserError, option
from cl_suite.parameters import Above, Parameters, Within

FeatureDtype = Literal["float32", "float16", "bfloat16"]
PreprocessingChoice = Literal["auto", "backbone", "scenario"]
FIXED_VIEWS = ("flip", "corners")
ADAPTER = re.compile(r"mlp:[1-9][0-9]{0,4}(,[1-9][0-9]{0,4}){0,7}")
DRAWN_VIEWS = re.compile(r"(?P<kind>random|simclr):(?P<num>[1-9][0-9]?)")


@dataclass(frozen=True)
class ModelConfig(Parameters):
    """Settings of the classifier.

    Args:
        backbone: conv4, resnet20, melconv, identity, any timm name, clip:NAME, wav2vec2:NAME or
            whisper:NAME.
        backbone_args: further arguments of timm.create_model.
        head: cosine or linear; a strategy with its own head uses that instead.
        temperature: factor on the cosine; a linear head ignores it.
        pretrained: start from the published weights.
        weights: a .safetensors file to start from instead, or the folder of a finished run, whose
            backbone is used ({seed} is replaced by the run's seed); for CLIP, wav2vec2
            and Whisper the folder of a published model.
        frozen: do not train the backbone.
        mirrored: average the features of each image and of its mirror image, for a frozen backbone.
        beside: a second pretrained network of timm, whose features stand beside the first one's; it
            sees the images in the first one's size. For a frozen backbone of timm.
        beside_weights: its .safetensors file; null: its published weights.
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
            random augmentation; null: only if the whole backbone is frozen, or has an adapter.
        bank_dtype: number format on disk; with bfloat16 features are computed in it too.
        bank_views: further views of the training images in the bank, of which one is drawn each
            time: flip, corners (four corners and the centre), random:8 (eight draws of the
            scenario's random augmentation for each image) or simclr:8 (of SimCLR's). The draws
            depend on the image alone, so runs of all seeds share them.
        adapter: a small network that is trained on the features of the frozen backbone, such as
            mlp:256,128 (linear layers of these widths with ReLU between them); null: none.
    """

    _option_prefix = "model."

    backbone: str = "conv4"
    backbone_args: dict[str, Any] = field(default_factory=dict)
    head: Literal["cosine", "linear"] = "cosine"
    temperature: Annotated[float, Above(0)] = 16.0
    pretrained: bool = False
    weights: str | None = None
    frozen: bool = False
    mirrored: bool = False
    beside: str | None = None
    beside_weights: str | None = None
    trained_blocks: Annotated[int, Within(0)] | None = None
    lora_rank: Annotated[int, Within(0), Within(high=2**16)] = 0
    lora_alpha: Annotated[float, Above(0)] = 16.0
    lora_dropout: Annotated[float, Within(0, 1, open_end=True)] = 0.1
    lora_targets: list[str] | None = None
    preprocessing: PreprocessingChoice = "auto"
    image_size: Annotated[int, Within(1), Within(high=8192)] | None = None
    crop_fraction: Annotated[float, Above(0, 1)] = 1.0
    bank: bool | None = None
    bank_dtype: FeatureDtype = "float32"
    bank_views: list[str] = field(default_factory=list)
    adapter: str | None = None

    @property
    def uses_bank(self) -> bool:
        """Whether the feature bank computes frozen features once."""
        if self.bank is None:
            return self.frozen or self.adapter is not None
        return self.bank

    @property
    def learning_blocks(self) -> int | None:
        """Number of the last blocks that are trained, of which an adapter is one; None: all."""
        return self.trained_blocks if self.adapter is None else 1

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its one or two networks."""
        return (self.backbone,) if self.beside is None else (self.backbone, self.beside)

    @property
    def sources(self) -> str:
        """Where pretrained weights come from, in words."""
        files = (self.weights, self.beside_weights)
        named = zip(self.networks, files, strict=False)
        return " and ".join(file or f"published for '{name}'" for name, file in named)

    def without_files(self) -> ModelConfig:
        """Return the settings of this network where all of its tensors are kept."""
        return replace(self, pretrained=False, weights=None, beside_weights=None)

    def check(self) -> None:
        """Raise `UserError` for settings that contradict each other."""
        if self.frozen and (self.lora_rank or self.trained_blocks):
            raise UserError(
                f"{option('model.frozen')} trains no part of the backbone, so it contradicts "
                f"{option('model.lora_rank')} and {option('model.trained_blocks')}; leave one of "
                "them out"
            )
        self._check_adapter()
        self._check_mirrored()
        self._check_beside()
        if self.bank and not self.frozen and self.learning_blocks is None:
            raise UserError(
                f"{option('model.bank')} stores the output of the frozen part, but nothing is "
                f"frozen; pass {option('model.frozen', 'true')}, or "
                f"{option('model.trained_blocks', 'N')} to train the last N blocks"
            )
        for view in self.bank_views:
            if view not in FIXED_VIEWS and not DRAWN_VIEWS.fullmatch(view):
                raise UserError(
                    f"{option('model.bank_views')} must be flip, corners, random:N or simclr:N "
                    f"with N from 1 to 99, got {view!r}"
                )
        if self.bank_views and not self.uses_bank:
            raise UserError(
                f"{option('model.bank_views')} needs the feature bank; pass "
                f"{option('model.bank', 'true')} too"
            )

    def _check_mirrored(self) -> None:
        if self.mirrored and not self.frozen:
            raise UserError(
                f"{option('model.mirrored')} is for a backbone that is not trained; pass "
                f"{option('model.frozen', 'true')} too"
            )

    def _check_beside(self) -> None:
        if self.beside is None:
            if self.beside_weights is not None:
                raise UserError(
                    f"{option('model.beside_weights')} are for a second network; name it by "
                    f"{option('model.beside', 'NAME')} too"
                )
            return
        if not self.frozen:
            raise UserError(
                f"{option('model.beside')} is for networks that are not trained; pass "
                f"{option('model.frozen', 'true')} too"
            )
        if self.preprocessing == "scenario":
            raise UserError(
                f"{option('model.beside')} needs images that are prepared as the first backbone "
                f"expects; pass {option('model.preprocessing', 'backbone')}"
            )

    def _check_adapter(self) -> None:
        if self.adapter is None:
            return
        if not ADAPTER.fullmatch(self.adapter):
            raise UserError(
                f"{option('model.adapter')} must be mlp: and one to eight widths from 1 to 99999, "
                f"such as mlp:256,128, got {self.adapter!r}"
            )
        if self.frozen or self.lora_rank or self.trained_blocks is not None:
            raise UserError(
                f"{option('model.adapter')} freezes the backbone and is trained on its features, "
                f"so it contradicts {option('model.frozen')}, {option('model.trained_blocks')} and "
                f"{option('model.lora_rank')}; pass {option('model.frozen', 'false')}, and leave "
                "the others out"
            )
