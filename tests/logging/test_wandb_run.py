"""The logger `wandb`: with a module that records, and with the package, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_trackers import FakeWandb
from helpers.stopped_runs import run_with, stop_and_resume

TIMED = "training/images_per_second"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    made = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", made)
    return made


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != TIMED} for row in rows]


def test_a_run_is_begun_with_its_settings_and_left_finished(
    fake: FakeWandb, tmp_path: Path
) -> None:
    folder = run_with(tmp_path, "wandb", seed=3, options={"project": "letters"})
    (begun,) = fake.begun
    assert (begun["project"], begun["mode"], begun["dir"]) == ("letters", "offline", str(folder))
    assert begun["name"] == "omniglot/finetune/seed3"
    assert begun["config"]["training.base_epochs"] == 2
    assert fake.left == [0]


def test_each_figure_is_drawn_over_its_own_axis(fake: FakeWandb, tmp_path: Path) -> None:
    run_with(tmp_path, "wandb")
    (rows,) = fake.rows.values()
    assert [row["epoch"] for row in rows if "training/loss" in row] == [0, 1, 2, 3]
    assert [row["session"] for row in rows if "accuracy/all" in row] == [0, 1, 2]
    assert fake.axes["training/*"] == "epoch"
    assert fake.axes["accuracy/*"] == fake.axes["forgetting"] == "session"


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("session", [0, 1])
def test_a_resumed_run_neither_repeats_nor_loses_a_row(
    online: bool, session: int, fake: FakeWandb, tmp_path: Path
) -> None:
    run_with(tmp_path / "whole", "wandb")
    (whole,) = fake.rows.values()
    stop_and_resume(tmp_path / "resumed", "wandb", {"online": online}, session)
    _, resumed = fake.rows.values()  # one run: the second start goes on with the first one's
    assert untimed(resumed) == untimed(whole)
    assert fake.left == [0, 1, 0]


def test_a_refusal_of_the_server_is_told_before_training(
    fake: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**ignored: Any) -> None:
        raise RuntimeError("no API key\nand a long explanation")

    monkeypatch.setattr(fake, "init", refuses)
    with pytest.raises(ValueError, match=r"^logger 'wandb' cannot begin \(no API key\); run "):
        run_with(tmp_path, "wandb", options={"online": True})


@pytest.mark.slow
def test_the_package_itself_keeps_one_run_of_a_resumed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("CACHE", "CONFIG", "DATA"):  # it writes into the home otherwise
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    # its service writes a finished run's file to the end only when the process takes leave of it
    folder = stop_and_resume(tmp_path / "runs", "wandb", process_ends=wandb.teardown)
    run_id = (folder / "wandb" / "id.txt").read_text()
    (kept,) = folder.glob("wandb/offline-run-*")
    assert kept.name.endswith(run_id)
    (file,) = kept.glob("*.wandb")
    content = file.read_bytes()
    for word in (b"accuracy/all", b"forgetting", b"training.base_epochs"):
        assert word in content
