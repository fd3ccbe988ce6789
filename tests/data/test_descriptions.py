"""Descriptions of classes from a file: what is read, and what is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cl_suite.data.readers.descriptions import plain_name, read_descriptions
from cl_suite.errors import UserError


def write(folder: Path, text: str, name: str = "texts.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_a_text_or_a_list_of_texts_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "Red_Fox: orange fur\noak: [a tree,  with   lobed leaves]\n")
    found = {"red fox": ["orange fur"], "oak": ["a tree", "with lobed leaves"]}
    assert read_descriptions(path) == found
    path = write(tmp_path, json.dumps({"red fox": "orange fur", "oak": ["a tree"]}), "texts.json")
    assert read_descriptions(path)["oak"] == ["a tree"]


def test_names_are_compared_without_case_and_underscores() -> None:
    assert plain_name("  Maple_tree") == plain_name("maple  Tree") == "maple tree"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not a mapping"),
        ("[a, b]", "it is not a mapping"),
        ("{}", "it is not a mapping"),
        ("oak: 3", "class 'oak' has no text and no list of texts"),
        ("oak: []", "class 'oak' has no text and no list of texts"),
        ("oak: ['']", "a description of class 'oak' is empty or not text"),
        ("oak: [1]", "a description of class 'oak' is empty or not text"),
        ("7: a tree", "the class name 7 is not text"),
        ("oak: [a", "expected"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_descriptions(path)
    assert reason in str(error.value)
    assert str(error.value).startswith(f"descriptions file '{path}' cannot be used (")
    assert "\n" not in str(error.value)


def test_a_file_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "[" * 100_000 + "]" * 100_000, "texts.json")
    with pytest.raises(UserError, match="nested too deeply"):
        read_descriptions(path)


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; pass a YAML or JSON file"):
        read_descriptions(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="it is a folder, and a file is expected"):
        read_descriptions(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="cannot be used"):
        read_descriptions(tmp_path / "bytes.yaml")
