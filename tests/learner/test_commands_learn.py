"""`cl-suite learn`: what it prints, and what the classifier knows after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.classifier_files import BACKBONE, done, picture_files, weights_file
from helpers.learners import photo_folder
from helpers.tiny_runs import run

from cl_suite.cli import main
from cl_suite.learner.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


def test_a_new_class_is_learned_and_then_predicted(
    model: Path, here: Path, capsys: Capture
) -> None:
    done("learn", "a.clm", "okapi", *picture_files(here / "new", of=7))
    assert capsys.readouterr().out == (
        "learned 4 pictures of 'okapi' (a new class; 4 in all); a.clm knows 4 classes\n"
    )
    done("predict", "a.clm", *picture_files(here / "test", of=7, number=1, seed=6))
    assert capsys.readouterr().out.startswith(f"{here}/test/7_0.png: okapi ")


def test_a_label_that_exists_gets_more_examples_and_the_command_says_so(
    model: Path, here: Path, capsys: Capture
) -> None:
    done("learn", "a.clm", "class1", here / "new", *picture_files(here / "new", of=1))
    out = capsys.readouterr().out
    assert "learned 4 pictures of 'class1' (known already, so these are more examples" in out
    assert "12 in all" in out
    assert "4 pictures known already, which count once" in out


def test_options_may_stand_between_pictures(model: Path, here: Path, capsys: Capture) -> None:
    first, *others = picture_files(here / "new", of=7)
    done("learn", "a.clm", "--device", "cpu", "okapi", first, "--strict", *others)
    assert "learned 4 pictures" in capsys.readouterr().out


def test_folders_and_quoted_patterns_name_pictures(
    model: Path, here: Path, capsys: Capture
) -> None:
    picture_files(here / "new", of=7)
    done("learn", "a.clm", "okapi", "new/*_[01].png")
    done("learn", "a.clm", "okapi", "new")
    assert "2 pictures known already" in capsys.readouterr().out
    before = model.read_bytes()
    done("learn", "a.clm", "okapi", "new")
    assert "nothing new: 'okapi' was learned from 4 pictures before" in capsys.readouterr().out
    assert model.read_bytes() == before


def test_pictures_that_another_class_knows_are_noted(
    model: Path, here: Path, capsys: Capture
) -> None:
    shown = picture_files(here / "new", of=7)
    done("learn", "a.clm", "okapi", *shown)
    done("learn", "a.clm", "giraffe", *shown[:1])
    assert "1 picture of 'giraffe' also taught 'okapi'" in capsys.readouterr().err


def test_folders_within_a_folder_that_become_one_class_are_noted(
    model: Path, here: Path, capsys: Capture
) -> None:
    photo_folder(here / "photos", classes=3, number=2, seed=3)
    done("learn", "a.clm", "okapi", "photos/class0")
    assert capsys.readouterr().err == ""
    done("learn", "a.clm", "okapi", "photos")
    assert "the pictures of 3 folders in 'photos' all become 'okapi'" in capsys.readouterr().err


def test_a_damaged_picture_is_named_and_the_others_are_learned(
    model: Path, here: Path, capsys: Capture
) -> None:
    shown = picture_files(here / "new", of=7)
    Path(shown[1]).write_bytes(Path(shown[1]).read_bytes()[:60])
    (here / "new/empty.png").write_bytes(b"")
    done("learn", "a.clm", "okapi", "new")
    said = capsys.readouterr()
    assert "learned 3 pictures of 'okapi'" in said.out
    assert "2 pictures skipped" in said.out
    assert said.err.count("skipped: image 'new/") == 2


def test_a_classifier_starts_from_class_folders(here: Path, capsys: Capture) -> None:
    root = photo_folder(here / "photos", classes=3, number=4)
    (root / "class0/broken.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("mine")
    weights = weights_file(here)
    done("learn", "b.clm", "--from", root, "--backbone", BACKBONE, "--weights", weights.name)
    said = capsys.readouterr()
    assert said.out == "b.clm knows 3 classes from 12 pictures\n"
    assert "not in a class folder (notes.txt)" in said.err
    assert "broken.jpg' cannot be read" in said.err
    done("predict", "b.clm", *picture_files(here / "test", of=2, number=1))
    assert "2_0.png: class2 " in capsys.readouterr().out


def test_the_weights_are_found_from_another_folder_and_after_a_move(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weights_file(here)
    shown = picture_files(here / "new", of=7)
    done("learn", "b.clm", "okapi", *shown, "--backbone", BACKBONE, "--weights", weights.name)
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    done("predict", "../b.clm", *shown)
    weights.rename(here / "moved.safetensors")
    assert main(["predict", "../b.clm", *shown]) == 2
    assert "are not there any more; say where they are now by --weights" in capsys.readouterr().err
    more = picture_files(here / "more", of=8)
    done("learn", "../b.clm", "gnu", *more, "--weights", "../moved.safetensors")
    done("predict", "../b.clm", *shown)


@pytest.mark.parametrize("rule", ["teen", "lda", "ranpac"])
def test_a_rule_is_chosen_by_name(rule: str, here: Path, capsys: Capture) -> None:
    root = photo_folder(here / "photos", classes=3, number=4)
    weights = weights_file(here)
    start = ["--from", root, "--backbone", BACKBONE, "--weights", weights, "--rule", rule]
    done("learn", "b.clm", *start)
    done("info", "b.clm", "--json")
    assert lines_of_last(capsys)["rule"]["name"] == rule


def lines_of_last(capsys: Capture) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def demo_commands() -> list[list[str]]:
    """The last two commands of `make demo`."""
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.split()[1:] for line in text.splitlines() if "characters.clm" in line]
    assert [words[0] for words in lines] == ["learn", "predict"]
    return lines


def test_a_classifier_starts_from_a_run_and_learns_at_once_as_in_the_demo(
    here: Path, capsys: Capture
) -> None:
    (here / "examples").symlink_to(ROOT / "examples")
    folder = run(here / "runs/demo", "teen")
    capsys.readouterr()
    for words in demo_commands():
        done(*words)
    learned, predicted = capsys.readouterr().out.splitlines()
    assert learned.startswith("learned 5 pictures of 'house' (a new class; 5 in all)")
    assert learned.endswith("characters.clm knows 243 classes")
    assert predicted.startswith("examples/new_character/which_one.png: house ")
    assert len(Learner.from_run(folder).labels) == 242


def test_overwriting_keeps_the_previous_version(model: Path, here: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    start = ["--backbone", BACKBONE, "--weights", weights_file(here)]
    done("learn", "a.clm", *start, "--overwrite")
    assert "a.clm knows no class yet" in capsys.readouterr().out
    done("undo", "a.clm")
    assert model.read_bytes() == before
    assert "taken back: replaced the file; a.clm knows 3 classes" in capsys.readouterr().out
