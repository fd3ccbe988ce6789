"""Engines of MAMLCon that are small enough for unit tests."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.mamlcon import MAMLConPlugin
from helpers.tiny_streams import make_stream

SMALL = {"meta_epochs": 1, "meta_steps": 2, "meta_batch": 2, "steps": 2, "way": 1, "shots": 2}


def engine_with(
    stream: Stream | None = None, *, backbone: str = "conv4", recipe: dict[str, Any] | None = None,
    **parameters: Any,
) -> Engine:  # fmt: skip
    stream = stream or make_stream()
    seed_everything(0)
    plugin = MAMLConPlugin(**{**SMALL, **parameters})
    config = ModelConfig(backbone=backbone, head="linear")
    model = build_classifier(config, stream.info.input_shape, stream.info.num_classes, plugin)
    settings = {"base_epochs": 2, "incremental_epochs": 0, "batch_size": 16, "lr": 0.02}
    return Engine(stream, model, plugin, TrainingConfig(**{**settings, **(recipe or {})}))


def trained(engine: Engine, num_sessions: int = 3, start: int = 0) -> Engine:
    for session in range(start, num_sessions):
        engine.train_session(session)
    return engine


def copied(engine: Engine) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in engine.model.state_dict().items()}
