"""A complete CLIP in a folder, small and random, as method authors get it too."""

from __future__ import annotations

from cl_suite.testing.tiny_clip import (
    END,
    START,
    clip_folder,
    load_tiny_clip,
    tiny_body,
    tiny_config,
    tiny_tokenizer,
    write_tiny_clip,
)

__all__ = [
    "END",
    "START",
    "clip_folder",
    "load_tiny_clip",
    "tiny_body",
    "tiny_config",
    "tiny_tokenizer",
    "write_tiny_clip",
]
