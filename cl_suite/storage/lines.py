"""A file of lines that only grows, so that adding one costs the same however many there are."""

from __future__ import annotations

import os
from pathlib import Path

from cl_suite.distributed.group import is_first
from cl_suite.errors import UserError, os_refusal
from cl_suite.storage.files import make_folder, write_error


class Lines:
    """Appends lines to a file, and reads the whole ones.

    A process killed while it writes may leave half a line at the end; it is not read. Of a run's
    several processes only the first one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *lines: str, lasting: bool = False) -> None:
        """Add lines at the end, in one write: whoever reads meanwhile finds whole lines.

        Args:
            lasting: return only when they would outlast a power cut.

        Raises:
            UserError: if the disk is full, or the file cannot be written.
        """
        if not is_first():
            return
        make_folder(self.path.parent)
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
                if lasting:
                    os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error

    def whole(self) -> bytes:
        """Return all whole lines; an absent file has none.

        Raises:
            UserError: if the file cannot be read.
        """
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise UserError(os_refusal(error, self.path, "read")) from error
        return content[: content.rfind(b"\n") + 1]

    def cut(self, size: int) -> None:
        """Shorten the file to this many bytes, if it is longer.

        Raises:
            UserError: if the file cannot be written.
        """
        if not is_first():
            return
        try:
            if self.path.exists() and self.path.stat().st_size > size:
                os.truncate(self.path, size)
        except OSError as error:
            raise write_error(self.path, error) from error
