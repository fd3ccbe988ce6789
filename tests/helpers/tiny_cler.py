"""Engines, and models with a branch, that are small enough for the tests of CLER."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.cler import CLERPlugin
from helpers.tiny_streams import make_stream


def engine_with(plugin: Any, stream: Stream | None = None, **settings: Any) -> Engine:
    seed_everything(0)
    stream = stream or make_stream()
    model = build_classifier(
        ModelConfig(head="cosine", **settings), stream.info.input_shape, 8, plugin
    )
    recipe = TrainingConfig(
        base_epochs=2, incremental_epochs=2, batch_size=16, lr=0.02, incremental_batchnorm="train"
    )
    return Engine(stream, model, plugin, recipe)


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, 3):
        engine.train_session(session)
    return engine


def ready_model(plugin: CLERPlugin, **settings: Any) -> Classifier:
    seed_everything(0)
    model = build_classifier(ModelConfig(head="linear", **settings), (1, 16, 16), 4, plugin)
    model.head.grow(range(4))
    return model.train()


def differences(model: nn.Module, expected: dict[str, Tensor]) -> list[str]:
    found = model.state_dict()
    return [name for name, value in expected.items() if not found[name].equal(value)]
