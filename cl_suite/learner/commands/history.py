"""A classifier's history in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cl_suite.learner.commands.screen import classes, pictures


def in_words(step: Mapping[str, Any]) -> str:
    """Return one step in words.

    Example:
        >>> in_words({"step": "rename", "label": "cat", "to": "lynx"})
        "renamed 'cat' to 'lynx'"
    """
    kind, label = str(step.get("step")), step.get("label")
    if kind == "start":
        return f"started with {classes(len(step['labels']))}, {pictures(step['pictures'])}"
    if kind == "learn":
        return f"learned {pictures(len(step['pictures']))} of '{label}'"
    if kind == "rename":
        return f"renamed '{label}' to '{step['to']}'"
    if kind == "merge":
        return f"merged a classifier of {classes(len(step['labels']))}"
    return f"forgot '{label}'" if kind == "forget" else kind


def difference_in_words(
    now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> str:
    """Return what was done between two versions of a file."""
    steps = list(now[len(before) :])
    if list(now[: len(before)]) != list(before) or not steps:
        return "replaced the file"
    return in_words(steps[0]) if len(steps) == 1 else f"the last {len(steps)} steps"
