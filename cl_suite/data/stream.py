"""What a scenario builds: a stream of sessions and a small frozen record of it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cl_suite.data.samples import UNLABELLED, Samples
from cl_suite.data.transforms import Transform
from cl_suite.errors import UserError

Modality = Literal["image", "audio"]
Kind = Literal["class", "data", "domain", "mixed"]


@dataclass(frozen=True)
class StreamInfo:
    """What everything downstream may know of a stream.

    Attributes:
        name: the scenario's name.
        class_names: name of each class; the index is the data set's own class id.
        session_classes: class ids that session `i` brings; session 0 is the base session.
        way: classes a few-shot session brings, None where sessions differ.
        shots: training samples a class of a few-shot session has, None for full data.
        modality: what a sample is.
        kind: what a session brings: new classes; more data, or another domain, of classes that come
            in every session; or (mixed) now new classes, now more data of classes gone by.
        input_shape: shape of one transformed sample, `(channels, height, width)` for images.
        train_transform, eval_transform: from a raw sample to the model's input.
        notes: sentences the user must see once (skipped files, shots that are not the published
            ones).
        fingerprint: hash of every sample in stream order, so two equal streams have equal ones.
    """

    name: str
    class_names: tuple[str, ...]
    session_classes: tuple[tuple[int, ...], ...]
    way: int | None
    shots: int | None
    modality: Modality
    input_shape: tuple[int, ...]
    train_transform: Transform
    eval_transform: Transform
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    kind: Kind = "class"

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set, seen or not."""
        return len(self.class_names)

    @property
    def num_sessions(self) -> int:
        """Number of sessions, the base session included."""
        return len(self.session_classes)

    def seen_classes(self, session: int) -> tuple[int, ...]:
        """Return the class ids of sessions 0 to `session`, each once, in order of arrival."""
        arrived = (c for classes in self.session_classes[: session + 1] for c in classes)
        return tuple(dict.fromkeys(arrived))

    @property
    def preprocessing(self) -> str:
        """The evaluation transform in words: equal words mean equal inputs."""
        return repr(self.eval_transform)


@dataclass(frozen=True)
class Stream:
    """A finished scenario.

    Attributes:
        info: the frozen record.
        train, test: raw samples of each session; the engine hands on one session at a time.
    """

    info: StreamInfo
    train: tuple[Samples, ...] = field(repr=False)
    test: tuple[Samples, ...] = field(repr=False)

    def with_transforms(self, train: Transform, evaluation: Transform) -> Stream:
        """Return the same sessions with other transforms; samples and fingerprint stay."""
        info = dataclasses.replace(
            self.info,
            input_shape=tuple(evaluation(self.train[0][0][0]).shape),
            train_transform=train,
            eval_transform=evaluation,
        )
        return Stream(info, self.train, self.test)


class Scenario(Protocol):
    """A scenario's constructor stores its parameters; `build` reads the data and cuts sessions.

    Equal parameters give equal streams. A bad parameter or data set raises `UserError`. The class
    may state `kind` and `modality` of its streams (see `StreamInfo`); by default they are those of
    images of new classes. It may name in `drawn_by_seed` a parameter that takes the run's seed
    where it is None, so that each seed is a draw of its own.
    """

    def build(self) -> Stream: ...


def build_stream(
    *,
    name: str,
    class_names: Sequence[str],
    session_classes: Sequence[Sequence[int]],
    train: Sequence[Samples],
    test: Sequence[Samples],
    train_transform: Transform,
    eval_transform: Transform,
    way: int | None = None,
    shots: int | None = None,
    modality: Modality = "image",
    kind: Kind = "class",
    notes: Sequence[str] = (),
    known_fingerprint: str | None = None,
) -> Stream:
    """Return the stream of these sessions.

    Args:
        train, test: one set of samples a session, `targets` being data-set class ids. Each set
            must own its data (see `Samples.select`). A training sample may have the target
            `UNLABELLED`.
        kind: see `StreamInfo`; classes come once only in a stream of new classes.
        known_fingerprint: of the samples, where it need not be computed.

    Raises:
        UserError: if a session has a class that it did not announce, a class comes twice, or a
            session has no training sample.
    """
    _check_sessions(session_classes, train, test, class_names, kind)
    info = StreamInfo(
        name=name,
        class_names=tuple(class_names),
        session_classes=tuple(tuple(int(c) for c in classes) for classes in session_classes),
        way=way,
        shots=shots,
        modality=modality,
        kind=kind,
        input_shape=tuple(eval_transform(train[0][0][0]).shape),
        train_transform=train_transform,
        eval_transform=eval_transform,
        notes=tuple(notes),
        fingerprint=known_fingerprint or fingerprint([*train, *test]),
    )
    return Stream(info, tuple(train), tuple(test))


def fingerprint(sets: Sequence[Samples]) -> str:
    """Return a SHA-256 over every sample of these sets, in order."""
    digest = hashlib.sha256()
    for samples in sets:
        digest.update(f"set {len(samples)}".encode())
        for index in range(len(samples)):
            digest.update(samples.digest(index))
    return digest.hexdigest()


def _check_sessions(
    session_classes: Sequence[Sequence[int]],
    train: Sequence[Samples],
    test: Sequence[Samples],
    class_names: Sequence[str],
    kind: Kind,
) -> None:
    if not len(session_classes) == len(train) == len(test):
        raise ValueError(
            f"{len(session_classes)} class lists, {len(train)} training and {len(test)} test sets"
        )
    seen: set[int] = set()
    for session, classes in enumerate(session_classes):
        wanted = set(classes)
        if (repeated := wanted & seen) and kind == "class":
            raise UserError(f"class {min(repeated)} comes twice, again in session {session}")
        if unknown := [c for c in wanted if not 0 <= c < len(class_names)]:
            raise UserError(
                f"session {session} asks for class {unknown[0]}; there are {len(class_names)}"
            )
        for part, samples in (("training", train[session]), ("test", test[session])):
            unlabelled = {UNLABELLED} if samples is train[session] else set()
            if stray := set(samples.targets) - wanted - unlabelled:
                raise UserError(
                    f"session {session} has {part} samples of class {min(stray)}, "
                    "which is not one of its classes"
                )
        targets = set(train[session].targets)
        # the labels that are withheld may be those of a whole class
        if (missing := wanted - targets) and UNLABELLED not in targets:
            raise UserError(
                f"session {session} has no training sample of class "
                f"'{class_names[min(missing)]}'; add some or leave the class out"
            )
        seen |= wanted
