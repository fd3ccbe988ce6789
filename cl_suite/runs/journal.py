"""The part of a checkpoint that only grows: records of epochs and sessions, in a file of their own.

A checkpoint is written whole after every epoch. With all earlier records in it, a run of thousands
of sessions would spend its time on writing them again and again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError
from cl_suite.storage.lines import Lines

MOST_WAITING = 32_768  # characters of entries that a checkpoint holds itself


class Journal:
    """Entries that are added to a file, from time to time, and whose place a checkpoint notes.

    The latest entries wait in the checkpoint, so a short run has no such file. A run that was
    killed may leave entries behind those that its checkpoint knows; they are dropped.
    """

    def __init__(self, path: Path) -> None:
        self.lines = Lines(path)
        self.size, self.digest = 0, _no_digest()
        self.waiting: list[str] = []

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an entry of plain values."""
        self.waiting.append(json.dumps(entry, separators=(",", ":")))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds; write the entries that wait if they are many.

        Raises:
            UserError: if the disk is full.
        """
        if sum(map(len, self.waiting)) > MOST_WAITING:
            self._write()
        return {
            "bytes": self.size,
            "digest": self.digest.hexdigest(),
            "waiting": list(self.waiting),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[Any]:
        """Restore what `state_dict` returned, and return all entries.

        Raises:
            UserError: if the file lacks entries, or was changed.
        """
        self.size, self.digest = int(state["bytes"]), _no_digest()
        content = self.lines.whole()[: self.size]
        self.digest.update(content)
        if len(content) < self.size or self.digest.hexdigest() != state["digest"]:
            raise UserError(
                f"'{self.lines.path}' is damaged (its digest does not match that in the "
                "checkpoint); start afresh with --overwrite"
            )
        self.waiting = [str(line) for line in state["waiting"]]
        written = content.decode().splitlines()
        return [json.loads(line) for line in [*written, *self.waiting]]

    def _write(self) -> None:
        # behind the entries that the last checkpoint knows
        self.lines.cut(self.size)
        # before the checkpoint that relies on them
        self.lines.append(*self.waiting, lasting=True)
        content = "".join(f"{line}\n" for line in self.waiting).encode()
        self.size += len(content)
        self.digest.update(content)
        self.waiting = []


def _no_digest() -> Any:
    return hashlib.blake2b(digest_size=16)
