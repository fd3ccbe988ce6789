"""The feature bank on disk: writes features as complete folders, verifies them and finds them.

An entry is a folder `<key>-<content>` of three files. `features.bin` has the raw little-endian
rows; `index.npy` has the content digest of each row's image; `meta.json` has the shape, the key (in
words, how the features were computed) and a checksum over all of it. An entry never changes. More
images under the same key make another entry, so another seed of a scenario computes only images
that no earlier seed had.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cl_suite.errors import UserError
from cl_suite.models.settings import FeatureDtype

if TYPE_CHECKING:  # `cl-suite bank ls` reads no features, and torch takes seconds to import
    from torch import Tensor

# numpy has no bfloat16, so these are stored as the integers that hold their bits
STORED_AS = {"float32": "<f4", "float16": "<f2", "bfloat16": "<i2"}
FOLDER_VARIABLE = "CL_SUITE_BANK"
META, INDEX, FEATURES = "meta.json", "index.npy", "features.bin"
LEFTOVER_SECONDS = 3600.0  # after this long without a change, an unfinished entry is abandoned


def default_folder() -> Path:
    """Return the bank's folder: `$CL_SUITE_BANK`, else `~/.cache/cl-suite/bank`."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "cl-suite" / "bank"


def key_name(key: Mapping[str, str]) -> str:
    """Return a short name of a key: equal words, equal name."""
    return _short_hash(json.dumps(dict(key), sort_keys=True).encode())


@dataclass(frozen=True)
class Entry:
    """Features of some images under one key.

    Attributes:
        digests: content digest of each row's image.
        features: `(num_images, dim)`, mapped read-only from the file; bfloat16 as its bits.
        dtype: number format.
    """

    digests: tuple[bytes, ...]
    features: npt.NDArray[Any]
    dtype: FeatureDtype

    def rows(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Return a copy of these rows, float32 `(num_rows, dim)`."""
        import torch

        values = torch.from_numpy(self.features[rows])
        return (values.view(torch.bfloat16) if self.dtype == "bfloat16" else values).float()


@dataclass(frozen=True)
class EntryInfo:
    """An entry's properties in a listing.

    Attributes:
        name: the folder's name, for `clear`.
        num_images, dim, dtype: of its features; 0 and empty if `meta.json` is damaged.
        num_bytes: total size on disk.
        key: how the features were computed, in words.
    """

    name: str
    num_images: int
    dim: int
    dtype: str
    num_bytes: int
    key: Mapping[str, str]


def open_entries(folder: Path, key: Mapping[str, str]) -> list[Entry]:
    """Return the entries of a key; delete damaged ones, which will be computed again."""
    found = sorted(path for path in folder.glob(f"{key_name(key)}-*") if path.is_dir())
    opened = [open_entry(path) for path in found]
    return [entry for entry in opened if entry is not None]


def open_entry(path: Path) -> Entry | None:
    """Verify an entry's checksum and return the entry, or delete it if that fails.

    The file stays mapped while the entry is in use, even if another process clears the bank.
    """
    with _said_plainly(path.parent):
        try:
            meta = json.loads((path / META).read_text("utf-8"))
            if meta["checksum"] != _checksum(path, meta):
                raise ValueError("the checksum does not agree")
            index = np.load(path / INDEX, allow_pickle=False)
            shape, dtype = (int(meta["num_images"]), int(meta["dim"])), meta["dtype"]
            features = np.memmap(path / FEATURES, dtype=STORED_AS[dtype], mode="r", shape=shape)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            _delete(path)  # damaged: it can be computed again
            return None
    return Entry(tuple(row.tobytes() for row in index), features, dtype)


def write_entry(
    folder: Path,
    key: Mapping[str, str],
    digests: Sequence[bytes],
    dtype: FeatureDtype,
    parts: Iterable[Tensor],
) -> None:
    """Write an entry, whole or not at all; if another process was first, its entry stays.

    Args:
        parts: float32 features `(num_rows, dim)`, which together cover the images of `digests` in
            order. They are consumed one by one, so they may be computed meanwhile.

    Raises:
        UserError: if the disk is full or not writable, or a feature does not fit `dtype`.
    """
    target = folder / f"{key_name(key)}-{_short_hash(b''.join(sorted(digests)))}"
    unfinished = folder / f".{target.name}.{uuid.uuid4().hex}.part"
    try:
        with _said_plainly(folder):
            unfinished.mkdir(parents=True)
            from cl_suite.models.digest import DIGEST_BYTES

            index = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
            np.save(unfinished / INDEX, index, allow_pickle=False)
            dim = _write_features(unfinished / FEATURES, parts, len(digests), dtype)
            meta: dict[str, Any] = {"num_images": len(digests), "dim": dim, "dtype": dtype}
            meta["key"] = dict(key)
            meta["checksum"] = _checksum(unfinished, meta)
            (unfinished / META).write_text(json.dumps(meta, indent=2), "utf-8")
            _publish(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def building(folder: Path, key: Mapping[str, str]) -> Iterator[None]:
    """Let only one process at a time build a key's entries, if the file system has locks.

    The lock only saves work: several runs that start together compute the features once. Entries
    are safe without it, and a dead process holds no lock.
    """
    with _said_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{key_name(key)}.lock").open("wb")
    with lock:
        _wait_for(lock)
        yield


def entries(folder: Path) -> list[EntryInfo]:
    """Return the bank's entries, largest first, without verifying them."""
    # unfinished entries are hidden folders, which pathlib's star finds too
    found = [_info(path) for path in folder.glob("*-*") if not path.name.startswith(".")]
    return sorted(found, key=lambda info: (-info.num_bytes, info.name))


def clear(folder: Path, names: Sequence[str] | None = None) -> int:
    """Delete entries (default: all) and dead processes' leftovers; return the bytes freed.

    Raises:
        UserError: if no entry has one of the names.
    """
    held = {info.name: info.num_bytes for info in entries(folder)}
    chosen = list(held) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in chosen if name not in held]:
        raise UserError(
            f"the feature bank '{folder}' has no entry '{unknown[0]}'; see `cl-suite bank ls`"
        )
    freed = sum(held[name] for name in chosen)
    for name in chosen:
        _delete(folder / name)
    for path in folder.glob(".*.part"):
        if time.time() - _last_touched(path) > LEFTOVER_SECONDS:
            freed += _num_bytes(path)
            shutil.rmtree(path, ignore_errors=True)
    return freed


def _write_features(path: Path, parts: Iterable[Tensor], num_rows: int, dtype: FeatureDtype) -> int:
    """Write the rows one after another and return their width."""
    dim, written = 0, 0
    with path.open("wb") as file:
        for part in parts:
            file.write(_as_stored(part, dtype))
            dim, written = part.shape[1], written + len(part)
        file.flush()
        os.fsync(file.fileno())
    if written != num_rows:
        raise ValueError(f"{written} rows of features for {num_rows} images")
    return dim


def _as_stored(features: Tensor, dtype: FeatureDtype) -> bytes:
    import torch

    values = features.to(getattr(torch, dtype))
    if not torch.isfinite(values).all():
        largest = features.abs().max().item()
        remedy = "" if dtype == "float32" else ", or keep the features in float32"
        raise UserError(
            f"the backbone returns features up to {largest:.3g}, which {dtype} cannot hold; check "
            f"its weights{remedy}"
        )
    bits = values.view(torch.int16) if dtype == "bfloat16" else values
    return bits.numpy().astype(STORED_AS[dtype], copy=False).tobytes()


def _publish(unfinished: Path, target: Path) -> None:
    try:
        os.replace(unfinished, target)
    except OSError:
        # a non-empty folder cannot be replaced: another process wrote the same content first
        if not (target / META).is_file():
            raise


def _checksum(path: Path, meta: Mapping[str, Any]) -> str:
    words = {name: value for name, value in meta.items() if name != "checksum"}
    digest = hashlib.blake2b(json.dumps(words, sort_keys=True).encode(), digest_size=32)
    for name in (INDEX, FEATURES):
        with (path / name).open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _info(path: Path) -> EntryInfo:
    try:
        meta = json.loads((path / META).read_text("utf-8"))
        shape, dtype, key = (int(meta["num_images"]), int(meta["dim"])), meta["dtype"], meta["key"]
    except (OSError, ValueError, KeyError, TypeError):
        shape, dtype, key = (0, 0), "", {}
    return EntryInfo(path.name, *shape, dtype, _num_bytes(path), key)


def _delete(path: Path) -> None:
    # move it aside first, so nobody opens half an entry
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with _said_plainly(path.parent), contextlib.suppress(FileNotFoundError):
        os.replace(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _wait_for(lock: BinaryIO) -> None:
    # Windows has no fcntl, and some network file systems have no locks
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _last_touched(path: Path) -> float:
    return max(p.stat().st_mtime for p in (path, *path.iterdir()))


def _short_hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@contextlib.contextmanager
def _said_plainly(folder: Path) -> Iterator[None]:
    """Turn a disk failure into a `UserError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error)
        raise UserError(
            f"the feature bank '{folder}' cannot be used ({reason}); "
            "free some space with `cl-suite bank clear`, or choose another folder with "
            f"{FOLDER_VARIABLE}"
        ) from error
