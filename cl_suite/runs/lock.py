"""A lock on a run's folder: one process at a time writes into it, and it notices if it lost it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cl_suite.distributed.group import is_first
from cl_suite.errors import UserError
from cl_suite.runs.folder import RunFolder
from cl_suite.storage.files import make_folder
from cl_suite.storage.lock import LockedError, file_lock

SECONDS_OF_PATIENCE = 0.5  # a killed process, and the workers that it has begun, may be ending


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's folder; yield False if the place cannot be written.

    The lock is a file beside the folder. What the lock alone needed is removed again. A finished
    run may be read in a place that cannot be written.

    Raises:
        UserError: if another process holds it.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        # within the `try`: half of the parents may be made
        make_folder(folder.parent)
        with file_lock(lock, SECONDS_OF_PATIENCE) as is_locked:
            yield is_locked
    except LockedError as error:
        raise UserError(
            f"run folder '{folder}' is in use by another process"
            f"{f' ({error.holder})' if error.holder else ''}; wait until it ends, or choose "
            "another --out"
        ) from error
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


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
        if not is_first():
            return  # the first of the run's processes writes and looks
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
