"""What a server does to a classifier file: many readers, one writer, and nothing half done.

A change is computed beside the state that readers use, written to the file, and only then shown to
them. So an answer tells what the file holds, and a server that is killed loses no answered change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cl_suite.errors import UserError
from cl_suite.learner import steps, store
from cl_suite.learner.answers import Learned, Prediction
from cl_suite.learner.learner import Learner
from cl_suite.learner.pictures import Picture, Skipped, read
from cl_suite.learner.records import State
from cl_suite.learner.serve.limits import Limits, RefusedError
from cl_suite.learner.serve.neighbours import Neighbour, nearest
from cl_suite.learner.serve.uploads import Upload, checked
from cl_suite.learner.store import stamp_of

NO_CLASS = "this classifier knows no class yet; teach it one first"


@dataclass(frozen=True)
class Answer:
    """A prediction with the training pictures that are nearest to the picture."""

    prediction: Prediction
    neighbours: Sequence[Neighbour]


class Service:
    """The classifier in a file, for many threads.

    Args:
        path: the file.
        limits: of each request.
        device: where features are computed.
        weights: file of the backbone's published weights, if it moved.

    Raises:
        UserError: if the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        device: torch.device | str = "cpu",
        weights: str | None = None,
    ) -> None:
        self.path, self.limits = path, limits
        self._stamp = stamp_of(path)
        self._learner = Learner.load(path, device=device, weights=weights)
        self._device, self._weights = device, weights
        self._writing = threading.Lock()
        # more at once would only wait for each other's cores
        self._slots = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    # --- reading

    def current(self) -> Learner:
        """Return the classifier as the file has it.

        While a change of our own is written, it is the one before it.

        Raises:
            RefusedError: if another program has put something unusable in the file's place.
        """
        if stamp_of(self.path) != self._stamp and self._writing.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._writing.release()
        return self._learner

    def predict(self, uploads: Sequence[Upload], top: int, neighbours: int) -> list[Answer]:
        """Return the classes of pictures, in order.

        Args:
            top: number of labels of each.
            neighbours: number of training pictures of each.

        Raises:
            RefusedError: if none is a picture, no class is known, or a limit is passed.
        """
        learner = self.current()
        wanted = checked(uploads, self.limits)
        with self._slot():
            seen = [one for part in read(wanted, learner.extractor.prepare) for one in part]
            good = [one for one in seen if isinstance(one, Picture)]
            if not good:
                _refuse_all(seen)
            features = learner.extractor.to_predict([one.prepared for one in good])
        with learner.at_rest() as state:
            if not state.records:
                raise RefusedError(409, NO_CLASS)
            answers = learner.answers(features, top)
        answered = iter(
            Answer(prediction, nearest(state, feature, prediction.labels, neighbours))
            for prediction, feature in zip(answers, features, strict=True)
        )
        return [_in_place(one, answered) for one in seen]

    # --- changing

    def learn(self, uploads: Sequence[Upload], label: str) -> Learned:
        """Teach pictures of a class; they are in the file when this returns.

        Raises:
            RefusedError: for a label that is none, no picture, or a limit that is passed.
        """
        with _refusing(422):
            label = steps.checked_label(label)
        learner = self.current()
        wanted = checked(uploads, self.limits)
        with self._slot():
            examples, skipped = learner.look(wanted)
        if not len(examples):
            _refuse_all(skipped)
        with self._changing() as now:
            if now.extractor is not learner.extractor:
                raise RefusedError(
                    409, "the classifier was replaced meanwhile by one of another backbone; repeat"
                )
            with _refusing(422):
                state, learned = steps.taught(now.rule, now.state, label, examples)
            self._commit(state)
        return dataclasses.replace(learned, skipped=skipped)

    def forget(self, label: str) -> None:
        """Forget a class.

        Raises:
            RefusedError: for an unknown label.
        """
        with self._changing() as now:
            with _refusing(404):
                state = steps.forgotten(now.rule, now.state, label)
            self._commit(state)

    def rename(self, old: str, new: str) -> str:
        """Give a class another name; return it as it is kept.

        Raises:
            RefusedError: for an unknown label, a new one that is taken, or none.
        """
        with _refusing(422):
            new = steps.checked_label(new)
        with self._changing() as now:
            with _refusing(409 if old in now.state.records else 404):
                state = steps.renamed(now.state, old, new)
            self._commit(state)
        return new

    def undo(self) -> Mapping[str, Any] | None:
        """Restore the file's previous version; return the step that is gone, if it is known.

        Raises:
            RefusedError: if there is none.
        """
        with self._changing() as now:
            if not store.previous(self.path).is_file():
                raise RefusedError(
                    409, "there is nothing to undo; one step is kept, and it may be undone already"
                )
            # before the file gives way to it
            before = self._load(store.previous(self.path))
            store.restore_previous(self.path)
            _sync_folder(self.path.parent)
            self._show(before)
            history = now.history
            return history[-1] if len(history) > len(before.history) else None

    @property
    def can_undo(self) -> bool:
        """Whether the file has a previous version."""
        return store.previous(self.path).is_file()

    # --- the file

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Learner]:
        """Yield the classifier as the file has it; nobody else changes the file meanwhile."""
        if not self._writing.acquire(timeout=self.limits.seconds):
            raise RefusedError(503, "other changes take too long; try again in a moment")
        try:
            with torch.no_grad(), _refusing(503), store.locked(self.path, self.limits.seconds):
                self._follow()
                yield self._learner
        finally:
            self._writing.release()

    def _commit(self, state: State) -> None:
        """Write a state, then show it to readers."""
        learner = self._learner
        if state is learner.state:
            return
        store.write(self.path, learner.packed(state))
        _sync_folder(self.path.parent)
        self._stamp = stamp_of(self.path)
        learner.adopt(state)

    def _follow(self) -> None:
        """Take over what another program has written."""
        if (stamp := stamp_of(self.path)) != self._stamp:
            self._learner, self._stamp = self._load(self.path), stamp

    def _show(self, learner: Learner) -> None:
        self._learner, self._stamp = learner, stamp_of(self.path)

    def _load(self, path: Path) -> Learner:
        with _refusing(503):
            tree = store.read(path)
            rule, spec, state = store.unpack(tree, path)
            extractor = self._learner.extractor
            if spec.identity != extractor.spec.identity:
                return Learner.load(path, device=self._device, weights=self._weights)
            extra = {"false_alarms": tree["false_alarms"], "note": tree["note"]}
            return Learner(extractor, rule, state, **extra)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self.limits.seconds):
            raise RefusedError(503, "the server is busy; try again in a moment")
        try:
            yield
        finally:
            self._slots.release()


@contextlib.contextmanager
def _refusing(status: int) -> Iterator[None]:
    """Turn a sentence for users into an answer of this status."""
    try:
        yield
    except RefusedError:
        raise
    except UserError as error:
        raise RefusedError(status, str(error)) from error


def _refuse_all(seen: Sequence[Picture | Skipped]) -> None:
    reasons = [one.reason for one in seen if isinstance(one, Skipped)]
    raise RefusedError(415, f"no picture could be used: {reasons[0]}")


def _in_place(one: Picture | Skipped, answers: Iterator[Answer]) -> Answer:
    if isinstance(one, Skipped):
        return Answer(Prediction(one.name, (), (), error=one.reason), ())
    answer = next(answers)
    return dataclasses.replace(
        answer, prediction=dataclasses.replace(answer.prediction, name=one.name)
    )


def _sync_folder(folder: Path) -> None:
    """Make a renamed file outlive a failing machine."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
