"""Overhead of the engine against a bare PyTorch loop, on the omniglot stream with conv4.

Two comparisons in one process, with the two sides interleaved:
    1. training: the base session's epochs by the engine against the same epochs by a loop of a
       dozen lines (same batches, transforms, model, optimiser);
    2. later sessions: seconds of a `prototype` session against its bare forward passes.

    python benchmarks/engine_overhead.py [--rounds 5] [--epochs 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from in_memory import inputs_of
from speed_file import Bar, Comparison, write
from timing import seconds, summary
from torch import nn

from cl_suite.avalanche import api
from cl_suite.avalanche.loader import batches
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.scenarios.omniglot import Omniglot
from cl_suite.strategies.prototype import PrototypePlugin


def classifier(stream: Stream) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)


def bare_epochs(stream: Stream, recipe: TrainingConfig) -> Callable[[], None]:
    model = classifier(stream)
    model.head.grow(sorted(stream.info.session_classes[0]))
    optimizer = recipe.make_optimizer(model.parameters(), 0)
    info = stream.info
    data = api.dataset(
        stream.train[0], info.train_transform, info.eval_transform, range(len(stream.train[0]))
    ).train()
    loader = batches(data, recipe.batch_size, shuffle=True)

    def run() -> None:
        model.train()
        for _ in range(recipe.base_epochs):
            for inputs, labels in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs), labels).backward()
                optimizer.step()

    return run


def engine_epochs(stream: Stream, recipe: TrainingConfig) -> float:
    """Return the seconds of the base session's epochs by the engine."""
    marks: list[float] = []
    engine = Engine(stream, classifier(stream), PrototypePlugin(), recipe)
    engine.on_epoch = lambda record: marks.append(record.seconds)
    engine.train_session(0)
    return sum(marks)


def later_sessions(stream: Stream, recipe: TrainingConfig) -> tuple[float, float]:
    """Return the seconds of all later sessions by the engine, and by bare forward passes."""
    engine = Engine(stream, classifier(stream), PrototypePlugin(), recipe)
    engine.train_session(0)
    model, transform = engine.model, stream.info.eval_transform

    def by_engine() -> None:
        for session in range(1, stream.info.num_sessions):
            engine.train_session(session)
            engine.evaluate(session)

    def bare() -> None:
        model.eval()
        with torch.no_grad():
            for session in range(1, stream.info.num_sessions):
                model.features(transform(inputs_of(stream.train[session])))
                for test in stream.test[: session + 1]:
                    for part in inputs_of(test).split(recipe.eval_batch_size):
                        model(transform(part))

    return seconds(by_engine), seconds(bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    stream = Omniglot().build()
    recipe = TrainingConfig(base_epochs=options.epochs, incremental_epochs=0)
    training, sessions, outside = [], [], []
    bare_training = bare_epochs(stream, recipe)
    sides = [lambda: seconds(bare_training), lambda: engine_epochs(stream, recipe)]
    for side in sides:
        side()  # the first use of a kernel is slower
    for number in range(options.rounds):
        took = {place: sides[place]() for place in ((0, 1) if number % 2 else (1, 0))}
        training.append(took[1] / took[0])
        by_engine, bare = later_sessions(stream, recipe)
        sessions.append(by_engine / bare)
        outside.append((by_engine - bare) / (stream.info.num_sessions - 1))
    print(f"training, engine / bare loop:        {summary(training)}")  # noqa: T201
    print(f"later sessions, engine / bare:       {summary(sessions)}")  # noqa: T201
    print(f"seconds a session outside the model: {summary(outside)}")  # noqa: T201
    ratio = "engine / bare"
    found = [
        Comparison("conv4 on Omniglot, an epoch", ratio, training, bar=Bar("at most", 1.1)),
        Comparison("conv4 on Omniglot, later sessions of prototype", ratio, sessions),
    ]
    write("engine_overhead", "The engine against a bare loop", found)


if __name__ == "__main__":
    main()
