"""A lock on a run's folder: one process at a time writes into it, and it notices if it lost it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cl_suite.errors import UserError, os_refusal
from cl_suite.runs.folder import RunFolder
from cl_suite.storage.files import make_folder

SECONDS_OF_PATIENCE = 0.5  # a killed process, and the workers that it has begun, may be ending

_held: set[int] = set()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's folder; yield False if the place cannot be written.

    The lock is a file beside the folder, which the operating system releases when its process ends,
    however it ends. What the lock alone needed is removed again.

    Raises:
        UserError: if another process holds it.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        # within the `try`: half of the parents may be made
        make_folder(folder.parent)
        handle = _acquired(lock, folder)
        try:
            yield handle is not None
        finally:
            # a forked child has closed it; the file is its parent's
            if handle is not None and handle in _held:
                _held.discard(handle)
                with contextlib.suppress(OSError):
                    lock.unlink()
                os.close(handle)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _acquired(lock: Path, folder: Path) -> int | None:
    until = time.monotonic() + SECONDS_OF_PATIENCE
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None  # a finished run may be read there
            raise UserError(os_refusal(error, lock, "written")) from error
        try:
            _lock_at_once(handle)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise UserError(
                f"run folder '{folder}' is in use by another process"
                f"{f' ({holder})' if holder else ''}; wait until it ends, or choose another --out"
            ) from error
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


class Ownership:
    """Notices that a run's folder has become another run's, even where the lock does not hold.

    Args:
        text: the run's settings, as in its config.yaml.
        run_id: the `id` in its run.json.
    """

    def __init__(self, folder: RunFolder, text: str, run_id: str) -> None:
        self.folder, self.text, self.run_id = folder, text, run_id
        self.stamp = self._stamp()

    def check(self) -> None:
        """Raise `UserError` if the folder is gone, or holds another run."""
        if (stamp := self._stamp()) == self.stamp:
            return
        try:
            same_text = self.folder.config_file.read_text("utf-8") == self.text
            own = same_text and self.folder.read_run_info().get("id") == self.run_id
        except (OSError, ValueError):
            own = False
        if not own:
            raise UserError(
                f"run folder '{self.folder.path}' was removed or given to another run while this "
                "one was running, so this one has stopped and left it alone; repeat it with "
                "another --out"
            )
        self.stamp = stamp

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self.folder.config_file.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
