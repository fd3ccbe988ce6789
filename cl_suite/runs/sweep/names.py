"""Names of a trial's folder: what a person reads, and a digest of everything that was given."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 80  # characters before the digest
DIGITS = 8


def trial_name(varied: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return the folder's name of a trial with these settings; "" if nothing is set.

    Args:
        varied: the values that differ between trials, by dotted name.
        given: all settings that the file gives this trial, resolved.

    Example:
        >>> trial_name({"training.lr": 0.1}, {"training.lr": 0.1, "training.base_epochs": 5})
        'lr=0.1-9f11a321'
    """
    if not given:
        return ""
    digest = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
    words = [f"{short}={_plain(value)}" for short, value in _shortened(varied).items()]
    readable = ",".join(words)[:LONGEST].rstrip(",.-=") or "set"
    return f"{readable}-{digest[:DIGITS]}"


def _shortened(varied: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the last part of their names, where that tells them apart."""
    last = [name.rpartition(".")[2] for name in varied]
    return {
        (name if last.count(short) > 1 else short): value
        for (name, value), short in zip(varied.items(), last, strict=True)
    }


def _plain(value: object) -> str:
    """Return a value as part of a folder's name, without a character that a shell reads."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(_plain, value))
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)[-40:]
