"""A classifier's file: whole or not at all, one writer at a time, nothing trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.learners import pictures, tiny_learner
from safetensors import safe_open
from safetensors.torch import save_file

from cl_suite.errors import UserError
from cl_suite.learner import store
from cl_suite.learner.learner import Learner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    learner = tiny_learner()
    learner.learn(pictures(3, of=1), "one")
    learner.save(tmp_path / "a.clm")
    return tmp_path / "a.clm"


def test_the_previous_version_stays_and_comes_back(path: Path) -> None:
    before = path.read_bytes()
    with Learner.editing(path) as learner:
        learner.learn(pictures(3, of=2), "two")
    assert Learner.load(path).labels == ("one", "two")
    assert store.previous(path).read_bytes() == before
    store.restore_previous(path)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="no previous version"):
        store.restore_previous(path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.clm"]


def test_an_error_while_editing_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UserError, match="'four' is unknown"):
        teach_and_forget(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.clm"]


def teach_and_forget_in(learner: Learner) -> None:
    with learner.held() as now:
        now.learn(pictures(3, of=2), "two")
        now.forget("four")


def teach_and_forget(path: Path) -> None:
    with Learner.editing(path) as learner:
        learner.learn(pictures(3, of=2), "two")
        learner.forget("four")


def test_a_stale_learner_does_not_overwrite_another_process_s_work(path: Path) -> None:
    stale = Learner.load(path)
    with Learner.editing(path) as learner:
        learner.learn(pictures(3, of=2), "two")
    stale.learn(pictures(3, of=3), "three")
    with pytest.raises(UserError, match="changed by another process"):
        stale.save(path)
    assert Learner.load(path).labels == ("one", "two")


def test_a_link_is_another_name_of_the_same_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "b.clm"
    link.parent.mkdir()
    link.symlink_to(path)
    before = path.read_bytes()
    with Learner.editing(link) as learner:
        learner.learn(pictures(3, of=2), "two")
    assert link.is_symlink()
    assert Learner.load(path).labels == ("one", "two")
    assert store.previous(link) == store.previous(path)
    store.restore_previous(link)
    assert link.is_symlink()
    assert path.read_bytes() == before
    with store.locked(link), pytest.raises(UserError, match="is being changed"):  # noqa: SIM117
        with store.locked(path, patience=0.0):
            pass


def test_a_stale_learner_is_noticed_under_another_spelling_of_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    stale = Learner.load(path.name)
    with Learner.editing(path) as learner:
        learner.learn(pictures(3, of=2), "two")
    with pytest.raises(UserError, match="changed by another process"):
        stale.save(path)


def test_a_learner_finds_its_file_from_another_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(path.parent)
    learner = Learner.load(path.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with learner.held() as now:
        now.learn(pictures(3, of=2), "two")
    assert Learner.load(path).labels == ("one", "two")


def test_a_file_that_does_not_exist_leaves_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="does not exist"),
        Learner.editing(tmp_path / "typo" / "a.clm"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_held_block_changes_nothing_in_memory(path: Path) -> None:
    learner = Learner.load(path)
    with pytest.raises(UserError, match="'four' is unknown"):
        teach_and_forget_in(learner)
    assert learner.labels == ("one",)
    with learner.held() as now:
        now.learn(pictures(3, of=3), "three")
    assert Learner.load(path).labels == ("one", "three")


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    learner = Learner.load(path)
    learner.learn(pictures(3, of=2), "two")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        learner.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.clm"]


def test_every_flipped_or_missing_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        with pytest.raises(UserError, match="classifier file"):
            Learner.load(path)
        path.write_bytes(whole[:place])
        with pytest.raises(UserError, match="classifier file"):
            Learner.load(path)


def edited(path: Path, change: object) -> None:
    """Write a file again with another header entry and its right digest."""
    from cl_suite.storage import checkpoint

    tree = checkpoint.load(path, kind=store.KIND)
    tree.update(change)  # type: ignore[call-overload]
    checkpoint.save(path, tree, store.KIND)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["one", "two"]},
        {"labels": [3]},
        {"counts": [4]},
        {"counts": [-3]},
        {"kept": [2]},
        {"totals": torch.zeros(1, 3)},
        {"totals": None},
        {"rule": {"name": "teen"}},
        {"rule": {"name": "nothing", "parameters": {}, "frame": {}}},
        {"rule": {"name": "finetune", "parameters": {}, "frame": {}}},
        {"rule": {"name": "teen", "parameters": {"shift_weight": 7}, "frame": {}}},
        {"backbone": {}},
        {"features": torch.zeros(3, 5)},
        {"thumbnail_sizes": torch.tensor([1, 1, 1])},
    ],
    ids=str,
)
def test_parts_that_do_not_fit_get_a_sentence(path: Path, change: object) -> None:
    edited(path, change)
    with pytest.raises(UserError):
        Learner.load(path)


def test_other_files_are_refused_by_name(tmp_path: Path, path: Path) -> None:
    with pytest.raises(UserError, match=r"classifier file '.*none.clm' does not exist"):
        Learner.load(tmp_path / "none.clm")
    with pytest.raises(UserError, match="is a folder, not a file"):
        Learner.load(tmp_path)
    (tmp_path / "b.clm").write_text("no tensors")
    with pytest.raises(UserError, match="is damaged"):
        Learner.load(tmp_path / "b.clm")
    save_file({"a": torch.zeros(2)}, tmp_path / "c.clm")
    with pytest.raises(UserError, match="another version or of another kind"):
        Learner.load(tmp_path / "c.clm")
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["cl_suite"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["format"] = "cl-suite-classifier-2"
    save_file(tensors, tmp_path / "d.clm", {"cl_suite": json.dumps(header)})
    with pytest.raises(UserError, match="another version or of another kind"):
        Learner.load(tmp_path / "d.clm")


def test_another_process_waits_for_the_lock(path: Path) -> None:
    program = (
        "import sys\n"
        "from cl_suite.errors import UserError\n"
        "from pathlib import Path\n"
        "from cl_suite.learner import store\n"
        "try:\n"
        "    with store.locked(Path(sys.argv[1]), patience=0.2):\n"
        "        print('held')\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with store.locked(path):
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"is being changed by process {os.getpid()}" in told
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "held\n"


def test_labels_in_any_script_survive(path: Path) -> None:
    labels = ["čaj", "茶", "🐈 chat", "ش", "a/b\\c", 'quote"s']
    with Learner.editing(path) as learner:
        for number, label in enumerate(labels, 5):
            learner.learn(pictures(2, of=number), label)
    assert Learner.load(path).labels == ("one", *labels)


@pytest.mark.parametrize("label", ["", "   ", "a\nb", "\x00", "x" * 201, 3])
def test_what_is_no_label_gets_a_sentence(label: str) -> None:
    with pytest.raises(UserError, match="label"):
        tiny_learner().learn(pictures(1, of=1), label)
