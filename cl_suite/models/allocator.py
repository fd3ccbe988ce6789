"""Keeps the C library from returning memory to the system after every operation.

By default glibc maps each block of more than 32 MB (at first of 128 kB) anew and unmaps it when it
is freed. A network on a CPU then spends up to a third of its time on page faults. With higher
thresholds freed memory stays with the process and is used again; results do not change.
"""

from __future__ import annotations

import ctypes
import os
import platform

# names and numbers of glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**30, M_TOP_PAD: 2**28}

_done = False


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; return whether they are raised.

    It is done once. Elsewhere than on glibc, or if the user sets `MALLOC_*` variables, nothing is
    changed.
    """
    global _done
    if _done:
        return True
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    raised = [mallopt(name, value) == 1 for name, value in SETTINGS.items()]
    _done = all(raised)
    return _done
