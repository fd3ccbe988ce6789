"""Several processes teach one classifier file, and some are killed: nothing is half done."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.classifier_files import classifier_file, done, picture_files

from cl_suite.learner.learner import Learner

CHILDREN = Path(__file__).parents[1] / "helpers" / "kill_and_learn.py"
KILLS = 12


def answer(job: dict[str, Any]) -> Any:
    program = subprocess.run(
        [sys.executable, CHILDREN], input=json.dumps(job), capture_output=True, text=True
    )
    assert program.returncode == 0, program.stderr
    return json.loads(program.stdout)


def all_of(terminal: int) -> bytes:
    found = b""
    with contextlib.suppress(OSError):  # its other end is closed
        while part := os.read(terminal, 4096):
            found += part
    return found


def learning(model: Path, folder: Path, label: str, of: int, number: int = 3) -> list[str]:
    return ["learn", str(model), label, *picture_files(folder / label, of=of, number=number)]


def test_two_processes_that_teach_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    model = classifier_file(tmp_path, classes=2)
    # each its own classes, and more of one class that both teach
    jobs = [
        [learning(model, tmp_path / f"{who}", f"new{who}{i}", of=10 * who + i) for i in range(3)]
        + [learning(model, tmp_path / f"{who}", "both", of=90 + who)]
        for who in (1, 2)
    ]
    assert answer({"together": jobs}) == [0, 0]
    learner = Learner.load(model)
    assert learner.counts == {
        "class0": 8,
        "class1": 8,
        **{f"new{who}{i}": 3 for who in (1, 2) for i in range(3)},
        "both": 6,
    }
    assert len(learner.history) == 1 + 8


def test_a_bar_on_the_terminal_leaves_the_results_on_stdout(tmp_path: Path) -> None:
    model = classifier_file(tmp_path)
    shown = picture_files(tmp_path / "many", of=1, number=70)
    terminal, other_end = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "cl_suite.cli", "predict", model, *shown, "--json"],
        stdout=subprocess.PIPE,
        stderr=other_end,
        env={**os.environ, "TERM": "xterm"},
        text=True,
    )
    os.close(other_end)
    with ThreadPoolExecutor() as pool:
        # a terminal that nobody reads would stop the program
        seen = pool.submit(all_of, terminal)
        out, _ = program.communicate()
    os.close(terminal)
    assert program.returncode == 0
    assert [json.loads(line)["image"] for line in out.splitlines()] == shown
    assert b"0/70" in seen.result()
    assert b"image" not in seen.result()


@pytest.mark.slow
def test_a_killed_process_leaves_the_old_or_the_new_file_and_no_lock(tmp_path: Path) -> None:
    model = classifier_file(tmp_path, classes=2)
    commands = [learning(model, tmp_path, f"new{i}", of=10 + i) for i in range(KILLS + 1)]
    found = answer({"killed": {"commands": commands, "model": str(model), "seed": 0}})
    assert found["while_locked"] > 0
    known = {"class0", "class1", "new0"}
    for number, content in enumerate(found["left"]):
        copy = tmp_path / "copy.clm"
        copy.write_bytes(bytes.fromhex(content))
        labels = set(Learner.load(copy).labels)
        assert labels in (known, known | {f"new{number}"})
        known = labels
    # a lock that stayed would block this one
    done(*learning(model, tmp_path, "last", of=50))
    assert set(Learner.load(model).labels) == known | {"last"}
    done("undo", model)
    assert set(Learner.load(model).labels) == known
    # nor does anything else of the killed ones stay
    assert {path.name for path in tmp_path.iterdir() if "a.clm" in path.name} == {"a.clm"}
