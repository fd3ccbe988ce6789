"""A run over a range of tasks: equal to single runs, resumable, in one folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.task_runs import digest_of_single, lines, note_networks, run_tasks
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.data.few_shot_tasks import task_range
from cl_suite.errors import UserError
from cl_suite.metrics.headline import headline
from cl_suite.report.loaded_run import load
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.listener import Listener, WatchedTasks
from cl_suite.runs.task_records import TaskRecord

CFSL = ("cfsl", "cfsl")
# draws of images to replay; none at all; an own head; a teacher; a probe in place of a head; the
# same on features from the bank; images that are spoiled at random
CASES: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "cfsl": (CFSL, {}),
    "protonet": (("cfsl", "protonet"), {"evaluation.probes": ["knn"]}),
    "prototype": (("instance_test", "prototype"), {"training.base_epochs": 1}),
    "lwf": (("cfsl", "lwf"), {"scenario.class_change": 1}),
    "replay": (("instance_test", "replay"), {"scenario.corruption": "noise"}),
    "simclr": (("cfsl", "simclr"), {"training.base_epochs": 1, "training.incremental_epochs": 1}),
    "banked": (("instance_test", "replay"), {"model.frozen": True, "scenario.set_size": 3}),
}


@pytest.fixture(autouse=True)
def own_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_SUITE_BANK", str(tmp_path / "bank"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose network tasks start from; loading it draws random numbers."""
    settings = {"training.base_epochs": 0, "device": "cpu", "listeners": ()}
    import cl_suite

    return cl_suite.run(
        "cfsl_pretraining", "finetune", out=tmp_path_factory.mktemp("runs"), **settings
    )


@pytest.mark.parametrize("case", CASES)
def test_each_task_equals_a_single_run_bit_for_bit(
    case: str, tmp_path: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, settings = CASES[case]
    settings = {**settings, "model.weights": str(pretrained), "seed": 4}
    networks = note_networks(monkeypatch)
    found = lines(run_tasks(tmp_path, "5..7", pair=pair, **settings))
    assert [line["task"] for line in found] == [5, 6, 7]
    for line, network in zip(found, networks, strict=True):
        alone = run_tasks(tmp_path / str(line["task"]), line["task"], pair=pair, **settings)
        assert network == digest_of_single(alone)
        matrix = np.load(alone / "accuracy_matrix.npy")
        images = np.array(line["images"])
        for session, row in enumerate(line["hits"]):
            own = np.array(row) / images[: session + 1]
            assert own.tolist() == matrix[session, : session + 1].tolist()
        figures = headline(load(RunFolder(alone)).hits)
        for name in ("average", "last", "drop", "harmonic", "forgetting"):
            assert line[name] == getattr(figures, name)
    assert len(set(networks)) == len({line["data"] for line in found}) == 3


def test_a_network_of_another_order_of_loading_still_equals_a_single_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = note_networks(monkeypatch)
    run_tasks(tmp_path, "2..3", pair=CFSL)
    alone = run_tasks(tmp_path / "alone", 3, pair=CFSL)
    assert networks[1] == digest_of_single(alone)


@pytest.mark.parametrize("text", ["", "..", "3..", "599..0", "a..b", "-1..5", f"0..{2**32}", "7"])
def test_a_text_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^task must be a whole number, or a range"):
        task_range(text)


def test_a_range_includes_both_ends() -> None:
    assert list(task_range("3..5")) == [3, 4, 5]
    assert len(task_range("4..4")) == 1


@pytest.mark.parametrize("given", ["9..3", "abc", "0..99999999999"])
def test_the_command_line_refuses_a_wrong_range(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    error = refused(capsys, "run", "cfsl", "cfsl", "--scenario.task", given, *out)
    assert "--scenario.task must be a whole number, or a range" in error
    assert given in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--start-from", "runs/x"], "--start-from continues the base session of one task"),
        (["--evaluation.dynamics", "true"], "--evaluation.dynamics records one network"),
        (["--scenario.way", "40"], "a task needs"),
    ],
)
def test_what_tasks_cannot_have_is_refused_before_anything_is_written(
    option: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["run", "cfsl", "finetune", "--scenario.task", "0..3", "--out", str(tmp_path)]
    assert words in refused(capsys, *start, *option)
    assert not list(tmp_path.rglob("config.yaml"))


class Stop(Listener):
    """Notes the calls; stops the run after some tasks, within the next one."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.calls, self.text = after, [], []
        self.calls: list[Any] = []

    def tasks_start(self, run: WatchedTasks) -> None:
        self.run = run
        self.calls.append(("start", list(run.tasks), len(run.records)))

    def task_ends(self, record: TaskRecord) -> None:
        assert self.run.records[-1] is record
        self.calls.append(record.task)
        if len(self.run.records) == self.after:
            raise KeyboardInterrupt

    def tasks_end(self) -> None:
        self.calls.append("end")

    def stops(self) -> None:
        self.calls.append("stops")


def test_a_stopped_run_goes_on_with_the_next_task(tmp_path: Path) -> None:
    whole = run_tasks(tmp_path / "whole", "0..3", pair=CFSL)
    stop = Stop(after=2)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..3", pair=CFSL, listeners=[stop])
    assert stop.calls == [("start", [0, 1, 2, 3], 0), 0, 1, "stops"]
    with pytest.raises(UserError, match="holds an unfinished run; pass --resume"):
        run_tasks(tmp_path, "0..3", pair=CFSL)
    folder = tmp_path / "cfsl" / "cfsl" / "seed0"
    with (folder / "tasks.jsonl").open("a") as file:
        file.write('{"task": 2, "hi')  # of a killed process
    again = Stop()
    assert run_tasks(tmp_path, "0..3", pair=CFSL, resume=True, listeners=[again]) == folder
    assert again.calls == [("start", [0, 1, 2, 3], 2), 2, 3, "end", "stops"]
    timeless = [
        [{k: v for k, v in line.items() if "seconds" not in k} for line in lines(each)]
        for each in (whole, folder)
    ]
    assert timeless[0] == timeless[1]
    infos = [json.loads((each / "run.json").read_text()) for each in (whole, folder)]
    for name in ("figures", "stream", "tasks", "finished"):
        assert infos[0][name] == infos[1][name]
    assert infos[0]["figures"]["last"]["num"] == 4


def test_diverged_tasks_are_counted_across_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cl_suite.runs.task_run.has_diverged", lambda model: True)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..2", pair=CFSL, listeners=[Stop(after=2)])
    folder = run_tasks(tmp_path, "0..2", pair=CFSL, resume=True)
    assert json.loads((folder / "run.json").read_text())["diverged_tasks"] == 3
    assert main(["show", str(folder)]) == 0
    assert "training has diverged in 3 of the tasks" in capsys.readouterr().out


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    run_tasks(tmp_path, "0..1", pair=CFSL)
    again = Stop()
    run_tasks(tmp_path, "0..1", pair=CFSL, listeners=[again])
    assert again.calls == ["stops"]
    with pytest.raises(UserError, match="holds a run with other settings"):
        run_tasks(tmp_path, "0..2", pair=CFSL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]\n", "line 1"),
        ('{"task": 0}\n', "line 1"),
        ("[" * 100_000 + "\n", "line 1: it is nested too deeply"),
        ("{line}\n{line}\n", "a task comes twice"),
        ("{other}\n", "has task 9, which is not one of this run's"),
        ("{more}\n", "more hits|hits after"),
        ("{shape}\n", "one row a session"),
    ],
)
def test_a_damaged_file_of_tasks_is_refused_at_a_resume(
    content: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..1", pair=CFSL, listeners=[Stop(after=1)])
    file = tmp_path / "cfsl" / "cfsl" / "seed0" / "tasks.jsonl"
    (good,) = lines(file.parent)
    for name, line in {
        "line": good,
        "other": good | {"task": 9},
        "more": good | {"images": [1, 1]},
        "shape": good | {"hits": [[1, 2], [3]]},
    }.items():
        content = content.replace(f"{{{name}}}", json.dumps(line))
    file.write_text(content)
    with pytest.raises(UserError, match=words):
        run_tasks(tmp_path, "0..1", pair=CFSL, resume=True)


def test_changed_images_are_noticed_at_a_resume(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..1", pair=CFSL, listeners=[Stop(after=1)])
    file = tmp_path / "cfsl" / "cfsl" / "seed0" / "tasks.jsonl"
    file.write_text(json.dumps(lines(file.parent)[0] | {"data": "0" * 16}) + "\n")
    with pytest.raises(UserError, match="has changed since it was stopped"):
        run_tasks(tmp_path, "0..1", pair=CFSL, resume=True)


def test_a_replaced_run_comes_back_if_the_new_one_ends_before_its_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_tasks(tmp_path, "0..1", pair=CFSL)
    before = (folder / "tasks.jsonl").read_bytes()

    class AtOnce(Stop):
        def tasks_start(self, run: WatchedTasks) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..2", pair=CFSL, overwrite=True, listeners=[AtOnce()])
    assert (folder / "tasks.jsonl").read_bytes() == before
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tmp_path, "0..2", pair=CFSL, overwrite=True, listeners=[Stop(after=1)])
    assert len(lines(folder)) == 1
    assert len(list(folder.parent.iterdir())) <= 2  # the lock at most beside it


def test_the_data_are_read_once_and_nothing_but_the_lines_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_suite.data import class_images

    reads, sizes = [], []
    original = class_images.read
    monkeypatch.setattr(class_images, "read", lambda *a, **k: reads.append(1) or original(*a, **k))
    for last in (1, 5):
        folder = run_tasks(tmp_path / str(last), f"0..{last}", pair=CFSL)
        sizes.append({p.name: p.stat().st_size for p in folder.rglob("*") if p.is_file()})
    assert len(reads) == 2
    assert set(sizes[0]) == set(sizes[1]) == {"config.yaml", "run.json", "tasks.jsonl"}
    for name in ("config.yaml", "run.json"):
        assert abs(sizes[1][name] - sizes[0][name]) < 400


def test_show_prints_the_means_and_compares_runs_task_by_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = run_tasks(tmp_path, "0..4", pair=CFSL)
    assert main(["show", str(one)]) == 0
    shown = capsys.readouterr().out
    values = [100 * line["last"] for line in lines(one)]
    assert "cfsl / cfsl, seed 0, 5 tasks" in shown
    assert f"last accuracy    {np.mean(values):.2f}" in shown
    run_tasks(tmp_path, "0..4", pair=("cfsl", "protonet"))
    assert main(["show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "paired by task" in shown
    assert "mean over the tasks" in shown
    rows = [line.split()[:2] for line in shown.splitlines() if line.startswith(("cfsl ", "proto"))]
    assert ["cfsl", "5"] in rows
    assert ["protonet", "5"] in rows


def test_the_networks_of_tasks_are_not_kept_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_tasks(tmp_path, "0..1", pair=CFSL)
    out = ["--out", str(tmp_path / "other")]
    error = refused(capsys, "run", "cfsl", "cfsl", "--model.weights", str(folder), *out)
    assert "networks are not kept" in error
    shutil.rmtree(folder)
