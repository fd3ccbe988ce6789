"""A run over many few-shot tasks in TensorBoard: each task's accuracy, and the running mean."""

from __future__ import annotations

from cl_suite.logging.run_card import run_card
from cl_suite.logging.tags import task_figures
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.intervals import mean_interval
from cl_suite.runs.listener import WatchedTasks
from cl_suite.runs.task_records import TaskRecord


class TaskCurves:
    """Draws a point for each task; pictures of 600 tasks would tell nobody anything."""

    def __init__(self, run: WatchedTasks) -> None:
        self.run = run
        self.last: list[float] = []
        self.dashboard = Dashboard.fresh(run.folder.path)
        self.dashboard.card("about", run_card(run.config, run.info, len(run.tasks)))
        # after a resume, the earlier tasks are shown again
        for record in run.records:
            self.task_ends(record)

    def task_ends(self, record: TaskRecord) -> None:
        """Draw a task's last accuracy, and the mean so far with half its interval."""
        self.last.append(record.figures.last)
        mean = mean_interval(self.last)
        self.dashboard.task(
            len(self.last) - 1,
            {
                **task_figures(record),
                "task/mean_last": mean.mean,
                "task/half_interval": mean.half_width,
            },
        )
