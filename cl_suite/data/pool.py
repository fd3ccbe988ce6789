"""A whole data set as a reader returns it, and how a stream of sessions is built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cl_suite.data.cut import Sessions, all_rows, common_way, rows_by_class
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.stream import Kind, Modality, Stream, build_stream
from cl_suite.data.transforms import Transform
from cl_suite.errors import UserError


def as_is(samples: Samples) -> Samples:
    """Return the samples themselves."""
    return samples


def decoded(samples: Samples) -> Samples:
    """Return image files of one size as tensors; leave samples that are in memory already."""
    return samples.decode() if isinstance(samples, FileSamples) else samples


Spoil = Callable[[Sequence[Samples]], tuple[list[Samples], tuple[str, ...]]]


def checked(samples: Samples) -> Samples:
    """Return image files unchanged after checking each; raise `UserError` if one is damaged."""
    if isinstance(samples, FileSamples):
        samples.check()
    return samples


@dataclass(frozen=True)
class Pool:
    """A labelled data set with its transforms.

    Attributes:
        train, test: all samples; `targets` are class ids, the indices of `class_names`. If
            `test` is `train`, a session is tested on the very samples that it has learned.
        class_names: name of each class, in the data set's natural order.
        train_transform, eval_transform: map a raw sample to the model's input.
        load: turns the samples of one session into the form that the session keeps, for instance
            files into tensors. It is called once a session, so unused samples are never read.
        entries: name of each training sample in the published index lists, if there are any.
        notes: sentences that the user must see.
        modality: kind of sample, image or audio.
        from_picture, mirror_symmetric: see `StreamInfo`.
    """

    train: Samples = field(repr=False)
    test: Samples = field(repr=False)
    class_names: tuple[str, ...]
    train_transform: Transform
    eval_transform: Transform
    load: Callable[[Samples], Samples] = as_is
    entries: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    modality: Modality = "image"
    from_picture: Transform | None = None
    mirror_symmetric: bool = True

    def stream(
        self,
        *,
        name: str,
        sessions: Sessions,
        train_rows: Sequence[Sequence[int]],
        test_rows: Sequence[Sequence[int]] | None = None,
        shots: int | None = None,
        kind: Kind = "class",
        notes: Sequence[str] = (),
        spoil: Spoil | None = None,
    ) -> Stream:
        """Return the stream of these sessions.

        Args:
            sessions: class ids of each session.
            train_rows: positions in `train` of each session's training samples.
            test_rows: positions in `test` of each session's test samples; None for all test samples
                of its classes (if `test` is `train`: for those learned).
            kind: what a session brings, see `StreamInfo`.
            spoil: changes the training samples of the sessions, and says how in sentences.

        Raises:
            UserError: if samples cannot be read, their sizes differ, or a class has no test sample.
        """
        test_candidates = rows_by_class(self.test.targets)
        self._check_testable(sessions, test_candidates)
        if test_rows is None and self.test is self.train:
            test_rows = train_rows
        if test_rows is None:
            test_rows = [all_rows(test_candidates, classes) for classes in sessions]
        train = [self.load(self.train.select(rows)) for rows in train_rows]
        test = [self.load(self.test.select(rows)) for rows in test_rows]
        _check_one_size([*train, *test])
        said: tuple[str, ...] = ()
        if spoil is not None:
            train, said = spoil(train)
        return build_stream(
            name=name,
            class_names=self.class_names,
            session_classes=sessions,
            train=train,
            test=test,
            train_transform=self.train_transform,
            eval_transform=self.eval_transform,
            way=common_way(sessions),
            shots=shots,
            modality=self.modality,
            kind=kind,
            notes=(*self.notes, *notes, *said),
            from_picture=self.from_picture,
            mirror_symmetric=self.mirror_symmetric,
        )

    def _check_testable(self, sessions: Sessions, candidates: Mapping[int, Sequence[int]]) -> None:
        for class_id in (c for classes in sessions for c in classes):
            if class_id not in candidates:
                raise UserError(
                    f"class '{self.class_names[class_id]}' has no test image, so it cannot be "
                    "measured; add some or leave the class out"
                )


def _check_one_size(sets: Sequence[Samples]) -> None:
    shapes = {tuple(s.inputs.shape[1:]) for s in sets if isinstance(s, TensorSamples)}
    if len(shapes) > 1:
        raise UserError(
            f"the images have different shapes, {' and '.join(map(str, sorted(shapes)))} "
            "(channels, height, width); resize them, or use the image_folder scenario"
        )
