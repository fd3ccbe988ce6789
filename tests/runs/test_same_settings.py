"""Which settings continue a run: resolved values count, not their spelling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny_layouts import write_image
from helpers.tiny_runs import TINY, refused

import cl_suite
from cl_suite import registry
from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.runs import run as run_module
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.same_settings import differences

REQUIRED = {
    "root": "--scenario.root=data",
    "factory": "--scenario.factory=a.b",
    "dataset": "--scenario.dataset=cifar100",
    "base_classes": "--scenario.base_classes=2",
    "way": "--scenario.way=1",
    "shots": "--scenario.shots=1",
}
PICTURES = {
    "scenario.base_classes": 3,
    "scenario.way": 2,
    "scenario.shots": 2,
    "scenario.image_size": 16,
    "training.base_epochs": 2,
    "training.incremental_epochs": 1,
    "device": "cpu",
    "listeners": (),
}


def resolved(scenario: str, strategy: str, *arguments: str) -> RunConfig:
    pair = registry.get("scenario", scenario), registry.get("strategy", strategy)
    given = ["--device", "cpu", *arguments]
    while True:
        try:
            return resolve(*pair, given)[0][0]
        except UserError as error:
            missing = str(error).split(" ")[0].removeprefix("--scenario.")
            if "is required" not in str(error) or missing not in REQUIRED:
                raise
            given.append(REQUIRED[missing])


def comes_back(scenario: str, strategy: str, folder: Path) -> bool:
    first = resolved(scenario, strategy)
    (folder / "config.yaml").write_text(first.text)
    again = resolved(scenario, strategy, "--config", str(folder / "config.yaml"))
    return not differences(first.text, again) and not differences(again.text, first)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(registry.entries("scenario")))
def test_the_settings_of_every_pair_are_the_same_run_again(scenario: str, tmp_path: Path) -> None:
    strategies = sorted(registry.entries("strategy"))
    assert [s for s in strategies if not comes_back(scenario, s, tmp_path)] == []


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [
        ("omniglot", "er_ace"),
        ("omniglot", "der"),
        ("omniglot", "cler"),
        ("cfsl", "finetune"),
        ("mini_imagenet", "teen"),
        ("fscit", "zero_shot_clip"),
    ],
)
def test_the_settings_of_a_pair_are_the_same_run_again(
    scenario: str, strategy: str, tmp_path: Path
) -> None:
    assert comes_back(scenario, strategy, tmp_path)


def test_whole_numbers_and_fractions_are_equal_and_other_values_are_not() -> None:
    config = resolved("omniglot", "teen")
    same = config.text.replace("lr: 0.1\n", "lr: 0.10\n")
    assert same != config.text
    assert differences(same, config) == []
    (other,) = differences(config.text.replace("lr: 0.1\n", "lr: 0.2\n"), config)
    assert str(other) == "training.lr: 0.2 there, 0.1 here"


def test_a_setting_that_an_older_version_lacked_takes_its_default() -> None:
    config = resolved("omniglot", "teen")
    content = yaml.safe_load(config.text)
    del content["training"]["trust_coefficient"]
    assert differences(yaml.safe_dump(content), config) == []


def test_true_is_not_one() -> None:
    config = resolved("avalanche", "finetune", "--scenario.arguments", "{top: 1}")
    (found,) = differences(config.text.replace("top: 1", "top: true"), config)
    assert found.key == "scenario.arguments.top"


# --- data that moved ---


def pictures(folder: Path) -> Path:
    for class_id in range(5):
        for index in range(4):
            write_image(folder / f"kind{class_id}/{index}.png", 9 * class_id + index)
    return folder


def run(out: Path, root: str, **changed: Any) -> Path:
    return cl_suite.run(
        "image_folder", "finetune", out=out, **{**PICTURES, "scenario.root": root, **changed}
    )


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after its first epoch, begun by a relative path."""
    pictures(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    after_epoch = run_module.Run._after_epoch

    def stop(self: run_module.Run, record: object) -> None:
        after_epoch(self, record)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Run, "_after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "runs", "pictures")
    return tmp_path


def test_another_spelling_of_the_folder_goes_on(stopped: Path) -> None:
    (stopped / "link").symlink_to(stopped / "pictures")
    folder = run(stopped / "runs", f"{stopped}/link/../link", resume=True)
    assert RunFolder(folder).read_run_info()["finished"]


def test_data_that_moved_go_on_by_resume_alone(stopped: Path) -> None:
    os.replace(stopped / "pictures", stopped / "moved")
    with pytest.raises(UserError, match="whose data lie elsewhere"):
        run(stopped / "runs", "moved")
    folder = run(stopped / "runs", "moved", resume=True)
    assert RunFolder(folder).read_run_info()["finished"]
    assert RunFolder(folder).read_config()["scenario"]["root"] == str(stopped / "moved")


def test_other_data_elsewhere_are_refused(stopped: Path) -> None:
    write_image(pictures(stopped / "others") / "kind0/0.png", 222)
    with pytest.raises(UserError, match="has changed since it was stopped"):
        run(stopped / "runs", "others", resume=True)


def test_a_finished_run_is_not_taken_for_one_of_other_data(stopped: Path) -> None:
    folder = run(stopped / "runs", "pictures", resume=True)
    before = (folder / "run.json").read_bytes()
    write_image(pictures(stopped / "others") / "kind0/0.png", 222)
    with pytest.raises(UserError, match="has changed since it was stopped"):
        run(stopped / "runs", "others", resume=True)
    os.replace(stopped / "pictures", stopped / "moved")
    run(stopped / "runs", "moved", resume=True)
    assert (folder / "run.json").read_bytes() == before


def test_a_relative_path_goes_on_from_another_folder(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stopped / "other").mkdir()
    monkeypatch.chdir(stopped / "other")
    settings = str(stopped / "runs/image_folder/finetune/seed0/config.yaml")
    assert main(["run", "--config", settings, "--resume", "--out", str(stopped / "runs")]) == 0


def test_the_number_of_workers_may_change(stopped: Path) -> None:
    run(stopped / "runs", "pictures", resume=True, **{"training.num_workers": 1})


def test_settings_passed_back_are_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "omniglot", "er_ace", *TINY]) == 0
    settings = "runs/omniglot/er_ace/seed0/config.yaml"
    assert main(["run", "--config", settings]) == 0
    assert "finished already" in capsys.readouterr().out
    assert "other settings" in refused(
        capsys, "run", "--config", settings, "--training.momentum", "0.5"
    )
