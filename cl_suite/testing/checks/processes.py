"""What a method promises of runs on several processes: it learns what it learns in one."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite.storage import checkpoint
from cl_suite.testing.several import in_processes, learn_exactly
from cl_suite.testing.subject import DoesNotApply, Subject, claim

# sums of shares are sums in another order; training repeats and enlarges the difference
RELATIVE, ABSOLUTE = 1e-5, 1e-7


def two_processes_learn_what_one_learns(subject: Subject) -> None:
    """In float64 it predicts the same; tensors, buffers and queues agree to a relative 1e-5."""
    _refuse_local_class(subject)
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for size in (1, 2):
            file = Path(folder) / f"{size}.safetensors"
            in_processes(learn_exactly, size, subject, file)
            found.append(checkpoint.load(file))
    one, two = found
    claim(len(set(two["digests"])) == 1, "two processes of one run end in different states")
    for session, (a, b) in enumerate(zip(one["confusions"], two["confusions"], strict=True)):
        claim(a.equal(b), f"two processes predict otherwise than one after session {session}")
    for part in ("model", "plugin"):
        if where := _difference(one[part], two[part], part):
            raise AssertionError(f"two processes end with another {where} than one")


def _refuse_local_class(subject: Subject) -> None:
    try:
        module = importlib.import_module(subject.cls.__module__)
        known = getattr(module, subject.cls.__qualname__, None)
    except ImportError:
        known = None
    if known is not subject.cls or subject.cls.__module__ == "__main__":
        raise DoesNotApply("another process cannot import the class")


def _difference(one: Any, two: Any, name: str) -> str | None:
    """Return where two trees differ, None if they agree."""
    if isinstance(one, Tensor):
        if one.shape != two.shape:
            return f"{name} {tuple(one.shape)}"
        if not one.is_floating_point():
            return None if one.equal(two) else name
        close = torch.allclose(one, two, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        largest = f" (apart by {float((one - two).abs().max()):.2g})" if one.numel() else ""
        return None if close else f"{name}{largest}"
    if isinstance(one, float):
        return None if abs(one - two) <= RELATIVE * max(1.0, abs(one)) else name
    if isinstance(one, dict):
        if one.keys() != two.keys():
            return f"{name} {sorted(map(str, one.keys() ^ two.keys()))[:3]}"
        pairs = [(f"{name}.{key}", one[key], two[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(two):
            return f"{name}, of {len(one)} entries,"
        pairs = [(f"{name}.{i}", a, b) for i, (a, b) in enumerate(zip(one, two, strict=True))]
    else:
        return None if one == two else name
    return next((found for key, a, b in pairs if (found := _difference(a, b, key))), None)


PROCESS_CHECKS = (two_processes_learn_what_one_learns,)
