"""A run whose data has changed since it was stopped is not resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_layouts import write_image
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.runs import run as run_module

SETTINGS = {
    "scenario.base_classes": "3",
    "scenario.way": "2",
    "scenario.shots": "2",
    "scenario.image_size": "16",
    "training.base_epochs": "2",
    "training.incremental_epochs": "1",
    "device": "cpu",
}


def stopped_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stop a run on pictures in `folder` after its first epoch; return its command."""
    for class_id in range(5):
        for index in range(4):
            write_image(folder / f"pictures/kind{class_id}/{index}.png", 9 * class_id + index)
    given = {"scenario.root": str(folder / "pictures"), "out": str(folder / "runs"), **SETTINGS}
    command = ["run", "image_folder", "finetune"]
    command += [word for name, value in given.items() for word in (f"--{name}", value)]
    after_epoch = run_module.Run._after_epoch

    def stop(self: run_module.Run, record: object) -> None:
        after_epoch(self, record)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Run, "_after_epoch", stop)
        assert main(command) == 130
    return command


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_picture_of_the_same_name_is_refused_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = stopped_run(tmp_path, monkeypatch)
    write_image(tmp_path / "pictures/kind0/0.png", 200)
    capsys.readouterr()
    before = contents(tmp_path)
    assert "has changed since it was stopped" in refused(capsys, *command, "--resume")
    assert contents(tmp_path) == before


def test_with_the_old_picture_back_in_its_place_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = stopped_run(tmp_path, monkeypatch)
    picture = tmp_path / "pictures/kind0/0.png"
    old = picture.read_bytes()
    write_image(picture, 200)
    capsys.readouterr()
    refused(capsys, *command, "--resume")
    picture.write_bytes(old)
    assert main([*command, "--resume"]) == 0
