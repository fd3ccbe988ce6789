"""Replaces a finished run by a new one: the old one is kept until the new one can go on alone.

The old folder is moved aside when the new run starts to write, and deleted after the new run's
first checkpoint. If the new run ends before, the old one comes back; after a kill, at the next
start. Of a run's processes only the first one moves anything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from cl_suite.distributed.group import is_first
from cl_suite.errors import UserError, os_refusal
from cl_suite.runs.folder import RunFolder


def recover(folder: RunFolder) -> None:
    """Finish what a killed process left in and beside a run's folder; its lock must be held.

    Raises:
        UserError: if a file cannot be moved.
    """
    if _aside(folder).exists():
        own = (folder.checkpoint_file, folder.model_file, folder.tasks_file)
        if any(file.is_file() for file in own):
            discard_old(folder)
        else:
            put_back(folder)
    for left in folder.path.parent.glob(f".{folder.path.name}.*.deleted"):
        shutil.rmtree(left, ignore_errors=True)
    for left in folder.path.rglob(".*.part"):
        with contextlib.suppress(OSError):
            left.unlink()


def set_aside(folder: RunFolder) -> None:
    """Move a run's folder aside, so another run can take its place."""
    if is_first() and folder.path.exists():
        _move(folder.path, _aside(folder))


def put_back(folder: RunFolder) -> None:
    """Delete the new run, and move the old one back; without an old one, do nothing."""
    if is_first() and _aside(folder).exists():
        _delete(folder.path, folder)
        _move(_aside(folder), folder.path)


def discard_old(folder: RunFolder) -> None:
    """Delete the old run."""
    if is_first():
        _delete(_aside(folder), folder)


def _aside(folder: RunFolder) -> Path:
    return folder.path.with_name(f".{folder.path.name}.replaced")


def _delete(path: Path, folder: RunFolder) -> None:
    # moved first, so nobody finds half of it
    if path.exists():
        doomed = folder.path.with_name(f".{folder.path.name}.{os.getpid()}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        _move(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _move(path: Path, target: Path) -> None:
    try:
        os.replace(path, target)
    except OSError as error:
        raise UserError(os_refusal(error, path, "moved")) from error
