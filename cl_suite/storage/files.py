"""Writes files whole or not at all, creates folders, and explains failures in one sentence."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from cl_suite.distributed.group import is_first
from cl_suite.errors import UserError, os_refusal

MOST_LEVELS = 40


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a crash leaves either the old or the new content.

    Of a run's several processes only the first one writes.

    Raises:
        UserError: if the disk is full, or the file cannot be written.
    """
    if not is_first():
        return
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
    """Create a folder and its parents, in the first of a run's processes.

    Raises:
        UserError: if the disk is full, or a file is in the way.
    """
    if not is_first():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written."""
    return UserError(os_refusal(error, path, "written"))


def too_deep(content: object, most: int = MOST_LEVELS) -> bool:
    """Return whether nested mappings and lists have more levels than any file of ours.

    A YAML file can even hold a list that contains itself.
    """
    if not isinstance(content, (dict, list)):
        return False
    inner = content.values() if isinstance(content, dict) else content
    return most == 0 or any(too_deep(value, most - 1) for value in inner)
