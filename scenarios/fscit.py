"""Few-shot class-incremental tuning: every session, even the first, has only a few shots a class.

The benchmark of the CoACT paper ("asynchronous contrastive tuning"), with 16 data sets: the
knowledge is in a pretrained backbone, which is tuned with only 10 images of each class. Classes
come in label order. After each session, all test images of all classes seen are scored.

Differences from the published benchmark, which each stream's notes state:

- The shots. The authors' lists are not part of this package; pass one as `shot_list`. Without it
  the shots are drawn at random: figures are comparable, but not shot for shot.
- The training/test split of caltech101, eurosat, resisc45 and sun397, which have no official split
  here, and the label of a voc2007 photo that shows several classes: see
  `cl_suite.data.readers.torchvision_sets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.cut import (
    ShotSelection,
    cut_classes,
    order_in_words,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.pool import Pool, as_is, checked, decoded
from cl_suite.data.readers import (
    cifar100,
    class_words,
    cub200,
    image_folder,
    mini_imagenet,
    omniglot,
    shot_list,
    squares,
    torchvision_sets,
)
from cl_suite.data.readers.squares import Squares
from cl_suite.data.readers.torchvision_sets import square_of, square_transforms
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.data.transforms import ToFloat
from cl_suite.errors import UserError
from cl_suite.parameters import Within
from cl_suite.scenarios.few_shots import FewShots

Dataset = Literal[
    "caltech101",
    "cifar100",
    "country211",
    "cub200",
    "dtd",
    "eurosat",
    "fgvc_aircraft",
    "food101",
    "gtsrb",
    "image_folder",
    "mini_imagenet",
    "omniglot",
    "oxford_flowers",
    "oxford_pets",
    "resisc45",
    "stanford_cars",
    "sun397",
    "voc2007",
]
VIT_FLOAT = ToFloat((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # preprocessing of the benchmark's backbone
SHOTS = 10


@dataclass(frozen=True)
class Protocol:
    """The published sessions of a data set: its number of classes, base classes and way."""

    classes: int
    base_classes: int
    way: int


PROTOCOLS: dict[str, Protocol] = {
    "caltech101": Protocol(102, 12, 10),
    "cifar100": Protocol(100, 10, 10),
    "country211": Protocol(211, 22, 21),
    "cub200": Protocol(200, 20, 20),
    "dtd": Protocol(47, 7, 5),
    "eurosat": Protocol(10, 1, 1),
    "fgvc_aircraft": Protocol(100, 10, 10),
    "food101": Protocol(101, 11, 10),
    "gtsrb": Protocol(43, 7, 4),
    "mini_imagenet": Protocol(100, 10, 10),
    "oxford_flowers": Protocol(102, 12, 10),
    "oxford_pets": Protocol(37, 5, 4),
    "resisc45": Protocol(45, 5, 5),
    "stanford_cars": Protocol(196, 28, 21),
    "sun397": Protocol(397, 45, 44),
    "voc2007": Protocol(20, 2, 2),
}


@dataclass(kw_only=True, eq=False)
class FSCIT(FewShots):
    """A data set in sessions with a few shots a class, including the base session.

    Args:
        dataset: the data set; "image_folder" is any folder of class folders, "omniglot" comes with
            the package.
        root: folder of the data set (torchvision's `root` for its data sets); not used by
            "omniglot".
        base_classes: classes of session 0.
        way: classes of each later session.
        shots: training images of each class, also in the base session.
        class_order: published (label order), natural (by name, numbers by value), the seed of a
            drawn order, or a list of all class ids.
        shot_selection: "random" draws the shots from `shot_seed`, "first" uses the first images of
            each class, which are nearly identical in some data sets.
        shot_seed: seed of the random shots.
        shot_list: text file with lines `class index`: the class id and the position of an image in
            the training part. The first lines of a class are its shots; `shot_selection` is
            ignored.
        image_size: height and width of the model's input in pixels.
        augment: crop and flip each training image at random.
        mirror_symmetric: False if a mirrored image may belong to another class, so that none is
            flipped; null: by the data set (False for "gtsrb" and "omniglot").
        skip_unreadable: leave out images that cannot be read, for "image_folder" and "resisc45".
        duplicates: the same picture under several names in such a folder: "keep" (all copies in
            training or all in test), "drop" (use the first) or "refuse".
    """

    dataset: Dataset
    root: str | None = None
    base_classes: Annotated[int, Within(1)]
    way: Annotated[int, Within(1)]
    shots: Annotated[int, Within(1)] = SHOTS
    class_order: (
        Literal["published", "natural"]
        | Annotated[int, Within(0, 2**32 - 1)]
        | list[Annotated[int, Within(0)]]
    ) = "published"
    shot_selection: ShotSelection = "random"
    shot_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    shot_list: str | None = None
    image_size: Annotated[int, Within(2, 4096)] = 224
    augment: bool = True
    mirror_symmetric: bool | None = None
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        pool = self._read()
        order = published_or_drawn(pool.class_names, self.class_order)
        sessions = cut_classes(order, base_classes=self.base_classes, way=self.way)
        shots = self._shots_of(sessions, self.shots)
        rows = self._rows(pool, sessions, shots)
        num_images = sum(map(len, rows)) + len(pool.test)
        return self._cut(
            self._for_the_model(pool, num_images),
            name=f"fscit_{self.dataset}",
            sessions=sessions,
            train_rows=rows,
            shots=shots,
            notes=(*remainder_notes(sessions, self.way), *self._deviations(pool)),
        )

    def _read(self) -> Pool:
        """Return the data set, with class names in words if it has such names."""
        dataset, root = self.dataset, self.root
        if dataset == "omniglot":
            return _omniglot()
        if root is None:
            raise UserError(f"dataset '{dataset}' needs a root; pass the folder of the data set")
        if dataset == "image_folder" or dataset == "resisc45":
            return self._folder(root)
        if dataset == "cifar100":
            return _named(cifar100.read(root), class_words.words)
        if dataset == "cub200":
            return cub200.read(root)
        if dataset == "mini_imagenet":
            return mini_imagenet.read(root)
        return torchvision_sets.read(dataset, root)

    def _folder(self, root: str) -> Pool:
        nested = Path(root).expanduser() / "NWPU-RESISC45"
        pool = image_folder.read(
            str(nested) if self.dataset == "resisc45" and nested.is_dir() else root,
            test_fraction=torchvision_sets.TEST_FRACTION,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
        )
        if self.dataset == "image_folder":
            return pool
        note = torchvision_sets.division_note("resisc45")
        return _named(replace(pool, notes=(note, *pool.notes)), class_words.words)

    def _rows(
        self,
        pool: Pool,
        sessions: Sequence[Sequence[int]],
        shots: int | Mapping[int, int],
    ) -> list[list[int]]:
        candidates: Mapping[int, Sequence[int]] = rows_by_class(pool.train.targets)
        selection = self.shot_selection
        if self.shot_list is not None:
            candidates, selection = shot_list.read(self.shot_list, pool.train.targets), "first"
        return [
            shot_rows(
                candidates,
                classes,
                shots=shots,
                class_names=pool.class_names,
                selection=selection,
                seed=self.shot_seed,
            )
            for classes in sessions
        ]

    def _for_the_model(self, pool: Pool, num_images: int) -> Pool:
        """Return the pool with this scenario's transforms in place of the reader's."""
        photos = pool.load not in (as_is, decoded)  # large images of many sizes
        train_transform, eval_transform = square_transforms(
            self.image_size,
            VIT_FLOAT,
            augment=self.augment,
            photos=photos,
        )
        load = _loader(self.image_size, num_images, pool.load) if photos else pool.load
        mirrors = pool.mirror_symmetric if self.mirror_symmetric is None else self.mirror_symmetric
        return replace(
            pool,
            train_transform=train_transform,
            eval_transform=eval_transform,
            load=load,
            mirror_symmetric=mirrors,
        )

    def _deviations(self, pool: Pool) -> tuple[str, ...]:
        protocol = PROTOCOLS.get(self.dataset)
        if protocol is None:
            return ()
        reasons = []
        if self.class_order != "published":
            reasons.append(f"classes come in another order ({order_in_words(self.class_order)})")
        if (self.base_classes, self.way) != (protocol.base_classes, protocol.way):
            reasons.append("base_classes or way are not the protocol's")
        if self.shots != SHOTS:
            reasons.append(f"a class has {self.shots} instead of {SHOTS} shots")
        if self.spoiled_by:
            reasons.append(f"training data are changed by {' and '.join(self.spoiled_by)}")
        if (found := len(pool.class_names)) != protocol.classes:
            reasons.append(f"the data set has {found} instead of {protocol.classes} classes")
        notes = [f"not comparable with published FSCIT figures: {reason}" for reason in reasons]
        if self.shot_list is None:
            how = {
                "random": f"drawn at random (shot_seed {self.shot_seed})",
                "first": "the first images of each class",
            }[self.shot_selection]
            notes.append(
                f"not comparable shot for shot with published FSCIT figures: the shots are {how}, "
                "not those of the authors' list"
            )
        return tuple(notes)


def _loader(
    image_size: int, num_images: int, load: Callable[[Samples], Samples]
) -> Callable[[Samples], Samples]:
    """Return a loader that keeps the squares of all photos in memory, or as files if too many.

    Args:
        num_images: number of training and test images of all sessions.
        load: the reader's own.
    """
    square = square_of(image_size)
    if num_images * 3 * square.size**2 > squares.MEMORY_LIMIT_BYTES:
        return checked
    return load.cut_by(square) if isinstance(load, Squares) else Squares(square)


def _named(pool: Pool, say: Callable[[str], str]) -> Pool:
    return replace(pool, class_names=tuple(say(name) for name in pool.class_names))


def _omniglot() -> Pool:
    pool = omniglot.read()
    return replace(pool, train=_coloured(pool.train), test=_coloured(pool.test))


def _coloured(samples: Samples) -> Samples:
    """Return grey images with three equal channels, the input of pretrained backbones."""
    if not isinstance(samples, TensorSamples):
        return samples
    return TensorSamples(samples.inputs.repeat(1, 3, 1, 1), samples.targets)
