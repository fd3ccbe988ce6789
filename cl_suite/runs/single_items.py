"""Reads a single item as a list of one: `--model.lora_targets qkv` means `[qkv]`."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def with_lists(arguments: Sequence[str], annotations: Mapping[str, Any]) -> list[str]:
    """Return the arguments with brackets around a single item, for parameters that are lists.

    Args:
        annotations: of each parameter, by section and key.

    Example:
        >>> with_lists(["--model.bank_views", "flip"], {"model.bank_views": list[str]})
        ['--model.bank_views', '["flip"]']
    """
    items = {key: item_of(annotation) for key, annotation in annotations.items()}
    found: list[str] = []
    awaited: Any = None
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            found.append(_as_list(argument, awaited))
            awaited = None
            continue
        item = items.get(name[2:])
        found.append(f"{name}={_as_list(value, item)}" if equals else argument)
        awaited = None if equals else item
    return found


def item_of(annotation: Any) -> Any:
    """Return the annotation of a list's items; None if a parameter can be anything but a list."""
    members = get_args(annotation) if _is_union(annotation) else (annotation,)
    lists = [_plain(member) for member in members if member is not type(None)]
    if not lists or any(
        (get_origin(each) or each) not in (list, tuple, Sequence) for each in lists
    ):
        return None
    return next(iter(get_args(lists[0])), Any)


def _as_list(value: str, item: Any) -> str:
    """Return a value in brackets if it can be one item; the parser refuses what it cannot read."""
    # with commas it is a list that lacks its brackets
    if item is None or value.strip() in ("", "null") or value.lstrip()[:1] == "[" or "," in value:
        return value
    kind = _plain(item)
    if kind is str or get_origin(kind) is Literal:
        return json.dumps([value])
    return value if kind in (int, float) and not _is_number(value) else f"[{value}]"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
