"""The logger `mlflow`: a run's records in MLflow, on a server or in a file beside the runs."""

from __future__ import annotations

import os
import time
from collections.abc import Set
from dataclasses import dataclass, field

import yaml

from cl_suite.errors import UserError
from cl_suite.logging.figure_logger import Axis, FigureLogger, package_of, reason
from cl_suite.parameters import Parameters
from cl_suite.runs.flat import flatten
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.listener import WatchedRun, WatchedTasks
from cl_suite.storage.files import atomic_write

ID_FILE = "mlflow_run.txt"  # in the run's folder
DATABASE = "mlflow.db"  # in the folder of all runs
MOST_CHARACTERS = 500  # of a parameter's value, which all versions of MLflow take


@dataclass(kw_only=True, eq=False)
class MlflowRun(Parameters, FigureLogger):
    """Adds a run's figures to a run of MLflow.

    A resumed run goes on with the same run there, and leaves out the figures that it has.

    Args:
        experiment: experiment of MLflow.
        tracking_uri: address of a server or database; null for MLFLOW_TRACKING_URI, or else the
            file mlflow.db in the folder of all runs.
    """

    experiment: str = "cl-suite"
    tracking_uri: str | None = None
    had: dict[str, Set[int]] = field(default_factory=dict, init=False, repr=False)

    def check(self) -> None:
        """Raise `UserError` if the package is missing."""
        package_of("mlflow")

    def begins(self, run: WatchedRun | WatchedTasks) -> None:
        try:
            self.client = package_of("mlflow").MlflowClient(tracking_uri=self._uri(run.folder))
            self.run_id = self._known_run(run.folder) or self._new_run(run)
        except UserError:
            raise
        except Exception as error:  # a server or a database refuses in many ways
            raise UserError(f"logger 'mlflow' cannot begin ({reason(error)})") from error

    def adds(self, axis: Axis, step: int, figures: dict[str, float]) -> None:
        try:
            metric, now = package_of("mlflow").entities.Metric, int(1000 * time.time())
            new = [
                metric(tag, value, now, step)
                for tag, value in figures.items()
                if step not in self._steps(tag)
            ]
            self.client.log_batch(self.run_id, metrics=new)
        except Exception as error:
            raise UserError(
                f"logger 'mlflow' cannot write ({reason(error)}); repeat the command with --resume"
            ) from error

    def closes(self) -> None:
        status = "FINISHED" if self.finished else "KILLED"
        self.client.set_terminated(self.run_id, status)

    def _steps(self, tag: str) -> Set[int]:
        """Return the steps of a figure that an earlier start of this run has written."""
        if self.is_new:
            return frozenset()
        if tag not in self.had:
            history = self.client.get_metric_history(self.run_id, tag)
            self.had[tag] = frozenset(point.step for point in history)
        return self.had[tag]

    def _known_run(self, folder: RunFolder) -> str | None:
        """Return the id of an earlier start of this run, if MLflow still has it."""
        file = folder.path / ID_FILE
        if not file.is_file():
            return None
        run_id = file.read_text("utf-8").strip()
        try:
            if self.client.get_run(run_id).info.lifecycle_stage != "active":
                return None
        except Exception:  # of another server; one that cannot be reached refuses a new run, too
            return None
        self.is_new = False
        self.client.update_run(run_id, status="RUNNING")
        return run_id

    def _new_run(self, run: WatchedRun | WatchedTasks) -> str:
        config, client = run.config, self.client
        known = client.get_experiment_by_name(self.experiment)
        place = known.experiment_id if known else client.create_experiment(self.experiment)
        name = f"{config.scenario_name}/{config.strategy_name}/seed{config.seed}"
        run_id = str(client.create_run(place, run_name=name).info.run_id)
        for key, value in flatten(yaml.safe_load(config.text)).items():
            client.log_param(run_id, key, str(value)[:MOST_CHARACTERS])
        self.is_new = True
        atomic_write(run.folder.path / ID_FILE, run_id.encode())
        return run_id

    def _uri(self, folder: RunFolder) -> str:
        # a run's folder is <folder of all runs>/<scenario>/<strategy>/seed<k>
        own = f"sqlite:///{folder.path.resolve().parents[2] / DATABASE}"
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or own
