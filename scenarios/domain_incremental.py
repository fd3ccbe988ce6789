"""Domain-incremental learning: every session has the same classes in another domain.

The Domain-IL streams of, among others, Fini et al., "Self-Supervised Models are Continual
Learners", CVPR 2022: DomainNet, one domain a session. In addition to folders of real domains, any
data set can be shifted to make domains (as in rotated MNIST), and speakers are domains of speech.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.pool import Pool
from cl_suite.data.readers import image_folder, sound
from cl_suite.data.readers.names import as_text
from cl_suite.data.readers.sound import Features
from cl_suite.data.readers.sound_split import Recording
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.shifts import SHIFTS, shifted
from cl_suite.data.sources import SOURCES, check_division, needed_root, refuse_choices
from cl_suite.data.stream import Kind, Stream, build_stream
from cl_suite.errors import UserError, option, suggestion
from cl_suite.parameters import Above, Within
from cl_suite.scenarios.source_data import SourceData

DomainSource = Literal[
    "omniglot",
    "cifar10",
    "cifar100",
    "mini_imagenet",
    "cub200",
    "image_folder",
    "domain_folders",
    "spoken_digits",
]
FOLDER_SIZE = 84
TEST_FRACTION = 0.2  # of domain folders and speakers
TRAIN, TEST = 0, 1  # part of the noise seed, to give the two different noise


@dataclass(kw_only=True, eq=False)
class DomainIncremental(SourceData):
    """One session for each domain: folders of domains, shifts of one data set, or speakers.

    Every domain has training and test images of all classes. With shifts, every session has all
    images of the data set, each time with another shift; test images stay test images.

    Args:
        source: "domain_folders" (one folder a domain, with one folder of images a class in each,
            the layout of DomainNet), "spoken_digits" (one domain a speaker), or a data set to
            shift; "omniglot" comes with the package. "cifar10" is also read from one folder a
            class; names of test images begin with `test`.
        domains: folders or speakers in order of arrival, others are left out; null for all, sorted
            by name.
        shifts: shifts of the data set in order of arrival: none, rotate90, rotate180, rotate270,
            invert, blur, low_contrast, noise; null for all.
        seed: seed of the noise and of the training/test split of domain folders.
        test_root: folder of the test images, for "domain_folders" (with the same domains) and
            "image_folder"; `root` then has the training images alone.
        test_fraction: share for testing, of each class's images in a folder or of each speaker's
            takes (the lowest numbers); null for 0.2, or 0.3 for "image_folder".
        features: features of speech, "log_mel" for small networks, "waveform" (16 kHz) for
            wav2vec2.
        skip_unreadable: leave out files that cannot be read, instead of stopping at the first; for
            folders of images and for speech.
        duplicates: the same picture or sound under several names, in one domain or in several:
            "keep" (all copies in training or all in test), "drop" (use the first) or "refuse".
    """

    source: DomainSource = "omniglot"
    domains: list[Any] | None = None  # YAML reads a name such as 10 or no as something else
    shifts: list[str] | None = None
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    test_fraction: Annotated[float, Above(0, 1, open_end=True)] | None = None
    features: Features = "log_mel"

    kind: ClassVar[Kind] = "domain"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        parts = self._parts()
        check_complete(parts)
        first = next(iter(parts.values()))
        notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
        return build_stream(
            name="domain_incremental",
            class_names=first.class_names,
            session_classes=len(parts) * (range(len(first.class_names)),),
            train=[part.train for part in parts.values()],
            test=[part.test for part in parts.values()],
            train_transform=first.train_transform,
            eval_transform=first.eval_transform,
            modality=first.modality,
            kind="domain",
            mirror_symmetric=(
                first.mirror_symmetric if self.mirror_symmetric is None else self.mirror_symmetric
            ),
            notes=(*notes, f"domains in order of arrival: {', '.join(parts)}"),
        )

    def _parts(self) -> dict[str, Pool]:
        """Return each domain's data, in order of arrival."""
        if self.source not in SOURCES:
            if self.shifts is not None:
                raise UserError(
                    f"shifts make domains of one data set, but source '{self.source}' already has "
                    "domains; leave shifts out"
                )
            return self._folders() if self.source == "domain_folders" else self._speakers()
        if self.domains is not None:
            raise UserError(
                f"source '{self.source}' has no domains; pass shifts instead of domains"
            )
        return self._shifts()

    def _shifts(self) -> dict[str, Pool]:
        shifts = chosen("shifts", self.shifts, SHIFTS)
        pool = self._read(self.source, self.test_fraction)  # type: ignore[arg-type]  # checked
        train, test = pool.load(pool.train), pool.load(pool.test)

        def moved(samples: Samples, shift: str, part: int) -> TensorSamples:
            if not isinstance(samples, TensorSamples):
                raise UserError(
                    f"the photos of source '{self.source}' are too large to be shifted in memory; "
                    "use another source"
                )
            return TensorSamples(shifted(samples.inputs, shift, [self.seed, part]), samples.targets)

        return {
            shift: dataclasses.replace(
                pool, train=moved(train, shift, TRAIN), test=moved(test, shift, TEST)
            )
            for shift in shifts
        }

    def _folders(self) -> dict[str, Pool]:
        check_division(self.test_root, self.test_fraction)
        folders = domain_folders(needed_root(self.source, self.root))
        names = chosen("domains", self.domains, list(folders))
        pools, notes = image_folder.read_together(
            {name: str(folders[name]) for name in names},
            self._test_folders(names),
            test_fraction=TEST_FRACTION if self.test_fraction is None else self.test_fraction,
            seed=self.seed,
            image_size=FOLDER_SIZE if self.image_size is None else self.image_size,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
        )
        check_same_classes(pools, self.duplicates)
        return {
            name: dataclasses.replace(
                pool,
                train=pool.load(pool.train),
                test=pool.load(pool.test),
                notes=(*(f"domain '{name}': {note}" for note in pool.notes), *notes),
            )
            for name, pool in pools.items()
        }

    def _test_folders(self, names: Sequence[str]) -> dict[str, str]:
        """Return the folder of test images of each domain; none without `test_root`."""
        if self.test_root is None:
            return {}
        folders = domain_folders(self.test_root, parameter="test_root")
        if lacking := [name for name in names if name not in folders]:
            raise UserError(
                f"domain '{lacking[0]}' is in '{self.root}' but not in '{self.test_root}'; add "
                "images to test on, or name the other domains in domains"
            )
        return {name: str(folders[name]) for name in names}

    def _speakers(self) -> dict[str, Pool]:
        refuse_choices(
            self.source,
            "has sounds, no images",
            test_root=self.test_root,
            image_size=self.image_size,
        )
        root = needed_root(self.source, self.root)
        pool = sound.read(
            root,
            features=self.features,
            test_fraction=TEST_FRACTION if self.test_fraction is None else self.test_fraction,
            seed=self.seed,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
        )
        train, test = list(map(speaker_of, pool.learnt)), list(map(speaker_of, pool.tested))
        return {
            speaker: dataclasses.replace(
                pool,
                train=pool.train.select([i for i, name in enumerate(train) if name == speaker]),
                test=pool.test.select([i for i, name in enumerate(test) if name == speaker]),
            )
            for speaker in chosen("domains", self.domains, sorted({*train, *test}))
        }


def speaker_of(recording: Recording) -> str:
    """Return the speaker's name; raise `UserError` if the file name does not contain it."""
    if recording.speaker is None:
        raise UserError(
            f"recording '{recording.path}' has no speaker in its name; speakers as domains need "
            "the speaker's name before the first underscore of the file name"
        )
    return recording.speaker


def domain_folders(root: str, *, parameter: str = "root") -> dict[str, Path]:
    """Return the folder of each domain by name; raise `UserError` if there is none.

    Hidden folders are left out, and links to `root` or a folder above it. Other symbolic links are
    followed.

    Args:
        parameter: what a message calls the folder.
    """
    folder = Path(root).expanduser()
    layout = "it must hold one folder a domain, each with one folder of images a class"
    if not root or not folder.is_dir():
        raise UserError(f"{parameter} '{root}' is not a folder; {layout}")
    top = folder.resolve()
    found = {
        entry.name: entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
        and not entry.name.startswith(".")
        and not top.is_relative_to(entry.resolve())
    }
    if not found:
        raise UserError(f"{parameter} '{root}' has no folder; {layout}")
    return found


def chosen(parameter: str, given: Sequence[object] | None, known: Sequence[str]) -> list[str]:
    """Return the given names, or all; raise `UserError` for an unknown or repeated name."""
    if given is None:
        return list(known)
    if not given:
        raise UserError(f"{parameter} is empty; name at least one, or leave it out for all")
    names = as_text(parameter, given, known)
    for name in names:
        if name not in known:
            raise UserError(
                f"{parameter} names '{name}', which is unknown{suggestion(name, known)}"
            )
        if names.count(name) > 1:
            raise UserError(f"{parameter} names '{name}' twice; name each once")
    return names


def check_same_classes(pools: Mapping[str, Pool], duplicates: Duplicates) -> None:
    """Raise `UserError` unless all domains have the same classes."""
    (first, reference), *others = pools.items()
    for name, pool in others:
        if lacking := sorted(set(reference.class_names) - set(pool.class_names)):
            lacks, has = name, first
        elif lacking := sorted(set(pool.class_names) - set(reference.class_names)):
            lacks, has = first, name
        else:
            continue
        dropping = option("scenario.duplicates", "drop")
        dropped = f"; {dropping} leaves out copies of earlier domains' pictures"
        raise UserError(
            f"domain '{lacks}' lacks class '{lacking[0]}', which domain '{has}' has; all domains "
            f"need the same classes{dropped if duplicates == 'drop' else ''}"
        )


def check_complete(parts: Mapping[str, Pool]) -> None:
    """Raise `UserError` unless all domains have training and test samples of every class."""
    for name, part in parts.items():
        for purpose, samples in (("learn from", part.train), ("be tested on", part.test)):
            counts = Counter(samples.targets)
            for class_id, class_name in enumerate(part.class_names):
                if not counts[class_id]:
                    raise UserError(
                        f"domain '{name}' has nothing of class '{class_name}' to {purpose}; add "
                        "some, or leave the domain out"
                    )
