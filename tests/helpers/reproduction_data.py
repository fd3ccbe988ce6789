"""Tiny data in the layouts that the commands of `benchmarks/reproduction.yaml` read.

Each function writes what one variable of these commands names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from helpers import tiny_cifar
from helpers.tiny_clip import write_tiny_clip
from helpers.tiny_drawings import write_drawings
from helpers.tiny_image_sets import write_gtsrb
from helpers.tiny_layouts import write_cub200, write_mini_imagenet
from helpers.tiny_sounds import write_words
from helpers.tiny_wav2vec2 import tiny_config

# words to meta-learn from, then words to test
COMMANDS = tuple(f"{'a' if number < 14 else 'b'}_{number:02d}" for number in range(24))


def write_named_mini_imagenet(root: Path) -> Path:
    """Write a tiny miniImageNet; its base classes have numbers of WordNet that stand for words."""
    from timm.data import ImageNetInfo

    write_mini_imagenet(root)
    tables = [root / "split" / f"{part}.csv" for part in ("train", "test")]
    used = "".join(table.read_text() for table in tables)
    numbers = [name for name in ImageNetInfo().label_names() if name not in used][:60]
    for table in tables:
        text = table.read_text()
        for position, number in enumerate(numbers):
            text = text.replace(f",n{position:08d}\n", f",{number}\n")
        table.write_text(text)
    return root


def write_tiny_wav2vec2(folder: Path) -> Path:
    """Write a random wav2vec2 of some 24,000 weights."""
    from transformers import Wav2Vec2Model

    torch.manual_seed(0)
    Wav2Vec2Model(tiny_config()).save_pretrained(folder)
    return folder


def write_gtsrb_root(root: Path) -> Path:
    """Write torchvision's folder of traffic signs into a root."""
    write_gtsrb(root)
    return root


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "MINI_IMAGENET": write_named_mini_imagenet,
    "CUB200": lambda root: write_cub200(root / "CUB_200_2011"),
    "CIFAR100": tiny_cifar.write_cifar100,
    "CIFAR10": tiny_cifar.write_folders,
    "GTSRB": write_gtsrb_root,
    "OMNIGLOT": lambda root: write_drawings(root, range(0, 240, 4)),
    "FSC": lambda root: write_words(root, ("lights_on", "lights_off", "louder", "quieter")),
    "SPEECH_COMMANDS": lambda root: write_words(root, COMMANDS, files=4),
    "TINY_CLIP": write_tiny_clip,
    "TINY_WAV2VEC2": write_tiny_wav2vec2,
}
