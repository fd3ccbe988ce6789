"""Reads the small files of a run's folder and validates what they hold; errors name the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError, os_refusal
from cl_suite.storage.files import too_deep

FRACTIONS = ("accuracy", "base", "new", "harmonic", "gacc", "new_as_base", "base_as_new")
BINS = ("bins", "scaled_bins")
NUMBERS = ("session", "seconds_train", "seconds_eval", "seen_classes")  # never undefined


def read_text(path: Path) -> str:
    """Return a file's text; raise `UserError` if there is none."""
    try:
        if not path.exists():
            raise UserError(
                f"'{path}' does not exist; no session of this run is finished, or somebody deleted "
                "the file"
            )
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(os_refusal(error, path, "read")) from error
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a mapping from a YAML file; raise `UserError` if it holds none."""
    return _mapping(path, from_yaml)


def read_json(path: Path) -> dict[str, Any]:
    """Return a mapping from a JSON file; raise `UserError` if it holds none."""
    return _mapping(path, json.loads)


def parse_mapping(text: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return the mapping that a text holds, not nested too deeply; an error says why there is none.

    Args:
        parse: such as `from_yaml` or `json.loads`.

    Raises:
        ValueError: for a text that cannot be parsed.
        TypeError: for one that holds something else.
    """
    try:
        content = parse(text)
    except (ValueError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise TypeError("it is not a mapping")
    if too_deep(content):
        raise ValueError("it is nested too deeply")
    return content


def from_yaml(text: str) -> Any:
    """Return what a YAML text holds; raise `ValueError` if it cannot be parsed."""
    # yaml is slow to import, and only those who read settings need it
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_lines(path: Path, parse: Callable[[Any, int], Any], *, grows: bool = False) -> list[Any]:
    """Return the parsed lines of a file of JSON lines.

    Args:
        parse: gets a line's content and its position, and raises for a wrong one.
        grows: whether lines are added to the file; then half a line behind whole ones, which a
            killed process may leave, is not read.

    Raises:
        UserError: naming the first line that is damaged.
    """
    found = []
    text = read_text(path)
    if grows and "\n" in text and not text.endswith(("\n", "}")):
        text = text[: text.rfind("\n") + 1]
    for position, line in enumerate(text.splitlines()):
        try:
            found.append(parse(json.loads(line), position))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise damaged(path, f"line {position + 1}: {error}") from error
        except RecursionError as error:
            raise damaged(path, f"line {position + 1}: it is nested too deeply") from error
    return found


def checked_record(content: Any, position: int) -> dict[str, Any]:
    """Return a session's figures; raise `ValueError` for one that cannot be."""
    if not isinstance(content, dict):
        raise ValueError("it is not a mapping")
    for name, value in content.items():
        if value is None and name not in NUMBERS:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} must be a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
        if name in FRACTIONS and not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
        if name in NUMBERS and value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    if content.get("session", position) != position:
        raise ValueError(f"session must be {position}, got {content['session']}")
    return content


def confidence_record(content: Any, position: int) -> dict[str, Any]:
    """Return a session's figures of confidence; raise for what cannot be.

    Runs of version 0.6 and earlier have no bins.
    """
    found = checked_record({k: v for k, v in content.items() if not k.endswith("bins")}, position)
    for name in BINS:
        if name in content:
            found[name] = [_bin(*each) for each in content[name]]
    return found


def _bin(num: Any, confidence: Any, accuracy: Any) -> tuple[int, float | None, float | None]:
    if type(num) is not int or num < 0:
        raise ValueError(f"a bin must have a number of samples, got {num!r}")
    shares = (confidence, accuracy)
    if num == 0:
        return 0, None, None
    if not all(type(share) in (int, float) and 0 <= share <= 1 for share in shares):
        raise ValueError(f"confidence and accuracy of a bin must be in [0, 1], got {shares}")
    return num, float(confidence), float(accuracy)


def dynamics_record(content: Any, position: int) -> dict[str, Any]:
    """Return the movements of an epoch; raise for a wrong kind of value."""
    return {
        "session": int(content["session"]),
        "epoch": int(content["epoch"]),
        "sizes": {str(k): int(v) for k, v in content["sizes"].items()},
        "changes": {str(k): float(v) for k, v in content["changes"].items()},
    }


def damaged(path: Path, reason: str) -> UserError:
    """Return the error for a file whose content is wrong."""
    return UserError(
        f"'{path}' cannot be read ({' '.join(reason.split())}); repeat the run with "
        "--overwrite, or leave it out"
    )


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    text = read_text(path)
    try:
        return parse_mapping(text, parse)
    except (TypeError, ValueError) as error:
        raise damaged(path, str(error)) from error
