"""The text of `cl-suite run SCENARIO STRATEGY --help`: in groups, the most used first."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cl_suite import registry
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.ground import ground_in_words, ground_of
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.settings import ModelConfig
from cl_suite.parameters import annotations_of
from cl_suite.runs.logging_config import LoggingConfig
from cl_suite.runs.single_items import item_of

WIDTH = 100
OPTIONS = {  # in this order; the second word stands for the value
    "seed": "N [N ...]",
    "out": "FOLDER",
    "resume": "",
    "overwrite": "",
    "on_collapse": "WORD",
    "start_from": "RUN",
    "device": "NAME",
    "config": "FILE",
    "print_config": "",
}
DEFAULTED = ("out", "device", "on_collapse")  # options whose default is shown
MEANINGS = {  # of what the parser adds itself
    "print_config": "print the resolved settings and exit",
}
_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", dict: "mapping"}


def help_text(parser: Any, scenario: registry.Entry, strategy: registry.Entry) -> str:
    """Return the help of a pair's options, with kinds, ranges and defaults.

    Args:
        parser: the pair's parser (jsonargparse's, which is read as untyped).
    """
    actions = {action.dest: action for action in parser._actions}
    defaults = parser.get_defaults()
    lines = [
        f"usage: {parser.prog} [options]",
        "",
        *textwrap.wrap(f"scenario {scenario.name}: {scenario.summary}", WIDTH),
        *textwrap.wrap(f"strategy {strategy.name}: {strategy.summary}", WIDTH),
        *_meant_for(strategy),
        "",
        "the run",
    ]
    for name, value in OPTIONS.items():
        text = actions[name].help if name in actions and name not in MEANINGS else MEANINGS[name]
        default = f" (default: {defaults[name]})" if name in DEFAULTED else ""
        shown = name if name == "print_config" else name.replace("_", "-")
        lines += _option(f"--{shown} {value}".rstrip(), f"{text}{default}")
    sections = {
        "strategy": (f"the strategy {strategy.name}", strategy.load()),
        "scenario": (f"the scenario {scenario.name}", scenario.load()),
        "training": ("training", TrainingConfig),
        "model": ("the model", ModelConfig),
        "evaluation": ("evaluation", EvaluationConfig),
        "logging": ("logging", LoggingConfig),
    }
    for section, (title, cls) in sections.items():
        own = [action for dest, action in actions.items() if dest.startswith(f"{section}.")]
        if own:
            lines += ["", title, *_section(own, defaults, annotations_of(cls))]
    return "\n".join([*lines, ""])


def _meant_for(strategy: registry.Entry) -> list[str]:
    words = ground_in_words(ground_of(strategy.settings, strategy.name))
    return textwrap.wrap(f"meant for {words}", WIDTH) if words else []


def _section(
    actions: Sequence[Any], defaults: Any, annotations: Mapping[str, Any]
) -> Iterator[str]:
    for action in actions:
        name = action.dest.partition(".")[2]
        kind = _in_words(annotations[name]) if name in annotations else ""
        value = defaults.get(action.dest)
        facts = [kind] if kind else []
        if item_of(annotations.get(name)) is not None:
            facts.append("one item needs no brackets")
        facts.append("required" if action.required else f"default: {_value(value)}")
        meaning = str(action.help or "").strip().rstrip(".").replace("%%", "%")
        yield from _option(f"--{action.dest}", f"{meaning} ({', '.join(facts)})".strip())


def _option(name: str, text: str) -> list[str]:
    indent = " " * 8
    wrapped = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    first = f"  {name}"
    if len(first) < 30 and len(wrapped) == 1 and 32 + len(wrapped[0].strip()) <= WIDTH:
        return [f"{first:<32}{wrapped[0].strip()}"]
    return [first, *wrapped]


def _value(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _in_words(annotation: Any) -> str:
    """Return a parameter's kind and range in words, such as "number in [0, 1], or null"."""
    if get_origin(annotation) is Annotated:
        plain, *limits = get_args(annotation)
        words = " and ".join(limit.words for limit in limits if hasattr(limit, "words"))
        return f"{_in_words(plain)} {words}".strip()
    if get_origin(annotation) in (Union, types.UnionType):
        members = [m for m in get_args(annotation) if m is not type(None)]
        words = " or ".join(filter(None, map(_in_words, members)))
        return f"{words}, or null" if len(members) < len(get_args(annotation)) else words
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    origin = get_origin(annotation) or annotation
    if origin in (list, tuple, Sequence):
        return "list"
    return _KINDS.get(origin, "")
