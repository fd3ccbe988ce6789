"""CLIP as a backbone: image and text towers with one joint space, from the hub, cache or a folder.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
arXiv 2103.00020, through transformers' model and tokenizer. Its name is
`clip:openai/clip-vit-base-patch16`, or `clip:` and a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.hub.clip_files import FAMILY, clip_preprocessing, load_clip
from cl_suite.models.hub.clip_prompts import DeepPrompts, TextTokens, encode_images, encode_text
from cl_suite.models.modes import evaluating

__all__ = ["ClipBody", "clip_preprocessing", "create_clip_body", "fill", "load_clip"]

TEXTS_AT_ONCE = 256


class ClipBody(nn.Module):
    """CLIP's two towers: `forward` embeds images in the joint space, `encode_text` embeds texts.

    Args:
        clip: a `transformers.CLIPModel`.
        tokenizer: its tokenizer; None if the caller makes the token ids.

    Attributes:
        prompts: learned prompts in both towers, None for CLIP as published.
    """

    clip: Any
    prompts: DeepPrompts | None

    def __init__(self, clip: nn.Module, tokenizer: Any = None) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.prompts = None

    @property
    def dim(self) -> int:
        """Width of the joint space."""
        return int(self.clip.config.projection_dim)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an input image, `(channels, height, width)`."""
        vision = self.clip.config.vision_config
        return vision.num_channels, vision.image_size, vision.image_size

    def add_prompts(self, depth: int, length: int, **modes: Any) -> None:
        """Freeze CLIP and give it fresh prompts; see `DeepPrompts`.

        Args:
            depth: number of layers that get prompts; a number above a tower's depth means all.

        Raises:
            UserError: if the text tower has no room for that many rows and a word.
        """
        text, vision = self.clip.config.text_config, self.clip.config.vision_config
        depth = min(depth, max(text.num_hidden_layers, vision.num_hidden_layers))
        prompts = DeepPrompts(depth, length, text.hidden_size, vision.hidden_size, **modes)
        num_rows = prompts.num_text_rows(text.num_hidden_layers)
        if num_rows + 3 > text.max_position_embeddings:
            raise UserError(
                f"{num_rows} prompt rows leave no room for a word in the text tower's "
                f"{text.max_position_embeddings} positions; lower "
                f"{option('strategy.prompt_length')}"
            )
        self.clip.requires_grad_(False)
        self.prompts = prompts.to(self.clip.logit_scale.device)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise UserError(
                f"this CLIP takes images of shape {self.image_shape}, got inputs of shape "
                f"{tuple(images.shape[1:])}; pass "
                f"{option('model.preprocessing', 'backbone')}"
            )
        return encode_images(self.clip, images, self.prompts)

    def tokens(self, texts: Sequence[str]) -> TextTokens:
        """Return texts as tokens; a text too long for the tower loses its last words.

        Raises:
            UserError: if the model was made without a tokenizer.
        """
        if self.tokenizer is None:
            raise UserError(
                "this CLIP has no tokenizer, so it cannot read class names; load it from a folder "
                "or by name"
            )
        text = self.clip.config.text_config
        room = text.max_position_embeddings
        if self.prompts is not None:
            room -= self.prompts.num_text_rows(text.num_hidden_layers)
        found = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=room, return_tensors="pt"
        )
        device = self.clip.logit_scale.device
        present = found["attention_mask"].bool().to(device)
        return TextTokens(found["input_ids"].to(device), present.sum(dim=1) - 1, present)

    def encode_text(self, tokens: TextTokens) -> Tensor:
        """Return the embeddings `(num_texts, dim)` of texts, with gradients to trainable parts."""
        return encode_text(self.clip, tokens, self.prompts)

    @torch.no_grad()
    def embed_names(self, names: Sequence[str], template: str = "{}.") -> Tensor:
        """Return the text embeddings `(len(names), dim)` of class names, in eval mode."""
        texts = fill(template, names)
        parts = [texts[i : i + TEXTS_AT_ONCE] for i in range(0, len(texts), TEXTS_AT_ONCE)]
        with evaluating(self):
            rows = [self.encode_text(self.tokens(part)) for part in parts]
        return torch.cat(rows) if rows else self.clip.logit_scale.new_empty(0, self.dim)


def fill(template: str, names: Sequence[str]) -> list[str]:
    """Return a sentence for each name; underscores in a name are spaces.

    Example:
        >>> fill("a photo of a {}.", ["maple_tree"])
        ['a photo of a maple tree.']
    """
    return [template.replace("{}", name.replace("_", " ")) for name in names]


def create_clip_body(name: str, *, pretrained: bool, weights: str | None = None) -> ClipBody:
    """Return a CLIP for `create_backbone`.

    Args:
        name: `clip:` and a name on the hub or a folder.
        pretrained: use the published weights; else random ones of that architecture.
        weights: folder of a model to use instead of the one in `name`.

    Raises:
        UserError: if the model could not be read or downloaded.
    """
    source = FAMILY.source_of(name, weights)
    return ClipBody(*load_clip(source, pretrained=pretrained or weights is not None))
