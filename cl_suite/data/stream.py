"""The stream of sessions that a scenario builds, and the frozen record that describes it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cl_suite.data.samples import UNLABELLED, Samples
from cl_suite.data.transforms import Transform, without_mirroring
from cl_suite.errors import UserError

Modality = Literal["image", "audio"]
Kind = Literal["class", "data", "domain", "mixed"]


@dataclass(frozen=True)
class StreamInfo:
    """Everything that the engine, strategies and reports may know about a stream.

    Attributes:
        name: the scenario's name.
        class_names: name of each class; the index is the data set's own class id.
        session_classes: class ids that session `i` brings; session 0 is the base session.
        way: classes that a few-shot session brings; None if sessions differ.
        shots: training samples of each class in a few-shot session; None for full data, and if
            classes have unequal numbers.
        modality: kind of sample, image or audio.
        kind: what a session brings: "class" new classes; "data" more data of the same classes;
            "domain" another domain of the same classes; "mixed" new classes in some sessions and
            more data of earlier classes in others.
        input_shape: shape of one transformed sample, `(channels, height, width)` for images.
        train_transform, eval_transform: map a raw sample to the model's input.
        notes: sentences the user must see once (skipped files, shots other than the published
            ones).
        fingerprint: hash of every sample in stream order; equal streams have equal fingerprints.
        from_picture: makes a raw sample of any uint8 RGB picture, such as a photo of a new class;
            None if `eval_transform` alone, or resizing, does.
        mirror_symmetric: False if a mirrored sample may belong to another class, as with signs,
            letters and digits; no view of a training sample is then mirrored.
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
    from_picture: Transform | None = None
    mirror_symmetric: bool = True

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
        train, test: raw samples of each session; the engine passes on one session at a time.
    """

    info: StreamInfo
    train: tuple[Samples, ...] = field(repr=False)
    test: tuple[Samples, ...] = field(repr=False)

    def with_transforms(self, train: Transform, evaluation: Transform) -> Stream:
        """Return the same sessions with other transforms; samples and fingerprint do not change.

        If a mirrored sample may belong to another class, `train` mirrors none (see `StreamInfo`).
        """
        info = dataclasses.replace(
            self.info,
            input_shape=tuple(evaluation(self.train[0][0][0]).shape),
            train_transform=train if self.info.mirror_symmetric else without_mirroring(train),
            eval_transform=evaluation,
        )
        return Stream(info, self.train, self.test)


class Scenario(Protocol):
    """A scenario's constructor stores its parameters; `build` reads the data and cuts sessions.

    Equal parameters give equal streams. A bad parameter or data set raises `UserError`. The class
    may state `kind` and `modality` of its streams (see `StreamInfo`); the defaults are "class" and
    "image". `drawn_by_seed` may name a parameter: if it is None, it gets the run's seed, and each
    seed is a separate draw. A scenario of many small tasks may state `tasks`, a sequence of their
    numbers (None for a run of one), and `read_tasks()`, which reads the data once and returns what
    makes the stream of a number; one run then goes through them all.
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
    from_picture: Transform | None = None,
    mirror_symmetric: bool = True,
) -> Stream:
    """Return the stream of these sessions.

    Args:
        train, test: one set of samples a session; `targets` are data-set class ids. Each set must
            own its data (see `Samples.select`). A training sample may have the target `UNLABELLED`.
        kind: see `StreamInfo`; with "class" a class may be in one session only.
        known_fingerprint: fingerprint of the samples; None to compute it.
        from_picture, mirror_symmetric: see `StreamInfo`.

    Raises:
        UserError: if a session has samples of a class that is not in its class list, a class comes
            twice, or a class has no training sample.
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
        train_transform=train_transform if mirror_symmetric else without_mirroring(train_transform),
        eval_transform=eval_transform,
        notes=tuple(notes),
        fingerprint=known_fingerprint or fingerprint([*train, *test]),
        from_picture=from_picture,
        mirror_symmetric=mirror_symmetric,
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
            raise UserError(
                f"class {min(repeated)} comes twice, the second time in session {session}"
            )
        if unknown := [c for c in wanted if not 0 <= c < len(class_names)]:
            raise UserError(
                f"session {session} has class {unknown[0]}, but the data set has "
                f"{len(class_names)} classes"
            )
        for part, samples in (("training", train[session]), ("test", test[session])):
            unlabelled = {UNLABELLED} if samples is train[session] else set()
            if stray := set(samples.targets) - wanted - unlabelled:
                raise UserError(
                    f"session {session} has {part} samples of class {min(stray)}, "
                    "which is not one of its classes"
                )
        targets = set(train[session].targets)
        # the withheld labels may be all labels of a class
        if (missing := wanted - targets) and UNLABELLED not in targets:
            raise UserError(
                f"session {session} has no training sample of class "
                f"'{class_names[min(missing)]}'; add some or leave the class out"
            )
        seen |= wanted
