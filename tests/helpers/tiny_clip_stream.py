"""A stream of coloured patterns with names, and an engine on the tiny CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, RandomCropFlip, ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.hub.clip_files import CLIP_MEAN, CLIP_STD
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything

SESSIONS = [[7, 2, 5, 0], [6, 1], [3, 4]]
WORDS = ("red", "oak", "bird", "lamp", "sea", "hill", "dust", "moth")


def colour_samples(classes: list[int], per_class: int, seed: int) -> TensorSamples:
    """Return noisy colour images `(3, 16, 16)` of a pattern that each class has of its own."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = [], []
    for class_id in classes:
        pattern = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(class_id))
        for _ in range(per_class):
            noise = torch.rand(3, 16, 16, generator=generator)
            inputs.append((255 * (0.7 * pattern + 0.3 * noise)).to(torch.uint8))
            targets.append(class_id)
    return TensorSamples(torch.stack(inputs), targets)


def colour_stream(
    sessions: list[list[int]] | None = None,
    names: list[str] | None = None,
    *,
    base_shots: int = 12,
    shots: int = 3,
) -> Stream:
    """Return a stream of such images; class ids come in no order on purpose."""
    sessions = SESSIONS if sessions is None else sessions
    num_classes = max(c for classes in sessions for c in classes) + 1
    plain = ToFloat(CLIP_MEAN, CLIP_STD)
    return build_stream(
        name="colours",
        class_names=names or [f"{WORDS[i % 8]} {WORDS[i // 8]}" for i in range(num_classes)],
        session_classes=sessions,
        train=[
            colour_samples(classes, base_shots if i == 0 else shots, seed=i)
            for i, classes in enumerate(sessions)
        ],
        test=[colour_samples(classes, 5, seed=100 + i) for i, classes in enumerate(sessions)],
        train_transform=Compose((plain, RandomCropFlip(2))),
        eval_transform=plain,
        shots=shots,
    )


def clip_engine(
    folder: Path,
    plugin: StrategyPlugin,
    stream: Stream | None = None,
    *,
    frozen: bool = False,
    **training: Any,
) -> Engine:
    """Return an engine whose network is the CLIP in `folder`."""
    stream = stream or colour_stream()
    recipe: dict[str, Any] = {
        "base_epochs": 2,
        "incremental_epochs": 2,
        "batch_size": 16,
        "schedule": "constant",
        "incremental_lr": None,
        "nesterov": False,
        "weight_decay": 0.0,
    }
    seed_everything(0)
    model = build_classifier(
        ModelConfig(backbone=f"clip:{folder}", weights=str(folder), frozen=frozen),
        stream.info.input_shape,
        stream.info.num_classes,
        plugin,
    )
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))
