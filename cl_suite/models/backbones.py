"""Creates backbones by name (our own, timm, CLIP, wav2vec2, Whisper) and freezes their parts."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.distributed.shares import in_shares
from cl_suite.errors import UserError, option
from cl_suite.models.beside import Beside, between
from cl_suite.models.digest import weights_digest
from cl_suite.models.frozen_part import FrozenPart
from cl_suite.models.mirrored import Mirrored
from cl_suite.models.mlp_adapter import Adapted, make_adapter, split_state
from cl_suite.models.networks import OWN_BACKBONES
from cl_suite.models.plain_start import start_plainly
from cl_suite.models.stages import cut
from cl_suite.models.timm_networks import timm_model
from cl_suite.models.untouched import Untouched
from cl_suite.models.weights_files import load_weights, take_state

CLIP = "clip:"  # starts the name of a CLIP model
WAV2VEC2 = "wav2vec2:"  # starts the name of a wav2vec2 model
WHISPER = "whisper:"  # starts the name of a Whisper model
HUB_MODELS = (CLIP, WAV2VEC2, WHISPER)  # published as folders of files


class Backbone(nn.Module):
    """A feature extractor that knows its width and its frozen part.

    Args:
        body: maps an input batch to features `(batch, dim)`.
        dim: width of a feature.
        frozen: no gradient, and always eval mode, even if a training template asks for train mode,
            so BatchNorm and dropout do not act.
        trained_blocks: only this many last blocks (see `stages.cut`) and the layers after them
            learn; everything before is frozen. None: everything learns.
        weights: digest of the published weights it starts from, None for random ones.
    """

    def __init__(
        self,
        body: nn.Module,
        dim: int,
        *,
        frozen: bool = False,
        trained_blocks: int | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.dim = dim
        self.frozen = frozen
        self.weights = weights
        self.num_frozen_blocks = 0
        self.untouched: Untouched | None = None
        self._entry: int | None = None
        self._entry_shape: tuple[int, ...] = ()
        self._still: tuple[nn.Module, ...] = ()
        if trained_blocks is not None:
            self._freeze_below(trained_blocks)
        if frozen:
            self.requires_grad_(False)
            self.train(False)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode and not self.frozen)
        for part in self._still:
            part.training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self._entry is not None and self._entry > cut(self.body).num_blocks:
            return x
        return in_shares(self, self._features, x)

    def _features(self, x: Tensor) -> Tensor:
        if self._entry is not None:
            x = x.reshape(len(x), *self._entry_shape)
        if self.untouched is not None:
            both: Tensor = self.untouched(self.body, x, self._entry)
            return both
        if self._entry is None:
            features: Tensor = self.body(x)
            return features
        return cut(self.body).suffix(x, self._entry)

    def keep_untouched(self, names: Collection[str], first: int) -> None:
        """Append the features of the body as it is now to all later features.

        A feature is then twice as wide. A second call changes nothing.

        Args:
            names: tensors of the body that will be trained; adapters need not be named.
            first: first block (see `stages.cut`) that will be trained or has adapters; -1: what is
                before the blocks too.
        """
        if self.untouched is None:
            self.untouched = Untouched(self.body, names, first)
            self.dim *= 2

    def frozen_part(self, input_shape: tuple[int, ...]) -> FrozenPart:
        """Return the part that never changes: all of a frozen backbone, else the frozen prefix."""
        if isinstance(self.body, Adapted) and not self.frozen:
            # with the key of the network alone, so both share the bank's features
            return FrozenPart(self.body.network, None, input_shape)
        until = None if self.frozen else self.num_frozen_blocks
        return FrozenPart(self.body, until, input_shape)

    def enter_behind(self, part: FrozenPart) -> None:
        """From now on, take the flattened output of `part` as input instead of an image."""
        if part.until is None:
            num_blocks = len(cut(self.body).blocks)
            self._entry = num_blocks + 1 if part.body is self.body else num_blocks - 1
            self._entry_shape = part.shape
        else:
            self._entry, self._entry_shape = part.until, part.shape

    @property
    def takes_stored_values(self) -> bool:
        """Whether its input is the stored output of a frozen part."""
        return self._entry is not None

    @property
    def is_passed_by(self) -> bool:
        """Whether inputs are finished features, so the body is skipped."""
        return self.frozen and self._entry is not None

    def _freeze_below(self, trained_blocks: int) -> None:
        stages = cut(self.body)
        if not 0 <= trained_blocks <= stages.num_blocks:
            raise UserError(
                f"{option('model.trained_blocks')} must lie in 0 to {stages.num_blocks}, the "
                f"blocks of this backbone, got {trained_blocks}"
            )
        self.num_frozen_blocks = stages.num_blocks - trained_blocks
        for name, parameter in self.body.named_parameters():
            if stages.stage_of(name) < self.num_frozen_blocks:
                parameter.requires_grad_(False)
        self._still = tuple(
            part
            for name, part in self.body.named_modules()
            if name and stages.stage_of(f"{name}.") < self.num_frozen_blocks
        )
        self.train(self.training)


def create_backbone(
    name: str,
    input_shape: tuple[int, ...],
    *,
    pretrained: bool = False,
    weights: str | None = None,
    frozen: bool = False,
    mirrored: bool = False,
    beside: str | None = None,
    beside_weights: str | None = None,
    trained_blocks: int | None = None,
    adapter: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> Backbone:
    """Return a backbone for inputs of `input_shape`.

    Args:
        name: one of ours, timm's, or `clip:`, `wav2vec2:` or `whisper:` and the name of such a
            model.
        pretrained: use the published weights (from the local cache, else from the hub).
        weights: a `.safetensors` file with the backbone's weights (a classifier's rows in it are
            ignored); for CLIP, wav2vec2 and Whisper the folder of a published model.
        mirrored: see `Mirrored`.
        beside: name of a second network of timm (see `Beside`); it starts from published weights if
            the first does.
        beside_weights: its `.safetensors` file.
        trained_blocks: see `Backbone`.
        adapter: form of a small network on top (see `make_adapter`), which counts as a block.
        arguments: further arguments of `timm.create_model`.
        start: tensors to start from; `weights` is then only their source, for messages.

    Raises:
        UserError: for an unknown name, weights that are not available or do not fit, or an input
            too small for the network.
    """
    if mirrored and name.startswith(HUB_MODELS):
        raise UserError(
            f"{option('model.mirrored')} is for timm's backbones and our own, and '{name}' is "
            f"neither; pass {option('model.mirrored', 'false')}"
        )
    start, adapter_start = (None, {}) if start is None else split_state(start)
    body = _body(name, input_shape, pretrained, weights, dict(arguments or {}), start)
    published = pretrained or weights is not None
    if beside is not None:
        scale, shift = between(name, beside)  # first: an unknown name is not fetched
        fetched = published and beside_weights is None
        second = _body(beside, input_shape, fetched, beside_weights, {}, None)
        body = Beside(body, second, scale, shift)
    digest = weights_digest(body) if published else None
    dim = _feature_dim(body, name, input_shape)
    if adapter is not None:
        body = Adapted(body, make_adapter(adapter, dim))
        if adapter_start:
            body.adapter.load_state_dict(adapter_start)
        dim = _feature_dim(body, name, input_shape)
    if mirrored:
        body = Mirrored(body)
    return Backbone(body, dim, frozen=frozen, trained_blocks=trained_blocks, weights=digest)


def _body(
    name: str,
    input_shape: tuple[int, ...],
    pretrained: bool,
    weights: str | None,
    arguments: dict[str, Any],
    start: Mapping[str, Tensor] | None,
) -> nn.Module:
    if arguments and (name in OWN_BACKBONES or name.startswith(HUB_MODELS)):
        raise UserError(
            f"{option('model.backbone_args')} are for timm's backbones, not for '{name}'; leave "
            "them out"
        )
    if name.startswith(CLIP):
        # transformers takes seconds to import
        from cl_suite.models.hub.clip import create_clip_body

        return create_clip_body(name, pretrained=pretrained, weights=weights)
    if name.startswith(WAV2VEC2):
        from cl_suite.models.hub.wav2vec2 import create_wav2vec2_body

        return create_wav2vec2_body(name, pretrained=pretrained, weights=weights)
    if name.startswith(WHISPER):
        from cl_suite.models.hub.whisper import create_whisper_body

        return create_whisper_body(name, pretrained=pretrained, weights=weights)
    if name in OWN_BACKBONES:
        if pretrained:
            raise UserError(
                f"backbone '{name}' has no published weights; pass "
                f"{option('model.weights', 'FILE')} or {option('model.pretrained', 'false')}"
            )
        body = OWN_BACKBONES[name](input_shape[0])
    else:
        body = timm_model(name, input_shape[0], pretrained and weights is None, arguments)
        if not pretrained and weights is None and start is None:
            start_plainly(body, arguments)
    if start is not None:
        take_state(body, start, Path(str(weights)), name)
    elif weights is not None:
        load_weights(body, Path(weights).expanduser(), name)
    _take_size(body, input_shape)
    return body


def _take_size(body: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Resample position embeddings, if there are any, to the size of the input."""
    embed = getattr(body, "patch_embed", None)
    size = getattr(embed, "img_size", None)
    if size is not None and tuple(size) != input_shape[1:] and hasattr(body, "set_input_size"):
        # `_feature_dim` raises the error if the size does not fit at all
        with contextlib.suppress(AssertionError, RuntimeError, ValueError):
            body.set_input_size(input_shape[1:])  # type: ignore[operator]  # a module's attribute


@torch.no_grad()
def _feature_dim(body: nn.Module, name: str, input_shape: tuple[int, ...]) -> int:
    mode = body.training
    body.eval()
    try:
        features = body(torch.zeros(1, *input_shape))
    except UserError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"backbone '{name}' cannot take inputs of shape {input_shape} ({reason}); "
            "choose another backbone or image size"
        ) from error
    finally:
        body.train(mode)
    if features.dim() != 2 or features.shape[1] == 0:
        raise UserError(
            f"backbone '{name}' returns features of shape {tuple(features.shape[1:])} for "
            f"inputs of shape {input_shape}; choose one that returns a flat vector"
        )
    return int(features.shape[1])
