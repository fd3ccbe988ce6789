"""Backbones by name: the field's small networks here, everything else from timm."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError


class Backbone(nn.Module):
    """A feature extractor that knows its width and may be frozen.

    Args:
        body: maps an input batch to features `(batch, dim)`.
        dim: width of a feature.
        frozen: no gradient, and eval mode whatever a training template asks for, so that BatchNorm
            and dropout stay still.
    """

    def __init__(self, body: nn.Module, dim: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.body = body
        self.dim = dim
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.train(False)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features


class Conv4(nn.Sequential):
    """Four blocks of 3 x 3 convolution, BatchNorm, ReLU and 2 x 2 max-pooling, then flattened.

    The few-shot field's small network (Vinyals et al., 2016); 28 x 28 inputs give `width` features.
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        def block(inputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )

        super().__init__(block(in_channels), *(block(width) for _ in range(3)), nn.Flatten())


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (1 x 1 projection where the shape changes)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Sequential):
    """The CIFAR ResNet-20 of the FSCIL literature: 3 stages of 3 blocks, 64 features."""

    def __init__(self, in_channels: int) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        ]
        inputs = 16
        for width in (16, 32, 64):
            for position in range(3):
                stride = 2 if position == 0 and width > 16 else 1
                layers.append(BasicBlock(inputs, width, stride))
                inputs = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


OWN_BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "conv4": Conv4,
    "resnet20": ResNet20,
    "identity": lambda in_channels: nn.Flatten(),
}


def create_backbone(
    name: str,
    input_shape: tuple[int, ...],
    *,
    pretrained: bool = False,
    weights: str | None = None,
    frozen: bool = False,
) -> Backbone:
    """Return a backbone for inputs of `input_shape`, by our name or timm's.

    Args:
        pretrained: take timm's published weights (from its cache, else from the hub).
        weights: a `.safetensors` file with the backbone's weights; a classifier's rows in it are
            left out.

    Raises:
        UserError: for an unknown name, weights that cannot be had or do not fit, or an input too
            small for the network.
    """
    if name in OWN_BACKBONES:
        if pretrained:
            raise UserError(
                f"backbone '{name}' has no published weights; use --model.weights FILE "
                "or --model.pretrained false"
            )
        body = OWN_BACKBONES[name](input_shape[0])
    else:
        body = _timm_model(name, input_shape[0], pretrained and weights is None)
    if weights is not None:
        load_weights(body, Path(weights).expanduser(), name)
    return Backbone(body, _feature_dim(body, name, input_shape), frozen=frozen)


def load_weights(body: nn.Module, path: Path, name: str) -> None:
    """Load a safetensors file into a backbone, in the backbone's own precision.

    Raises:
        UserError: if the file is missing, is not a safetensors file, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"weights file '{path}' does not exist; give a .safetensors file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights file '{path}' cannot be read as safetensors ({error})") from error
    own = body.state_dict()
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    # counters that some exports leave out
    wrong = [k for k in wrong if not k.endswith("num_batches_tracked")]
    if wrong:
        raise UserError(
            f"weights file '{path}' does not fit backbone '{name}': '{wrong[0]}' is "
            "missing or has another shape; name the backbone that the file belongs to"
        )
    body.load_state_dict({k: state[k].to(own[k].dtype) for k in own if k in state}, strict=False)


def _timm_model(name: str, in_channels: int, pretrained: bool) -> nn.Module:
    import timm

    if not timm.is_model(name.removeprefix("hf-hub:")):
        known = [*OWN_BACKBONES, *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see `cl-suite list backbones`"
        raise UserError(f"backbone '{name}' is unknown; {hint}")
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=in_channels
        )
    except Exception as error:
        # the hub's client raises many kinds; only the download can fail with these arguments
        if not pretrained:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the published weights of backbone '{name}' cannot be had ({reason}); pass a file "
            "with --model.weights FILE.safetensors, or --model.pretrained false"
        ) from error
    return model


@torch.no_grad()
def _feature_dim(body: nn.Module, name: str, input_shape: tuple[int, ...]) -> int:
    mode = body.training
    body.eval()
    try:
        features = body(torch.zeros(1, *input_shape))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"backbone '{name}' cannot take inputs of shape {input_shape} ({reason}); "
            "choose another backbone or image size"
        ) from error
    finally:
        body.train(mode)
    if features.dim() != 2 or features.shape[1] == 0:
        raise UserError(
            f"backbone '{name}' gives features of shape {tuple(features.shape[1:])} for "
            f"inputs of shape {input_shape}; a flat vector is needed"
        )
    return int(features.shape[1])
