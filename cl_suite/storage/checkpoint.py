"""Saves and loads checkpoints: one safetensors file, written atomically, with plain values as JSON.

Nothing is pickled. A tree of dicts, lists, tuples, sets, tensors and plain values is split into
tensors and JSON that names them. A digest over both reveals a damaged file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_suite.errors import UserError, os_refusal
from cl_suite.storage.files import atomic_write, make_folder


@dataclass(frozen=True)
class FileKind:
    """What messages call such a file, and how it is told apart from others.

    Attributes:
        name: such as "checkpoint".
        format: of this version.
        remedy: what to do with a file that cannot be used.
    """

    name: str
    format: str
    remedy: str


CHECKPOINT = FileKind("checkpoint", "cl-suite-1", "delete its run folder and start the run again")
FORMAT = CHECKPOINT.format


def save(path: Path, tree: Mapping[str, Any], kind: FileKind = CHECKPOINT) -> None:
    """Write a tree to `path`, whole or not at all.

    Raises:
        TypeError: if the tree holds something other than containers, tensors and plain values.
        UserError: if the disk is full.
    """
    content = to_bytes(tree, kind)
    make_folder(path.parent)
    atomic_write(path, content)


def to_bytes(tree: Mapping[str, Any], kind: FileKind = CHECKPOINT) -> bytes:
    """Return the content of a tree's file; equal trees have equal bytes.

    Raises:
        TypeError: if the tree holds something other than containers, tensors and plain values.
    """
    from safetensors.torch import save as with_header

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_flatten(tree, tensors))
    _separate(tensors)
    header = json.dumps({"format": kind.format, "digest": _digest(text, tensors), "tree": text})
    # only one entry: safetensors writes several in random order, but equal states need equal bytes
    return with_header(tensors, {"cl_suite": header})


def load(
    path: Path, device: torch.device | str = "cpu", kind: FileKind = CHECKPOINT
) -> dict[str, Any]:
    """Return the tree that `save` wrote.

    Raises:
        UserError: if the file is missing, damaged, or not a checkpoint of this version.
    """
    return _load(path, device, kind, whole=True)


def load_values(path: Path) -> dict[str, Any]:
    """Return the tree that `save` wrote with None for each tensor and array; it reads no tensor.

    Damage that leaves the tree readable is noticed by `load` alone.

    Raises:
        UserError: as `load` does.
    """
    return _load(path, "cpu", CHECKPOINT, whole=False)


def _load(path: Path, device: torch.device | str, kind: FileKind, *, whole: bool) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.exists() else "does not exist"
            raise UserError(f"{kind.name} '{path}' {what}")
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads((file.metadata() or {}).get("cl_suite", "{}"))
            names = file.keys() if whole else ()
            tensors = {name: file.get_tensor(name) for name in names}
        if not isinstance(header, dict) or header.get("format") != kind.format:
            raise UserError(
                f"{kind.name} '{path}' is from another version or of another kind; {kind.remedy}"
            )
        if whole and header["digest"] != _digest(header["tree"], tensors):
            raise UserError(_damaged(path, "its digest does not match", kind))
        tree = _unflatten(json.loads(header["tree"]), tensors if whole else None)
        if not isinstance(tree, dict):
            raise TypeError("it holds no mapping")
    except UserError:
        raise
    except OSError as error:
        raise UserError(os_refusal(error, path, "read")) from error
    except RecursionError as error:
        raise UserError(_damaged(path, "it is nested too deeply", kind)) from error
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(_damaged(path, " ".join(str(error).split()), kind)) from error
    return tree


def _damaged(path: Path, reason: str, kind: FileKind) -> str:
    return f"{kind.name} '{path}' is damaged ({reason}); {kind.remedy}"


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _separate(tensors: dict[str, Tensor]) -> None:
    """Copy tensors that share memory with others: safetensors refuses them."""
    seen = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        if storage in seen:
            tensors[name] = tensor.clone()
        seen.add(storage)


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().contiguous()
        return {"$": "tensor", "name": name}
    if isinstance(value, np.ndarray):
        return {"$": "array", "of": _flatten(torch.from_numpy(value.copy()), tensors)}
    if isinstance(value, list):
        return [_flatten(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"$": "tuple", "items": [_flatten(item, tensors) for item in value]}
    if isinstance(value, (set, frozenset)):
        return {"$": "set", "items": [_flatten(item, tensors) for item in sorted(value, key=repr)]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and "$" not in value:
            return {key: _flatten(item, tensors) for key, item in value.items()}
        pairs = [[_flatten(k, tensors), _flatten(v, tensors)] for k, v in value.items()]
        return {"$": "dict", "items": pairs}
    raise TypeError(f"a {type(value).__module__}.{type(value).__name__} cannot be saved")


def _unflatten(value: Any, tensors: Mapping[str, Tensor] | None) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    mark = value.get("$")
    if mark == "tensor":
        return None if tensors is None else tensors[value["name"]]
    if mark == "array":
        return None if tensors is None else tensors[value["of"]["name"]].cpu().numpy()
    if mark == "tuple":
        return tuple(_unflatten(item, tensors) for item in value["items"])
    if mark == "set":
        return {_unflatten(item, tensors) for item in value["items"]}
    if mark == "dict":
        return {_unflatten(k, tensors): _unflatten(v, tensors) for k, v in value["items"]}
    return {key: _unflatten(item, tensors) for key, item in value.items()}
