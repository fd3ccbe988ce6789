"""Class-incremental streams whose classes go on in later sessions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.data.stream import Stream, fingerprint
from cl_suite.report.loaded_run import load
from cl_suite.runs.folder import RunFolder
from cl_suite.scenarios.class_incremental import ClassIncremental


def build(blurry: float = 0.3, seed: int = 0, imbalance: float | None = None) -> Stream:
    scenario = ClassIncremental(way=61, blurry=blurry, spoil_seed=seed, imbalance=imbalance)
    return scenario.build()


def test_sessions_bring_new_classes_and_more_of_earlier_ones() -> None:
    plain, stream = build(0), build()
    assert (plain.info.kind, stream.info.kind) == ("class", "mixed")
    for session, classes in enumerate(plain.info.session_classes):
        assert stream.info.session_classes[session][: len(classes)] == classes
        assert set(stream.info.session_classes[session]) <= set(stream.info.seen_classes(session))
        assert set(stream.train[session].targets) == set(stream.info.session_classes[session])
        # three of ten drawings come late, except in the last session
        own = Counter(stream.train[session].targets)
        assert {own[c] for c in classes} == {7 if session < 3 else 10}
    assert sum(map(len, stream.train)) == sum(map(len, plain.train))


def test_each_session_is_tested_on_its_own_classes() -> None:
    assert fingerprint(build().test) == fingerprint(build(0).test)


def test_without_late_samples_the_stream_is_the_plain_one() -> None:
    plain = ClassIncremental(way=61).build()
    assert build(0, seed=4).info.fingerprint == plain.info.fingerprint
    assert build(0).info.notes == plain.info.notes


def test_the_same_seed_gives_the_same_stream_and_another_one_another() -> None:
    first, again, other = (build(seed=seed).info.fingerprint for seed in (1, 1, 2))
    assert first == again != other


def test_a_long_tail_can_be_blurred() -> None:
    stream = build(imbalance=5)
    assert [note.split(" ")[0] for note in stream.info.notes[-2:]] == ["imbalance", "blurry"]
    assert sum(map(len, stream.train)) == sum(map(len, build(0, imbalance=5).train))


def test_a_note_counts_the_late_samples() -> None:
    assert build().info.notes[-1] == (
        "blurry 0.3 (spoil_seed 0): 549 of 2420 training samples come in later sessions than "
        "their classes"
    )


@pytest.mark.parametrize("strategy", ["er", "finetune", "teen"])
def test_a_strategy_for_any_stream_learns_from_it(tmp_path: Path, strategy: str) -> None:
    words = f"run class_incremental {strategy} --out {tmp_path} --scenario.way 121"
    words += " --scenario.blurry 0.3 --training.base_epochs 1 --training.incremental_epochs 1"
    assert main(words.split()) == 0
    run = load(RunFolder(tmp_path / f"class_incremental/{strategy}/seed0"))
    assert run.config["scenario"]["blurry"] == 0.3


def test_a_few_shot_run_can_be_blurred(tmp_path: Path) -> None:
    words = f"run omniglot er --out {tmp_path} --scenario.way 60 --scenario.blurry 0.4"
    words += " --scenario.augment false --training.base_epochs 1 --training.incremental_epochs 1"
    assert main(words.split()) == 0
    written = json.loads((tmp_path / "omniglot/er/seed0/run.json").read_text("utf-8"))
    notes = written["stream"]["notes"]
    assert any(note.startswith("blurry 0.4 (spoil_seed 0): ") for note in notes)


def test_a_strategy_for_new_classes_alone_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--scenario.blurry", "0.3", "--out", str(tmp_path / "runs")]
    error = refused(capsys, "run", "class_incremental", "knn", *given)
    assert "does not run on scenario 'class_incremental': it learns only from" in error
    assert not (tmp_path / "runs").exists()
