"""Trees on disk: written whole or not at all, no pickle, damage is noticed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_suite.errors import UserError
from cl_suite.storage import checkpoint

TREE = {
    "weights": {"w": torch.arange(6.0).view(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "array": np.arange(3),
    "by_id": {3: "three", (1, 2): None},
    "mixed": [1, 2.5, "x", True, None, (1, {2, 3})],
    "nan": float("inf"),
    "$": "a key that looks like a mark",
}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.equal(b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and (a == b).all()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.safetensors", TREE)
    assert equal(checkpoint.load(tmp_path / "c.safetensors"), TREE)


def test_tensors_that_share_memory_come_back_apart(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    checkpoint.save(tmp_path / "c", {"a": shared, "b": shared[:2]})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded["b"].tolist() == [0, 1]


def test_an_object_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pathlib"):
        checkpoint.save(tmp_path / "c", {"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [3, 40, 0.5, -2])
def test_a_damaged_file_is_noticed_wherever_the_damage_is(tmp_path: Path, where: float) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, TREE)
    content = bytearray(path.read_bytes())
    position = int(where * len(content)) if isinstance(where, float) else where
    content[position] ^= 0x41
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint .*c\.safetensors"):
        checkpoint.load(path)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file_is_noticed(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, TREE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        checkpoint.save(path, {"step": 2})
    monkeypatch.undo()
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
