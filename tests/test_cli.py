"""The command line: its output, its files, and its exit codes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.tiny_runs import METRIC_KEYS, TINY, assert_equal_runs, interrupt_after, refused

from cl_suite.cli import main

FILES = {
    "config.yaml",
    "run.json",
    "metrics.jsonl",
    "hits.npz",
    "accuracy_matrix.npy",
    "checkpoint",
    "model",
}


@pytest.mark.parametrize(
    "command", [["--help"], ["list"], ["list", "backbones"], ["run", "--help"]]
)
def test_help_and_list_import_neither_torch_nor_avalanche(command: list[str]) -> None:
    code = (
        "import sys\nfrom cl_suite.cli import main\n"
        f"try:\n    main({command})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'avalanche', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "cl-suite" in result.stdout or "backbones" in result.stdout


def test_list_names_every_scenario_and_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "omniglot",
        "mini_imagenet",
        "cifar100",
        "cub200",
        "image_folder",
        "class_incremental",
        "avalanche",
        "teen",
        "prototype",
        "finetune",
        "joint",
        "replay",
        "ewc",
        "lwf",
        "conv4",
    ):
        assert name in out


def test_a_run_leaves_the_folder_that_the_design_describes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "teen", *TINY]) == 0
    folder = here / "runs/omniglot/teen/seed0"
    names = {p.name for p in folder.iterdir()}
    assert names >= FILES
    assert any(name.startswith("events.out.tfevents.") for name in names)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == 3 * [METRIC_KEYS]
    assert [line["seen_classes"] for line in lines] == [12, 127, 242]
    assert np.load(folder / "accuracy_matrix.npy").shape == (3, 3)
    info = json.loads((folder / "run.json").read_text())
    assert info["finished"]
    assert info["peak_memory_bytes"] > 0
    out = capsys.readouterr().out
    assert "242 classes" in out
    assert "tensorboard --logdir runs" in out


def test_the_printed_config_given_back_repeats_the_run_to_the_bit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "omniglot", "teen", *TINY, "--seed", "3", "--print_config"])
    (here / "again.yaml").write_text(capsys.readouterr().out)
    assert main(["run", "omniglot", "teen", *TINY, "--seed", "3"]) == 0
    assert main(["run", "--config", "again.yaml", "--out", "again"]) == 0
    one, two = (here / root / "omniglot/teen/seed3" for root in ("runs", "again"))
    for name in ("config.yaml", "hits.npz", "accuracy_matrix.npy", "model/model.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_a_run_folders_config_keeps_what_is_null(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # teen's default is 0: a null left out would come back as that
    arguments = ["run", "omniglot", "teen", "--training.incremental_epochs", "null"]
    with pytest.raises(SystemExit):
        main([*arguments, "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["training"]["incremental_epochs"] is None


def test_several_seeds_give_a_folder_each_and_a_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY, "--seed", "0", "1"]) == 0
    found = {path.name for path in (here / "runs/omniglot/prototype").iterdir()}
    assert found == {"seed0", "seed1", "seeds"}  # the last one is their mean, for the dashboard
    assert "±" in capsys.readouterr().out


def test_a_finished_run_is_not_run_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    before = (here / "runs/omniglot/prototype/seed0/metrics.jsonl").read_bytes()
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    assert (here / "runs/omniglot/prototype/seed0/metrics.jsonl").read_bytes() == before
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize("write", [0, 1, 2, 5, 9, 14])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_between_any_two_writes_is_resumed(
    write: int, when: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "run",
        "omniglot",
        "prototype",
        *TINY,
        "--training.base_epochs",
        "1",
        "--scenario.way",
        "230",
    ]
    replace, calls = os.replace, []

    def stop(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == write + 1 and when == "before":
            raise Stopped
        replace(source, target)
        if len(calls) == write + 1:
            raise Stopped

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Stopped):
        main(arguments)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main([*arguments, "--resume"]) == 0
    lines = (here / "runs/omniglot/prototype/seed0/metrics.jsonl").read_text().splitlines()
    whole = uninterrupted(arguments)
    assert [json.loads(line)["accuracy"] for line in lines] == whole


@functools.cache
def _uninterrupted(arguments: tuple[str, ...]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        assert main([*arguments, "--out", folder]) == 0
        text = (Path(folder) / "omniglot/prototype/seed0/metrics.jsonl").read_text()
    return [json.loads(line)["accuracy"] for line in text.splitlines()]


def uninterrupted(arguments: list[str]) -> list[float]:
    return _uninterrupted(tuple(arguments))


def test_a_loss_that_diverges_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "omniglot", "finetune", *TINY, "--training.lr", "1e30"]) == 0
    # when it is seen, and over the figures
    assert capsys.readouterr().out.count("training has diverged") == 2


def test_what_joint_and_replay_keep_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "omniglot", "replay", *TINY, "--strategy.mem_size", "30"]) == 0
    assert "replay keeps 30 samples (23,520 bytes)" in capsys.readouterr().out
    assert main(["run", "omniglot", "joint", *TINY, "--training.base_epochs", "1"]) == 0
    assert "joint keeps 580 samples (454,720 bytes)" in capsys.readouterr().out


def test_what_a_strategy_chose_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "omniglot", "lda", *TINY]) == 0
    said = capsys.readouterr().out
    assert said.count("on streams cut from the base session's training data") == 1
    assert "  lda chose shrinkage " in said


class Stopped(BaseException):
    """Ends a run from within, as a kill would."""


def test_ctrl_c_ends_cleanly_and_resume_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, 1, KeyboardInterrupt())
    assert main(["run", "omniglot", "prototype", *TINY]) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert "unfinished run" in refused(capsys, "run", "omniglot", "prototype", *TINY)
    assert main(["run", "omniglot", "prototype", *TINY, "--resume"]) == 0
    assert main(["run", "omniglot", "prototype", *TINY, "--out", "whole"]) == 0
    assert_equal_runs(*(here / root / "omniglot/prototype/seed0" for root in ("runs", "whole")))


def test_a_corrupt_checkpoint_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, 1, KeyboardInterrupt())
    assert main(["run", "omniglot", "prototype", *TINY]) == 130
    capsys.readouterr()
    path = here / "runs/omniglot/prototype/seed0/checkpoint/last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = refused(capsys, "run", "omniglot", "prototype", *TINY, "--resume")
    assert "is damaged" in error


def test_a_full_disk_ends_in_a_sentence_and_the_run_can_be_resumed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    writes = []
    fsync = os.fsync

    def fill_up(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fill_up)
    assert "disk is full" in refused(capsys, "run", "omniglot", "prototype", *TINY)
    assert not list(here.rglob("*.part"))
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main(["run", "omniglot", "prototype", *TINY, "--resume"]) == 0


def test_show_prints_one_run_and_compares_several(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    assert main(["run", "omniglot", "finetune", *TINY]) == 0
    capsys.readouterr()
    assert main(["show", "runs/omniglot/prototype/seed0"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["show", "runs"]) == 0
    out = capsys.readouterr().out
    assert "prototype" in out
    assert "finetune" in out
    assert "nowhere" in refused(capsys, "show", "nowhere")
