"""A run's folder belongs to one run: locks, replaced runs that come back, left-overs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import run

from cl_suite.errors import UserError
from cl_suite.runs import run as run_module
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.listener import Listener
from cl_suite.runs.lock import locked
from cl_suite.runs.replacing import recover, set_aside


def contents(folder: Path) -> dict[Path, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in found}


class At(Listener):
    """Acts when a session begins."""

    def __init__(self, session: int, act: Any) -> None:
        self.session, self.act = session, act

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        if session == self.session:
            self.act()


# --- the lock ---


@pytest.mark.parametrize("option", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_run_in_a_folder_is_refused_while_the_first_goes_on(
    tmp_path: Path, option: dict[str, bool]
) -> None:
    refusals = []

    def try_too() -> None:
        with pytest.raises(UserError, match="is in use by another process") as error:
            run(tmp_path, **option)
        refusals.append(str(error.value))

    folder = run(tmp_path, listeners=[At(1, try_too)])
    assert str(os.getpid()) in refusals[0]
    assert RunFolder(folder).read_run_info()["finished"]


def test_a_lock_is_free_again_after_its_process_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from cl_suite.runs.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "seed0")], check=False)
    assert done.returncode == -9
    assert (tmp_path / ".seed0.lock").exists()
    with locked(tmp_path / "seed0") as is_held:
        assert is_held
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_outlives_a_killed_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time, pathlib\n"
        "from cl_suite.runs.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(30)\n"
        "        os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "seed0")]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with locked(tmp_path / "seed0") as is_held:
        assert is_held


def test_a_lock_leaves_no_file_and_no_folder_of_its_own(tmp_path: Path) -> None:
    with locked(tmp_path / "a/b/seed0"):
        assert (tmp_path / "a/b/.seed0.lock").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["other: settings\n", None])
def test_a_run_whose_folder_became_anothers_stops_and_writes_nothing_more(
    tmp_path: Path, text: str | None
) -> None:
    folder = RunFolder(tmp_path / "omniglot/prototype/seed0")
    left = {}

    def take_it() -> None:
        if text is None:
            os.replace(folder.path, tmp_path / "elsewhere")
        else:
            folder.config_file.write_text(text)
            left.update(contents(folder.path))

    with pytest.raises(UserError, match="was removed or given to another run"):
        run(tmp_path, listeners=[At(1, take_it)])
    assert (contents(folder.path) if folder.path.exists() else {}) == left


def test_the_same_settings_by_another_run_are_noticed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "omniglot/prototype/seed0")

    def take_it() -> None:
        folder.run_info_file.write_text('{"id": "another"}')
        folder.config_file.write_text(folder.config_file.read_text())

    with pytest.raises(UserError, match="was removed or given to another run"):
        run(tmp_path, listeners=[At(1, take_it)])


# --- a replaced run ---


def fail(*_: object) -> None:
    raise MemoryError


def test_a_run_comes_back_if_its_replacement_fails_before_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run(tmp_path))
    monkeypatch.setattr(run_module.Run, "_session", fail)
    with pytest.raises(UserError, match="too little memory"):
        run(tmp_path, overwrite=True, **{"training.lr": 0.2})
    assert contents(tmp_path / "omniglot/prototype/seed0") == before
    assert os.listdir(tmp_path / "omniglot/prototype") == ["seed0"]


def test_the_old_run_is_gone_after_the_first_checkpoint_of_the_new(tmp_path: Path) -> None:
    run(tmp_path)
    seen = []
    look = At(1, lambda: seen.extend(sorted(os.listdir(tmp_path / "omniglot/prototype"))))
    run(tmp_path, overwrite=True, listeners=[look], **{"training.lr": 0.2})
    assert seen == [".seed0.lock", "seed0"]


def test_a_run_comes_back_at_the_next_start_after_its_replacement_was_killed(
    tmp_path: Path,
) -> None:
    folder = RunFolder(run(tmp_path))
    before = contents(folder.path)
    set_aside(folder)
    folder.make()
    folder.config_file.write_text("of the killed run\n")
    run(tmp_path)  # finished already
    assert contents(folder.path) == before
    assert os.listdir(folder.path.parent) == ["seed0"]


def test_after_a_checkpoint_the_killed_replacement_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "seed0")
    folder.make()
    set_aside(folder)
    folder.checkpoint_file.parent.mkdir(parents=True)
    folder.checkpoint_file.write_text("new")
    recover(folder)
    assert os.listdir(tmp_path) == ["seed0"]
    assert folder.checkpoint_file.read_text() == "new"


def test_left_overs_of_killed_processes_are_cleaned_by_the_next_run(tmp_path: Path) -> None:
    parent = tmp_path / "omniglot/prototype"
    (parent / ".seed0.12.deleted/checkpoint").mkdir(parents=True)
    (parent / "seed0/checkpoint").mkdir(parents=True)
    (parent / "seed0/checkpoint/.last.safetensors.12-34.part").write_text("half")
    run(tmp_path)
    assert os.listdir(parent) == ["seed0"]
    assert not list(parent.rglob("*.part"))


# --- weights that rest on the run itself ---


def test_weights_from_the_very_folder_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path)
    before = contents(folder)
    for weights in (folder, folder / "model/model.safetensors"):
        with pytest.raises(UserError, match="rests on the folder of this very run"):
            run(tmp_path, overwrite=True, **{"model.weights": str(weights)})
    assert contents(folder) == before


def test_weights_that_rest_on_the_folder_by_another_run_are_refused(tmp_path: Path) -> None:
    first = run(tmp_path)
    second = run(tmp_path, "finetune", **{"model.weights": str(first)})
    with pytest.raises(UserError, match="rests on the folder of this very run"):
        run(tmp_path, overwrite=True, **{"model.weights": str(second)})
