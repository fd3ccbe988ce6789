"""`torchrun -m cl_suite run ...`: one folder, one voice, and runs that go on after a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import shared_work

from cl_suite.runs.folder import RunFolder
from cl_suite.runs.task_records import TasksFile
from cl_suite.testing.several import in_processes

SHORT = ["--training.base_epochs", "2", "--training.incremental_epochs", "1"]


def run(folder: Path, size: int, *arguments: str, code: int = 0, **more: int) -> tuple[str, str]:
    """Run a command in `size` processes; return what all of them printed, and their complaints."""
    failed = False
    try:
        in_processes(shared_work.command, size, folder, ["run", *arguments], *more.values())
    except AssertionError:
        failed = True
    printed, complaints = (
        "".join((folder / f"{name}{rank}.txt").read_text() for rank in range(size))
        for name in ("out", "err")
    )
    assert failed == (code != 0), complaints
    return printed, complaints


def of(out: Path, strategy: str) -> RunFolder:
    return RunFolder(out / "omniglot" / strategy / "seed0")


def test_two_processes_write_one_run_and_print_once(tmp_path: Path) -> None:
    given = ["omniglot", "simple_cil", *SHORT, "--out"]
    alone, _ = run(tmp_path, 1, *given, str(tmp_path / "one"))
    printed, complaints = run(tmp_path, 2, *given, str(tmp_path / "two"))
    assert complaints == ""
    for text in ("omniglot / simple_cil, seed 0", "average accuracy", "dashboard:"):
        assert printed.count(text) == alone.count(text) > 0
    one, two = (of(tmp_path / name, "simple_cil") for name in ("one", "two"))
    assert two.read_run_info()["finished"]
    assert two.read_run_info()["machine"]["processes"] == 2
    assert [r.accuracy for r in one.read_metrics()] == [r.accuracy for r in two.read_metrics()]
    files = [{p.relative_to(f.path) for p in f.path.rglob("*")} for f in (one, two)]
    # names of event files hold the time
    names = [{p for p in each if "tfevents" not in p.name} for each in files]
    assert names[0] == names[1]
    assert len(files[0]) == len(files[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["omniglot", "teeen"], "did you mean 'teen'"),
        (["omniglot", "teen", "--model.weights", "missing.safetensors"], "missing.safetensors"),
        (["omniglot", "teen", "--training.lr", "-1"], "--training.lr"),
    ],
)
def test_bad_input_is_one_sentence_of_one_process(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [*arguments, "--out", str(tmp_path / "runs")]
    printed, complaints = run(tmp_path, 2, *given, code=2)
    assert printed.count("\n") <= 1  # the run's name
    assert complaints.count("\n") == 1
    assert complaints.startswith("cl-suite: ")
    assert message in complaints
    assert not (tmp_path / "runs").exists()


def test_an_occupied_folder_is_refused_once(tmp_path: Path) -> None:
    given = ["omniglot", "simple_cil", "--training.base_epochs", "0", "--out", str(tmp_path / "r")]
    run(tmp_path, 2, *given)
    _, complaints = run(tmp_path, 2, *given, "--training.lr", "0.5", code=2)
    assert complaints.count("\n") == 1
    assert "holds a run with other settings" in complaints
    printed, _ = run(tmp_path, 2, *given, "--resume")
    assert printed.count("finished") == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_after_a_kill_the_run_goes_on_with_any_number_of_processes(
    tmp_path: Path, size: int
) -> None:
    given = ["omniglot", "er", *SHORT, "--out", str(tmp_path / "runs")]
    _, complaints = run(tmp_path, 2, *given, code=1, die_after=120)
    assert "another process of this run has ended" in complaints
    assert complaints.count("\n") == 1
    folder = of(tmp_path / "runs", "er")
    done = len(folder.read_metrics())
    assert not folder.read_run_info().get("finished")
    printed, complaints = run(tmp_path, size, *given, "--resume")
    assert complaints == ""
    assert folder.read_run_info()["finished"]
    assert len(folder.read_metrics()) == 13 > done
    # sessions that were done are not trained again
    assert not re.search(r"session 0\b.*epoch 1", printed)


@pytest.mark.slow
def test_torchrun_starts_a_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "cl_suite", "run", "omniglot", "simple_cil", "--training.base_epochs", "0"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("average accuracy") == 1
    assert of(tmp_path, "simple_cil").read_run_info()["machine"]["processes"] == 2


def test_many_tasks_are_one_run_of_two_processes(tmp_path: Path) -> None:
    given = ["cfsl", "cfsl", "--scenario.task", "0..2", *SHORT, "--out"]
    run(tmp_path, 1, *given, str(tmp_path / "one"))
    printed, complaints = run(tmp_path, 2, *given, str(tmp_path / "two"))
    assert complaints == ""
    assert printed.count("cfsl / cfsl, seed 0") == 2  # as a title, and over the figures
    one, two = (RunFolder(tmp_path / name / "cfsl" / "cfsl" / "seed0") for name in ("one", "two"))
    records = [TasksFile(each.tasks_file).read() for each in (one, two)]
    assert [r.task for r in records[1]] == [0, 1, 2]
    assert [r.hits for r in records[0]] == [r.hits for r in records[1]]
