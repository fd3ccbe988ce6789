"""Who of a run's processes prints: the first one, or the one that fails."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from cl_suite.distributed.group import PeerError, is_first_to_fail, launched, started
from cl_suite.errors import UserError

SECONDS_TO_BE_ENDED = 15.0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Let only the first process print inside the block."""
    if launched()[0] == 0:
        yield
        return
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def says_why(error: BaseException) -> str | None:
    """Return what to put before the reason of a failure; None if another process tells it.

    A process that another one's failure ends is not the one to explain it.
    """
    try:
        rank, size = launched()
    except UserError:  # no process knows its number
        return ""
    if size == 1:
        return ""
    if not started():
        # most faults are found by all; torchrun ends the others once the first one has spoken
        if rank > 0:
            try:
                time.sleep(SECONDS_TO_BE_ENDED)
            except KeyboardInterrupt:
                return None
        return _name(rank, size)
    is_cause = not isinstance(error, (PeerError, KeyboardInterrupt))
    if not is_first_to_fail(str(error), is_cause=is_cause):
        return None
    return _name(rank, size)


def _name(rank: int, size: int) -> str:
    return "" if rank == 0 else f"process {rank} of {size}: "
