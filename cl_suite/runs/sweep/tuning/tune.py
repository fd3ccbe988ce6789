"""Tries a sweep's candidates on the fake stream; Ray Tune's ASHA stops the bad ones early."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError
from cl_suite.runs.base_classes import SUFFIX, Cut
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.sweep.candidates import Candidate
from cl_suite.runs.sweep.child import start_child, stop_children
from cl_suite.runs.sweep.job import Job, Progress, Watcher, log_tail
from cl_suite.runs.sweep.jobs import LOG
from cl_suite.runs.sweep.plan import Trial, trials_of
from cl_suite.runs.sweep.ray_pool import PASSED_ON
from cl_suite.runs.sweep.spec import Select, Sweep
from cl_suite.runs.sweep.tuning.candidate_run import arguments_of
from cl_suite.runs.sweep.tuning.figures_file import read_steps
from cl_suite.runs.sweep.tuning.outcome import Outcome, choose, digest_of, tried
from cl_suite.storage.files import atomic_write, make_folder

LOOK_SECONDS = 0.2
MOST_SESSIONS = 1000  # more than a fake stream has
FOLDER = "tuning"  # below the sweep's
VIEWS = ("augment", "augmentation")  # a scenario's settings that leave its samples as they are


def refuse_unfit(candidates: Sequence[Candidate]) -> None:
    """Raise `UserError` for values that cannot be compared on one fake stream."""
    for candidate in candidates:
        for name in candidate.varied:
            section, _, key = name.partition(".")
            if section == "scenario" and key not in VIEWS:
                raise UserError(
                    f"select cannot choose '{name}': figures of different streams do not compare; "
                    "name it under set, or leave out select"
                )
        if "start_from" in candidate.given:
            raise UserError(
                "select cannot be used with start_from, whose base session has seen the images "
                "that would test the candidates; name the strategy under base instead"
            )


class Tuning:
    """The candidates of one scenario and strategy, and the jobs that try them."""

    def __init__(self, sweep: Sweep, select: Select, candidates: Sequence[Candidate]) -> None:
        self.select, self.candidates = select, candidates
        self.root = sweep.out / FOLDER
        self.retries = sweep.retries
        self.digest = digest_of(candidates, select)
        self.trials: list[Trial] = [
            trials_of(candidate, [select.seed], self.root, here=False)[0]
            for candidate in candidates
        ]
        epochs = [trial.config.training.base_epochs for trial in self.trials]
        self.base_steps = max(epochs)
        self.jobs = [self._job(trial) for trial in self.trials]

    def run(self, watcher: Watcher, has_gpus: bool) -> Outcome:
        """Try the candidates on Ray, to which the process must be connected; return the choice.

        Raises:
            UserError: if none can be chosen.
        """
        for trial in self.trials:
            make_folder(trial.out)
            atomic_write(self._settings(trial), trial.text.encode())
        progress = [Progress(job) for job in self.jobs]
        watcher.starts(progress)
        try:
            failed = self._tune(progress, watcher, has_gpus)
        finally:
            watcher.stops()
        found = [
            tried(candidate, job.folder, self.select.figure, index in failed)
            for index, (candidate, job) in enumerate(zip(self.candidates, self.jobs, strict=True))
        ]
        return choose(self.candidates, found, self.select, self.digest)

    def _tune(self, progress: list[Progress], watcher: Watcher, has_gpus: bool) -> set[int]:
        """Run Ray Tune; return which candidates have failed."""
        # Ctrl-C must end the sweep, not this part of it alone
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # it prints even if it should not
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        from cl_suite.runs.sweep.tuning.watching import Watching

        needs, select = self.jobs[0].needs, self.select
        scheduler = ASHAScheduler(
            time_attr="step",
            max_t=self.base_steps + MOST_SESSIONS,
            grace_period=select.grace or max(1, self.base_steps // 9),
            reduction_factor=select.reduction,
            stop_last_trials=False,
        )
        trainable = tune.with_resources(
            try_candidate, {"cpu": needs.threads, "gpu": needs.num_gpus(has_gpus)}
        )
        storage = self.root / ".ray"  # Ray's own files; a repeated sweep does not need them
        shutil.rmtree(storage, ignore_errors=True)
        tuner = tune.Tuner(
            trainable,
            param_space={
                "index": tune.grid_search(list(range(len(self.jobs)))),
                "jobs": [self._plain(job) for job in self.jobs],
                "figure": select.figure,
            },
            tune_config=tune.TuneConfig(metric="figure", mode="max", scheduler=scheduler),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=self.retries),
                callbacks=[Watching(progress, watcher, select.figure)],
            ),
        )
        results = tuner.fit()
        shutil.rmtree(storage, ignore_errors=True)
        return {one.config["index"] for one in results if one.error is not None and one.config}

    def _job(self, trial: Trial) -> Job:
        config = trial.config
        name = f"{config.scenario_name}{SUFFIX}"
        folder = trial.out / name / config.strategy_name / f"seed{config.seed}"
        cut = Cut(self.select.seed, self.select.new_classes, self.select.test_images)
        return Job(
            name=folder.relative_to(self.root).as_posix(),
            kind="tuning",
            arguments=arguments_of(self._settings(trial), trial.out, cut, self.base_steps),
            folder=folder,
            log=folder / LOG,
            needs=trial.needs,
        )

    def _settings(self, trial: Trial) -> Path:
        """Return the file of a candidate's settings, on the scenario itself."""
        return trial.out / f"{trial.config.scenario_name}_{trial.config.strategy_name}.yaml"

    def _plain(self, job: Job) -> dict[str, Any]:
        environment = job.needs.environment()
        environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {
            "arguments": list(job.arguments),
            "log": str(job.log),
            "folder": str(job.folder),
            "environment": environment,
        }


def try_candidate(config: dict[str, Any]) -> None:
    """Run one candidate in a process, and report its figures to Ray Tune as they come."""
    from ray import tune

    job, figure = config["jobs"][config["index"]], config["figure"]
    folder, log = Path(job["folder"]), Path(job["log"])
    said = 0

    def report() -> None:
        nonlocal said
        steps = read_steps(folder)
        for step in steps[said:]:
            if (value := step.figure(figure)) is not None:
                tune.report({"figure": value, "step": step.step})
        said = len(steps)

    report()  # of an earlier try
    if (steps := read_steps(folder)) and steps[-1].done and _is_finished(folder):
        return
    child = start_child(job["arguments"], log, job["environment"])
    try:
        while child.poll() is None:
            report()
            time.sleep(LOOK_SECONDS)
        report()
    finally:  # also if Ray Tune stops it
        stop_children([child])
    if child.returncode:
        raise RuntimeError("; ".join(log_tail(log, 1)) or f"exit code {child.returncode}")


def _is_finished(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.is_run and bool(run.read_run_info().get("finished"))
