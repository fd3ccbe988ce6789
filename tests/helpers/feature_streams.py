"""Feature streams for frozen strategies, with enough base classes to choose parameters on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig

NUM_BASE, WAY, SESSIONS, DIM = 12, 2, 4, 16


def make_feature_stream(*, signed: bool = True, base_images: int = 25, seed: int = 0) -> Stream:
    """Return Gaussian classes whose spread differs by direction: 12 base ones, then 3 times 2."""
    generator = torch.Generator().manual_seed(seed)
    num_classes = NUM_BASE + WAY * (SESSIONS - 1)
    centres = torch.randn(num_classes, DIM, generator=generator)
    spread = torch.linspace(0.2, 2.0, DIM)

    def samples(classes: list[int], images: int) -> TensorSamples:
        targets = [c for c in classes for _ in range(images)]
        x = centres[targets] + spread * torch.randn(len(targets), DIM, generator=generator)
        return TensorSamples(x if signed else x.exp(), targets)

    sessions = [list(range(NUM_BASE))]
    sessions += [list(range(start, start + WAY)) for start in range(NUM_BASE, num_classes, WAY)]
    return build_stream(
        name="features",
        class_names=[str(c) for c in range(num_classes)],
        session_classes=sessions,
        train=[samples(classes, 5 if i else base_images) for i, classes in enumerate(sessions)],
        test=[samples(classes, 20) for classes in sessions],
        train_transform=Identity(),
        eval_transform=Identity(),
        shots=5,
    )


def make_engine(plugin: Any, stream: Stream) -> Engine:
    torch.manual_seed(0)
    info, settings = stream.info, ModelConfig(backbone="identity", frozen=True)
    model = build_classifier(settings, info.input_shape, info.num_classes, plugin)
    recipe = TrainingConfig(base_epochs=0, incremental_epochs=0)
    return Engine(stream, model, plugin, recipe)


def trained(plugin: Any, stream: Stream, num_sessions: int = SESSIONS) -> Engine:
    engine = make_engine(plugin, stream)
    for session in range(num_sessions):
        engine.train_session(session)
    return engine


def features_of(stream: Stream, session: int) -> tuple[Tensor, Tensor]:
    """Return training features and labels of a session, in double precision."""
    samples = stream.train[session]
    inputs: Tensor = samples.inputs  # type: ignore[attr-defined]
    return inputs.double(), torch.tensor(samples.targets)


def accuracy(engine: Engine) -> float:
    """Return the accuracy over all classes after the last session."""
    confusion = engine.evaluate(SESSIONS - 1)
    return float(confusion.diagonal().sum() / confusion.sum())
