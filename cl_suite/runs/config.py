"""One run's settings, resolved by jsonargparse from constructors, YAML files and options.

Later sources win: constructor defaults, the scenario's YAML, the strategy's YAML, its settings for
this scenario, a file passed by `--config`, options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper

from cl_suite import registry
from cl_suite.distributed.group import launched, own_gpu
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.ground import ground_of
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.settings import ModelConfig
from cl_suite.parameters import annotations_of, check_given, check_ranges
from cl_suite.runs.arguments import OPTIONS, SECTIONS, refuse_unknown, with_all_seeds
from cl_suite.runs.help_text import help_text
from cl_suite.runs.logging_config import LoggingConfig
from cl_suite.runs.parse_errors import clear_errors
from cl_suite.runs.single_items import with_lists

# settings that name a file or folder that a run reads
_PLACE = re.compile(
    r"scenario\.(.*\.)?(.+_)?(root|folder|dir|path|file|list)|model\.(beside_)?weights|start_from"
)

LONGEST_REASON = 100  # characters
OnCollapse = Literal["say", "stop", "off"]


@dataclass(frozen=True)
class RunConfig:
    """A resolved run.

    Attributes:
        text: the whole configuration as YAML; passed to `--config`, it repeats the run.
        scenario, strategy: instances that hold their parameters and have done nothing yet.
        logging: who watches the run; changes no result.
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
    logging: LoggingConfig = field(default_factory=LoggingConfig)


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run; none of these options changes a result.

    Attributes:
        on_collapse: what happens if training diverges, or makes a network worse.
    """

    out: Path
    resume: bool
    overwrite: bool
    on_collapse: OnCollapse = "say"


def is_place(key: str, value: object) -> bool:
    """Return whether a setting names a file or folder that a run reads."""
    return isinstance(value, str) and _PLACE.fullmatch(key) is not None


class _Dumper(yaml.SafeDumper):
    """Quotes text that jsonargparse would read back as a number, such as a folder named 1e5."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"), list("-+0123456789")
)


def _dump(content: Any) -> str:
    text: str = yaml.dump(
        content, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    return text


set_dumper("yaml", _dump)


class _Parser(ArgumentParser):  # type: ignore[misc]  # jsonargparse is read as untyped
    pair: tuple[registry.Entry, registry.Entry]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ValueError(message) from ex

    def format_help(self) -> str:
        return help_text(self, *self.pair)


def build_parser(scenario: registry.Entry, strategy: registry.Entry) -> ArgumentParser:
    """Return the parser of a pair: options from the constructors, defaults from the YAML files."""
    prog = f"cl-suite run {scenario.name} {strategy.name}"
    parser = _Parser(prog=prog, exit_on_error=False)
    parser.pair = scenario, strategy
    own = {"scenario_name": {"default": scenario.name}, "strategy_name": {"default": strategy.name}}
    for name, settings in OPTIONS.items():
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, **settings, **own.get(name, {}))
    parser.add_class_arguments(scenario.load(), "scenario", fail_untyped=False)
    parser.add_class_arguments(strategy.load(), "strategy", fail_untyped=False)
    parser.add_class_arguments(ModelConfig, "model")
    parser.add_class_arguments(TrainingConfig, "training")
    parser.add_class_arguments(EvaluationConfig, "evaluation")
    parser.add_class_arguments(LoggingConfig, "logging")
    for key, value, origin in _defaults(scenario, strategy):
        try:
            parser.set_defaults({key: value})
        except Exception as error:
            raise _missing(origin, key) from error
    known = {action.dest for action in parser._actions}
    for key, origin in _not_read(scenario, strategy):
        if key not in known:
            raise _missing(origin, key)
    ground_of(strategy.settings, strategy.name)
    return parser


def resolve(
    scenario: registry.Entry, strategy: registry.Entry, arguments: Sequence[str]
) -> tuple[list[RunConfig], RunOptions]:
    """Return one resolved configuration per seed, and the options.

    Raises:
        UserError: for an unknown, missing, ill-typed or out-of-range parameter.
    """
    parser = build_parser(scenario, strategy)
    arguments = with_lists(with_all_seeds(arguments), _annotations(scenario, strategy))
    refuse_unknown(arguments, set(parser.get_defaults().keys(branches=True)))
    with clear_errors():
        settings = parser.parse_args(arguments)
    return _resolved(parser, scenario, strategy, settings)


def resolve_again(
    scenario: registry.Entry, strategy: registry.Entry, content: dict[str, Any]
) -> RunConfig:
    """Return the configuration of settings that a run has written, with today's defaults.

    Raises:
        UserError: for settings that are no longer accepted.
    """
    parser = build_parser(scenario, strategy)
    with clear_errors():
        settings = parser.parse_object(content)
    (config,), _ = _resolved(parser, scenario, strategy, settings)
    return config


def _resolved(
    parser: ArgumentParser,
    scenario: registry.Entry,
    strategy: registry.Entry,
    settings: Namespace,
) -> tuple[list[RunConfig], RunOptions]:
    for kind, entry in (("scenario", scenario), ("strategy", strategy)):
        if (named := settings[f"{kind}_name"]) != entry.name:
            raise UserError(
                f"the settings are those of {kind} '{named}', but the command line names "
                f"'{entry.name}'; leave out the names, or pass other settings"
            )
    settings.device = _device(settings.device)
    options = RunOptions(
        Path(settings.out), settings.resume, settings.overwrite, settings.on_collapse
    )
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
    make_places_absolute(resolved)
    for key in ("config", "out", "resume", "overwrite", "on_collapse"):
        resolved.pop(key, None)
    with clear_errors():
        # parse_args has checked the values; `out` and similar options are left out on purpose
        text = parser.dump(resolved, skip_validation=True, skip_unset=False)
        made = parser.instantiate(whole)
    return RunConfig(
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
        logging=made.logging,
    )


def _annotations(scenario: registry.Entry, strategy: registry.Entry) -> dict[str, Any]:
    """Return the annotation of each parameter, by section and key."""
    classes = {
        "scenario": scenario.load(),
        "strategy": strategy.load(),
        "model": ModelConfig,
        "training": TrainingConfig,
        "evaluation": EvaluationConfig,
        "logging": LoggingConfig,
    }
    return {
        f"{section}.{name}": annotation
        for section, cls in classes.items()
        for name, annotation in annotations_of(cls).items()
    }


def make_places_absolute(resolved: Namespace) -> None:
    """Write relative paths in full, so a run's settings repeat it from any folder."""
    for key, value in list(resolved.items(branches=False)):
        if is_place(key, value) and not os.path.isabs(value) and os.path.exists(value):
            resolved[key] = os.path.abspath(value)


def _defaults(scenario: registry.Entry, strategy: registry.Entry) -> Iterator[tuple[str, Any, str]]:
    own_strategy = (strategy.settings.get("for_scenario") or {}).get(scenario.name, {})
    layers: list[tuple[Mapping[str, Any], str]] = [
        ({**scenario.settings, "scenario": scenario.settings.get("params")}, scenario.name),
        ({**strategy.settings, "strategy": strategy.settings.get("params")}, strategy.name),
        (own_strategy, f"{strategy.name} on {scenario.name}"),
    ]
    for layer, origin in layers:
        for section in SECTIONS:
            for key, value in (layer.get(section) or {}).items():
                yield f"{section}.{key}", value, origin


def _not_read(scenario: registry.Entry, strategy: registry.Entry) -> Iterator[tuple[str, str]]:
    """Yield the settings that a strategy has for other scenarios, for tests and for ranges."""
    for part in ("tiny", "bounds"):
        for key in strategy.settings.get(part) or {}:
            yield f"strategy.{key}", f"{strategy.name}, under '{part}',"
    for name, layer in (strategy.settings.get("for_scenario") or {}).items():
        for section, values in layer.items():
            # another scenario's parameters are those of a class that is not imported
            if section != "scenario" or name == scenario.name:
                for key in values or {}:
                    yield f"{section}.{key}", f"{strategy.name} on {name}"


def _missing(origin: str, key: str) -> UserError:
    return UserError(f"the settings of {origin} set '{key}', which does not exist")


def _device(name: str) -> str:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available() and launched()[1] > 1:
        torch.cuda.set_device(own_gpu())  # before anything is put on another process's
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError("it holds no values")
        torch.zeros(1, device=name)
    except Exception as error:
        # each backend raises its own errors; some list every device that there could be
        reason = re.split(r"[.;:] |\n", str(error))[0].rstrip(".")
        if len(reason) > LONGEST_REASON or "aten::" in reason:
            reason = "this machine or this build of torch has none"
        raise UserError(f"--device {name} cannot be used ({reason}); use cpu or auto") from error
    return name
