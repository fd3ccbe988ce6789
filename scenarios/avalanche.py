"""Runs any class-incremental Avalanche benchmark, built in or your own, by its dotted name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from cl_suite.avalanche.reader import (
    Unwrapped,
    num_classes_of_origin,
    samples_and_transforms,
    unwrap,
)
from cl_suite.data.cut import all_rows, common_way, rows_by_class
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.errors import UserError
from cl_suite.parameters import Parameters, Within
from cl_suite.randomness import seeded


@dataclass(kw_only=True, eq=False)
class AvalancheBenchmark(Parameters):
    """The train and test streams of an Avalanche benchmark, one session for each experience.

    Classes keep the benchmark's ids, and their names are these numbers. Test images go to the
    session of their class, regardless of the benchmark's own split.

    Limits: all samples of the benchmark's innermost data set are read into memory, so a random
    transform of that data set is applied only once. If raw samples are tensors or pictures of one
    shape and all experiences share their transforms, the transforms keep working. Otherwise the
    eval transforms are applied once, and a note says so. Task labels are dropped.

    Args:
        factory: dotted name of a callable that returns a benchmark, for instance
            `avalanche.benchmarks.classic.SplitMNIST`.
        arguments: keyword arguments of the call.
        seed: seed of every global generator during the call, because many factories use them.
        mirror_symmetric: False if a mirrored image may belong to another class (signs, letters,
            digits); the suite's own views then flip none. The factory's transforms are its own.
    """

    factory: str
    arguments: dict[str, Any] | None = None
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    mirror_symmetric: bool = True

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if the benchmark is missing or cannot be used."""
        benchmark = self._call()
        train = [unwrap(experience.dataset) for experience in benchmark.train_stream]
        test = [unwrap(experience.dataset) for experience in benchmark.test_stream]
        if not train or not test or not any(u.targets for u in test):
            raise UserError(
                f"avalanche benchmark '{self.factory}' has no training or no test data; choose "
                "another benchmark"
            )
        session_classes = self._session_classes(train)
        num_classes = 1 + max(c for classes in session_classes for c in classes)
        train_samples, test_parts, train_transform, eval_transform, notes = samples_and_transforms(
            train, [u for u in test if u.targets]
        )
        test_samples = self._by_session(test_parts, session_classes)
        return build_stream(
            name="avalanche",
            class_names=[str(class_id) for class_id in range(num_classes)],
            session_classes=session_classes,
            train=train_samples,
            test=test_samples,
            train_transform=train_transform,
            eval_transform=eval_transform,
            way=common_way(session_classes),
            mirror_symmetric=self.mirror_symmetric,
            notes=(*notes, *self._left_out(train, session_classes)),
        )

    def _call(self) -> Any:
        factory = self._import()
        try:
            with seeded(self.seed):
                benchmark = factory(**(self.arguments or {}))
        except Exception as error:
            # the factory is foreign code and may raise any exception
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"avalanche factory '{self.factory}' cannot make a benchmark with the arguments "
                f"{self.arguments or {}} ({reason}); correct them"
            ) from error
        if not hasattr(benchmark, "train_stream") or not hasattr(benchmark, "test_stream"):
            raise UserError(
                f"'{self.factory}' returned a {type(benchmark).__name__}, not an Avalanche "
                "benchmark with a train_stream and a test_stream; name a benchmark factory"
            )
        return benchmark

    def _import(self) -> Any:
        module, _, name = self.factory.rpartition(".")
        try:
            factory = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"avalanche factory '{self.factory}' cannot be imported ({error}); pass a dotted "
                "name such as avalanche.benchmarks.classic.SplitMNIST"
            ) from error
        if not callable(factory):
            raise UserError(f"avalanche factory '{self.factory}' cannot be called; name a function")
        return factory

    def _session_classes(self, train: Sequence[Unwrapped]) -> tuple[tuple[int, ...], ...]:
        seen: set[int] = set()
        for session, unwrapped in enumerate(train):
            classes = set(unwrapped.targets)
            if not classes or min(classes) < 0:
                raise UserError(
                    f"experience {session} of '{self.factory}' has no samples, or class ids below 0"
                )
            if repeated := classes & seen:
                raise UserError(
                    f"class {min(repeated)} of '{self.factory}' comes again in experience "
                    f"{session}; use a class-incremental benchmark, with each class in only one "
                    "experience"
                )
            seen |= classes
        return tuple(tuple(sorted(set(u.targets))) for u in train)

    def _left_out(
        self, train: Sequence[Unwrapped], session_classes: Sequence[Sequence[int]]
    ) -> tuple[str, ...]:
        in_sessions = sum(map(len, session_classes))
        if (in_data := num_classes_of_origin(train)) <= in_sessions:
            return ()
        return (
            f"the data of '{self.factory}' has {in_data} classes, its {len(session_classes)} "
            f"sessions have {in_sessions}: Avalanche leaves out those that do not divide evenly; "
            "choose another number of experiences to learn all of them",
        )

    def _by_session(
        self, parts: Sequence[TensorSamples], session_classes: Sequence[Sequence[int]]
    ) -> list[TensorSamples]:
        joined = _join(parts)
        candidates = rows_by_class(joined.targets)
        for class_id in (c for classes in session_classes for c in classes):
            if class_id not in candidates:
                raise UserError(
                    f"class {class_id} of '{self.factory}' has no test sample, so it cannot be "
                    "measured; use a benchmark that tests all its classes"
                )
        return [joined.select(all_rows(candidates, classes)) for classes in session_classes]


def _join(parts: Sequence[TensorSamples]) -> TensorSamples:
    targets = [target for part in parts for target in part.targets]
    return TensorSamples(torch.cat([part.inputs for part in parts]), targets)
