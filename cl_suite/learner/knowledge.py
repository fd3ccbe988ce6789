"""What a learner knows and does in memory: predict, learn, forget, merge, undo, evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.learner import steps
from cl_suite.learner.answers import Evaluation, Learned, Prediction
from cl_suite.learner.calibration import FALSE_ALARMS, Calibration, calibrated, familiarity
from cl_suite.learner.evaluate import evaluated
from cl_suite.learner.extractor import BackboneSpec, Extractor
from cl_suite.learner.pictures import Picture, Skipped, read, sources
from cl_suite.learner.records import Examples, State
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table
from cl_suite.learner.unlabelled import moved

MOST_UNDONE = 100


class Knowledge:
    """Sufficient statistics of classes, and the classifier that follows from them.

    Each step that changes it either happens whole or raises and changes nothing. Several threads
    may use it.

    Args:
        extractor: the backbone and its preparation of pictures.
        rule: how class statistics become a classifier.
        state: what it knows.
        false_alarms: share of pictures of known classes that may be called unknown, in [0, 1).
        note: a sentence about the classifier that its users should know; "" for none.
    """

    def __init__(
        self,
        extractor: Extractor,
        rule: Rule,
        state: State,
        *,
        false_alarms: float = FALSE_ALARMS,
        note: str = "",
    ) -> None:
        if not 0 <= false_alarms < 1:
            raise UserError(f"false_alarms must be in [0, 1), got {false_alarms}")
        self.extractor, self.rule, self.note = extractor, rule, note
        self.false_alarms = false_alarms
        self._state = state
        self._past: list[State] = []
        self._table = Table(rule, extractor.device)
        self._calibration: tuple[State, float, Calibration] | None = None
        self._lock = threading.RLock()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order of arrival."""
        return tuple(self._state.records)

    @property
    def counts(self) -> dict[str, int]:
        """Number of pictures of each class."""
        return {label: record.count for label, record in self._state.records.items()}

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """What happened, oldest first."""
        return self._state.history

    @property
    def state(self) -> State:
        """The statistics; a step replaces them by others."""
        return self._state

    @property
    def spec(self) -> BackboneSpec:
        """What describes the backbone."""
        return self.extractor.spec

    @property
    def calibration(self) -> Calibration:
        """Temperature and threshold, fitted to the present classes when they are first used."""
        with self._lock, torch.no_grad():
            state = self._state
            self._table.follow(state)
            rate, last = self.false_alarms, self._calibration
            if last is not None and last[0] is state and last[1] == rate:
                return last[2]
            found = calibrated(self.rule, self._table, state, rate)
            self._calibration = (state, rate, found)
            return found

    # --- steps

    def look(self, images: Any, *, strict: bool = False) -> tuple[Examples, tuple[Skipped, ...]]:
        """Return pictures as the backbone sees them, to be taught by `add`, and those skipped.

        Raises:
            UserError: if no picture is given, or `strict` is set and one cannot be read.
        """
        features, ids, thumbnails, skipped = [torch.empty(0, self.extractor.dim)], [], [], []
        for part in read(sources(images), self.extractor.prepare, strict=strict):
            good = [one for one in part if isinstance(one, Picture)]
            skipped += [one for one in part if isinstance(one, Skipped)]
            features.append(self.extractor.to_learn([one.prepared for one in good]))
            ids += [one.identity for one in good]
            thumbnails += [one.thumbnail for one in good]
        return Examples(torch.cat(features), tuple(ids), tuple(thumbnails)), tuple(skipped)

    def learn(self, images: Any, label: str, *, strict: bool = False) -> Learned:
        """Learn a new class, or more of a known one, from pictures; see `pictures.sources`.

        Raises:
            UserError: if no picture can be read, or with `strict` if one cannot.
        """
        label = steps.checked_label(label)
        examples, skipped = self.look(images, strict=strict)
        if not len(examples):
            raise UserError(f"no picture could be used: {skipped[0].reason}")
        return dataclasses.replace(self.add(examples, label), skipped=skipped)

    def add(self, examples: Examples, label: str) -> Learned:
        """Learn examples that `look` returned.

        Raises:
            UserError: if there is none, or a feature is not finite.
        """
        with self._lock, torch.no_grad():
            state, learned = steps.taught(self.rule, self._state, label, examples)
            self._step(state)
            return learned

    def forget(self, label: str) -> None:
        """Forget a class, as if it had never been learned.

        Raises:
            UserError: for an unknown label.
        """
        with self._lock, torch.no_grad():
            self._step(steps.forgotten(self.rule, self._state, label))

    def rename(self, old: str, new: str) -> None:
        """Give a class another name.

        Raises:
            UserError: for an unknown label, or a name that another class has.
        """
        with self._lock:
            self._step(steps.renamed(self._state, old, new))

    def merge(self, other: Knowledge) -> tuple[str, ...]:
        """Learn all that another learner knows; return the labels that are new here.

        A picture that both know of a class counts once.

        Raises:
            UserError: if the other has another backbone, preparation of pictures, rule, or
                different base classes that the rule was fitted to.
        """
        self._check_alike(other)
        theirs = other.state  # another thread may change it meanwhile
        with self._lock, torch.no_grad():
            new = tuple(label for label in theirs.records if label not in self._state.records)
            self._step(steps.joined(self.rule, self._state, theirs))
            return new

    def undo(self) -> None:
        """Take the last step back; the state is the very one before it.

        Raises:
            UserError: if no step was taken since the learner was made or loaded.
        """
        with self._lock:
            if not self._past:
                raise UserError(
                    "there is no step to undo since this classifier was made or loaded; to restore "
                    "the previous version of a file, run `cl-suite undo`"
                )
            self._state = self._past.pop()

    def adopt(self, state: State) -> None:
        """Go on from a state that `steps` made of this learner's; it cannot be undone here."""
        with self._lock:
            self._state, self._past = state, []

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[State]:
        """Yield the state; no other thread changes it inside the block."""
        with self._lock:
            yield self._state

    # --- use

    def predict(
        self, images: Any, top: int = 5, *, strict: bool = False, keys: Tensor | None = None
    ) -> list[Prediction]:
        """Return the classes of pictures, in order; see `pictures.sources`.

        Args:
            top: number of labels of each.
            strict: raise for a picture that cannot be read, instead of saying so in its place.
            keys: what `moved_keys` returned; by default the classes' own.

        Raises:
            UserError: if no picture is given, or no class was learned.
        """
        if not isinstance(top, int) or top < 1:
            raise UserError(f"top must be a whole number of at least 1, got {top!r}")
        self._check_not_empty()
        found: list[Prediction] = []
        for part in read(sources(images), self.extractor.prepare, strict=strict):
            good = [one.prepared for one in part if isinstance(one, Picture)]
            answers = iter(self.answers(self.extractor.to_predict(good), top, keys=keys))
            for one in part:
                if isinstance(one, Skipped):
                    found.append(Prediction(one.name, (), (), error=one.reason))
                else:
                    found.append(dataclasses.replace(next(answers), name=one.name))
        return found

    @torch.no_grad()
    def answers(
        self, features: Tensor, top: int = 5, *, keys: Tensor | None = None
    ) -> list[Prediction]:
        """Return the predictions, without names, for features `(n, dim)`.

        Args:
            keys: as for `predict`.

        Raises:
            UserError: if no class was learned.
        """
        with self._lock:
            self._check_not_empty()
            calibration = self.calibration
            labels = self._table.labels
            queries = self._table.query(features)
            scores = self._table.scores(queries, keys)
        familiar = familiarity(self.rule, queries, scores).tolist()
        best = scores.topk(min(top, len(labels)), dim=1)
        log_sum = (calibration.scale * scores).logsumexp(dim=1, keepdim=True)
        probabilities = (calibration.scale * best.values - log_sum).exp().tolist()
        limit = calibration.threshold
        return [
            Prediction(
                "",
                tuple(labels[column] for column in columns),
                tuple(shares),
                limit is not None and fits < limit,
                fits,
            )
            for columns, shares, fits in zip(
                best.indices.tolist(), probabilities, familiar, strict=True
            )
        ]

    @torch.no_grad()
    def moved_keys(self, examples: Examples) -> Tensor:
        """Return the classes' keys, moved by unlabelled pictures that probably belong to them.

        Predictions with them depend on these pictures. What is known stays: nothing is learned, and
        nothing needs to be undone. Temperature and threshold are those of the classes' own keys.

        Args:
            examples: pictures that `look` returned.

        Raises:
            UserError: if no class was learned, or the rule does not compare by cosine.
        """
        with self._lock:
            self._check_not_empty()
            self._table.follow(self._state)
            scale = self.calibration.scale
            return moved(self.rule, self._table, self._state, examples.features, scale)

    def evaluate(self, folder: str | os.PathLike[str], *, strict: bool = False) -> Evaluation:
        """Return the accuracy on a folder of class folders; unknown classes test the threshold.

        Raises:
            UserError: for a folder without class folders, or a learner without classes.
        """

        def predict(pictures: Sequence[Path]) -> list[Prediction]:
            return self.predict(pictures, top=1, strict=strict)

        return evaluated(predict, set(self.labels), Path(folder).expanduser())

    def _step(self, state: State) -> None:
        if state is not self._state:
            self._past = [*self._past[-(MOST_UNDONE - 1) :], self._state]
            self._state = state

    def _check_not_empty(self) -> None:
        if not self._state.records:
            raise UserError("this classifier knows no class yet; teach it one first")

    def _check_alike(self, other: Knowledge) -> None:
        if not isinstance(other, Knowledge):
            raise UserError(
                f"a learner merges another learner, not a {type(other).__name__}; load a file first"
            )
        if other.spec.identity != self.spec.identity:
            raise UserError(
                f"the other classifier has backbone '{other.spec.name}' (identity "
                f"{other.spec.identity[:12]}), this one '{self.spec.name}' "
                f"({self.spec.identity[:12]}): features differ; merge classifiers of one backbone, "
                "weights and preparation of pictures"
            )
        if not self.rule.same_as(other.rule):
            raise UserError(
                f"the other classifier's rule '{other.rule.name}' is not this one's "
                f"'{self.rule.name}' with the same parameters and base session; merge classifiers "
                "that started alike"
            )
