"""A complete CLIP in a folder, small and random: model, real tokenizer, preprocessing.

Nothing is downloaded: the tokenizer's byte-level vocabulary is made on the spot, with a few merges.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from cl_suite.models.hub.clip import ClipBody, load_clip
from cl_suite.models.hub.clip_files import CLIP_MEAN, CLIP_STD
from cl_suite.randomness import seeded

MERGES = [("p", "a"), ("t", "t"), ("e", "r"), ("pa", "tt"), ("patt", "er")]
START, END = "<|startoftext|>", "<|endoftext|>"
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
VISION = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4}


def tiny_config(
    *, vocab_size: int = 64, layers: int = 3, image_size: int = 32, patch_size: int = 8
) -> Any:
    """Return the configuration of a random CLIP of some 1e5 weights; END is the last token."""
    from transformers import CLIPConfig

    ids = {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1}
    return CLIPConfig(
        text_config={
            **TEXT,
            **ids,
            "pad_token_id": vocab_size - 1,
            "vocab_size": vocab_size,
            "num_hidden_layers": layers,
            "max_position_embeddings": 24,
        },
        vision_config={
            **VISION,
            "num_hidden_layers": layers,
            "image_size": image_size,
            "patch_size": patch_size,
        },
        projection_dim=16,
    )


def tiny_body(seed: int = 0, **settings: Any) -> ClipBody:
    """Return a random CLIP without a tokenizer, in eval mode."""
    from transformers import CLIPModel

    torch.manual_seed(seed)
    return ClipBody(CLIPModel(tiny_config(**settings))).eval()


def byte_letters() -> list[str]:
    """Return the letters that CLIP's tokenizer writes for the 256 bytes, in order of their codes.

    Printable characters stand for themselves, the other bytes for those from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in (*printable, *range(256, 256 + 256 - len(printable)))]


def tiny_tokenizer() -> Any:
    """Return CLIP's tokenizer over bytes and `MERGES`."""
    from transformers import CLIPTokenizer

    letters = byte_letters()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, MERGES), START, END]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=MERGES, model_max_length=24
    )


def write_tiny_clip(
    folder: Path, *, layers: int = 2, image_size: int = 16, patch_size: int = 8, seed: int = 0
) -> Path:
    """Write a complete CLIP into `folder` and return it; load it as `clip:FOLDER`."""
    from transformers import CLIPModel

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = tiny_config(
        vocab_size=len(tokenizer), layers=layers, image_size=image_size, patch_size=patch_size
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessing = {
        "crop_size": {"height": image_size, "width": image_size},
        "size": {"shortest_edge": image_size},
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing), "utf-8")
    return folder


def load_tiny_clip(folder: Path) -> ClipBody:
    """Return the CLIP that `write_tiny_clip` wrote."""
    return ClipBody(*load_clip(str(folder), pretrained=True))


@functools.cache
def clip_folder() -> Path:
    """Return a folder with a tiny random CLIP, made once a process and deleted at its end."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # the first of two trainings that are compared must not begin with other draws than the second
    with seeded(0):
        return write_tiny_clip(folder)
