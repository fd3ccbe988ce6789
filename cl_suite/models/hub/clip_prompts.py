"""Learned prompts in the layers of CLIP's two towers (D'Alessandro et al., arXiv 2303.04751).

One tensor `G` of `depth x length` prompt rows, as wide as the text tower, serves both towers.
Layer `i` of the text tower gets `G_i`; layer `i` of the vision tower gets `A G_i`, with one linear
map `A` for all layers. We call the towers' own layers one by one, so the library still handles
head counts, scales and masks, and any CLIP works.

In the text tower the rows stand between the start token and the words, which move to later
positions. First-layer rows get position embeddings, as words do. In the vision tower the rows
follow the patches and have no position. First-layer rows pass CLIP's first normalisation with the
patches. In each further layer, the new rows overwrite the earlier ones ("replace") or are appended
to them ("accumulate"). After the last layer with prompts, the rows stay.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

PromptMode = Literal["replace", "accumulate"]


class TextTokens(NamedTuple):
    """Texts as token ids, padded at the end to one length.

    Attributes:
        ids: `(num_texts, length)`.
        ends: `(num_texts,)` position of each text's end token, whose output represents the text.
        present: `(num_texts, length)`, False at padding.
    """

    ids: Tensor
    ends: Tensor
    present: Tensor


class DeepPrompts(nn.Module):
    """Prompt rows `G` for both towers and the map `A` between their widths.

    Args:
        depth: number of layers that get their own prompts, counted from the first.
        length: prompt rows a layer.
        text_dim, vision_dim: widths of the towers.
        text_mode, vision_mode: whether new rows replace earlier layers' rows or accumulate.
        vision: give the vision tower prompts too.
    """

    def __init__(
        self,
        depth: int,
        length: int,
        text_dim: int,
        vision_dim: int,
        *,
        text_mode: PromptMode = "replace",
        vision_mode: PromptMode = "accumulate",
        vision: bool = True,
    ) -> None:
        super().__init__()
        self.text_mode = text_mode
        self.vision_mode = vision_mode
        # Xavier over all three dimensions: U(-b, b), b = sqrt(6 / ((length + depth) text_dim))
        self.rows = nn.Parameter(nn.init.xavier_uniform_(torch.empty(depth, length, text_dim)))
        self.to_vision = nn.Linear(text_dim, vision_dim) if vision else None

    def for_text(self) -> Tensor:
        """Return the rows `(depth, length, text_dim)`."""
        return self.rows

    def for_vision(self) -> Tensor | None:
        """Return the rows `(depth, length, vision_dim)`, or None if the tower has no prompts."""
        if self.to_vision is None:
            return None
        mapped: Tensor = self.to_vision(self.rows)
        return mapped

    def num_text_rows(self, num_layers: int) -> int:
        """Return the number of prompt rows after the last of `num_layers` text layers."""
        depth, length = self.rows.shape[:2]
        return length * (min(depth, num_layers) if self.text_mode == "accumulate" else 1)


def encode_images(clip: Any, images: Tensor, prompts: DeepPrompts | None = None) -> Tensor:
    """Return the embeddings `(batch, dim)` of images `(batch, channels, height, width)`.

    Args:
        clip: a `transformers.CLIPModel`.
    """
    tower = clip.vision_model
    deep = prompts.for_vision() if prompts is not None else None
    hidden = tower.embeddings(images)  # (batch, 1 + patches, width)
    if deep is not None:
        hidden = torch.cat([hidden, _for_each(deep[0], hidden)], dim=1)
    hidden = tower.pre_layrnorm(hidden)
    for position, layer in enumerate(tower.encoder.layers):
        if prompts is not None and deep is not None and 0 < position < len(deep):
            replaced = deep.shape[1] if prompts.vision_mode == "replace" else 0
            kept = hidden[:, : hidden.shape[1] - replaced]
            hidden = torch.cat([kept, _for_each(deep[position], hidden)], dim=1)
        hidden = layer(hidden, None)
    embedding: Tensor = clip.visual_projection(tower.post_layernorm(hidden[:, 0]))
    return embedding


def encode_text(clip: Any, tokens: TextTokens, prompts: DeepPrompts | None = None) -> Tensor:
    """Return the embeddings `(num_texts, dim)` of texts.

    A text's embedding depends neither on the padding nor on the other texts.

    Args:
        clip: a `transformers.CLIPModel`.
    """
    tower = clip.text_model
    hidden = tower.embeddings.token_embedding(tokens.ids)  # (num_texts, length, width)
    num_rows = 0
    if prompts is not None:
        hidden = _insert(hidden, prompts.for_text()[0], behind=1, instead=0)
        num_rows = prompts.rows.shape[1]
    hidden = hidden + tower.embeddings.position_embedding.weight[: hidden.shape[1]]
    mask = attention_mask(tokens.present, num_rows, hidden.dtype)
    for position, layer in enumerate(tower.encoder.layers):
        if prompts is not None and 0 < position < len(prompts.rows):
            rows = prompts.for_text()[position]
            if prompts.text_mode == "replace":
                hidden = _insert(hidden, rows, behind=1, instead=num_rows)
            else:
                hidden = _insert(hidden, rows, behind=1 + num_rows, instead=0)
                num_rows += len(rows)
                mask = attention_mask(tokens.present, num_rows, hidden.dtype)
        hidden = layer(hidden, mask)
    ends = hidden[torch.arange(len(hidden), device=hidden.device), tokens.ends + num_rows]
    embedding: Tensor = clip.text_projection(tower.final_layer_norm(ends))
    return embedding


def attention_mask(present: Tensor, num_rows: int, dtype: torch.dtype) -> Tensor:
    """Return the additive mask `(num_texts, 1, length, length)` of texts with prompt rows in them.

    A token sees itself and earlier tokens, but no padding.

    Args:
        present: `(num_texts, words)`, False at padding.
        num_rows: prompt rows after the start token, which are never masked as padding.
    """
    rows = present.new_ones(len(present), num_rows)
    keys = torch.cat([rows, present], dim=1)  # the start token is present: rows may stand first
    length = keys.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
    hidden = ~(earlier & keys[:, None, None, :])
    # the lowest number, not minus infinity: adding two of them must not give NaN
    mask = torch.zeros(hidden.shape, dtype=dtype, device=keys.device)
    return mask.masked_fill(hidden, torch.finfo(dtype).min)


def _insert(hidden: Tensor, rows: Tensor, *, behind: int, instead: int) -> Tensor:
    """Put `rows` `(length, width)` after the first `behind` tokens, replacing `instead` tokens."""
    parts = [hidden[:, :behind], _for_each(rows, hidden), hidden[:, behind + instead :]]
    return torch.cat(parts, dim=1)


def _for_each(rows: Tensor, hidden: Tensor) -> Tensor:
    return rows.expand(len(hidden), -1, -1)
