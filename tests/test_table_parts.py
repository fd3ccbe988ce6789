"""Rows and seeds of a table that are measured apart join those that its file has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.small_table import SMALL, tables, use_own_folders, use_small_table, written


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_folders(monkeypatch, tmp_path)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let `small` be a table whose runs are made up; return the calls made."""
    return use_small_table(monkeypatch)


def test_seeds_that_are_measured_later_join_those_of_the_file(
    called: list[list[str]], tmp_path: Path
) -> None:
    assert tables.main(["small"]) == 0
    whole = written(tmp_path)
    assert tables.main(["small", "--seed", "0", "2"]) == 0
    assert written(tmp_path)["partial"]
    assert tables.main(["small", "--seed", "1", "--keep"]) == 0
    # the date is that of the runs measured last
    assert written(tmp_path) | {"measured": whole["measured"]} == whole


def test_rows_that_are_measured_later_join_those_of_the_file(
    called: list[list[str]], tmp_path: Path
) -> None:
    assert tables.main(["small"]) == 0
    whole = written(tmp_path)
    assert tables.main(["small", "--rows", "start", "means"]) == 0
    assert [call[2] for call in called[3:]] == ["finetune", "prototype"]
    part = written(tmp_path)
    assert ([row["name"] for row in part["rows"]], part["differences"]) == (["means"], [])
    assert part["partial"]
    assert part["command"] == "python benchmarks/tables.py small --rows start means"
    assert tables.main(["small", "--rows", "teen", "--keep"]) == 0
    assert written(tmp_path) == whole


def test_rows_with_seeds_of_their_own_are_joined_as_they_are(
    called: list[list[str]], tmp_path: Path
) -> None:
    assert tables.main(["small", "--seed", "0"]) == 0
    assert tables.main(["small", "--seed", "1", "2", "--rows", "teen", "--keep"]) == 0
    found = written(tmp_path)
    assert [row["seeds"] for row in found["rows"]] == [[0], [0, 1, 2]]
    assert [difference["seeds"] for difference in found["differences"]] == [[0]]
    assert (found["partial"], found["command"]) == (
        True,
        "python benchmarks/tables.py small --seed 0 1 2",
    )


def test_a_row_that_is_kept_has_the_tables_words_of_today(
    called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.main(["small"]) == 0
    renamed = [dataclasses.replace(row, group="all of them") for row in SMALL.rows]
    monkeypatch.setattr(tables, "TABLES", {"small": dataclasses.replace(SMALL, rows=renamed)})
    assert tables.main(["small", "--rows", "teen", "--keep"]) == 0
    assert [row["group"] for row in written(tmp_path)["rows"]] == ["all of them"] * 2


def test_figures_of_other_options_are_not_kept(
    called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.main(["small"]) == 0
    changed = [
        dataclasses.replace(row, options={**row.options, "training.lr": "1"})
        if row.name == "teen"
        else row
        for row in SMALL.rows
    ]
    monkeypatch.setattr(tables, "TABLES", {"small": dataclasses.replace(SMALL, rows=changed)})
    assert tables.main(["small", "--seed", "0", "--keep"]) == 0
    assert [row["seeds"] for row in written(tmp_path)["rows"]] == [[0, 1, 2], [0]]


def test_a_row_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["mamlcon", "--rows", "no"]) == 2
    assert "table 'mamlcon' has no row 'no'; it has base " in capsys.readouterr().err


def test_rows_for_others_alone_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["mamlcon_words", "--rows", "base"]) == 2
    assert "--rows base serve other rows alone; add one of these" in capsys.readouterr().err


def test_a_row_of_other_options_that_is_not_measured_again_is_left_out(
    called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.main(["small"]) == 0
    changed = [dataclasses.replace(row, options={"training.lr": "1"}) for row in SMALL.rows]
    monkeypatch.setattr(tables, "TABLES", {"small": dataclasses.replace(SMALL, rows=changed)})
    assert tables.main(["small", "--rows", "teen", "--keep"]) == 0
    found = written(tmp_path)
    assert [row["name"] for row in found["rows"]] == ["teen"]
    assert (found["differences"], found["partial"]) == ([], True)


def test_versions_are_told_once_the_oldest_first() -> None:
    found = tables.result_file.versions("0.10.0, 0.9.0", "0.9.0")
    assert found == "0.9.0, 0.10.0"
