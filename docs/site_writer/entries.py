"""One page a strategy and one a scenario, from docstrings, YAML files, constructors and results."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cl_suite import registry
from cl_suite.engine.ground import ground_in_words, ground_of
from cl_suite.report import pairs
from site_writer import measured
from site_writer.docstrings import escaped, sections, to_markdown
from site_writer.parameters import parameters, table

FACTS = Path(__file__).resolve().parents[1] / "facts.yaml"
FOLDERS: dict[registry.Kind, str] = {"strategy": "strategies", "scenario": "scenarios"}


def page(kind: registry.Kind, name: str) -> str:
    """Return the page of a strategy or a scenario as Markdown."""
    return _strategy(name) if kind == "strategy" else _scenario(name)


def index(kind: registry.Kind) -> str:
    """Return the page that lists all entries of a kind."""
    lines = [f"# {FOLDERS[kind].capitalize()}", "", _introduction(kind), ""]
    third = "keeps of old data" if kind == "strategy" else "data"
    lines += [f"| name | what it is | {third} |", "|---|---|---|"]
    for name, entry in registry.entries(kind).items():
        fact = _facts(kind, name).get("keeps" if kind == "strategy" else "data", "")
        lines.append(f"| [`{name}`]({name}.md) | {escaped(entry.summary)} | {fact} |")
    return "\n".join(lines)


def summary(kind: registry.Kind) -> str:
    """Return the navigation of a kind's pages."""
    names = ["index", *registry.entries(kind)]
    titles = ["Overview", *registry.entries(kind)]
    return "".join(f"- [{t}]({n}.md)\n" for t, n in zip(titles, names, strict=True))


def method_text(entry: registry.Entry) -> str:
    """Return what an entry's module and class say of it, without its parameters; or ""."""
    cls = entry.load()
    if cls.__module__.startswith("avalanche."):
        own, _ = sections(inspect.getdoc(cls) or "")
        return "\n\n".join(own.split("\n\n")[:2])
    module = inspect.getdoc(sys.modules[cls.__module__]) or ""
    return "\n\n".join(part for part in (module, sections(cls.__doc__ or "")[0]) if part)


def source(entry: registry.Entry) -> str:
    """Return the text that names where a strategy comes from."""
    return str(_facts("strategy", entry.name).get("source", "")) or method_text(entry)


def _strategy(name: str) -> str:
    entry = registry.get("strategy", name)
    cls, facts = entry.load(), _facts("strategy", name)
    usual = [scenario for scenario, reason in _pairs()[name].items() if reason is None]
    example = facts.get("example", "omniglot" if "omniglot" in usual else usual[0])
    measured_rows = measured.rows_of(name)
    parts = [
        f"# `{name}`",
        escaped(entry.summary) + ".",
        _command(example, name),
        facts.get("source", ""),
        to_markdown(method_text(entry)),
        "## What it needs and keeps",
        _strategy_facts(name, facts),
        "## Parameters",
        table(parameters(cls, entry.settings), "strategy"),
        *_recipes(entry),
        "## Measured",
        measured_rows,
        "" if measured_rows else "No table of ours measures this strategy.",
        "[All results](../results.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _strategy_facts(name: str, facts: Mapping[str, str]) -> str:
    lines = [f"-   Runs on: {_runs_on(name)}."]
    entry = registry.get("strategy", name)
    if words := ground_in_words(ground_of(entry.settings, name)):
        lines.append(f"-   Meant for: {words}. A run on other ground says so in a note.")
    if "needs" in facts:
        lines.append(f"-   Needs: {facts['needs']}.")
    if "keeps" in facts:
        lines.append(f"-   Keeps of old data: {facts['keeps']}.")
    return "\n".join(lines)


def _runs_on(name: str) -> str:
    reasons: dict[str, list[str]] = {}
    for scenario, reason in _pairs()[name].items():
        if reason is not None:
            reasons.setdefault(reason, []).append(scenario)
    if not reasons:
        return "all scenarios"
    without = (f"{', '.join(map(_code, names))} ({why})" for why, names in reasons.items())
    return "all scenarios except " + "; ".join(without)


def _recipes(entry: registry.Entry) -> list[str]:
    settings = {
        key: value
        for key, value in entry.settings.items()
        if key in ("model", "training", "evaluation")
    }
    parts = ["## Settings of its YAML file", _yaml(settings)] if settings else []
    own = entry.settings.get("for_scenario")
    if own:
        parts += ["## Settings for one scenario", "These replace the ones above there."]
        for scenario, values in own.items():
            parts.append(f"[`{scenario}`](../scenarios/{scenario}.md)\n\n{_yaml(values)}")
    return parts


def _scenario(name: str) -> str:
    entry = registry.get("scenario", name)
    cls = entry.load()
    runs = [s for s, reasons in _pairs().items() if reasons[name] is None]
    own = [
        s
        for s, e in registry.entries("strategy").items()
        if name in e.settings.get("for_scenario", {})
    ]
    parts = [
        f"# `{name}`",
        escaped(entry.summary) + ".",
        _command(name, "teen" if "teen" in runs else runs[0]),
        f"**Data.** {text}" if (text := _facts("scenario", name).get("data")) else "",
        to_markdown(method_text(entry)),
        "## Parameters",
        table(parameters(cls, entry.settings), "scenario"),
        *_recipes(entry),
        "## Strategies",
        f"These run on it: {', '.join(map(_link, runs))}.",
        f"These have settings of their own for it: {', '.join(map(_link, own))}." if own else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(scenario: str, strategy: str) -> str:
    required = [
        f" --scenario.{name} ..."
        for name, parameter in inspect.signature(
            registry.get("scenario", scenario).load()
        ).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and name not in (registry.get("scenario", scenario).settings.get("params") or {})
    ]
    return f"```sh\ncl-suite run {scenario} {strategy}{''.join(required)}\n```"


def _introduction(kind: registry.Kind) -> str:
    if kind == "strategy":
        return (
            "A strategy is one file, `strategies/<name>.py`. Its docstring states the equations "
            "and every difference from the paper. `cl-suite list --pairs` says which strategy "
            "runs on which scenario, and why not on the others."
        )
    return (
        "A scenario is a stream of sessions. [Own data](../guides/own_data.md) says which of them "
        "reads your files, and [own scenario](../guides/own_scenario.md) how to add one."
    )


@functools.cache
def _pairs() -> Mapping[str, Mapping[str, str | None]]:
    return pairs.pairs()


@functools.cache
def _all_facts() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(FACTS.read_text("utf-8"))
    return found


def _facts(kind: registry.Kind, name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = _all_facts()[FOLDERS[kind]].get(name, {})
    return found


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line, as our YAML files do."""

    def represent_list(self, data: Any) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(list, _Dumper.represent_list)


def _yaml(settings: Mapping[str, Any]) -> str:
    text = yaml.dump(dict(settings), Dumper=_Dumper, sort_keys=False, default_flow_style=False)
    return f"```yaml\n{text.strip()}\n```"


def _link(strategy: str) -> str:
    return f"[`{strategy}`](../strategies/{strategy}.md)"


def _code(name: str) -> str:
    return f"`{name}`"
