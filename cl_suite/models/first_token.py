"""Speeds up a vision transformer: its last block computes only the class token.

If the feature is the class token, the last block's output for all other tokens is discarded. Their
keys and values are needed; their queries, output projections and MLPs are not: about four fifths of
the block. The feature and every gradient stay the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.adapters import SplitQKV


class FirstTokenBlock(nn.Module):
    """A transformer block that returns its first token alone, `(batch, 1, dim)`.

    Args:
        block: a timm block. Its parts keep their names, so names in a `state_dict` do not change.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, part in block.named_children():
            self.add_module(name, part)
        self.train(block.training)

    def forward(self, x: Tensor) -> Tensor:
        part: Any = self._modules
        attended = self._attend(part["attn"], part["norm1"](x))
        first: Tensor = x[:, :1] + part["drop_path1"](part["ls1"](attended))  # (batch, 1, dim)
        change: Tensor = part["drop_path2"](part["ls2"](part["mlp"](part["norm2"](first))))
        return first + change

    def _attend(self, attention: Any, x: Tensor) -> Tensor:
        if isinstance(attention.qkv, SplitQKV):
            qkv = attention.qkv
            # of a tensor with gaps PyTorch computes other bits if the weight is to learn, so a run
            # that is resumed after its last epoch would differ from one that trained it
            projected = [qkv.q(x[:, :1].contiguous()), qkv.k(x), qkv.v(x)]
        else:
            query, key, value = attention.qkv(x).chunk(3, dim=-1)
            projected = [query[:, :1], key, value]
        sizes = (attention.num_heads, attention.head_dim)
        query, key, value = (each.unflatten(2, sizes).transpose(1, 2) for each in projected)
        mixed = F.scaled_dot_product_attention(
            attention.q_norm(query),
            attention.k_norm(key),
            value,
            dropout_p=attention.attn_drop.p if attention.training else 0.0,
        )
        mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
        out: Tensor = attention.proj_drop(attention.proj(mixed))
        return out


def read_first_token(body: nn.Module) -> bool:
    """Make the last block compute only the class token, if that token is the feature.

    Returns:
        Whether it does now. Any other network is unchanged.
    """
    from timm.layers import Attention
    from timm.models.vision_transformer import Block, VisionTransformer

    vit: Any = body
    if type(body) is not VisionTransformer or len(vit.blocks) == 0:
        return False
    last = vit.blocks[-1]
    if isinstance(last, FirstTokenBlock):
        return True
    pooled_first = vit.global_pool == "token" and vit.attn_pool is None
    if not pooled_first or type(last) is not Block or type(last.attn) is not Attention:
        return False
    if last.attn.gate is not None or vit.num_prefix_tokens < 1:
        return False
    vit.blocks[-1] = FirstTokenBlock(last)
    return True
