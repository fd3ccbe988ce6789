"""The logger `wandb`: a run's records in Weights & Biases, without its server if wanted."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

from cl_suite.errors import UserError
from cl_suite.logging.figure_logger import Axis, FigureLogger, package_of, reason
from cl_suite.parameters import Parameters
from cl_suite.runs.flat import flatten
from cl_suite.runs.listener import WatchedRun, WatchedTasks
from cl_suite.storage.files import atomic_write, make_folder

FOLDER = "wandb"  # in the run's; the package makes one of this name by itself
ID_FILE = "id.txt"


@dataclass(kw_only=True, eq=False)
class WandbRun(Parameters, FigureLogger):
    """Adds a run's figures to a run of Weights & Biases.

    Its rows carry the step as a column of their own, `epoch`, `session` or `task`, which the charts
    have as their axis. A resumed run goes on with the same run there: on the server it leaves out
    the rows that are there, and offline it writes the whole anew.

    Args:
        project: project of Weights & Biases.
        online: send figures to its server, which needs an account; otherwise they stay in the run's
            folder until `wandb sync`.
        entity: user or team of the project; null for your default.
    """

    project: str = "cl-suite"
    online: bool = False
    entity: str | None = None

    def check(self) -> None:
        """Raise `UserError` if the package is missing."""
        package_of("wandb")

    def begins(self, run: WatchedRun | WatchedTasks) -> None:
        wandb = package_of("wandb")
        config = run.config
        place = run.folder.path / FOLDER
        run_id = self._run_id(place)
        if not self.online:
            for left in place.glob("offline-run-*"):
                shutil.rmtree(left, ignore_errors=True)
        try:
            self.there = wandb.init(
                project=self.project,
                entity=self.entity,
                id=run_id,
                resume="allow",
                name=f"{config.scenario_name}/{config.strategy_name}/seed{config.seed}",
                group=f"{config.scenario_name}/{config.strategy_name}",
                config=flatten(yaml.safe_load(config.text)),
                dir=str(run.folder.path),
                mode="online" if self.online else "offline",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except Exception as error:  # whatever a server or a login refuses
            raise UserError(
                f"logger 'wandb' cannot begin ({reason(error)}); run `wandb login`, or leave out "
                "its option online"
            ) from error
        self._lay_out()
        # rows that an earlier start of this run has sent
        self.known, self.row = int(self.there.step), 0

    def adds(self, axis: Axis, step: int, figures: dict[str, float]) -> None:
        if self.row >= self.known:
            self.there.log({axis: step, **figures})
        self.row += 1

    def closes(self) -> None:
        self.there.finish(exit_code=0 if self.finished else 1)

    def _lay_out(self) -> None:
        """Give each group of figures the axis that it is drawn over."""
        axes: dict[Axis, tuple[str, ...]] = {
            "epoch": ("training/*",),
            "session": ("accuracy/*", "probe/*", "forgetting", "outcome/*"),
            "task": ("task/*",),
        }
        for axis, groups in axes.items():
            self.there.define_metric(axis)
            for group in groups:
                self.there.define_metric(group, step_metric=axis)

    def _run_id(self, place: Path) -> str:
        """Return the id of an earlier start of this run, or a new one."""
        file = place / ID_FILE
        if file.is_file() and (known := file.read_text("utf-8").strip()).isalnum():
            return known
        made = uuid.uuid4().hex[:16]
        make_folder(place)
        atomic_write(file, made.encode())
        return made
