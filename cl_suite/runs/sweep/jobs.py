"""The jobs of a plan: banks first, then shared base sessions, then all other runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cl_suite.runs.flat import flatten
from cl_suite.runs.sweep.job import Job
from cl_suite.runs.sweep.plan import Plan, Trial

LOG = "sweep.log"  # in a run's folder: what its processes printed
HEAD = ("model.head", "model.temperature")  # settings of a model that a bank does not depend on


def jobs_of(plan: Plan, root: Path) -> tuple[list[Job], frozenset[str]]:
    """Return a plan's jobs in the order in which to start them, and the names of finished ones."""
    done = frozenset(_name(trial, root) for trial in plan.all if trial.is_finished)
    left = [trial for trial in plan.all if _name(trial, root) not in done]
    banks = _banks(left, root)
    of_trial = {path: job.name for job, paths in banks for path in paths}
    bases = {trial.folder.path for trial in plan.bases}
    jobs = [job for job, _ in banks]
    known = {trial.folder.path for trial in plan.all}
    # those that others start from come first
    started_from = {trial.base for trial in plan.all}
    ordered = sorted(plan.all, key=lambda trial: trial.folder.path not in started_from)
    for trial in ordered:
        path = trial.folder.path
        after = [of_trial[path]] if path in of_trial else []
        if trial.base in known:
            after.append(_relative(trial.base, root))
        jobs.append(
            Job(
                name=_name(trial, root),
                kind="base" if path in bases else "run",
                arguments=worker(trial),
                folder=path,
                log=path / LOG,
                needs=trial.needs,
                after=tuple(after),
            )
        )
    return jobs, done


def worker(trial: Trial) -> tuple[str, ...]:
    """Return the arguments of Python that fill a trial's folder, from wherever it stands."""
    config, out = trial.folder.config_file, trial.out
    return (
        *("-m", "cl_suite.cli", "run"),
        *("--config", str(config), "--resume", "--out", str(out)),
    )


def _banks(trials: Sequence[Trial], root: Path) -> list[tuple[Job, list[Path]]]:
    """Return a job for each bank that several runs read, and those runs' folders."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.config.model.uses_bank:
            groups.setdefault(_bank_key(trial), []).append(trial)
    found = []
    for key, group in groups.items():
        if len(group) < 2:
            continue  # a lone run makes its own
        first = group[0]
        config = first.folder.config_file
        job = Job(
            name=f"bank-{key}",
            kind="bank",
            arguments=("-m", "cl_suite.runs.sweep.fill_bank", "--config", str(config)),
            folder=first.folder.path,
            log=root / "banks" / f"{key}.log",
            needs=first.needs,
        )
        found.append((job, [trial.folder.path for trial in group]))
    return found


def _bank_key(trial: Trial) -> str:
    """Return a digest of everything that the features may depend on."""
    content = yaml.safe_load(trial.text)
    settings: dict[str, Any] = flatten({key: content.get(key) for key in ("scenario", "model")})
    settings = {key: value for key, value in settings.items() if key not in HEAD}
    model = trial.config.model
    if not model.pretrained and model.weights is None:
        settings["seed"] = trial.config.seed  # of the random weights
    text = json.dumps([trial.config.scenario_name, settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _name(trial: Trial, root: Path) -> str:
    return _relative(trial.folder.path, root)


def _relative(path: Path | None, root: Path) -> str:
    return path.relative_to(root).as_posix() if path is not None else ""
