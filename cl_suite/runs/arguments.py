"""Reads the arguments of `run` before a parser exists: names, seeds, files; no heavy imports."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError, nearest, os_refusal, suggestion
from cl_suite.registry import RUN_SECTIONS
from cl_suite.runs.reading import from_yaml, parse_mapping

SECTIONS = (*RUN_SECTIONS, "logging")
SETTINGS = {  # the sections that are the same for every pair, by the class that holds them
    "model": "cl_suite.models.settings.ModelConfig",
    "training": "cl_suite.engine.training.TrainingConfig",
    "evaluation": "cl_suite.engine.evaluation_config.EvaluationConfig",
    "logging": "cl_suite.runs.logging_config.LoggingConfig",
}
OPTIONS: dict[str, dict[str, Any]] = {  # those without a section, as a parser takes them
    "config": {"action": "config", "help": "YAML file of settings"},
    "scenario_name": {"help": "as named on the command line"},
    "strategy_name": {"help": "as named on the command line"},
    "seed": {
        "type": int,
        "nargs": "+",
        "default": [0],
        "help": "one run for each seed; 0-4 is 0 1 2 3 4 (default: 0)",
    },
    "device": {"default": "auto", "help": "cpu, cuda, cuda:1, or auto"},
    "start_from": {
        "type": str | None,
        "default": None,
        "help": "run folder whose finished base session this run starts from; {seed} in it is "
        "replaced by the run's seed",
    },
    "out": {"type": str, "default": "runs", "help": "folder of all runs"},
    "resume": {"action": "store_true", "help": "continue a run that was stopped"},
    "overwrite": {"action": "store_true", "help": "replace the run in the folder"},
    "on_collapse": {
        "choices": ["say", "stop", "off"],
        "default": "say",
        "help": "if training diverges, or makes a pretrained network worse in the base session: "
        "say so and go on, stop the run, or (off) do not measure the latter",
    },
}
MOST_SEEDS = 1000
_SEEDS = re.compile(r"(\d+)-(\d+)")


def names_in(arguments: Sequence[str]) -> tuple[str, str]:
    """Return the scenario and strategy that the file passed by `--config` names.

    Raises:
        UserError: if no file is passed, or it lacks the names.
    """
    path = option(arguments, "--config")
    if path is None:
        raise UserError(
            "name a scenario and a strategy, as in `cl-suite run omniglot teen`, or "
            "pass --config FILE; `cl-suite list` shows the names"
        )
    content = read_settings(Path(path))
    try:
        return str(content["scenario_name"]), str(content["strategy_name"])
    except KeyError as error:
        raise UserError(
            f"config file '{path}' has no {error}; name the scenario and the strategy "
            "on the command line"
        ) from error


def read_settings(path: Path) -> dict[str, Any]:
    """Return a YAML mapping from a file; raise `UserError` if it holds none."""
    try:
        return parse_mapping(path.read_text("utf-8"), from_yaml)
    except OSError as error:
        raise UserError(f"config file {os_refusal(error, path, 'read')}") from error
    except TypeError as error:
        raise UserError(
            f"config file '{path}' must be a mapping of settings, such as "
            "`cl-suite run omniglot teen --print_config` prints"
        ) from error
    except ValueError as error:
        raise UserError(
            f"config file '{path}' cannot be read ({error}); pass one such as a run's config.yaml"
        ) from error


def with_all_seeds(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--seed 0-2` written out as `--seed 0 1 2`.

    Raises:
        UserError: for a range that is empty, or longer than anyone can mean.
    """
    found: list[str] = []
    of_seed = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            of_seed = name == "--seed"
        given = value if of_seed and equals else argument
        if of_seed and (match := _SEEDS.fullmatch(given)):
            found += ["--seed"] if equals else []
            found += _seeds(given, *map(int, match.groups()))
        else:
            found.append(argument)
    return found


def _seeds(given: str, first: int, last: int) -> list[str]:
    if not first <= last < first + MOST_SEEDS:
        raise UserError(
            f"--seed {given} must run from a smaller number to a larger one, at most {MOST_SEEDS} "
            "seeds, as in --seed 0-4"
        )
    return [str(seed) for seed in range(first, last + 1)]


def refuse_unknown(arguments: Sequence[str], known: Collection[str]) -> None:
    """Raise `UserError` for an unknown option, with the nearest name, before the parser does."""
    dashed = {name.replace("_", "-") for name in OPTIONS}
    extra = {"help", "print_config", *dashed, *SECTIONS}
    for key, given in named_settings(arguments):
        # below a typed value (a dict, a class with its arguments) the parser itself decides
        if key in {*known, *extra} or any(
            key.startswith(f"{k}.") and k not in SECTIONS for k in known
        ):
            continue
        raise UserError(f"parameter {given} is unknown{_nearest(key, known)}")


def named_settings(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return the key of each setting on the command line or in its file, and how it is written.

    Raises:
        UserError: for a file that cannot be read, or whose sections are no mappings.
    """
    options = [a.split("=")[0][2:] for a in arguments if re.match(r"--[A-Za-z]", a)]
    path = option(arguments, "--config")
    content = read_settings(Path(path)) if path is not None else {}
    for section in SECTIONS:
        if not isinstance(content.get(section, {}), dict):
            raise UserError(f"config file '{path}': '{section}' must be a mapping of parameters")
    found = [(name.removesuffix("+"), f"--{name}") for name in options]
    return found + [(key, f"'{key}' in the file") for key in _keys(content)]


def _nearest(key: str, known: Collection[str]) -> str:
    section, _, name = key.rpartition(".")
    # only the section's names: the common prefix would make everything look similar
    inside = [k.removeprefix(f"{section}.") for k in known if k.startswith(f"{section}.")]
    if section in SECTIONS and (near := nearest(name, inside, cutoff=0.45)) is not None:
        return f"; did you mean '{near}'?"
    # the same name in another section, as in --lr for --training.lr
    elsewhere = [k for k in sorted(known) if k.rpartition(".")[2] == name and "." in k]
    if elsewhere:
        return f"; did you mean {' or '.join(f'--{k}' for k in elsewhere)}?"
    if section in SECTIONS:
        return suggestion(name, inside, cutoff=0.45)
    whole = {k.rpartition(".")[2]: k for k in sorted(known, reverse=True) if k not in SECTIONS}
    if (near := nearest(name, whole)) is not None:
        return f"; did you mean --{whole[near]}?"
    return "; see `cl-suite run SCENARIO STRATEGY --help`"


def _keys(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        if key in SECTIONS and isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield str(key)


def as_argument(name: str, value: Any) -> str:
    """Return a setting as the command line takes it.

    Example:
        >>> as_argument("training.milestones", [10, 20]), as_argument("model.head", "cosine")
        ('--training.milestones=[10, 20]', '--model.head=cosine')
    """
    import yaml  # slow to import

    # a text stays as it is: the parser reads it by its parameter's type
    if not isinstance(value, str):
        value = yaml.safe_dump(value, default_flow_style=True, width=10**6)
        value = value.split("\n...")[0].strip()
    return f"--{name}={value}"


def option(arguments: Sequence[str], name: str) -> str | None:
    """Return the value of an option, or None if it is not given."""
    for position, argument in enumerate(arguments):
        if argument == name and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{name}="):
            return argument.split("=", 1)[1]
    return None
