"""A sweep's plan: its file becomes trials, each with its run folder and its resolved settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs.arguments import as_argument
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.early import check_pair, refuse_early
from cl_suite.runs.flat import flatten
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.reading import read_text
from cl_suite.runs.same_settings import differences
from cl_suite.runs.sweep.candidates import Candidate, base_of
from cl_suite.runs.sweep.names import trial_name
from cl_suite.runs.sweep.needs import Needs
from cl_suite.runs.sweep.spec import Sweep
from cl_suite.storage.files import atomic_write


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        given: all settings that the file gives it, by dotted name.
        varied: those of them that differ between trials.
        config: the resolved settings, with the seed.
        text: the content of its `config.yaml`: the device is as the file gives it.
        out: the folder that `--out` names.
        base: folder of the run whose base session it starts from.
    """

    given: Mapping[str, Any]
    varied: Mapping[str, Any]
    needs: Needs
    config: RunConfig
    text: str
    out: Path
    base: Path | None = None

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        pair = self.out / self.config.scenario_name / self.config.strategy_name
        return RunFolder(pair / f"seed{self.config.seed}")

    @property
    def is_finished(self) -> bool:
        """Whether its run is finished."""
        return self.folder.is_run and bool(self.folder.read_run_info().get("finished"))


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        bases: the runs that exist only for their base session.
        trials: the others, in the file's order.
    """

    bases: tuple[Trial, ...] = ()
    trials: tuple[Trial, ...] = field(default_factory=tuple)

    @property
    def all(self) -> tuple[Trial, ...]:
        """Every run, those that others start from first."""
        return (*self.bases, *self.trials)


def make_plan(sweep: Sweep, chosen: Iterable[Candidate], *, here: bool = True) -> Plan:
    """Return the runs of these candidates over all seeds; nothing is written.

    Args:
        here: whether they run on this machine, which must then have their devices.

    Raises:
        UserError: for what `cl-suite run` refuses in one of them, in the same words.
    """
    trials: dict[Path, Trial] = {}
    bases: dict[Path, Trial] = {}
    for candidate in chosen:
        base = base_of(sweep, candidate)
        if base is None:
            made = trials_of(candidate, sweep.seeds, sweep.out, here=here)
        else:
            shared = trials_of(base, sweep.seeds, sweep.out, here=here)
            bases |= {trial.folder.path: trial for trial in shared}
            made = trials_of(candidate, sweep.seeds, sweep.out, here=here, start_from=shared)
        trials |= {trial.folder.path: trial for trial in made}
    only_bases = [trial for path, trial in bases.items() if path not in trials]
    return Plan(tuple(only_bases), tuple(trials.values()))


def trials_of(
    candidate: Candidate,
    seeds: Sequence[int],
    out: Path,
    *,
    here: bool = True,
    start_from: Sequence[Trial] = (),
) -> list[Trial]:
    """Return a candidate's trial for each seed.

    Args:
        start_from: the runs, one a seed, whose base sessions they start from.
    """
    scenario = registry.get("scenario", candidate.scenario)
    strategy = registry.get("strategy", candidate.strategy)
    arguments = [as_argument(name, value) for name, value in candidate.given.items()]
    arguments += ["--seed", *map(str, seeds)]
    if start_from:
        # `{seed}` is replaced by each run's seed
        arguments.append(f"--start-from={start_from[0].folder.path.with_name('seed{seed}')}")
    if not here or not candidate.needs.device.startswith("cuda"):
        arguments.append("--device=cpu")  # `auto` is resolved where the run runs
    else:
        arguments.append(f"--device={candidate.needs.device}")
    refuse_early(scenario, strategy, arguments)
    configs, _ = resolve(scenario, strategy, arguments)
    made = [_trial(candidate, config, out) for config in configs]
    for trial, base in zip(made, start_from, strict=False):
        _refuse_other_base(trial, base)
    return made


def write_plan(trials: Iterable[Trial]) -> None:
    """Write each run's `config.yaml`, unless its run has begun.

    Raises:
        UserError: if a folder holds another run, or cannot be written.
    """
    for trial in trials:
        refuse_other_run(trial)
        if trial.folder.is_planned or not trial.folder.config_file.exists():
            trial.folder.make()
            atomic_write(trial.folder.config_file, trial.text.encode())


def refuse_other_run(trial: Trial) -> None:
    """Raise `UserError` if a trial's folder holds a run with other settings."""
    folder = trial.folder
    if not folder.config_file.exists():
        return
    found = differences(read_text(folder.config_file), trial.config)
    if other := [each for each in found if not each.is_place and each.key != "device"]:
        raise UserError(
            f"run folder '{folder.path}' holds a run with other settings ({other[0]}); choose "
            "another output_dir, or delete that folder"
        )


def _trial(candidate: Candidate, config: RunConfig, out: Path) -> Trial:
    check_pair(config)
    values = flatten(yaml.safe_load(config.text))
    # as resolved: 1e-1 and 0.1 are one value. A place stays as it is written, so files may move
    given = {
        name: value if isinstance(value, str) else values.get(name, value)
        for name, value in candidate.given.items()
    }
    given = {name: _number_of(value, values.get(name)) for name, value in given.items()}
    varied = {name: given[name] for name in candidate.varied}
    text = re.sub(
        r"(?m)^device: .*$", lambda _: f"device: {candidate.needs.device}", config.text, count=1
    )
    # scenario and strategy are in the path, so the digest need not hold them; loggers may change
    named = {key: value for key, value in given.items() if not key.startswith("logging.")}
    name = trial_name(varied, named)
    base = None if config.start_from is None else Path(config.start_from)
    return Trial(given, varied, candidate.needs, config, text, out / name if name else out, base)


def _number_of(given: Any, resolved: Any) -> Any:
    is_number = isinstance(resolved, (int, float, bool))
    return resolved if isinstance(given, str) and is_number else given


def _refuse_other_base(trial: Trial, base: Trial) -> None:
    """Raise `UserError` for a difference that a run would find only after a base session."""
    for name in ("backbone", "head"):
        own, other = getattr(trial.config.model, name), getattr(base.config.model, name)
        if own != other:
            raise UserError(
                f"base '{base.config.strategy_name}' has model.{name} '{other}', but "
                f"'{trial.config.strategy_name}' on '{trial.config.scenario_name}' has '{own}', so "
                "it cannot start from that base session; set it for both, or leave out base"
            )
