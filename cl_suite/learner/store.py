"""A learner's file: one safetensors file with plain values as JSON; nothing is pickled.

It is written whole or not at all, and its previous version stays beside it. Rows of all classes are
joined into a few tensors, which are mapped into memory when the file is read.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_suite.errors import UserError, os_refusal
from cl_suite.learner.extractor import BackboneSpec
from cl_suite.learner.places import check_classifier_file
from cl_suite.learner.records import ClassRecord, Examples, State
from cl_suite.learner.rule import Rule
from cl_suite.learner.steps import checked_label
from cl_suite.learner.untrusted import check_matrices, check_sizes, check_spec, check_values
from cl_suite.models.digest import DIGEST_BYTES
from cl_suite.storage import checkpoint
from cl_suite.storage.checkpoint import FileKind
from cl_suite.storage.files import make_folder
from cl_suite.storage.lock import LockedError, file_lock

ENDING = ".clm"
KIND = FileKind(
    "classifier file",
    "cl-suite-classifier-1",
    "restore a copy of it, such as its previous version, or make it again",
)
SECONDS_OF_PATIENCE = 120.0  # learning is short, but its pictures may be many


def real(path: Path) -> Path:
    """Return the file itself: a symbolic link is another name for it, never replaced by a file."""
    return Path(os.path.realpath(path))


def previous(path: Path) -> Path:
    """Return where the previous version of a file is kept."""
    path = real(path)
    return path.with_name(f"{path.name}.previous")


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file is written again; () if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all; what it replaces becomes the previous version.

    Raises:
        UserError: if the disk is full, or the place cannot be written.
    """
    path = real(path)
    make_folder(path.parent)
    _sweep(path)
    fresh, spare = (
        path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("part", "previous")
    )
    try:
        checkpoint.save(fresh, content, KIND)
        if path.is_file():
            # a second name for the old file: no moment is without a whole one, and a process that
            # is killed here leaves the previous version equal to it, never two steps behind
            _link(path, spare)
            os.replace(spare, previous(path))
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(os_refusal(error, path, "written")) from error
    finally:
        for left in (fresh, spare):
            with contextlib.suppress(OSError):
                left.unlink()


def restore_previous(path: Path) -> None:
    """Replace a file by its previous version, byte for byte.

    Raises:
        UserError: if there is none.
    """
    if not previous(path).is_file():
        raise UserError(
            f"classifier file '{path}' has no previous version to return to; one step is kept, and "
            "it may be undone already"
        )
    try:
        os.replace(previous(path), real(path))
    except OSError as error:
        raise UserError(os_refusal(error, path, "written")) from error


@contextlib.contextmanager
def locked(path: Path, patience: float = SECONDS_OF_PATIENCE) -> Iterator[None]:
    """Let one process at a time change a file; others wait.

    Raises:
        UserError: if another process holds it for longer than `patience` seconds, or the place
            does not exist or cannot be written.
    """
    file = real(path)
    if not file.parent.is_dir():
        check_classifier_file(path)
    try:
        with file_lock(file.with_name(f".{file.name}.lock"), patience) as is_locked:
            if not is_locked:
                raise UserError(
                    f"classifier file '{path}' cannot be changed: you have no permission to write "
                    "there; copy it to another place"
                )
            yield
    except LockedError as error:
        by = f" by process {error.holder}" if error.holder else ""
        raise UserError(
            f"classifier file '{path}' is being changed{by}; wait until it is done"
        ) from error


def pack(rule: Rule, spec: BackboneSpec, state: State, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return a learner as one tree of tensors and plain values."""
    records = list(state.records.values())
    kept = [record.kept for record in records]
    thumbnails = [one for examples in kept for one in examples.thumbnails]
    moments = [record.moment for record in records if record.moment is not None]
    return {
        "rule": {"name": rule.name, "parameters": rule.parameters, "frame": rule.frame()},
        "backbone": _spec_tree(spec),
        "labels": list(state.records),
        "is_base": [record.is_base for record in records],
        "totals": _rows([record.total for record in records], rule.width, torch.float64),
        "counts": [record.count for record in records],
        "ids": _bytes_tensor(b"".join(i for record in records for i in record.ids)),
        "kept": [len(examples) for examples in kept],
        "kept_ids": _bytes_tensor(b"".join(i for examples in kept for i in examples.ids)),
        "features": torch.cat([torch.empty(0, rule.dim), *(e.features for e in kept)]),
        "thumbnails": _bytes_tensor(b"".join(thumbnails)),
        "thumbnail_sizes": torch.tensor([len(one) for one in thumbnails], dtype=torch.int32),
        "has_moment": [record.moment is not None for record in records],
        "moments": torch.stack(moments) if moments else None,
        "pooled": state.pooled,
        "history": [dict(step) for step in state.history],
        **extra,
    }


def unpack(tree: Mapping[str, Any], path: Path) -> tuple[Rule, BackboneSpec, State]:
    """Return what `pack` packed.

    Raises:
        UserError: for a file whose parts do not fit together.
    """
    try:
        check_values(tree)
        spec = _spec(tree["backbone"])
        check_spec(spec, path)
        rule_tree = tree["rule"]
        check_sizes(rule_tree["parameters"])
        rule = Rule(rule_tree["name"], rule_tree["parameters"], int(tree["features"].shape[1]))
        rule.set_frame(rule_tree["frame"])
        return rule, spec, _state(tree, rule)
    except UserError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"classifier file '{path}' cannot be used (its parts do not fit together: {reason}); "
            f"{KIND.remedy}"
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Return the tree of a file.

    Raises:
        UserError: if it is missing, damaged, or of another kind or version.
    """
    check_classifier_file(path)
    return checkpoint.load(path, kind=KIND)


def _state(tree: Mapping[str, Any], rule: Rule) -> State:
    labels, counts, kept = tree["labels"], tree["counts"], tree["kept"]
    features, totals = tree["features"], tree["totals"]
    if [checked_label(label) for label in labels] != labels or len(set(labels)) != len(labels):
        raise ValueError("labels are not clean, or repeat")
    num = len(labels)
    sizes = (len(counts), len(kept), len(tree["is_base"]), len(tree["has_moment"]), len(totals))
    if any(size != num for size in sizes) or totals.shape[1] != rule.width:
        raise ValueError(f"{num} labels, but rows {sizes}")
    if not all(type(n) is int and n > 0 for n in counts) or any(map(int.__gt__, kept, counts)):
        raise ValueError("counts of pictures")
    check_matrices(tree, rule)
    ids, kept_ids = _ids(tree["ids"], sum(counts)), _ids(tree["kept_ids"], sum(kept))
    thumbnails = _pieces(tree["thumbnails"], tree["thumbnail_sizes"].tolist())
    if not len(features) == len(thumbnails) == sum(kept):
        raise ValueError(f"{sum(kept)} examples, but {len(features)} features")
    moments = iter(tree["moments"]) if tree["moments"] is not None else iter(())
    records: dict[str, ClassRecord] = {}
    first, kept_first = 0, 0
    for row, label in enumerate(labels):
        last, kept_last = first + counts[row], kept_first + kept[row]
        rows = slice(kept_first, kept_last)
        examples = Examples(features[rows], tuple(kept_ids[rows]), tuple(thumbnails[rows]))
        records[label] = ClassRecord(
            bool(tree["is_base"][row]),
            totals[row],
            tuple(ids[first:last]),
            examples,
            next(moments) if tree["has_moment"][row] else None,
        )
        first, kept_first = last, kept_last
    return State(records, tree["pooled"], tuple(tree["history"]))


def _spec_tree(spec: BackboneSpec) -> dict[str, Any]:
    return {**vars(spec), "input_shape": list(spec.input_shape), "tensors": dict(spec.tensors)}


def _spec(tree: Mapping[str, Any]) -> BackboneSpec:
    shape = tree["input_shape"]
    if not shape or not all(type(side) is int and 0 < side < 2**16 for side in shape):
        raise ValueError(f"input shape {shape}")
    return BackboneSpec(**{**tree, "input_shape": tuple(shape)})


def _rows(rows: Sequence[Tensor], width: int, dtype: torch.dtype) -> Tensor:
    return torch.stack(list(rows)) if rows else torch.zeros(0, width, dtype=dtype)


def _bytes_tensor(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def _ids(tensor: Tensor, num: int) -> list[bytes]:
    if tensor.numel() != DIGEST_BYTES * num:  # before a list of that length is made
        raise ValueError(f"{tensor.numel()} bytes for {num} identities")
    return _pieces(tensor, [DIGEST_BYTES] * num)


def _pieces(tensor: Tensor, sizes: Sequence[int]) -> list[bytes]:
    content = tensor.numpy().tobytes()
    if sum(sizes) != len(content) or any(size < 0 for size in sizes):
        raise ValueError(f"{len(content)} bytes for pieces of {sum(sizes)}")
    found, first = [], 0
    for size in sizes:
        found.append(content[first : first + size])
        first += size
    return found


def _sweep(path: Path) -> None:
    """Delete what killed processes left: whoever writes holds the lock, so nobody else does."""
    name = re.compile(rf"\.{{1,2}}{re.escape(path.name)}\.\d+\.(part(\.\d+-\d+\.part)?|previous)")
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if name.fullmatch(entry.name):
                entry.unlink()


def _link(path: Path, spare: Path) -> None:
    try:
        os.link(path, spare)
    except OSError:
        # a file system without links
        spare.write_bytes(path.read_bytes())
