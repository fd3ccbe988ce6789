"""Learned vectors that are added to the class token alone, in a frozen vision transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError, option


class ClassTokenBias(nn.Module):
    """A layer whose first output token gets a learned vector, zero at the start.

    Args:
        layer: maps tokens `(batch, tokens, dim)` to `(batch, tokens, width)`.
        width: of its output.
    """

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.bias = nn.Parameter(torch.zeros(width))
        self.train(layer.training)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.layer(tokens)
        first = out[:, :1] + self.bias.to(out)
        return torch.cat([first, out[:, 1:]], dim=1)


def add_class_token_biases(body: nn.Module) -> bool:
    """Freeze a vision transformer and give its class token biases; return whether it had none.

    One is added to the class token before the first block, and one each to its query, key and value
    in every block: `3 L + 1` vectors, of which three are one parameter. Names in the `state_dict`
    change (`blocks.0.attn.qkv.layer.weight`).

    Raises:
        UserError: if it is not a vision transformer of timm with a class token and one layer for
            query, key and value.
    """
    if has_class_token_biases(body):
        return False
    _refuse_others(body)
    vit: Any = body
    vit.requires_grad_(False)
    device = vit.cls_token.device
    for block in vit.blocks:
        width = block.attn.qkv.out_features
        block.attn.qkv = ClassTokenBias(block.attn.qkv, width).to(device)
    vit.norm_pre = ClassTokenBias(vit.norm_pre, vit.embed_dim).to(device)
    return True


def has_class_token_biases(body: nn.Module) -> bool:
    """Return whether `add_class_token_biases` has acted on a body."""
    return isinstance(getattr(body, "norm_pre", None), ClassTokenBias)


def class_token_biases(body: nn.Module) -> list[nn.Parameter]:
    """Return the biases of a body."""
    return [part.bias for part in body.modules() if isinstance(part, ClassTokenBias)]


def _refuse_others(body: nn.Module) -> None:
    from timm.models.vision_transformer import VisionTransformer

    vit: Any = body
    if (
        isinstance(body, VisionTransformer)
        and vit.cls_token is not None
        and all(isinstance(getattr(block.attn, "qkv", None), nn.Linear) for block in vit.blocks)
    ):
        return
    raise UserError(
        f"biases of the class token need one of timm's vision transformers that has one, got "
        f"{type(body).__name__}; pass {option('model.backbone', 'deit_tiny_patch16_224')}"
    )
