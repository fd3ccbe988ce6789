"""`cl-suite learn`, `predict`, `forget`, ...: what they print, and what they leave."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.classifier_files import (
    BACKBONE,
    classifier_file,
    done,
    picture_files,
    weights_file,
)
from helpers.learners import photo_folder
from helpers.tiny_runs import run
from PIL import Image

from cl_suite.cli import main
from cl_suite.learner.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier_file(tmp_path_factory.mktemp("made"))


@pytest.fixture
def model(made: Path, here: Path) -> Path:
    """The file `a.clm` in the working folder; it knows class0 to class2."""
    shutil.copy(made, here)
    return here / "a.clm"


def lines_of(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- learn


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


# --- predict


def test_json_is_one_object_a_line_and_nothing_else(
    model: Path, here: Path, capsys: Capture
) -> None:
    shown = picture_files(here / "Bäume", of=1, number=3)
    Path(shown[2]).write_bytes(b"")
    done("rename", "a.clm", "class1", "Łuk 弓")
    capsys.readouterr()
    done("predict", "a.clm", *shown, "--json", "--top", "2")
    said = capsys.readouterr()
    assert "Łuk 弓" in said.out
    first, second, third = [json.loads(line) for line in said.out.splitlines()]
    assert first["image"] == shown[0]
    assert first["label"] == second["label"] == "Łuk 弓"
    assert first["unknown"] is False
    assert [set(one) for one in first["top"]] == 2 * [{"label", "probability"}]
    assert set(third) == {"image", "error"}
    assert said.err.count("\n") == 1


def test_csv_has_a_header_and_one_row_a_picture(model: Path, here: Path, capsys: Capture) -> None:
    shown = picture_files(here / "a, b", of=2, number=2)
    Path(shown[1]).write_bytes(b"")
    done("predict", "a.clm", *shown, "--csv", "--top", "9")
    good, bad = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (good["image"], good["label"], good["unknown"]) == (shown[0], "class2", "false")
    assert good["label_1"] == "class2"
    assert "label_3" in good
    assert "label_4" not in good
    assert sum(float(good[f"probability_{rank}"]) for rank in (1, 2, 3)) == pytest.approx(
        1, abs=1e-4
    )
    assert "cannot be read" in bad["error"]
    assert bad["label"] == ""


def test_a_table_in_a_pipe_is_plain_and_aligned(model: Path, here: Path, capsys: Capture) -> None:
    done("predict", "a.clm", *picture_files(here, of=0, number=2))
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["picture", "class", "probability"]
    assert all(row[head.index("class") :].startswith("class0") for row in rows)
    assert not any("\x1b" in line or "│" in line for line in (head, *rows))


def test_a_stranger_is_called_unknown(model: Path, here: Path, capsys: Capture) -> None:
    Image.new("RGB", (20, 20), "black").save(here / "black.png")
    learner = Learner.load(model)
    learner.false_alarms = 0.2
    learner.save(model)
    done("predict", "a.clm", "black.png", "--json")
    (found,) = lines_of(capsys)
    assert found["unknown"] is True
    assert found["label"] is None
    done("predict", "a.clm", "black.png")
    assert "black.png: unknown (nearest: class" in capsys.readouterr().out


def test_a_name_with_a_line_break_stays_on_its_line(
    model: Path, here: Path, capsys: Capture
) -> None:
    (shown,) = picture_files(here, of=0, number=1)
    Path(shown).rename(here / "a\nb\x1b[31m.png")
    done("predict", "a.clm", here)
    assert r"a\nb\x1b[31m.png: class0" in capsys.readouterr().out


def test_a_name_that_is_no_text_is_printed_with_escapes(
    model: Path, here: Path, capsys: Capture
) -> None:
    (shown,) = picture_files(here / "new", of=0, number=1)
    Path(shown).rename(here / "new/\udcff.png")
    done("predict", "a.clm", "new", "--json")
    assert lines_of(capsys)[0]["image"] == "new/\udcff.png"
    done("predict", "a.clm", "new")
    assert r"new/\udcff.png: class0" in capsys.readouterr().out


# --- the others


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
