"""Transforms as plain values for JSON, and back; only those of the suite, with checked fields."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from cl_suite.data import transforms
from cl_suite.data.transforms import Compose, Transform
from cl_suite.errors import UserError

KNOWN: Mapping[str, type] = {
    name: cls
    for name, cls in inspect.getmembers(transforms, dataclasses.is_dataclass)
    if isinstance(cls, type)
}


def to_plain(transform: Transform) -> dict[str, Any]:
    """Return a transform as its class's name and its fields.

    Raises:
        UserError: for a transform that is not the suite's own.

    Example:
        >>> to_plain(transforms.Resize(84))
        {'kind': 'Resize', 'size': 84}
    """
    kind = type(transform).__name__
    if KNOWN.get(kind) is not type(transform):
        raise UserError(
            f"transform '{transform!r}' cannot be stored, as it is not one of "
            "cl_suite.data.transforms; build the images' preparation of these"
        )
    if isinstance(transform, Compose):
        return {"kind": kind, "steps": [to_plain(step) for step in transform.steps]}
    fields = {
        field.name: getattr(transform, field.name)
        for field in dataclasses.fields(KNOWN[kind])
        if field.name != "batched"
    }
    return {"kind": kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}}


def from_plain(tree: object) -> Transform:
    """Return the transform that `to_plain` described.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(tree, dict) or not isinstance(tree.get("kind"), str):
        raise ValueError(f"'{tree!r:.60}' does not describe a transform")
    kind, fields = tree["kind"], {k: v for k, v in tree.items() if k != "kind"}
    if kind not in KNOWN:
        raise ValueError(f"transform '{kind:.40}' is unknown")
    if kind == "Compose":
        steps = fields.get("steps")
        if not isinstance(steps, list):
            raise ValueError("its steps are no list")
        return Compose(tuple(from_plain(step) for step in steps))
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    flat = [x for v in plain.values() for x in (v if isinstance(v, tuple) else (v,))]
    if not all(isinstance(x, (int, float, str)) for x in flat):
        raise ValueError(f"the fields of transform '{kind}' are no plain values")
    try:
        made: Transform = KNOWN[kind](**plain)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return made
