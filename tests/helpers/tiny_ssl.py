"""Engines of self-supervised strategies that are small enough for unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.methods.self_supervised.plugin import SelfSupervisedPlugin
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from helpers.tiny_streams import make_stream

SMALL: dict[str, Any] = {"projector_dim": 16, "projection_dim": 8}
PREDICTOR: dict[str, Any] = {"predictor_dim": 16}
QUEUE: dict[str, Any] = {"queue_size": 20}


def make_engine(
    plugin: SelfSupervisedPlugin, stream: Stream | None = None, **training: Any
) -> Engine:
    """Return an engine over 3 sessions of 48, 6 and 6 images, 3 and 1 steps an epoch."""
    stream = stream or make_stream()
    recipe = {
        "base_epochs": 2,
        "incremental_epochs": 2,
        "batch_size": 16,
        "lr": 0.05,
        "incremental_batchnorm": "train",
    }
    seed_everything(0)
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    config = TrainingConfig(**{**recipe, **training})
    return Engine(stream, model, plugin, config, evaluation=EvaluationConfig(probes=["knn"]))


def train(engine: Engine, sessions: int = 3, start: int = 0) -> Engine:
    for session in range(start, sessions):
        engine.train_session(session)
    return engine


def weights(engine: Engine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}


def unequal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors of `expected` that `found` has not, or not bit for bit."""
    return [k for k in expected if k not in found or not found[k].equal(expected[k])]


def plugin_tensors(plugin: SelfSupervisedPlugin) -> dict[str, Tensor]:
    """Return every tensor that the plugin keeps."""
    kept = {"past": plugin.past_, "momentum": plugin.momentum_, "queues": plugin.queues_}
    return {
        f"{name}.{key}": tensor.clone()
        for name, module in kept.items()
        if module is not None
        for key, tensor in module.state_dict().items()
    }


def check_resume(make: Callable[[], SelfSupervisedPlugin], folder: Path, **training: Any) -> None:
    """Assert that going on from any epoch ends as never having stopped, bit for bit."""
    engine, saved = make_engine(make(), **training), list[tuple[Path, int]]()

    def save(next_session: int) -> None:
        path = folder / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected, kept = weights(engine), plugin_tensors(engine.plugin)
    for path, session in saved:
        resumed = make_engine(make(), **training)
        torch.rand(7)  # a resumed process has drawn other random numbers
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, 3, session)
        assert unequal(weights(resumed), expected) == [], path.stem
        assert unequal(plugin_tensors(resumed.plugin), kept) == [], path.stem


class Passes:
    """Counts the passes through a network's backbone, and through copies of it made later.

    Attributes:
        counts: from "network", "momentum" and "past" to the passes in each training step.
    """

    def __init__(self, engine: Engine) -> None:
        self.counts: list[dict[str, int]] = []
        self.step: dict[str, int] = {}
        self.engine = engine
        self.seen: set[int] = set()
        engine.template.plugins.insert(0, self)

    def _watch(self, name: str, module: nn.Module | None) -> None:
        if module is None or id(module) in self.seen:
            return
        self.seen.add(id(module))
        backbone = module.backbone
        assert isinstance(backbone, nn.Module)
        backbone._forward_hooks.clear()  # a copy has its original's hooks
        backbone.register_forward_hook(lambda *_: self._count(name))

    def _count(self, name: str) -> None:
        self.step[name] = self.step.get(name, 0) + 1

    def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
        plugin = self.engine.plugin
        self._watch("network", self.engine.model)
        self._watch("momentum", plugin.momentum_)
        self._watch("past", plugin.past_)
        self.step = {}

    def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
        self.counts.append(self.step)


class Steps:
    """Calls a function after each training step, before the next one's random numbers are drawn."""

    def __init__(self, engine: Engine, call: Callable[[Any], None], when: str) -> None:
        setattr(self, when, lambda template, **kwargs: call(template))
        engine.template.plugins.insert(1, self)
