"""CoACT on a small transformer: its engine, and notes of what it does in each step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin, Template
from cl_suite.randomness import seed_everything
from cl_suite.strategies.coact import CoACTPlugin
from helpers.tiny_streams import make_stream

VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2}
# a rate at which a random network of this size learns instead of diverging
RECIPE = {"base_epochs": 2, "incremental_epochs": 1, "batch_size": 16, "lr": 0.01}


class Recording(CoACTPlugin):
    """Notes of each training step what it adds to the loss, and which tensors get a gradient."""

    def before_training(self, template: Template, **kwargs: Any) -> None:
        super().before_training(template, **kwargs)
        if not hasattr(self, "terms"):
            self.terms: list[Tensor] = []
            self.gradients: list[set[str]] = []

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        before = template.loss.detach().clone()
        super().before_backward(template, **kwargs)
        self.terms.append(template.loss.detach() - before)

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        named = template.model.named_parameters()
        self.gradients.append({n for n, p in named if p.grad is not None})


def make_engine(plugin: StrategyPlugin, stream: Stream | None = None, **recipe: Any) -> Engine:
    stream = stream or make_stream()
    seed_everything(0)
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT)
    info = stream.info
    model = build_classifier(config, info.input_shape, info.num_classes, plugin)
    return Engine(stream, model, plugin, TrainingConfig(**{**RECIPE, **recipe}))


def run(engine: Engine, sessions: int = 3) -> Engine:
    for session in range(sessions):
        engine.train_session(session)
    return engine


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, t in module.state_dict().items() if n in before and not t.equal(before[n])}
