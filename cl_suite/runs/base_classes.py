"""A fake stream cut from a scenario's base session: some of its classes play new ones.

Its base session has the training images of the other base classes. Its later sessions have a few
training images of the classes that play new ones, as many as the scenario's own sessions. Its test
images are training images of the base session that no fake session learns from. No test image of
the scenario and no image of its later sessions is read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import Stream, build_stream
from cl_suite.errors import UserError
from cl_suite.methods.episodes.tuning import LEAST_CLASSES, LEAST_IMAGES, FakeTask, fake_tasks

ALL = 10**9  # images, more than any class has
MOST_SESSIONS = 8  # if the scenario's own sessions do not tell how many classes they bring
SUFFIX = "-base-classes"  # of the scenario's name, in folders and tables


@dataclass(frozen=True)
class Cut:
    """How to cut the fake stream.

    Attributes:
        seed: of the draw of classes and images.
        new_classes: share of the base classes that play new ones.
        test_images: test images a class, at most.
        sessions: later sessions; None: as many as the scenario's way makes of the new classes.
        least_classes: base classes with enough images that are needed.
    """

    seed: int = 0
    new_classes: float = 0.4
    test_images: int = 20
    sessions: int | None = None
    least_classes: int = LEAST_CLASSES


class BaseClassesOnly:
    """A scenario whose stream is cut from another scenario's base session.

    Args:
        whole: the other scenario.
    """

    def __init__(self, whole: Any, cut: Cut) -> None:
        self.whole, self.cut = whole, cut
        for name in ("kind", "modality", "image_size"):
            if hasattr(whole, name):  # a scenario need not say
                setattr(self, name, getattr(whole, name))

    def build(self) -> Stream:
        """Return the fake stream.

        Raises:
            UserError: if the base session cannot be cut.
        """
        whole = self.whole
        if hasattr(self, "image_size"):
            whole = copy.copy(whole)
            whole.image_size = self.image_size
        return cut_base(whole.build(), self.cut)


def cut_base(stream: Stream, cut: Cut) -> Stream:
    """Return the fake stream that is cut from a stream's base session.

    Raises:
        UserError: if the base session has too few classes or images, or no labels.
    """
    info, base = stream.info, stream.train[0]
    if info.kind != "class":
        raise UserError(
            f"select needs a stream whose sessions bring new classes, but those of '{info.name}' "
            "do not; leave out select"
        )
    if UNLABELLED in base.targets:
        raise UserError(
            f"select needs the labels of the base session, but '{info.name}' withholds some; leave "
            "out select"
        )
    task = _task(torch.tensor(base.targets), cut, info.way, info.shots, info.name)
    sessions = _sessions(task)
    labels = torch.tensor(base.targets)
    train = [base.select(_of(task.train, labels, sessions[0]))]
    train += [base.select(_of(task.shots, labels, classes)) for classes in sessions[1:]]
    test = [base.select(_of(task.test, labels, classes)) for classes in sessions]
    return build_stream(
        name=f"{info.name}{SUFFIX}",
        class_names=info.class_names,
        session_classes=sessions,
        train=train,
        test=test,
        train_transform=info.train_transform,
        eval_transform=info.eval_transform,
        way=task.way,
        shots=info.shots,
        modality=info.modality,
        from_picture=info.from_picture,
        mirror_symmetric=info.mirror_symmetric,
    )


def usable_classes(labels: Tensor) -> int:
    """Return how many classes have enough images to take part in a fake stream."""
    return int((torch.bincount(labels) >= LEAST_IMAGES).sum())


def in_words(session_classes: Sequence[Sequence[int]], shots: int | None, num_test: int) -> str:
    """Return what a fake stream consists of, for the report.

    Args:
        num_test: its test images.
    """
    base, *later = session_classes
    new = sum(map(len, later))
    each = "half of their images" if shots is None else f"{shots} images of each"
    return (
        f"fake sessions cut from the base session's training data: {len(base)} of its classes play "
        f"the base, {new} play new classes in {len(later)} session{'s' * (len(later) > 1)} with "
        f"{each}, and {num_test:,} held-back training images test them"
    )


def _task(labels: Tensor, cut: Cut, way: int | None, shots: int | None, name: str) -> FakeTask:
    generator = torch.Generator().manual_seed(cut.seed)
    usable = usable_classes(labels)
    num_new = max(1, round(cut.new_classes * usable))
    sessions = cut.sessions
    if sessions is None:
        sessions = MOST_SESSIONS if way is None or way > num_new else math.ceil(num_new / way)
    found = fake_tasks(
        labels,
        generator=generator,
        num_tasks=1,
        shots=ALL if shots is None else shots,
        new_rate=cut.new_classes,
        num_sessions=max(1, min(sessions, num_new)),
        test_images=cut.test_images,
        max_images=ALL,
        least_classes=cut.least_classes,
    )
    if not found:
        raise UserError(
            f"select needs {cut.least_classes} base classes with {LEAST_IMAGES} training images "
            f"each, but the base session of '{name}' has {usable}; leave out select"
        )
    return found[0]


def _sessions(task: FakeTask) -> list[list[int]]:
    new = task.new_classes.tolist()
    starts = range(0, len(new), task.way)
    return [task.base_classes.tolist(), *(new[i : i + task.way] for i in starts)]


def _of(rows: Tensor, labels: Tensor, classes: list[int]) -> list[int]:
    """Return those of the rows whose label is one of these classes."""
    own: list[int] = rows[torch.isin(labels[rows], torch.tensor(classes))].tolist()
    return own
