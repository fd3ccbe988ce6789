"""Flattens nested settings into dotted names, without heavy imports."""

from __future__ import annotations

from typing import Any


def flatten(content: object, prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names; none for anything but a mapping.

    Example:
        >>> flatten({"seed": 0, "training": {"lr": 0.1}})
        {'seed': 0, 'training.lr': 0.1}
    """
    if not isinstance(content, dict):
        return {}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
