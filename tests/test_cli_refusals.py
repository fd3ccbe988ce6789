"""The command line's refusals: one sentence, exit code 2, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import TINY, refused

from cl_suite.cli import main


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["omniglott", "teen"], "scenario 'omniglott' is unknown; did you mean 'omniglot'?"),
        (["omniglot", "teeen"], "strategy 'teeen' is unknown; did you mean 'teen'?"),
        (["omniglot"], "name a strategy too"),
        (
            ["omniglot", "teen", "--strategy.shift_wait", "1"],
            "--strategy.shift_wait is unknown; did you mean 'shift_weight'?",
        ),
        (
            ["omniglot", "teen", "--strategy.shift_weight", "half"],
            "--strategy.shift_weight must be a number, got 'half'",
        ),
        (
            ["omniglot", "teen", "--strategy.shift_weight", "1.5"],
            "--strategy.shift_weight must be in [0, 1], got 1.5",
        ),
        (
            ["omniglot", "teen", "--training.base_epochs", "1.5"],
            "--training.base_epochs must be a whole number, got '1.5'",
        ),
        (
            ["omniglot", "teen", "--training.batch_size", "0"],
            "--training.batch_size must be at least 1, got 0",
        ),
        (
            ["omniglot", "teen", "--training.schedule", "linear"],
            "--training.schedule must be one of cosine, step, constant, got 'linear'",
        ),
        (["omniglot", "teen", "--model.head", "linear"], "needs a cosine head, got 'linear'"),
        (["omniglot", "teen", "--model.backbone", "conv44"], "backbone 'conv44' is unknown"),
        (["omniglot", "teen", "--device", "cuda:99"], "--device cuda:99 cannot be used"),
        (["omniglot", "teen", "--seed", "1", "1"], "--seed must be distinct"),
        (["omniglot", "teen", "--scenario.base_classes", "300"], "300"),
        (["omniglot", "teen", "--scenario.shots", "11"], "11"),
        (["mini_imagenet", "teen"], "--scenario.root is required"),
        (["mini_imagenet", "teen", "--scenario.root", "nowhere"], "split/train.csv"),
        (["omniglot", "teen", "--config", "nowhere.yaml"], "cannot be read"),
        (["--config", "nowhere.yaml"], "cannot be read"),
        (["omniglot", "teen", "extra"], "unrecognized arguments: extra"),
        (["omniglot", "teen", "--seed", "4294967296"], "--seed must be distinct numbers from 0"),
        (["omniglot", "teen", "--device", "meta"], "--device meta cannot be used"),
        (["omniglot", "teen", "--training.lr", ".nan"], "--training.lr must be a finite number"),
        (["omniglot", "teen", "--start-from", "runs/omniglot/teen/seed0"], "is this run;"),
        (
            ["omniglot", "replay", "--strategy.mem_size", "-5"],
            "--strategy.mem_size must be at least 1, got -5",
        ),
        (
            ["omniglot", "ewc", "--strategy.ewc_lambda", "x"],
            "--strategy.ewc_lambda must be a number, got 'x'",
        ),
        (["omniglot", "teen", "--resume", "--overwrite"], "contradict each other"),
        (["avalanche", "finetune", "--scenario.factory", "builtins.id"], "cannot"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    arguments: list[str], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "run", *arguments)
    assert list(here.iterdir()) == []


def test_an_unknown_key_in_a_file_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "c.yaml").write_text("strategy:\n  shift_wait: 0.3\n")
    error = refused(capsys, "run", "omniglot", "teen", "--config", "c.yaml")
    assert "'strategy.shift_wait' in the file is unknown; did you mean 'shift_weight'?" in error


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: 3\n", "'training' must be a mapping"),
        ("seed: []\n", "--seed must be"),
        ("strategy_name: joint\n", "the settings are those of strategy 'joint'"),
        ("- 1\n", "must be a mapping"),
    ],
)
def test_bad_settings_in_a_file_are_refused(
    text: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "c.yaml").write_text(text)
    assert sentence in refused(capsys, "run", "omniglot", "teen", "--config", "c.yaml")


def test_a_file_in_the_way_of_the_runs_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs").write_text("not a folder")
    assert "cannot be written" in refused(capsys, "run", "omniglot", "prototype", *TINY)


def test_overwrite_keeps_the_old_run_where_the_new_one_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    kept = (here / "runs/omniglot/prototype/seed0/hits.npz").read_bytes()
    refused(capsys, "run", "omniglot", "prototype", *TINY, "--scenario.shots", "11", "--overwrite")
    assert (here / "runs/omniglot/prototype/seed0/hits.npz").read_bytes() == kept


def test_a_checkpoint_of_other_settings_is_not_resumed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    (here / "runs/omniglot/prototype/seed0/config.yaml").unlink()
    error = refused(
        capsys, "run", "omniglot", "prototype", *TINY, "--training.lr", "0.2", "--resume"
    )
    assert "belongs to other settings" in error


def test_a_folder_of_other_settings_is_not_touched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    before = (here / "runs/omniglot/prototype/seed0/config.yaml").read_bytes()
    error = refused(capsys, "run", "omniglot", "prototype", *TINY, "--training.lr", "0.2")
    assert "training.lr: 0.1 there, 0.2 here" in error
    assert (here / "runs/omniglot/prototype/seed0/config.yaml").read_bytes() == before
    assert main(["run", "omniglot", "prototype", *TINY, "--training.lr", "0.2", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("class_incremental simclr --training.batch_size 1", "needs batches of 2 samples or more"),
        ("class_incremental simclr --evaluation.probes []", "so a probe must measure it"),
        ("class_incremental er --strategy.buffer 3", "less than one sample for each of"),
        ("class_incremental cler --strategy.host simclr", "learns no classifier"),
        ("class_incremental cler --strategy.host nosuch", "--strategy.host 'nosuch' is unknown"),
        ("class_incremental cler --strategy.host fpf", "is a wrapper itself"),
        ("data_incremental teen", "it learns only from streams of new classes"),
        (
            "data_incremental finetune --scenario.unlabelled_fraction 0.5",
            "learns from labels, but",
        ),
    ],
)
def test_a_pair_or_parameter_that_cannot_work_is_refused_before_training(
    command: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "run", *command.split(), "--device", "cpu")
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("run teen omniglot", "'teen' is a strategy, not a scenario; the order is SCENARIO"),
        ("rnu omniglot teen", "command 'rnu' is unknown; did you mean 'run'?"),
        ("run omniglot teen --start-from nowhere", "--start-from 'nowhere' does not exist"),
    ],
)
def test_a_slip_of_the_hand_gets_the_right_hint(
    command: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, *command.split())
