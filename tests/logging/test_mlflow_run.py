"""The logger `mlflow`: with a module that records, and with the package, on a file."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers.fake_trackers import FakeMlflow
from helpers.stopped_runs import run_with, stop_and_resume

TIMED = "training/images_per_second"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    made = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", made)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


def points(fake: FakeMlflow, run_id: str) -> Counter[tuple[str, int, float]]:
    return Counter(point for point in fake.points[run_id] if point[0] != TIMED)


def test_a_run_has_its_settings_its_figures_and_its_end(fake: FakeMlflow, tmp_path: Path) -> None:
    run_with(tmp_path, "mlflow", options={"experiment": "letters"})
    assert list(fake.experiments) == ["letters"]
    assert fake.params["run0"]["name"] == "omniglot/finetune/seed0"
    assert fake.params["run0"]["training.base_epochs"] == "2"
    assert [step for key, step, _ in fake.points["run0"] if key == "accuracy/all"] == [0, 1, 2]
    assert [step for key, step, _ in fake.points["run0"] if key == "training/loss"] == [0, 1, 2, 3]
    assert fake.status == {"run0": "FINISHED"}


def test_figures_go_to_a_file_beside_the_runs_unless_a_server_is_named(
    fake: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with(tmp_path / "a", "mlflow", "prototype")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other")
    run_with(tmp_path / "b", "mlflow", "prototype")
    run_with(tmp_path / "c", "mlflow", "prototype", options={"tracking_uri": "http://own"})
    assert fake.uris == [f"sqlite:///{tmp_path}/a/mlflow.db", "http://other", "http://own"]


@pytest.mark.parametrize("session", [0, 1])
def test_a_resumed_run_neither_repeats_nor_loses_a_point(
    session: int, fake: FakeMlflow, tmp_path: Path
) -> None:
    run_with(tmp_path / "whole", "mlflow")
    stop_and_resume(tmp_path / "resumed", "mlflow", session=session)
    assert list(fake.points) == ["run0", "run1"]  # the second start goes on with the first one's
    assert points(fake, "run1") == points(fake, "run0")
    assert fake.status["run1"] == "FINISHED"


def test_a_run_that_mlflow_has_lost_is_written_whole_again(
    fake: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(run_id: str) -> None:
        raise LookupError(f"no run {run_id}")

    run_with(tmp_path / "whole", "mlflow")
    monkeypatch.setattr(fake, "get_run", lost)
    stop_and_resume(tmp_path / "resumed", "mlflow")
    assert points(fake, "run2") == points(fake, "run0")


def test_a_server_that_is_gone_stops_the_run_with_a_sentence(
    fake: FakeMlflow, tmp_path: Path
) -> None:
    fake.fails = True
    with pytest.raises(ValueError, match=r"cannot write \(the server is gone\); .*--resume"):
        run_with(tmp_path, "mlflow", "prototype")


@pytest.mark.slow
def test_the_package_itself_keeps_one_run_of_a_resumed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stop_and_resume(tmp_path, "mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    place = client.get_experiment_by_name("cl-suite").experiment_id
    (found,) = client.search_runs([place])
    steps = [p.step for p in client.get_metric_history(found.info.run_id, "accuracy/all")]
    assert sorted(steps) == [0, 1, 2]
    epochs = [p.step for p in client.get_metric_history(found.info.run_id, "training/loss")]
    assert sorted(epochs) == [0, 1, 2, 3]
