"""Reads texts that describe classes, by class name, from a YAML or JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError, os_refusal

EXAMPLE = '"red fox: [a fox with orange fur, a bushy tail with a white tip]"'


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """Return the texts of each class by its name, as `plain_name` writes it.

    Args:
        path: a `.json` file, else YAML: a mapping from class names to a text or a list of texts.

    Raises:
        UserError: if it cannot be read, or holds something else.
    """
    path = Path(path).expanduser()
    content = _parsed(path)
    if not isinstance(content, Mapping) or not content:
        raise _wrong(path, "it is not a mapping from class names to texts")
    found: dict[str, list[str]] = {}
    for name, value in content.items():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(name, str) or not name.strip():
            raise _wrong(path, f"the class name {name!r} is not text")
        if not isinstance(texts, list) or not texts:
            raise _wrong(path, f"class '{name}' has no text and no list of texts")
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise _wrong(path, f"a description of class '{name}' is empty or not text")
        found[plain_name(name)] = [" ".join(text.split()) for text in texts]
    return found


def plain_name(name: str) -> str:
    """Return a class name in lower case, with single spaces for blanks and underscores.

    Example:
        >>> plain_name("Maple_tree ")
        'maple tree'
    """
    return " ".join(name.replace("_", " ").lower().split())


def _parsed(path: Path) -> Any:
    import yaml  # slow, and only this reader needs it

    try:
        text = path.read_text("utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise UserError(
                f"descriptions file '{path}' does not exist; pass a YAML or JSON file such as "
                f"{EXAMPLE}"
            ) from error
        raise UserError(os_refusal(error, path, "read")) from error
    except RecursionError as error:
        raise _wrong(path, "it is nested too deeply") from error
    except (ValueError, yaml.YAMLError) as error:
        raise _wrong(path, " ".join(str(error).split())) from error


def _wrong(path: Path, reason: str) -> UserError:
    return UserError(
        f"descriptions file '{path}' cannot be used ({reason}); write class names and their texts, "
        f"such as {EXAMPLE}"
    )
