"""`cl-suite info`: what a classifier file knows."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from cl_suite.learner.commands.change import described
from cl_suite.learner.commands.history import in_words
from cl_suite.learner.commands.screen import Screen, classes, pictures, print_json
from cl_suite.learner.learner import Learner

STEPS = 10  # of the history


def info(parsed: Namespace, screen: Screen) -> int:
    """Print what a classifier file knows; return the exit code."""
    path = Path(parsed.model).expanduser()
    learner = described(path)
    facts = facts_of(learner, path)
    if parsed.json:
        print_json(facts)
    else:
        _print(learner, facts, screen)
    return 0


def facts_of(learner: Learner, path: Path) -> dict[str, Any]:
    """Return what a classifier knows, as plain values."""
    spec, calibration = learner.spec, learner.calibration
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "pictures": sum(learner.counts.values()),
        "classes": [
            {"label": label, "pictures": record.count, "base": record.is_base}
            for label, record in learner.state.records.items()
        ],
        "backbone": {
            "name": " + ".join(spec.networks),
            "digest": spec.digest,
            "weights": spec.settings["weights"],
            "published": spec.published,
            "input_shape": list(spec.input_shape),
            "features": learner.rule.dim,
            "identity": spec.identity,
        },
        "rule": {"name": learner.rule.name, "parameters": learner.rule.parameters},
        "calibration": {
            "scale": calibration.scale,
            "threshold": calibration.threshold,
            "pictures": calibration.num_scored,
            "false_alarms": learner.false_alarms,
        },
        "note": learner.note,
        "history": [dict(step) for step in learner.history],
    }


def _print(learner: Learner, facts: dict[str, Any], screen: Screen) -> None:
    backbone, rule = facts["backbone"], facts["rule"]
    parameters = ", ".join(f"{name} {value}" for name, value in rule["parameters"].items())
    shape = " x ".join(map(str, backbone["input_shape"]))
    screen.facts(
        {
            "file": f"{facts['file']}, {_size(facts['bytes'])}",
            "knows": f"{classes(len(facts['classes']))} from {pictures(facts['pictures'])}",
            "backbone": f"{backbone['name']}, {shape} to {backbone['features']} features, digest "
            f"{backbone['digest'][:12]}",
            "weights": _weights(backbone),
            "rule": rule["name"] + (f" ({parameters})" if parameters else ""),
            "probabilities": _probabilities(facts["calibration"]),
            "unknown": _unknown(facts["calibration"]),
            "note": facts["note"],
        }
    )
    if facts["classes"]:
        screen.say()
        rows = [
            (one["label"], f"{one['pictures']:,}", "from the start" if one["base"] else "learned")
            for one in facts["classes"]
        ]
        screen.table(("class", "pictures", ""), rows, "pictures")
    if steps := facts["history"]:
        screen.say(f"\nlast steps of {len(steps)}" if len(steps) > STEPS else "\nhistory")
        for step in steps[-STEPS:]:
            screen.say(f"{step['when'][:16].replace('T', ' ')}  {in_words(step)}")


def _weights(backbone: dict[str, Any]) -> str:
    if backbone["published"] is None:
        return "in this file"
    if backbone["weights"] is None:
        return "published ones, from the cache or a download"
    return f"published ones in {backbone['weights']}"


def _probabilities(calibration: dict[str, Any]) -> str:
    if not calibration["pictures"]:
        return "not fitted: it needs classes of at least two pictures"
    return f"fitted to {pictures(calibration['pictures'])} (scale {calibration['scale']:.4g})"


def _unknown(calibration: dict[str, Any]) -> str:
    if calibration["threshold"] is None:
        return "never: too few pictures tell what is familiar"
    return (
        f"below familiarity {calibration['threshold']:.4g}, so about "
        f"{calibration['false_alarms']:.0%} of pictures of known classes are called unknown"
    )


def _size(number: int) -> str:
    value, units = float(number), ["bytes", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"
