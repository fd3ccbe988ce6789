"""A tiny random wav2vec2."""

from __future__ import annotations

from typing import Any


def tiny_config(**settings: Any) -> Any:
    """Return the configuration of a wav2vec2 of some 24,000 weights."""
    from transformers import Wav2Vec2Config

    return Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 2, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        vocab_size=12,
        **settings,
    )
