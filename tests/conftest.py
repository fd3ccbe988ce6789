"""Shared fixtures: one thread for tiny models, and the folder of real data if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before torch is imported, here and in the programs that tests start: two processes whose threads
# wait for each other on two cores take many times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")
# by default it warns of a deprecated call once a process, in whichever test comes first
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "all")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The development data; a newcomer's checkout has none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (data for development, not part of the product)")
    return SHARED


@pytest.fixture(autouse=True)
def _own_bank(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's feature bank."""
    monkeypatch.setenv("CL_SUITE_BANK", str(tmp_path_factory.mktemp("bank")))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which a run's default folders end up."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
