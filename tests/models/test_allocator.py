"""Memory that is freed stays with the process, where the C library is glibc."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from cl_suite.models.allocator import keep_freed_memory
import torch
done = keep_freed_memory() if {raised} else None
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(12_000_000)  # 48 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(done, faults())
"""


def answer(*, raised: bool, **variables: str) -> tuple[str, int]:
    program = PROGRAM.format(raised=raised)
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    done, faults = found.stdout.split()
    return done, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_mapped_once_not_for_each_operation() -> None:
    _, before = answer(raised=False)
    done, after = answer(raised=True)
    assert done == "True"
    assert after < before / 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_user_s_own_settings_stand() -> None:
    done, _ = answer(raised=True, MALLOC_ARENA_MAX="2")
    assert done == "False"
