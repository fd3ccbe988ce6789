"""What a method cannot get hold of while it trains: labels withheld, test data, later sessions."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from cl_suite.data.samples import UNLABELLED, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.testing.subject import Subject, claim, train


def labels_are_withheld_if_not_needed(subject: Subject) -> None:
    """A method that says that it needs no labels is trained without them."""
    engine = subject.engine()
    seen: set[int] = set()

    class Watch:
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            seen.update(template.mb_y.tolist())
            seen.update(template.adapted_dataset.targets)

    engine.template.plugins.insert(0, Watch())
    train(engine)
    if subject.requirements.labels:
        claim(UNLABELLED not in seen, "labels were withheld from a method that needs them")
    else:
        claim(seen == {UNLABELLED}, f"labels {sorted(seen)} reached a method that needs none")


class GuardedSamples(TensorSamples):
    """Samples that may not be looked at while `locked`."""

    locked = False

    @property
    def inputs(self) -> Tensor:
        claim(not type(self).locked, "test data was read while training")
        return self._inputs

    @inputs.setter
    def inputs(self, value: Tensor) -> None:
        self._inputs = value

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.targets[index]


def no_test_data_is_read_while_training(subject: Subject) -> None:
    """No test sample is looked at during training."""
    stream = subject.stream()
    guarded = tuple(GuardedSamples(_inputs(s), s.targets) for s in stream.test)
    engine = subject.engine(Stream(stream.info, stream.train, guarded))
    for session in range(stream.info.num_sessions):
        GuardedSamples.locked = True
        try:
            engine.train_session(session)
        finally:
            GuardedSamples.locked = False
        engine.evaluate(session)


def later_sessions_are_out_of_reach(subject: Subject) -> None:
    """From the template and the method itself no later session and no test data is reached."""
    engine = subject.engine()
    spy = Spy(engine.stream)
    engine.template.plugins.insert(0, spy)
    train(engine)
    for session, found in enumerate(spy.found):
        beyond = {(part, i) for part, i in found if part == "test" or i > session}
        claim(not beyond, f"in session {session} these could be reached: {sorted(beyond)}")


class Spy:
    """A plugin that notes, in each session, what it could get hold of.

    Args:
        stream: whose sets of samples it looks for.

    Attributes:
        found: of each session, "train" or "test" and the session of each set found.
    """

    def __init__(self, stream: Stream) -> None:
        self.owners = {
            id(_inputs(samples)): (part, i)
            for part, sets in (("train", stream.train), ("test", stream.test))
            for i, samples in enumerate(sets)
        }
        self.found: list[set[tuple[str, int]]] = []

    def after_training_exp(self, template: Any, **kwargs: Any) -> None:
        self.found.append(
            {self.owners[id(item)] for item in reachable(template) if id(item) in self.owners}
        )


def reachable(root: Any) -> Iterator[Any]:
    """Yield everything to be reached by attribute, item, bound method or closure.

    A function's globals and a module's names are left out: they lead everywhere.
    """
    stop = (types.ModuleType, type, types.BuiltinFunctionType, types.FrameType)
    seen: set[int] = set()
    todo = [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, stop):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, types.FunctionType):
            todo += [cell.cell_contents for cell in item.__closure__ or ()]
            todo += [item.__defaults__, item.__kwdefaults__, vars(item)]
        else:
            todo += gc.get_referents(item)


def _inputs(samples: Any) -> Tensor:
    inputs: Tensor = samples.inputs  # of the tiny streams, whose samples are in memory
    return inputs


REACH_CHECKS = (
    labels_are_withheld_if_not_needed,
    no_test_data_is_read_while_training,
    later_sessions_are_out_of_reach,
)
