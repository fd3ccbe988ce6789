"""One run's settings, resolved by jsonargparse from constructors, YAML files and options.

Later sources win: constructor defaults, the scenario's YAML, the strategy's YAML, its settings for
this scenario, a file passed by `--config`, options.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from cl_suite import registry
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError, suggestion
from cl_suite.models.settings import ModelConfig
from cl_suite.parameters import check_given, check_ranges
from cl_suite.runs.parse_errors import clear_errors

SECTIONS = ("scenario", "strategy", "model", "training", "evaluation")


@dataclass(frozen=True)
class RunConfig:
    """A resolved run.

    Attributes:
        text: the whole configuration as YAML; passed to `--config`, it repeats the run.
        scenario, strategy: instances that hold their parameters and have done nothing yet.
    """

    scenario_name: str
    strategy_name: str
    seed: int
    device: str
    start_from: str | None
    scenario: Any
    strategy: Any
    model: ModelConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    text: str


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run; none of these options changes a result."""

    out: Path
    resume: bool
    overwrite: bool


class _Parser(ArgumentParser):  # type: ignore[misc]  # jsonargparse is read as untyped
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ValueError(message) from ex


def names_in(arguments: Sequence[str]) -> tuple[str, str]:
    """Return the scenario and strategy that the file passed by `--config` names.

    Raises:
        UserError: if no file is passed, or it lacks the names.
    """
    path = _option(arguments, "--config")
    if path is None:
        raise UserError(
            "name a scenario and a strategy, as in `cl-suite run omniglot teen`, or "
            "pass --config FILE; `cl-suite list` shows the names"
        )
    content = read_yaml(Path(path))
    try:
        return str(content["scenario_name"]), str(content["strategy_name"])
    except KeyError as error:
        raise UserError(
            f"config file '{path}' has no {error}; name the scenario and the strategy "
            "on the command line"
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML mapping from a file; raise `UserError` if it holds none."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"config file '{path}' cannot be read ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(
            f"config file '{path}' must be a mapping of settings, such as "
            "`cl-suite run omniglot teen --print_config` prints"
        )
    return content


def build_parser(scenario: registry.Entry, strategy: registry.Entry) -> ArgumentParser:
    """Return the parser of a pair: options from the constructors, defaults from the YAML files."""
    prog = f"cl-suite run {scenario.name} {strategy.name}"
    parser = _Parser(prog=prog, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of settings")
    parser.add_argument(
        "--scenario_name", default=scenario.name, help="as named on the command line"
    )
    parser.add_argument(
        "--strategy_name", default=strategy.name, help="as named on the command line"
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each seed")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, or auto")
    parser.add_argument(
        "--start_from",
        "--start-from",
        type=str | None,
        default=None,
        help="run folder whose finished base session this run starts from; {seed} in it is "
        "replaced by the run's seed",
    )
    parser.add_argument("--out", type=str, default="runs", help="folder of all runs")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    parser.add_argument("--overwrite", action="store_true", help="delete the run folder's files")
    parser.add_class_arguments(scenario.load(), "scenario", fail_untyped=False)
    parser.add_class_arguments(strategy.load(), "strategy", fail_untyped=False)
    parser.add_class_arguments(ModelConfig, "model")
    parser.add_class_arguments(TrainingConfig, "training")
    parser.add_class_arguments(EvaluationConfig, "evaluation")
    for key, value, origin in _defaults(scenario, strategy):
        try:
            parser.set_defaults({key: value})
        except Exception as error:
            raise UserError(
                f"the settings of {origin} set '{key}', which does not exist"
            ) from error
    return parser


def resolve(
    scenario: registry.Entry, strategy: registry.Entry, arguments: Sequence[str]
) -> tuple[list[RunConfig], RunOptions]:
    """Return one resolved configuration per seed, and the options.

    Raises:
        UserError: for an unknown, missing, ill-typed or out-of-range parameter.
    """
    parser = build_parser(scenario, strategy)
    known = set(parser.get_defaults().keys(branches=True))
    _refuse_unknown(arguments, known)
    with clear_errors():
        settings = parser.parse_args(list(arguments))
    for kind, entry in (("scenario", scenario), ("strategy", strategy)):
        if (named := settings[f"{kind}_name"]) != entry.name:
            raise UserError(
                f"the settings are those of {kind} '{named}', but the command line names "
                f"'{entry.name}'; leave out the names, or pass other settings"
            )
    settings.device = _device(settings.device)
    options = RunOptions(Path(settings.out), settings.resume, settings.overwrite)
    seeds = settings.seed
    if not seeds or len(set(seeds)) != len(seeds) or not 0 <= min(seeds) <= max(seeds) < 2**32:
        raise UserError(f"--seed must be distinct numbers from 0 to 2**32 - 1, got {seeds}")
    return [_one(parser, scenario, strategy, settings, seed) for seed in seeds], options


def _one(
    parser: ArgumentParser,
    scenario: registry.Entry,
    strategy: registry.Entry,
    settings: Namespace,
    seed: int,
) -> RunConfig:
    resolved = settings.clone()
    resolved.seed = [seed]
    if resolved.start_from is not None:
        resolved.start_from = resolved.start_from.replace("{seed}", str(seed))
    if resolved.model.weights is not None:
        resolved.model.weights = resolved.model.weights.replace("{seed}", str(seed))
    drawn = getattr(scenario.load(), "drawn_by_seed", None)
    if drawn is not None and resolved.scenario[drawn] is None:
        resolved.scenario[drawn] = seed
    for kind, entry in (("scenario", scenario), ("strategy", strategy)):
        # a class without parameters has no section
        given = resolved[kind].as_dict() if kind in resolved else {}
        check_given(entry.load(), given, f"--{kind}.")
        # a class of another library has no annotations of ours; its YAML file states ranges
        check_ranges(entry.load(), given, entry.settings.get("bounds", {}), f"--{kind}.")
    whole = resolved.clone()
    for key in ("config", "out", "resume", "overwrite"):
        resolved.pop(key, None)
    with clear_errors():
        # parse_args has checked the values; `out` and similar options are left out on purpose
        text = parser.dump(resolved, skip_validation=True, skip_unset=False)
        made = parser.instantiate(whole)
    config = RunConfig(
        scenario_name=settings.scenario_name,
        strategy_name=settings.strategy_name,
        seed=seed,
        device=settings.device,
        start_from=resolved.start_from,
        scenario=made.scenario,
        strategy=made.strategy,
        model=made.model,
        training=made.training,
        evaluation=made.evaluation,
        text=text,
    )
    config.model.check()
    config.training.check()
    config.evaluation.check()
    return config


def _defaults(scenario: registry.Entry, strategy: registry.Entry) -> Iterator[tuple[str, Any, str]]:
    own_strategy = strategy.settings.get("for_scenario", {}).get(scenario.name, {})
    layers: list[tuple[Mapping[str, Any], str]] = [
        ({**scenario.settings, "scenario": scenario.settings.get("params")}, scenario.name),
        ({**strategy.settings, "strategy": strategy.settings.get("params")}, strategy.name),
        (own_strategy, f"{strategy.name} on {scenario.name}"),
    ]
    for layer, origin in layers:
        for section in SECTIONS:
            for key, value in (layer.get(section) or {}).items():
                yield f"{section}.{key}", value, origin


def _refuse_unknown(arguments: Sequence[str], known: set[str]) -> None:
    """Raise `UserError` for an unknown option, with the nearest name, before the parser does."""
    options = [a.split("=")[0][2:] for a in arguments if re.match(r"--[A-Za-z]", a)]
    path = _option(arguments, "--config")
    content = read_yaml(Path(path)) if path is not None else {}
    for section in SECTIONS:
        if not isinstance(content.get(section, {}), dict):
            raise UserError(f"config file '{path}': '{section}' must be a mapping of parameters")
    in_file = list(_keys(content))
    extra = {"help", "print_config", "start-from", "config", *SECTIONS}
    for key, given in [(o, f"--{o}") for o in options] + [
        (k, f"'{k}' in the file") for k in in_file
    ]:
        key = key.removesuffix("+")
        # below a typed value (a dict, a class with its arguments) the parser itself decides
        if key in known | extra or any(
            key.startswith(f"{k}.") and k not in SECTIONS for k in known
        ):
            continue
        raise UserError(f"parameter {given} is unknown{_nearest(key, known)}")


def _nearest(key: str, known: set[str]) -> str:
    section, _, name = key.rpartition(".")
    if section not in SECTIONS:
        return suggestion(key, [k for k in known if k not in SECTIONS])
    # only the section's names: the common prefix would make everything look similar
    names = [k.removeprefix(f"{section}.") for k in known if k.startswith(f"{section}.")]
    return suggestion(name, names, cutoff=0.45)


def _keys(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        if key in SECTIONS and isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield str(key)


def _option(arguments: Sequence[str], name: str) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == name and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{name}="):
            return argument.split("=", 1)[1]
    return None


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError("it holds no values")
        torch.zeros(1, device=name)
    except Exception as error:
        # each backend raises its own errors
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used ({reason}); use cpu or auto") from error
    return name
