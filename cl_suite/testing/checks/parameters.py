"""What a method promises before it sees any data: parameters, requirements and recipe."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_origin

from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.ground import ground_of
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError, suggestion
from cl_suite.models.settings import ModelConfig
from cl_suite.parameters import annotations_of, meanings_of
from cl_suite.requirements import Requirements
from cl_suite.testing.numbers import bad_values, numbers_of
from cl_suite.testing.subject import Subject, claim

SECTIONS = {"model": ModelConfig, "training": TrainingConfig, "evaluation": EvaluationConfig}


def constructor_stores_its_parameters(subject: Subject) -> None:
    """Each parameter is passed by name, has a default and is stored as it is; nothing else is."""
    parameters = inspect.signature(subject.cls).parameters
    for name, parameter in parameters.items():
        claim(
            parameter.kind is parameter.KEYWORD_ONLY,
            f"{name} can be passed by position; write @dataclass(kw_only=True, eq=False)",
        )
        claim(parameter.default is not parameter.empty, f"{name} has no default")
    plugin = subject.cls()
    for name, parameter in parameters.items():
        claim(
            getattr(plugin, name, None) is parameter.default,
            f"{name} is not stored as it was given; keep what follows from it in `_{name}`",
        )


def unknown_parameter_is_refused(subject: Subject) -> None:
    """A name that is no parameter raises `TypeError`."""
    try:
        subject.cls(nonsense_parameter=1)
    except TypeError:
        return
    raise AssertionError("nonsense_parameter=1 was taken; leave **kwargs out of the constructor")


def numbers_have_ranges(subject: Subject) -> None:
    """Each number among the parameters is annotated with a range, `Within` or `Above`."""
    numbers = numbers_of(subject.cls, subject.settings.get("bounds"))
    bare = [name for name, number in numbers.items() if not number.limits]
    claim(not bare, f"{', '.join(bare)} has no range; write Annotated[float, Within(0)]")


def numbers_out_of_range_are_refused(subject: Subject) -> None:
    """A number out of its range, nan, infinity or no number raises `UserError`, by name."""
    for name, number in numbers_of(subject.cls).items():
        for value in bad_values(number):
            _refuses(subject, name, value)


def unknown_choices_are_refused(subject: Subject) -> None:
    """A word that a parameter's `Literal` does not list raises `UserError`, by name."""
    for name, annotation in annotations_of(subject.cls).items():
        if get_origin(annotation) is Literal:
            _refuses(subject, name, "nonsense")


def parameters_are_explained(subject: Subject) -> None:
    """The docstring says what each parameter means, its own `Args` or a base class's."""
    known = meanings_of(subject.cls)
    silent = [name for name in inspect.signature(subject.cls).parameters if name not in known]
    claim(not silent, f"the docstring's Args do not explain {', '.join(silent)}")


def requirements_are_a_record(subject: Subject) -> None:
    """`requirements` is a `Requirements`; anything else would be passed over in silence."""
    found = subject.plugin().requirements
    claim(
        isinstance(found, Requirements),
        f"requirements is a {type(found).__name__}; write requirements = Requirements(...)",
    )


def recipe_names_known_settings(subject: Subject) -> None:
    """`default_config` sets what exists: other names would be passed over, or end in an error."""
    claim(isinstance(subject.settings, Mapping), "default_config must be a mapping of sections")
    known = list(inspect.signature(subject.cls).parameters)
    of_run = {section: _fields(cls) for section, cls in SECTIONS.items()}
    own = {"params": known, "tiny": known, "bounds": known}
    apart = ("for_scenario", "meant_for", "runs_on")
    recipe = {s: values for s, values in subject.settings.items() if s not in apart}
    _names_known(recipe, {**of_run, **own}, "default_config")
    _ground_is_known(subject.settings.get("meant_for"))
    others = subject.settings.get("for_scenario") or {}
    claim(isinstance(others, Mapping), "default_config['for_scenario'] must be a mapping")
    for scenario, settings in others.items():
        whose = f"default_config['for_scenario']['{scenario}']"
        claim(isinstance(settings, Mapping), f"{whose} must be a mapping of sections")
        # the scenario's own parameters are those of a class that is not here
        there = {s: values for s, values in settings.items() if s != "scenario"}
        _names_known(there, {**of_run, "strategy": known}, whose)


def _names_known(recipe: Mapping[str, Any], names: Mapping[str, Sequence[str]], whose: str) -> None:
    for section, values in recipe.items():
        claim(section in names, f"{whose} has a section '{section}'{_near(section, names)}")
        claim(isinstance(values, Mapping), f"{whose}['{section}'] must be a mapping")
        for key in values:
            near = _near(key, names[section])
            claim(key in names[section], f"{whose} sets '{section}.{key}'{near}")


def _ground_is_known(content: Any) -> None:
    whose = "default_config['meant_for']"
    claim(content is None or isinstance(content, Mapping), f"{whose} must be a mapping")
    try:
        ground_of({"meant_for": content}, "default_config")
    except UserError as error:
        raise AssertionError(str(error)) from error


def _refuses(subject: Subject, name: str, value: Any) -> None:
    try:
        subject.cls(**{name: value})
    except UserError as error:
        named = str(error).startswith(f"{name} ")
        claim(named, f"the message must begin with '{name} ', got: {error}")
        return
    raise AssertionError(
        f"{name}={value!r} was taken; derive from StrategyPlugin, and call "
        "super().__post_init__() in a __post_init__ of your own"
    )


def _fields(cls: Any) -> list[str]:
    return [each.name for each in dataclasses.fields(cls)]


def _near(key: str, known: Any) -> str:
    return f", which does not exist{suggestion(key, known)}"


PARAMETER_CHECKS = (
    constructor_stores_its_parameters,
    unknown_parameter_is_refused,
    numbers_have_ranges,
    numbers_out_of_range_are_refused,
    unknown_choices_are_refused,
    parameters_are_explained,
    requirements_are_a_record,
    recipe_names_known_settings,
)
