"""`cl-suite predict`: answers as text, a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from helpers.classifier_files import done, lines_of, picture_files
from PIL import Image

from cl_suite.learner.learner import Learner

Capture = pytest.CaptureFixture[str]


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


def test_unlabelled_pictures_move_the_prototypes_for_these_predictions_alone(
    model: Path, here: Path, capsys: Capture
) -> None:
    shown = picture_files(here / "new", of=1, number=2)
    picture_files(here / "unlabelled", of=2, number=6)
    before = model.read_bytes()
    done("predict", "a.clm", *shown, "--json", "--unlabelled", "unlabelled")
    said = capsys.readouterr()
    moved = [json.loads(line) for line in said.out.splitlines()]
    assert "6 pictures without labels move the classes' prototypes" in said.err
    assert "(transductive)" in said.err
    done("predict", "a.clm", *shown, "--json")
    plain = lines_of(capsys)
    assert [one["label"] for one in moved] == ["class1", "class1"]
    assert moved[0]["top"][0]["probability"] != plain[0]["top"][0]["probability"]
    assert model.read_bytes() == before
