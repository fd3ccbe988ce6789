"""A small random vision transformer with a strategy, in an engine."""

from __future__ import annotations

from typing import Any

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything
from helpers.tiny_coact import VIT, changed, run, state
from helpers.tiny_streams import make_stream

__all__ = ["VIT", "changed", "make_engine", "run", "state"]

RECIPE = {"base_epochs": 2, "incremental_epochs": 0, "batch_size": 16, "lr": 0.05}


def make_engine(
    plugin: StrategyPlugin,
    stream: Stream | None = None,
    *,
    model: dict[str, Any] | None = None,
    **recipe: Any,
) -> Engine:
    """Return an engine on the tiny stream; every call gives the same network."""
    stream = stream or make_stream()
    seed_everything(0)
    settings = {"backbone": "vit_tiny_patch16_224", "backbone_args": VIT, **(model or {})}
    info = stream.info
    network = build_classifier(ModelConfig(**settings), info.input_shape, info.num_classes, plugin)
    return Engine(stream, network, plugin, TrainingConfig(**{**RECIPE, **recipe}))
