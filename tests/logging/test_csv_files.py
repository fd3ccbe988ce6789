"""The logger `csv`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.stopped_runs import run_with, stop_and_resume
from helpers.task_runs import lines, run_tasks

from cl_suite.logging.csv_files import CsvFiles, Table

TIMES = ("seconds", "seconds_train", "seconds_eval")


def table(path: Path, but: tuple[str, ...] = TIMES) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in but}
            for row in csv.DictReader(file)
        ]


def test_sessions_are_those_of_the_runs_metrics(tmp_path: Path) -> None:
    folder = run_with(tmp_path, "csv", "prototype")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    found = table(folder / "sessions.csv", ())
    assert [row.pop("probe") for row in found] == ["", "", ""]
    as_text = [{k: "" if v is None else str(v) for k, v in record.items()} for record in records]
    assert found == as_text


def test_epochs_are_counted_within_their_session(tmp_path: Path) -> None:
    found = table(run_with(tmp_path, "csv") / "epochs.csv")
    places = [(row["session"], row["epoch"]) for row in found]
    assert places == [("0", "0"), ("0", "1"), ("1", "0"), ("2", "0")]
    assert all(float(row["loss"]) > 0 for row in found)


def test_a_probe_has_rows_of_its_own(tmp_path: Path) -> None:
    folder = run_with(tmp_path, "csv", "prototype", **{"evaluation.probes": ["knn"]})
    found = table(folder / "sessions.csv")
    assert [(row["session"], row["probe"]) for row in found] == [
        (str(session), probe) for session in range(3) for probe in ("", "knn")
    ]


@pytest.mark.parametrize("session", [0, 1])
def test_a_resumed_run_neither_repeats_nor_loses_a_row(session: int, tmp_path: Path) -> None:
    whole = run_with(tmp_path / "whole", "csv")
    resumed = stop_and_resume(tmp_path / "resumed", "csv", session=session)
    for name in ("epochs.csv", "sessions.csv"):
        assert table(resumed / name) == table(whole / name)


def test_tasks_have_a_row_each(tmp_path: Path) -> None:
    folder = run_tasks(tmp_path, "0..3", pair=("cfsl", "cfsl"), listeners=[CsvFiles()])
    found: list[dict[str, Any]] = list(table(folder / "tasks.csv"))
    assert [row["task"] for row in found] == ["0", "1", "2", "3"]
    assert [float(row["last"]) for row in found] == [line["last"] for line in lines(folder)]


def test_a_cell_may_hold_a_comma_and_nothing(tmp_path: Path) -> None:
    one = Table(tmp_path / "one.csv", ("name", "value"))
    one.write([{"name": 'a, "b"', "value": None}])
    one.add({"name": "c", "value": 0.5, "more": "left out"})
    assert table(tmp_path / "one.csv") == [
        {"name": 'a, "b"', "value": ""},
        {"name": "c", "value": "0.5"},
    ]
