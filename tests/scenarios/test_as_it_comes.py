"""Unbalanced, mislabelled and corrupted streams: what changes, what does not, and what is said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.data.corruption import CorruptedFiles
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.stream import Stream, fingerprint
from cl_suite.errors import UserError
from cl_suite.scenarios.as_it_comes import AsItComes
from cl_suite.scenarios.class_incremental import ClassIncremental
from cl_suite.scenarios.fscil import FSCIL
from cl_suite.scenarios.fscit import FSCIT
from cl_suite.scenarios.image_folder import ImageFolder
from cl_suite.scenarios.omniglot import Omniglot
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.scenarios.spoken_words import SpokenWords

# of the drawings in the package, without an option
PLAIN_OMNIGLOT = "9b061decb141208a"
SCENARIOS: dict[type[AsItComes], dict[str, Any]] = {
    Omniglot: {},
    ClassIncremental: {"way": 60},
    FSCIT: {"dataset": "omniglot", "base_classes": 26, "way": 24, "image_size": 8},
    FSCIL: {"dataset": "mini_imagenet", "root": "mini_root"},
    ImageFolder: {"root": "picture_folder", "base_classes": 3, "way": 2, "image_size": 16},
    SpokenDigits: {"root": "spoken_root", "seconds": 0.2},
    SpokenWords: {"root": "words_root", "base_classes": 2, "way": 1, "shots": 4, "seconds": 0.2},
}
every_scenario = pytest.mark.parametrize("cls", SCENARIOS, ids=lambda cls: cls.__name__)
every_option = pytest.mark.parametrize(
    "options",
    [
        {"imbalance": 5},
        {"label_noise": 0.3},
        {"label_noise": 0.3, "label_noise_kind": "nearest"},
        {"corruption": "noise"},
        {"imbalance": 3, "label_noise": 0.2, "corruption": "noise"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)


@pytest.fixture
def parameters(cls: type[AsItComes], request: pytest.FixtureRequest) -> dict[str, Any]:
    found = dict(SCENARIOS[cls])
    if "root" in found:
        found["root"] = str(request.getfixturevalue(found["root"]))
    return found


def build(cls: Any, parameters: dict[str, Any], **options: Any) -> Stream:
    stream: Stream = cls(**parameters, **options).build()
    return stream


def counts(stream: Stream, session: int = 0) -> list[int]:
    """Return how many training samples the classes of a session have, the most first."""
    return sorted(Counter(stream.train[session].targets).values(), reverse=True)


def omniglot(**options: Any) -> Stream:
    return Omniglot(**options).build()


# every scenario


@every_scenario
@every_option
def test_the_same_seed_gives_the_same_stream_and_another_one_another(
    cls: type[AsItComes], parameters: dict[str, Any], options: dict[str, Any]
) -> None:
    plain, first, again = (build(cls, parameters, **o) for o in ({}, options, options))
    others = {build(cls, parameters, **options, spoil_seed=s).info.fingerprint for s in range(1, 4)}
    assert first.info.fingerprint == again.info.fingerprint
    assert first.info.fingerprint not in {plain.info.fingerprint}
    assert others - {first.info.fingerprint}


@every_scenario
@every_option
def test_sessions_and_test_data_stay_as_they_are(
    cls: type[AsItComes], parameters: dict[str, Any], options: dict[str, Any]
) -> None:
    plain, spoiled = build(cls, parameters), build(cls, parameters, **options)
    assert spoiled.info.session_classes == plain.info.session_classes
    assert fingerprint(spoiled.test) == fingerprint(plain.test)
    for classes, train in zip(spoiled.info.session_classes, spoiled.train, strict=True):
        assert set(train.targets) == set(classes)


@every_scenario
@every_option
def test_a_note_says_what_each_option_did(
    cls: type[AsItComes], parameters: dict[str, Any], options: dict[str, Any]
) -> None:
    notes = build(cls, parameters, **options).info.notes
    for option in {"imbalance", "label_noise", "corruption"} & options.keys():
        assert len([note for note in notes if note.startswith(f"{option} ")]) == 1
    assert not any(note.startswith("imbalance") for note in build(cls, parameters).info.notes)


@every_scenario
def test_a_share_of_each_class_can_come_late(
    cls: type[AsItComes], parameters: dict[str, Any]
) -> None:
    plain, stream = build(cls, parameters), build(cls, parameters, blurry=0.5)
    assert (plain.info.kind, stream.info.kind, stream.info.shots) == ("class", "mixed", None)
    assert fingerprint(stream.test) == fingerprint(plain.test)
    for session, classes in enumerate(plain.info.session_classes):
        before, own = (Counter(s.train[session].targets) for s in (plain, stream))
        assert stream.info.session_classes[session][: len(classes)] == classes
        is_last = session == len(plain.train) - 1
        assert all(own[c] == (n if is_last else n - round(n / 2)) for c, n in before.items())
    totals = [Counter(t for samples in s.train for t in samples.targets) for s in (plain, stream)]
    assert totals[0] == totals[1]
    assert [note.split(" ")[0] for note in stream.info.notes].count("blurry") == 1
    assert build(cls, parameters, blurry=0.5, spoil_seed=1).info.fingerprint not in {
        plain.info.fingerprint,
        stream.info.fingerprint,
    }


@every_scenario
def test_a_seed_alone_changes_nothing(cls: type[AsItComes], parameters: dict[str, Any]) -> None:
    plain, seeded = build(cls, parameters), build(cls, parameters, spoil_seed=5)
    assert plain.info.fingerprint == seeded.info.fingerprint
    assert plain.info.notes == seeded.info.notes


def test_without_options_the_stream_is_the_one_of_earlier_versions() -> None:
    assert omniglot().info.fingerprint.startswith(PLAIN_OMNIGLOT)


# imbalance


def test_imbalance_thins_the_base_session_and_leaves_the_shots() -> None:
    stream = omniglot(imbalance=5)
    assert counts(stream)[0] == 10
    assert counts(stream)[-1] == 2
    assert all(set(counts(stream, session)) == {5} for session in range(1, 13))
    assert stream.info.notes == (
        "imbalance 5 (spoil_seed 0): 606 of 1220 training samples of the base session are left, 10 "
        "of the most frequent class and 2 of the rarest",
    )


def test_with_full_data_one_long_tail_goes_through_all_sessions() -> None:
    stream = ClassIncremental(way=61, imbalance=5).build()
    tail = [count for session in range(4) for count in counts(stream, session)]
    assert (max(tail), min(tail)) == (10, 2)
    assert len({tuple(counts(stream, session)) for session in range(4)}) == 4


def test_what_is_left_are_samples_of_the_whole_stream() -> None:
    plain, thinned = omniglot().train[0], omniglot(imbalance=5).train[0]
    whole = {plain.digest(row) for row in range(len(plain))}
    assert {thinned.digest(row) for row in range(len(thinned))} < whole
    assert isinstance(thinned, TensorSamples)
    assert thinned.inputs.untyped_storage().nbytes() == thinned.num_bytes()


# label noise


def test_wrong_labels_are_those_of_the_session_and_inputs_stay() -> None:
    plain, noisy = omniglot(), omniglot(label_noise=0.2)
    for classes, clean, spoiled in zip(
        noisy.info.session_classes, plain.train, noisy.train, strict=True
    ):
        assert isinstance(clean, TensorSamples)
        assert isinstance(spoiled, TensorSamples)
        assert torch.equal(clean.inputs, spoiled.inputs)
        assert set(spoiled.targets) == set(classes)
        # a fifth of ten drawings, and of five
        differing = sum(a != b for a, b in zip(clean.targets, spoiled.targets, strict=True))
        assert differing == len(clean) / 5


def test_noise_towards_the_nearest_class_has_one_wrong_label_a_class() -> None:
    clean, noisy = (
        s.train[0] for s in (omniglot(), omniglot(label_noise=0.4, label_noise_kind="nearest"))
    )
    pairs = {(a, b) for a, b in zip(clean.targets, noisy.targets, strict=True) if a != b}
    assert len(pairs) == 122  # one for each base class


def test_a_session_of_one_class_has_no_wrong_label() -> None:
    stream = omniglot(way=1, label_noise=0.5)
    assert all(len(set(train.targets)) == 1 for train in stream.train[1:])
    assert "610 of 1820 training labels are wrong" in stream.info.notes[0]


# corruption


def changed_sessions(plain: Stream, spoiled: Stream) -> list[bool]:
    pairs = zip(plain.train, spoiled.train, strict=True)
    return [fingerprint([a]) != fingerprint([b]) for a, b in pairs]


def test_few_shots_are_corrupted_and_the_base_session_stays_clean() -> None:
    changed = changed_sessions(omniglot(way=60), omniglot(way=60, corruption="blur"))
    assert changed == [False, True, True]


def test_with_full_data_all_sessions_are_corrupted() -> None:
    streams = (ClassIncremental(way=121, corruption=kind).build() for kind in ("none", "invert"))  # type: ignore[arg-type]
    assert changed_sessions(*streams) == [True, True]


def test_the_nearest_class_is_the_one_of_clean_images() -> None:
    noise: dict[str, Any] = {"label_noise": 0.4, "label_noise_kind": "nearest"}
    clean, corrupt = omniglot(**noise), omniglot(**noise, corruption="noise")
    assert [s.targets for s in clean.train] == [s.targets for s in corrupt.train]


def test_images_that_stay_files_are_corrupted_too(cub_root: Path) -> None:
    given: dict[str, Any] = {"dataset": "cub200", "root": str(cub_root), "image_size": 8}
    stream = FSCIL(**given, corruption="noise").build()
    assert isinstance(stream.train[1], CorruptedFiles)
    assert isinstance(stream.train[0], FileSamples)
    assert stream.info.train_transform(stream.train[1][0][0]).shape == (3, 8, 8)


def test_sounds_cannot_be_blurred(words_root: Path) -> None:
    with pytest.raises(UserError, match="corruption of sounds must be noise or none"):
        SpokenWords(root=str(words_root), base_classes=2, way=1, corruption="blur").build()


# runs


def test_a_runs_record_says_what_was_done(tmp_path: Path) -> None:
    words = f"run omniglot prototype --out {tmp_path} --training.base_epochs 0"
    words += " --scenario.imbalance 5 --scenario.label_noise 0.1 --scenario.way 60"
    words += " --scenario.corruption blur"
    assert main(words.split()) == 0
    info = json.loads((tmp_path / "omniglot/prototype/seed0/run.json").read_text())
    said = [note.split(" ")[0] for note in info["stream"]["notes"]]
    assert said == ["imbalance", "label_noise", "corruption"]


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("imbalance", "0.5", "must be at least 1, or null, got 0.5"),
        ("label_noise", "1", "must be in [0, 1), got 1"),
        ("corruption", "snow", "must be one of none, noise, blur, low_contrast, invert, got"),
        ("label_noise_kind", "near", "must be one of symmetric, nearest, got 'near'"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    given = [f"--scenario.{option}={value}", "--out", str(tmp_path / "runs")]
    error = refused(capsys, "run", "omniglot", "finetune", *given)
    assert f"--scenario.{option} {sentence}" in error
    assert not (tmp_path / "runs").exists()


def test_published_benchmarks_say_that_their_figures_do_not_compare(mini_root: Path) -> None:
    notes = FSCIL(dataset="mini_imagenet", root=str(mini_root), imbalance=2).build().info.notes
    changed = "training data are changed by imbalance"
    assert f"not comparable with published miniImageNet figures: {changed}" in notes
