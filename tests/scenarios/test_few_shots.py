"""Unequal shots in every few-shot scenario."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.data.stream import Stream, fingerprint
from cl_suite.errors import UserError
from cl_suite.report.loaded_run import load
from cl_suite.runs.folder import RunFolder
from cl_suite.scenarios.few_shots import FewShots
from cl_suite.scenarios.fscil import FSCIL
from cl_suite.scenarios.fscit import FSCIT
from cl_suite.scenarios.image_folder import ImageFolder
from cl_suite.scenarios.omniglot import Omniglot
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.scenarios.spoken_words import SpokenWords

SCENARIOS: dict[type[FewShots], dict[str, Any]] = {
    Omniglot: {},
    FSCIT: {"dataset": "omniglot", "base_classes": 26, "way": 24, "image_size": 8},
    FSCIL: {"dataset": "mini_imagenet", "root": "mini_root"},
    ImageFolder: {"root": "picture_folder", "base_classes": 3, "way": 2, "image_size": 16},
    SpokenDigits: {"root": "spoken_root", "seconds": 0.2},
    SpokenWords: {"root": "words_root", "base_classes": 2, "way": 1, "seconds": 0.2},
}
every_scenario = pytest.mark.parametrize("cls", SCENARIOS, ids=lambda cls: cls.__name__)


@pytest.fixture
def parameters(cls: type[FewShots], request: pytest.FixtureRequest) -> dict[str, Any]:
    found = dict(SCENARIOS[cls])
    if "root" in found:
        found["root"] = str(request.getfixturevalue(found["root"]))
    return found


def counts(stream: Stream) -> list[int]:
    """Return the number of training samples of each class, in order of arrival."""
    found = []
    for classes, train in zip(stream.info.session_classes, stream.train, strict=True):
        of_class = Counter(train.targets)
        found += [of_class[c] for c in classes]
    return found


@every_scenario
def test_classes_have_the_numbers_listed(cls: type[FewShots], parameters: dict[str, Any]) -> None:
    few = slice(0 if cls is FSCIT else 1, None)
    plain: Stream = cls(**parameters, unequal_shots="1..1").build()  # type: ignore[attr-defined]
    num = sum(map(len, plain.info.session_classes[few]))
    listed = [1 + i % 3 for i in range(num)]
    stream: Stream = cls(**parameters, unequal_shots=listed).build()  # type: ignore[attr-defined]
    assert counts(stream)[-num:] == listed
    assert stream.info.shots is None
    assert fingerprint(stream.test) == fingerprint(plain.test)
    if cls is not FSCIT:
        assert fingerprint(stream.train[:1]) == fingerprint(plain.train[:1])
    said = f"unequal_shots: the {num} classes with few shots have 1 to {max(listed)}, "
    assert [note for note in stream.info.notes if note.startswith(said)]


@every_scenario
def test_a_range_is_drawn_by_the_seed(cls: type[FewShots], parameters: dict[str, Any]) -> None:
    first, again, *others = (
        cls(**parameters, unequal_shots="1..3", spoil_seed=seed).build().info.fingerprint  # type: ignore[attr-defined]
        for seed in (0, 0, 1, 2, 3)
    )
    assert first == again
    assert set(others) - {first}


def test_equal_numbers_give_the_stream_of_plain_shots() -> None:
    plain, listed = Omniglot(shots=3), Omniglot(unequal_shots="3..3")
    assert listed.build().info.fingerprint == plain.build().info.fingerprint


def test_fewer_shots_are_a_part_of_more() -> None:
    few = Omniglot(shot_selection="random", unequal_shots="1..5").build().train[1]
    many = Omniglot(shot_selection="random", shots=5).build().train[1]
    known = {many.digest(row) for row in range(len(many))}
    assert {few.digest(row) for row in range(len(few))} < known


def test_the_base_session_of_a_stream_with_unequal_shots_can_be_thinned_alone() -> None:
    unequal, thinned = (Omniglot(unequal_shots="2..7", imbalance=i).build() for i in (None, 5))
    assert counts(thinned)[122:] == counts(unequal)[122:]
    assert counts(thinned)[:122] != counts(unequal)[:122]


def test_published_shots_have_no_more_than_are_published(mini_root: Path) -> None:
    given: dict[str, Any] = {"dataset": "mini_imagenet", "root": str(mini_root)}
    stream = FSCIL(**given, unequal_shots="1..5").build()
    changed = "training data are changed by unequal_shots"
    assert f"not comparable with published miniImageNet figures: {changed}" in stream.info.notes
    with pytest.raises(UserError, match="too few images to learn from, 5 for 6 shots"):
        FSCIL(**given, unequal_shots="6..6").build()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("7", "must be a range from a smaller to a larger number of shots like 1..10"),
        ("[2, 0]", "must be a list whose items must be at least 1"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str, sentence: str
) -> None:
    given = [f"--scenario.unequal_shots={value}", "--out", str(tmp_path / "runs")]
    error = refused(capsys, "run", "omniglot", "finetune", *given)
    assert f"--scenario.unequal_shots {sentence}" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("strategy", ["prototype", "teen_whitened", "lda", "er"])
def test_strategies_learn_from_unequal_shots_and_long_tails(tmp_path: Path, strategy: str) -> None:
    words = f"run omniglot {strategy} --out {tmp_path} --training.base_epochs 1"
    words += " --training.incremental_epochs 1" if strategy == "er" else ""
    words += " --scenario.way 60 --scenario.unequal_shots 1..4 --scenario.imbalance 10"
    assert main(words.split()) == 0
    run = load(RunFolder(tmp_path / f"omniglot/{strategy}/seed0"))
    assert run.config["scenario"]["unequal_shots"] == "1..4"


def test_a_list_is_read_from_the_command_line(tmp_path: Path) -> None:
    words = ["run", "omniglot", "prototype", "--training.base_epochs", "0", "--out", str(tmp_path)]
    words += ["--scenario.base_classes", "240", "--scenario.unequal_shots", "[2, 4]"]
    assert main(words) == 0
    run = load(RunFolder(tmp_path / "omniglot/prototype/seed0"))
    assert run.config["scenario"]["unequal_shots"] == [2, 4]
