"""The figures of the runs behind a table of results become a file of data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.programs import load_program
from helpers.small_table import (
    SMALL,
    rows,
    seeds_in,
    tables,
    use_own_folders,
    use_small_table,
    write_run,
    written,
)
from helpers.tiny_runs import TINY

from cl_suite import cli
from cl_suite.data.few_shot_tasks import task_range
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.task_records import TaskRecord, TasksFile

documents = load_program("docs/tables.py")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_folders(monkeypatch, tmp_path)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let `small` be a table whose runs are made up; return the calls made."""
    return use_small_table(monkeypatch)


def test_jobs_run_single_seeds_after_what_they_need_and_give_the_same_file(
    called: list[list[str]], tmp_path: Path
) -> None:
    assert tables.main(["small"]) == 0
    expected = written(tmp_path)
    called.clear()
    assert tables.main(["small", "--jobs", "3"]) == 0
    assert written(tmp_path) == expected
    assert sorted((call[2], *seeds_in(call)) for call in called) == [
        (name, seed) for name in ("finetune", "prototype", "teen") for seed in range(3)
    ]
    # prototype goes on from finetune; teen needs nothing
    assert {call[2] for call in called[:6]} == {"finetune", "teen"}


def test_a_job_that_fails_ends_the_table_with_its_exit_code(
    called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "call_quietly", lambda call: 2 * (call[2] == "teen"))
    assert tables.main(["small", "--jobs", "2"]) == 2
    assert not (tmp_path / "results").exists()


def test_a_job_prints_its_command_and_the_last_lines_of_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tables.call_quietly(["--version"]) == 0
    assert tables.call_quietly(["bank", "no"]) == 2
    out, error = capsys.readouterr()
    assert out.splitlines() == ["cl-suite --version", "cl-suite bank no"]
    assert error.startswith("tables: it ended with exit code 2\n")
    assert "cl-suite" in error.splitlines()[-1]


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


@pytest.mark.parametrize(
    ("cost", "value"), [("base_seconds", 1.0), ("seconds", 2.0), ("forward", 2.5)]
)
def test_costs_are_figures(
    called: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cost: str,
    value: float,
) -> None:
    timed = dataclasses.replace(SMALL, columns={**SMALL.columns, cost: "cost"})
    monkeypatch.setattr(tables, "TABLES", {"small": timed})
    assert tables.main(["small"]) == 0
    means, _ = documents.load(tmp_path / "results/small.json").rows
    assert means.figures[cost].mean == pytest.approx(value)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("contrastive_losses", ("cross_entropy", "moco")),
        ("contrastive_streams", ("tail", "tail_sbcl")),
    ],
)
def test_contrastive_base_sessions_are_measured_at_their_smallest(
    name: str, chosen: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tables.TABLES[name]
    some = [row for row in table.rows if row.name in chosen]
    small = dataclasses.replace(table, rows=some, differences=())
    monkeypatch.setattr(tables, "TABLES", {name: small})
    monkeypatch.setattr(tables, "call_suite", cli.main)
    assert tables.main([name, "--seed", "0", *TINY]) == 0
    plain, contrastive = documents.load(tmp_path / f"results/{name}.json").rows
    assert contrastive.baseline == plain.name
    assert set(contrastive.figures) == set(table.columns)


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
