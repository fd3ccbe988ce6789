"""Engines for the tests of COCONUT, and notes of what its networks see in each step."""

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
from cl_suite.strategies.coconut import COCONUTPlugin
from helpers.tiny_streams import make_stream

RECIPE = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 8, "lr": 0.01}


def make_engine(
    plugin: StrategyPlugin, stream: Stream | None = None, backbone: str = "conv4", **recipe: Any
) -> Engine:
    stream = stream or make_stream()
    seed_everything(0)
    info = stream.info
    settings = ModelConfig(backbone=backbone, frozen=backbone == "identity")
    model = build_classifier(settings, info.input_shape, info.num_classes, plugin)
    seed_everything(1)  # whatever the strategy has drawn to prepare the network
    return Engine(stream, model, plugin, TrainingConfig(**{**RECIPE, **recipe}))


def run(engine: Engine, sessions: int = 3, start: int = 0) -> Engine:
    for session in range(start, sessions):
        engine.train_session(session)
    return engine


def weights(engine: Engine, prefix: str = "") -> dict[str, Tensor]:
    state = engine.model.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if name.startswith(prefix)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[n].equal(second[n]) for n in first)


class Recording(COCONUTPlugin):
    """Notes for each step what is added to the loss, and what the networks are shown."""

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.added: list[Tensor] = []
        self.expected: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.student_passes: list[int] = []
        self.teacher_passes: list[list[int]] = []  # samples in each pass of each step
        self.handles = [template.model.backbone.register_forward_hook(self._student)]
        if (teacher := self.teacher(template)) is not None:
            assert isinstance(teacher.backbone, nn.Module)
            self.handles.append(teacher.backbone.register_forward_hook(self._teacher_saw))

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        self.student_passes.append(0)
        self.teacher_passes.append([])

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        before = template.loss.detach().clone()
        super().before_backward(template, **kwargs)
        self.added.append(template.loss.detach() - before)
        self.labels.append(template.mb_y.clone())

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        for handle in self.handles:
            handle.remove()  # before the network is copied
        super().after_training_exp(template, **kwargs)

    def _student(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.student_passes[-1] += 1

    def _teacher_saw(self, module: nn.Module, inputs: tuple[Tensor], output: Any) -> None:
        self.teacher_passes[-1].append(len(inputs[0]))
