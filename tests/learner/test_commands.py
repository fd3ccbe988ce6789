"""`cl-suite forget`, `undo`, `merge`, `info`, ...: what they print, and what they leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.classifier_files import (
    BACKBONE,
    classifier_file,
    done,
    lines_of,
    picture_files,
    weights_file,
)
from helpers.learners import photo_folder

from cl_suite.learner.learner import Learner

Capture = pytest.CaptureFixture[str]


def test_a_forgotten_class_comes_back_by_undo_to_the_byte(model: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    done("forget", "a.clm", "class1")
    assert "class1" not in Learner.load(model).labels
    done("undo", "a.clm")
    assert model.read_bytes() == before
    out = capsys.readouterr().out
    assert "forgot 'class1' and its 8 pictures; a.clm knows 2 classes" in out
    assert "taken back: forgot 'class1'; a.clm knows 3 classes again" in out


def test_undo_brings_back_a_file_that_was_damaged(model: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    done("rename", "a.clm", "class1", "one")
    model.write_bytes(model.read_bytes()[:1000])
    done("undo", "a.clm")
    assert model.read_bytes() == before
    assert "taken back: the last change" in capsys.readouterr().out


def test_classifiers_are_merged_and_the_other_stays(
    model: Path, here: Path, capsys: Capture
) -> None:
    shutil.copy(model, here / "b.clm")
    done("learn", "b.clm", "okapi", *picture_files(here / "new", of=7))
    other = (here / "b.clm").read_bytes()
    capsys.readouterr()
    done("merge", "a.clm", "b.clm")
    assert capsys.readouterr().out == (
        "merged b.clm: 1 class new (okapi), 4 pictures more; a.clm knows 4 classes\n"
    )
    assert Learner.load(model).counts == Learner.load("b.clm").counts
    assert (here / "b.clm").read_bytes() == other


def test_info_prints_what_a_file_knows(model: Path, capsys: Capture) -> None:
    done("rename", "a.clm", "class2", "two")
    capsys.readouterr()
    done("info", "a.clm")
    out = capsys.readouterr().out
    for text in ("a.clm, ", "3 classes from 24 pictures", "conv4, 3 x 16 x 16 to", "simple_cil"):
        assert text in out
    assert "renamed 'class2' to 'two'" in out
    assert "unknown        below familiarity" in out
    done("info", "a.clm", "--json")
    (found,) = lines_of(capsys)
    assert found["classes"][2] == {"label": "two", "pictures": 8, "base": True}
    assert found["backbone"]["digest"] == Learner.load(model).spec.digest
    assert found["calibration"]["threshold"] == Learner.load(model).calibration.threshold
    assert found["history"][-1]["step"] == "rename"


def test_info_and_forget_need_no_weights(here: Path, capsys: Capture) -> None:
    weights = weights_file(here)
    start = ["--backbone", BACKBONE, "--weights", weights]
    done("learn", "b.clm", "okapi", *picture_files(here / "new", of=7), *start)
    weights.unlink()
    done("info", "b.clm")
    assert f"published ones in {weights}" in capsys.readouterr().out
    done("forget", "b.clm", "okapi")


def test_evaluate_prints_accuracy_and_what_strangers_are_called(
    model: Path, here: Path, capsys: Capture
) -> None:
    root = photo_folder(here / "test", classes=4, number=3, seed=9)
    done("evaluate", "a.clm", root)
    out = capsys.readouterr().out
    assert "of 9 pictures of known classes" in out
    assert "of 3 pictures of classes that it does not know" in out
    done("evaluate", "a.clm", root, "--json")
    (found,) = lines_of(capsys)
    assert found["pictures"] == 9
    assert set(found["by_class"]) == {"class0", "class1", "class2"}
    assert f"{found['accuracy']:.2%}" in out


def test_export_writes_the_file_and_prints_its_check(
    model: Path, here: Path, capsys: Capture
) -> None:
    pytest.importorskip("onnxruntime")
    done("export", "a.clm", "a.onnx", "--growing")
    assert (here / "a.onnx").is_file()
    assert capsys.readouterr().out.startswith("a.onnx: 3 classes, float32")


def test_serve_passes_its_options_on(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_suite.learner.serve import server

    given: dict[str, Any] = {}
    monkeypatch.setattr(server, "serve", lambda path, **options: given.update(options, path=path))
    done("serve", "a.clm", "--host", "::1", "--port", "0", "--token", "secret")
    assert given == {
        "path": "a.clm",
        "host": "::1",
        "port": 0,
        "token": "secret",
        "held_out": None,
        "weights": None,
        "device": "cpu",
    }


def test_a_table_of_many_classes_is_cut_and_says_so(here: Path, capsys: Capture) -> None:
    classifier_file(here, classes=17)
    done("evaluate", "a.clm", photo_folder(here / "test", classes=17, number=1, seed=9))
    assert "... and 2 classes with higher accuracy" in capsys.readouterr().out
