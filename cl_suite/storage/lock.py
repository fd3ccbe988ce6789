"""Locks between processes: a file that the operating system releases when its holder ends."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cl_suite.errors import UserError, os_refusal

_held: set[int] = set()


class LockedError(Exception):
    """Another process holds the lock; `holder` is its number, "" if unknown."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def file_lock(lock: Path, patience: float) -> Iterator[bool]:
    """Hold the lock inside the block; yield False if the place cannot be written.

    The file is removed again.

    Args:
        patience: seconds to wait for another holder.

    Raises:
        LockedError: if another process still holds it then.
        UserError: if the system refuses the file.
    """
    handle = _acquired(lock, patience)
    try:
        yield handle is not None
    finally:
        # a forked child has closed it; the file is its parent's
        if handle is not None and handle in _held:
            _held.discard(handle)
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(handle)


def _acquired(lock: Path, patience: float) -> int | None:
    until = time.monotonic() + patience
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None
            raise UserError(os_refusal(error, lock, "written")) from error
        try:
            _lock_at_once(handle)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise LockedError(holder) from error
        # its last holder may have removed the file between the two calls
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                _held.add(handle)
                with contextlib.suppress(OSError):
                    os.truncate(handle, 0)
                    os.pwrite(handle, str(os.getpid()).encode(), 0)
                return handle
        os.close(handle)


def _lock_at_once(handle: int) -> None:
    try:
        import fcntl
    except ImportError:
        return  # Windows has none
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # some network file systems have no locks


def _close_in_child() -> None:
    # a worker that outlives its killed parent would hold the lock for it
    for handle in _held:
        with contextlib.suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
