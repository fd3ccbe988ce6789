"""Accuracy on a folder of class folders, measured again after each change.

The backbone is frozen, so the folder's pictures are read once, by a thread of their own. After that
an evaluation costs the scores alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cl_suite.data.readers.class_folders import find_images
from cl_suite.errors import UserError
from cl_suite.learner.answers import Evaluation, Prediction
from cl_suite.learner.evaluate import evaluation_of
from cl_suite.learner.extractor import Extractor
from cl_suite.learner.learner import Learner
from cl_suite.learner.pictures import Picture, Skipped, read, sources
from cl_suite.learner.records import State
from cl_suite.learner.serve.limits import RefusedError
from cl_suite.learner.serve.service import NO_CLASS

READ_AT_ONCE = 16  # pictures, after which the thread can end
SCORED_AT_ONCE = 512  # pictures, after which others get their turn
ATTEMPTS = 3


@dataclass(frozen=True)
class Progress:
    """How many of the folder's pictures are read."""

    done: int
    total: int


@dataclass(eq=False)
class Pictures:
    """What is known of a class's pictures: features of those that could be read, and the others."""

    features: list[Tensor] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


class HeldOut:
    """A folder of pictures that are never learned.

    Args:
        folder: has one folder of pictures a class.

    Raises:
        UserError: if it has no class folder with pictures.
    """

    def __init__(self, folder: Path) -> None:
        find_images(folder, str(folder))
        self.folder = folder
        self._lock = threading.Lock()
        self._reading: _Reading | None = None
        self._last: tuple[State, Evaluation] | None = None

    def start(self, learner: Learner) -> Progress:
        """Read the folder, again if it was read before; a thread goes on after this returns."""
        with self._lock:
            old = self._reading
            if old is None or old.is_over or old.extractor is not learner.extractor:
                self.stop()
                self._reading = _Reading(self.folder, learner.extractor)
                self._last = None
                self._reading.start()
            assert self._reading is not None
            return self._reading.progress

    def stop(self) -> None:
        """End the thread; the interpreter aborts if one computes while it exits."""
        if self._reading is not None:
            self._reading.is_cancelled = True
            self._reading.join()

    def evaluation(self, learner: Learner) -> Evaluation | Progress:
        """Return the figures of a learner, or how far reading is.

        Raises:
            RefusedError: if the folder cannot be read any more, or no class is known.
        """
        reading = self._reading
        if reading is None or reading.extractor is not learner.extractor:
            return self.start(learner)
        if reading.problem is not None:
            raise RefusedError(409, reading.problem)
        if not reading.is_over:
            return reading.progress
        with self._lock:
            if self._last is None or self._last[0] is not learner.state:
                self._last = _measured(learner, reading.pictures)
            return self._last[1]


class _Reading(threading.Thread):
    """Computes the features of a folder's pictures.

    Attributes:
        pictures: by class; complete once `is_over`.
        problem: why it ended early; None if it did not.
    """

    def __init__(self, folder: Path, extractor: Extractor) -> None:
        super().__init__(daemon=True)
        self.folder, self.extractor = folder, extractor
        self.images = find_images(folder, str(folder)).images
        self.pictures: dict[str, Pictures] = {}
        self.problem: str | None = None
        self.is_over = self.is_cancelled = False
        self._done = 0

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._done, sum(map(len, self.images.values())))

    def run(self) -> None:
        try:
            for label, paths in self.images.items():
                self.pictures[label] = Pictures()
                self._read(self.pictures[label], paths)
            if not any(each.features for each in self.pictures.values()):
                self.problem = f"folder '{self.folder}' has no picture that can be read"
        except Exception as error:
            self.problem = f"folder '{self.folder}' cannot be measured ({error})"
            if not isinstance(error, UserError):
                raise
        finally:
            self.is_over = True

    def _read(self, pictures: Pictures, paths: Sequence[Path]) -> None:
        for first in range(0, len(paths), READ_AT_ONCE):
            if self.is_cancelled:
                return
            (part,) = read(sources(paths[first : first + READ_AT_ONCE]), self.extractor.prepare)
            good = [one.prepared for one in part if isinstance(one, Picture)]
            pictures.skipped += [one for one in part if isinstance(one, Skipped)]
            if good:
                pictures.features.append(self.extractor.to_predict(good))
            self._done += len(part)


def _measured(learner: Learner, pictures: Mapping[str, Pictures]) -> tuple[State, Evaluation]:
    """Return the figures of one state, and that state."""
    for _ in range(ATTEMPTS):
        state = learner.state
        found = _answers(learner, pictures)
        if learner.state is state:
            break
    else:
        # it changes all the time, so it has to wait once
        with learner.at_rest() as state:
            found = _answers(learner, pictures)
    return state, evaluation_of(found, set(state.records))


def _answers(learner: Learner, pictures: Mapping[str, Pictures]) -> dict[str, list[Prediction]]:
    rows = [(label, part) for label, each in pictures.items() for part in each.features]
    features = torch.cat([part for _, part in rows])
    parts = torch.split(features, SCORED_AT_ONCE)
    answers = iter(answer for part in parts for answer in _scored(learner, part))
    found: dict[str, list[Prediction]] = {
        label: [Prediction(one.name, (), (), error=one.reason) for one in each.skipped]
        for label, each in pictures.items()
    }
    for label, part in rows:
        found[label] += [next(answers) for _ in part]
    return found


def _scored(learner: Learner, features: Tensor) -> list[Prediction]:
    with learner.at_rest() as state:
        if not state.records:
            raise RefusedError(409, NO_CLASS)
        return learner.answers(features, top=1)
