"""The runs behind the tables of results: their commands parse, their figures become data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.programs import ROOT, load_program
from helpers.records import session_record
from helpers.tiny_runs import TINY

from cl_suite import cli, registry
from cl_suite.data.few_shot_tasks import task_range
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.runs.config import resolve
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.task_records import TaskRecord, TasksFile

tables = load_program("benchmarks/tables.py")
rows = sys.modules["table_rows"]
documents = load_program("docs/tables.py")
PLACES = {"SPOKEN_DIGITS": "digits", "MINI_IMAGENET": "images", "DEIT_TINY": "deit.safetensors"}
SMALL = rows.Table(
    name="small",
    title="A small table",
    scenario="omniglot",
    setting="Two strategies.",
    columns={"average": "average", "new": "new", "knn.last": "neighbours, last"},
    rows=[
        rows.Row(name="start", strategy="finetune", reported=False),
        rows.Row(name="means", strategy="prototype", start_from="start"),
        rows.Row(
            name="teen",
            strategy="teen",
            baseline="means",
            options={"strategy.shift_weight": "0.3", "scenario.root": "$SPOKEN_DIGITS"},
        ),
    ],
    differences=[rows.Difference(row="teen", against="means", figure="average")],
)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, place in PLACES.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setenv("OUT", str(tmp_path / "runs"))
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let `small` be a table whose runs are made up; return the calls made."""
    found: list[list[str]] = []

    def call(arguments: Sequence[str]) -> int:
        found.append(list(arguments))
        for seed in seeds_in(arguments):
            write_run(arguments, seed)
        return 0

    monkeypatch.setattr(tables, "TABLES", {"small": SMALL})
    monkeypatch.setattr(tables, "call_suite", call)
    return found


def seeds_in(call: Sequence[str]) -> list[int]:
    start = call.index("--seed") + 1
    end = next(i for i in range(start, len(call)) if call[i].startswith("--"))
    return [int(word) for word in call[start:end]]


def write_run(call: Sequence[str], seed: int, *, finished: bool = True) -> None:
    """Write a run of two sessions: 60 + seed of 100 images are right, then 40 of 200."""
    _, scenario, strategy = call[:3]
    folder = RunFolder(Path(call[-1]) / scenario / strategy / f"seed{seed}")
    right = 60 + seed + (10 + seed if strategy == "teen" else 0)
    hits = Hits(np.array([[right, 0], [20, 20]]), np.array([100, 100]), np.array([0, 1]))
    for part in (folder, folder.probe("knn")):
        part.make()
        part.write_hits(hits)
    times = {"seconds_train": 1.0, "seconds_eval": 1.0}
    folder.write_metrics([session_record(hits, i, seen_classes=i + 1, **times) for i in range(2)])
    names = f"scenario_name: {scenario}\nstrategy_name: {strategy}\n"
    folder.config_file.write_text(f"{names}seed: [{seed}]\ndevice: cpu\n")
    info = {
        "finished": finished,
        "started": f"2026-01-0{seed + 1}T10:00:00+0000",
        "versions": {"cl-suite": "9.9"},
        "machine": {"processor": "abacus"},
        "probes": ["knn"],
    }
    folder.run_info_file.write_text(json.dumps(info))


def written(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "results/small.json").read_text("utf-8"))
    return content


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


def test_the_tasks_of_a_run_are_the_values_of_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = {0: 5, 1: 7, 200: 9}

    def call(arguments: Sequence[str]) -> int:
        for seed in seeds_in(arguments):
            write_run(arguments, seed)
        if "--scenario.task" in arguments:
            folder = RunFolder(Path(arguments[-1]) / "cfsl" / "cfsl" / f"seed{seed}")
            file = TasksFile(folder.tasks_file)
            for task in task_range(arguments[arguments.index("--scenario.task") + 1]):
                file.append(TaskRecord(task, (10,), ((hits[task],),), 1.0, 1.0, "data"))
        return 0

    few = rows.Table(
        name="small",
        title="Few tasks",
        scenario="cfsl",
        setting="One set.",
        columns={"last": "last"},
        rows=[
            rows.Row(name="nets", strategy="finetune", numbers_networks=True, reported=False),
            rows.Row(name="tasks", strategy="cfsl", tasks_on="nets", seeds=(0, 1, 200)),
        ],
    )
    monkeypatch.setattr(tables, "TABLES", {"small": few})
    monkeypatch.setattr(tables, "call_suite", call)
    assert tables.measure(tables.request("small", ["--seed", "0", "1", "200"])) == 0
    (row,) = written(tmp_path)["rows"]
    assert row["seeds"] == [0, 1, 200]
    assert row["figures"]["last"]["values"] == {"0": 50, "1": 70, "200": 90}
    assert row["options"]["scenario.task"] == "{tasks}"
    (part,) = documents.load(tmp_path / "results/small.json").rows
    assert "--seed {network} --scenario.task" in documents.run_command(part)


def test_options_after_the_name_win_and_variables_are_put_in() -> None:
    asked = tables.request("mamlcon", ["--model.head", "cosine", "--seed", "3", "4"])
    (call,) = tables.calls(asked, asked.table.row("finetune"))
    heads = [call[i + 1] for i, word in enumerate(call) if word == "--model.head"]
    assert heads == ["linear", "cosine"]
    assert seeds_in(call) == [3, 4]
    assert call[call.index("--scenario.root") + 1] == "digits"


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


# --- the file ---


def test_the_figures_of_finished_runs_are_written(called: list[list[str]], tmp_path: Path) -> None:
    assert tables.main(["small"]) == 0
    assert [call[2] for call in called] == ["finetune", "prototype", "teen"]
    table = documents.load(tmp_path / "results/small.json")
    means, teen = table.rows
    # sessions of prototype: 60, 61, 62 of 100, then 40 of 200 images
    assert means.figures["average"].values == {"0": 40.0, "1": 40.5, "2": 41.0}
    assert means.figures["average"].mean == pytest.approx(40.5)
    # t of two degrees of freedom, 4.302653, by deviation 0.5 by sqrt(1 / 3)
    assert means.figures["average"].half_width == pytest.approx(4.302653 * 0.5 / 3**0.5, abs=1e-5)
    assert means.figures["new"].mean == 20.0
    assert means.figures["knn.last"].mean == 20.0
    assert teen.seeds == [0, 1, 2]
    assert teen.label == "`teen`"


def test_differences_are_paired_by_seed(called: list[list[str]], tmp_path: Path) -> None:
    assert tables.main(["small"]) == 0
    (found,) = documents.load(tmp_path / "results/small.json").differences
    # teen is 10, 11 and 12 points ahead in the first of two sessions
    assert (found.row, found.against, found.seeds) == ("teen", "means", [0, 1, 2])
    assert found.mean == pytest.approx(5.5)
    assert found.half_width == pytest.approx(4.302653 * 0.5 / 3**0.5, abs=1e-5)


def test_the_file_says_what_was_run_when_and_where(called: list[list[str]], tmp_path: Path) -> None:
    assert tables.main(["small", "--device", "cpu", "--resume"]) == 0
    content = written(tmp_path)
    assert content["measured"] == "2026-01-03"
    assert content["version"] == "9.9"
    assert content["machine"]["device"] == "cpu"
    assert content["machine"]["processor"] == "abacus"
    assert content["command"] == "python benchmarks/tables.py small --device cpu"
    assert content["needs"] == {"SPOKEN_DIGITS": "the folder of the recordings"}
    assert all("--resume" in call for call in called)


def test_no_path_of_this_machine_is_written(called: list[list[str]], tmp_path: Path) -> None:
    assert tables.main(["small"]) == 0
    means, teen = written(tmp_path)["rows"]
    assert means["options"] == {"start-from": "$OUT/small/start/omniglot/finetune/seed{seed}"}
    assert teen["options"]["scenario.root"] == "$SPOKEN_DIGITS"
    assert str(tmp_path) not in json.dumps(written(tmp_path))


def test_options_after_the_name_are_among_those_of_each_row(
    called: list[list[str]], tmp_path: Path
) -> None:
    added = ["--strategy.shift_weight", "0.4", "--training.lr=0.1", "--resume"]
    assert tables.main(["small", *added]) == 0
    means, teen = written(tmp_path)["rows"]
    assert teen["options"]["strategy.shift_weight"] == "0.4"
    assert means["options"]["training.lr"] == "0.1"
    assert "resume" not in means["options"]


def test_a_part_of_the_seeds_is_marked_as_such(called: list[list[str]], tmp_path: Path) -> None:
    assert tables.main(["small"]) == 0
    assert written(tmp_path)["partial"] is False
    assert tables.main(["small", "--seed", "1"]) == 0
    content = written(tmp_path)
    assert content["partial"] is True
    assert [row["seeds"] for row in content["rows"]] == [[1], [1]]
    assert content["rows"][0]["figures"]["average"] == {
        "mean": 40.5,
        "half_width": None,
        "values": {"1": 40.5},
    }
    assert content["command"].endswith("small --seed 1")


def test_notes_are_kept_and_the_reader_is_told(
    called: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tables.main(["small"]) == 0
    assert "they still hold" not in capsys.readouterr().out
    path = tmp_path / "results/small.json"
    path.write_text(json.dumps(written(tmp_path) | {"notes": ["A sentence."]}))
    assert tables.main(["small"]) == 0
    assert written(tmp_path)["notes"] == ["A sentence."]
    assert "they still hold" in capsys.readouterr().out


def test_an_unfinished_run_is_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(call: Sequence[str]) -> int:
        write_run(call, 0, finished=False)
        return 0

    monkeypatch.setattr(tables, "TABLES", {"small": SMALL})
    monkeypatch.setattr(tables, "call_suite", stopped)
    assert tables.main(["small", "--seed", "0"]) == 2
    assert "is unfinished" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_real_run_becomes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows.Table(
        name="real",
        title="Real",
        scenario="omniglot",
        setting="A short run.",
        columns={"last": "last"},
        rows=[rows.Row(name="means", strategy="prototype")],
    )
    monkeypatch.setattr(tables, "TABLES", {"real": table})
    monkeypatch.setattr(tables, "call_suite", cli.main)  # a process would import torch again
    assert tables.main(["real", "--seed", "0", *TINY]) == 0
    (found,) = documents.load(tmp_path / "results/real.json").rows
    hits = RunFolder(tmp_path / "runs/real/means/omniglot/prototype/seed0").read_hits()
    last = 100 * hits.hits[-1].sum() / hits.counts.sum()
    assert found.figures["last"].values == {"0": pytest.approx(last, abs=1e-5)}
