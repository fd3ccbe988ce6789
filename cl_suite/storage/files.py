"""Writes files whole or not at all, creates folders, and explains failures in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

from cl_suite.errors import UserError


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a crash leaves either the old or the new content.

    Raises:
        UserError: if the disk is full, or the file cannot be written.
    """
    # in the same folder, because a rename is atomic only within one file system
    mark = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{mark}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        UserError: if the disk is full, or a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"the disk is full while writing '{path}'; free some space and resume with --resume"
        )
    return UserError(
        f"'{path}' cannot be written ({error.strerror or error}); check that its "
        "folder exists and that you may write to it"
    )
