"""Small modules in place of wandb and mlflow that record what they are told."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any


class FakeWandb:
    """Weights & Biases: runs by id, each with the rows that its server holds.

    Attributes:
        rows: of each run, by id; a run that is begun again goes on behind them.
        begun: arguments of each `init`.
        left: exit code of each `finish`.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.begun: list[dict[str, Any]] = []
        self.left: list[int] = []
        self.axes: dict[str, str | None] = {}

    def Settings(self, **given: Any) -> dict[str, Any]:  # noqa: N802  # as the package names it
        return given

    def init(self, **given: Any) -> Any:
        self.begun.append(given)
        offline = given["mode"] == "offline"
        rows = self.rows.setdefault(given["id"], [])
        if offline:
            rows.clear()  # another folder, which knows of no other
        return SimpleNamespace(
            step=len(rows),
            log=rows.append,
            define_metric=self.define_metric,
            finish=lambda exit_code: self.left.append(exit_code),
        )

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric


class FakeMlflow:
    """MLflow: one server, whose runs hold every point that they were sent.

    Attributes:
        points: key, step and value in order of arrival, by run.
        uris: addresses of the clients.
    """

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[str, int, float]]] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.status: dict[str, str] = {}
        self.experiments: dict[str, Any] = {}
        self.uris: list[str] = []
        self.fails = False
        self.numbers = itertools.count()
        self.entities = SimpleNamespace(Metric=lambda key, value, now, step: (key, step, value))

    def MlflowClient(self, tracking_uri: str) -> FakeMlflow:  # noqa: N802  # as the package names it
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiments.get(name)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = SimpleNamespace(experiment_id=name)
        return name

    def create_run(self, experiment_id: str, run_name: str) -> Any:
        run_id = f"run{next(self.numbers)}"
        self.points[run_id], self.params[run_id] = [], {"name": run_name}
        self.status[run_id] = "RUNNING"
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.points:
            raise LookupError(f"no run {run_id}")
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id, lifecycle_stage="active"))

    def update_run(self, run_id: str, status: str) -> None:
        self.status[run_id] = status

    def log_param(self, run_id: str, key: str, value: str) -> None:
        self.params[run_id][key] = value

    def log_batch(self, run_id: str, metrics: list[tuple[str, int, float]]) -> None:
        if self.fails:
            raise ConnectionError("the server is gone\nand more")
        self.points[run_id] += metrics

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for name, step, _ in self.points[run_id] if name == key]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.status[run_id] = status
