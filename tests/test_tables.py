"""The runs behind the tables of results: their commands parse, and the program runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import ROOT
from helpers.small_table import SMALL, seeds_in, tables, use_own_folders

from cl_suite import registry
from cl_suite.runs.config import resolve


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_folders(monkeypatch, tmp_path)


# --- the commands ---


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_run_of_a_table_is_one_that_the_command_line_takes(name: str, tmp_path: Path) -> None:
    asked = tables.request(name, ["--seed", "7", "--device", "cpu"])
    calls = [(row, call) for row in asked.table.rows for call in tables.calls(asked, row)]
    assert len(calls) >= 3
    for row, (command, scenario, strategy, *options) in calls:
        assert command == "run"
        pair = registry.get("scenario", scenario), registry.get("strategy", strategy)
        configs, given = resolve(*pair, options)
        # task 7 begins at network 0
        is_task = row.numbers_networks or row.tasks_on is not None
        assert [config.seed for config in configs] == [0 if is_task else 7]
        if row.tasks_on is not None:
            assert list(configs[0].scenario.tasks) == [7]
        assert given.out.is_relative_to(tmp_path / "runs" / name)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_row_comes_after_those_that_it_continues_and_its_baseline_is_there(name: str) -> None:
    table = tables.TABLES[name]
    before: set[str | None] = {None}
    for row in table.rows:
        assert {row.start_from, row.weights_from, row.tasks_on} <= before
        assert row.name not in before
        before.add(row.name)
    assert {row.baseline for row in table.rows} <= before
    assert {n for d in table.differences for n in (d.row, d.against)} <= before


def test_few_shot_tasks_begin_at_the_network_of_their_two_hundred() -> None:
    table = tables.TABLES["cfsl"]
    found = {
        row: [
            (
                list(command.seeds),
                command.options["scenario.task"],
                command.options["model.weights"].rpartition("/")[2],
            )
            for command in table.commands(table.row(row))
        ]
        for row in ("whole_protonet", "whole_memory")
    }
    assert found["whole_protonet"] == [
        ([0], "0..199", "seed0"),
        ([1], "200..399", "seed1"),
        ([2], "400..599", "seed2"),
    ]
    assert [tasks for _, tasks, _ in found["whole_memory"]] == ["0..19", "200..219", "400..419"]
    assert len(table.row("whole_protonet").chosen_seeds(None)) == 600
    # a run has a range: chosen tasks are filled up to one for each network
    chosen = table.row("whole_memory").chosen_seeds([3, 5, 201])
    assert chosen == [3, 4, 5, 201]


def test_options_after_the_name_win_and_variables_are_put_in() -> None:
    asked = tables.request("mamlcon", ["--model.head", "cosine", "--seed", "3", "4"])
    (call,) = tables.calls(asked, asked.table.row("finetune"))
    heads = [call[i + 1] for i, word in enumerate(call) if word == "--model.head"]
    assert heads == ["linear", "cosine"]
    assert seeds_in(call) == [3, 4]
    assert call[call.index("--scenario.root") + 1] == "spoken_digits"


# --- the program ---


def program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/tables.py"), *arguments]
    # a child finds this repository's package
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_without_a_name_the_tables_are_listed() -> None:
    found = program()
    assert found.returncode == 0
    assert [line.split()[0] for line in found.stdout.splitlines()] == list(tables.TABLES)


def test_a_table_that_is_unknown_is_refused_with_those_that_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tables.main(["no"]) == 2
    assert set(tables.TABLES) <= set(capsys.readouterr().err.split())


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_data_root_is_named_in_one_sentence(
    value: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINI_IMAGENET")
    if value is not None:
        monkeypatch.setenv("MINI_IMAGENET", value)
    assert tables.main(["limit_mini_imagenet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tables: MINI_IMAGENET must name the folder of miniImageNet")
    assert error.count("\n") == 1
    assert "DEIT_TINY" not in error


def test_the_suite_is_called_and_its_exit_code_returned(capfd: pytest.CaptureFixture[str]) -> None:
    assert tables.call_suite(["--version"]) == 0
    assert tables.call_suite(["bank", "no"]) == 2
    assert capfd.readouterr().out.startswith("cl-suite ")


def test_a_run_that_fails_ends_the_table_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tables, "TABLES", {"small": SMALL})
    monkeypatch.setattr(tables, "call_suite", lambda call: 130)
    assert tables.main(["small"]) == 130
    assert not (tmp_path / "results").exists()
