"""A tiny random Whisper that hears up to two seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def tiny_config() -> Any:
    """Return the configuration of a Whisper whose encoder has some 20,000 weights."""
    from transformers import WhisperConfig

    return WhisperConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        vocab_size=12,
        num_mel_bins=20,
        max_source_positions=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


def write_tiny_whisper(folder: Path) -> Path:
    """Write a whole tiny Whisper as it is published: with a decoder that writes words."""
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(0)
    WhisperForConditionalGeneration(tiny_config()).save_pretrained(folder)
    return folder
